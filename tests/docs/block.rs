//! The blocks of code in the documents.

use std::path::{Path, PathBuf};

/// A block between fences.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// Path of its document from the root on.
    pub(crate) document: String,
    /// Where it begins.
    pub(crate) line: usize,
    /// The first word behind the fence.
    pub(crate) language: String,
    /// What follows it there.
    pub(crate) note: String,
    /// What is between the fences.
    pub(crate) text: String,
}

impl Block {
    /// Why it is not run, where it says so.
    pub(crate) fn not_run(&self) -> Option<&str> {
        self.note.strip_prefix("not run:").map(str::trim)
    }

    /// Its commands with their lines: comments left out, continued lines put together.
    pub(crate) fn commands(&self) -> Vec<(usize, String)> {
        let mut found: Vec<(usize, String)> = Vec::new();
        let mut goes_on = false;
        for (at, line) in self.text.lines().enumerate() {
            let (words, continued) = match line.strip_suffix('\\') {
                Some(words) => (words, true),
                None => (line, false),
            };
            if goes_on {
                found
                    .last_mut()
                    .expect("it goes on from a line before")
                    .1
                    .push_str(&format!(" {}", words.trim()));
            } else if !words.trim().is_empty() && !words.trim_start().starts_with('#') {
                found.push((self.line + 1 + at, words.trim().to_owned()));
            } else {
                continue;
            }
            goes_on = continued;
        }
        found
    }
}

/// The checkout.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a document.
pub(crate) fn read(document: &str) -> String {
    std::fs::read_to_string(root().join(document)).unwrap_or_else(|error| panic!("{document}: {error}"))
}

/// Every document of the checkout that people read, by its path.
pub(crate) fn documents() -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = vec![root().to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if path.is_dir() {
                if !name.starts_with('.') && !["target", "node_modules", "fuzz"].contains(&name.as_str()) {
                    open.push(path);
                }
            } else if name.ends_with(".md") {
                found.push(path.strip_prefix(root()).expect("it is inside").to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

/// The blocks of a document.
pub(crate) fn blocks(document: &str) -> Vec<Block> {
    let text = read(document);
    let mut found: Vec<Block> = Vec::new();
    let mut inside = false;
    for (at, line) in text.lines().enumerate() {
        match line.trim_start().strip_prefix("```") {
            Some(_) if inside => inside = false,
            Some(info) => {
                inside = true;
                let (language, note) = info.split_once(' ').unwrap_or((info, ""));
                found.push(Block {
                    document: document.to_owned(),
                    line: at + 1,
                    language: language.to_owned(),
                    note: note.trim().to_owned(),
                    text: String::new(),
                });
            }
            None if inside => {
                let block = found.last_mut().expect("a block is open");
                block.text.push_str(line);
                block.text.push('\n');
            }
            None => {}
        }
    }
    assert!(!inside, "{document}: a block has no end");
    found
}

/// What a document has between backticks that begins with `wscast`, a verb and something for it, with its line.
pub(crate) fn inline_commands(document: &str) -> Vec<(usize, String)> {
    let text = read(document);
    let mut inside = false;
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if !inside {
            let spans = line.split('`').skip(1).step_by(2);
            // With an ellipsis or a choice it is a sketch.
            let whole = spans.filter(|span| {
                span.starts_with("wscast ")
                    && span.split(' ').count() > 2
                    && !span.contains(['…', '[', '|', '\'', '<'])
            });
            found.extend(whole.map(|span| (at + 1, span.to_owned())));
        }
    }
    found
}
