//! The crate's sources, read for the paths that they name.
//!
//! Comments, strings and characters are taken out; what remains is read word by word. Every path that begins with
//! `crate`, `self` or `super` is followed to its file, in imports and elsewhere.
#![allow(unreachable_pub)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// All sources of the crate.
pub struct Crate {
    /// One entry a file, in the order of their paths.
    pub files: Vec<SourceFile>,
}

/// What one file names.
pub struct SourceFile {
    /// As `src/web/http.rs`.
    pub path: String,
    /// `web::http`; a folder's `mod.rs` is the folder.
    pub module: String,
    /// Every path with more than one word, and what stands in imports.
    pub paths: Vec<PathUse>,
    /// Lines with the word `unsafe`.
    pub unsafe_lines: Vec<usize>,
}

/// A path that a file names, from `crate` on where it is the crate's own.
pub struct PathUse {
    /// From 1.
    pub line: usize,
    /// Its words.
    pub words: Vec<String>,
    /// Whether it stands in a module `tests`.
    pub in_tests: bool,
}

/// One file naming another.
pub struct Link {
    /// File and line.
    pub at: String,
    /// The file that names, as a module.
    pub from: String,
    /// The file that is named, as a module.
    pub to: String,
}

impl std::fmt::Display for Link {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {} names {}", self.at, self.from, self.to)
    }
}

impl Crate {
    /// Reads `src`.
    pub fn read() -> Self {
        let files = sources(&root().join("src")).into_iter().map(|path| {
            let inside = path.strip_prefix(root().join("src")).expect("a path in src").with_extension("");
            let module = inside.to_str().expect("a plain name").replace('/', "::");
            let module = module.strip_suffix("::mod").unwrap_or(&module).to_owned();
            let text = std::fs::read_to_string(&path).expect("a source file");
            SourceFile::parse(&shown(&path), &module, &text)
        });
        let files: Vec<_> = files.collect();
        assert!(files.len() > 20, "the sources are not where they were");
        Crate { files }
    }

    /// Who names whom, file by file.
    pub fn links(&self) -> Vec<Link> {
        let modules: BTreeSet<&str> = self.files.iter().map(|file| file.module.as_str()).collect();
        let mut links = Vec::new();
        for file in &self.files {
            for path in file.paths.iter().filter(|path| path.words[0] == "crate") {
                let words = &path.words[1..];
                let longest = (1..=words.len()).rev().map(|count| words[..count].join("::"));
                // What is no module is an item of the crate's root.
                let to = longest.into_iter().find(|name| modules.contains(name.as_str()));
                let to = to.unwrap_or_else(|| "lib".to_owned());
                links.push(Link {
                    at: format!("{}:{}", file.path, path.line),
                    from: file.module.clone(),
                    to,
                });
            }
        }
        assert!(links.len() > 100, "the imports are not read any more");
        links
    }
}

impl SourceFile {
    /// Reads one file's text.
    pub fn parse(path: &str, module: &str, text: &str) -> Self {
        let words = words(text);
        let mut file = SourceFile {
            path: path.to_owned(),
            module: module.to_owned(),
            paths: Vec::new(),
            unsafe_lines: Vec::new(),
        };
        // The crate's root is `lib`, and for `main` the library is `wscast`.
        let root = ["lib", "main"].contains(&module);
        let own: Vec<String> =
            if root { Vec::new() } else { module.split("::").map(str::to_owned).collect() };
        // Open braces: the inline module that each belongs to, if it does.
        let mut braces: Vec<Option<String>> = Vec::new();
        let mut at = 0;
        while at < words.len() {
            let (line, word) = (words[at].0, words[at].1.as_str());
            let word_at = |at: usize| words.get(at).map_or("", |(_, word)| word.as_str());
            match word {
                "unsafe" => file.unsafe_lines.push(line),
                "{" => {
                    let named = at >= 2 && word_at(at - 2) == "mod";
                    braces.push(named.then(|| word_at(at - 1).to_owned()));
                }
                "}" => drop(braces.pop()),
                _ if is_name(word)
                    && word_at(at + 1) == "::"
                    && (at == 0 || !["::", "$"].contains(&word_at(at - 1))) =>
                {
                    let inline: Vec<String> = braces.iter().flatten().cloned().collect();
                    let here = [&["crate".to_owned()][..], &own, &inline].concat();
                    let in_tests = inline.iter().any(|name| name == "tests");
                    let mut found = Vec::new();
                    at = tree(&words, at, &[], &mut found);
                    for (line, words) in found {
                        file.paths.push(PathUse { line, words: resolved(&words, &here), in_tests });
                    }
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
        file
    }
}

/// Reads the path, or tree of paths, that begins at `at`; where it ends.
fn tree(
    words: &[(usize, String)],
    mut at: usize,
    before: &[String],
    found: &mut Vec<(usize, Vec<String>)>,
) -> usize {
    let mut path = before.to_vec();
    let mut line = words.get(at).map_or(0, |(line, _)| *line);
    while let Some((here, word)) = words.get(at) {
        if word == "{" {
            at += 1;
            while words.get(at).is_some_and(|(_, word)| word != "}") {
                at = tree(words, at, &path, found);
                // Past `as NAME` and the comma.
                while words.get(at).is_some_and(|(_, word)| word != "}" && word != ",") {
                    at += 1;
                }
                at += usize::from(words.get(at).is_some_and(|(_, word)| word == ","));
            }
            return at + 1;
        }
        if word == "*" {
            at += 1;
            break;
        }
        if !is_name(word) {
            break;
        }
        line = *here;
        path.push(word.clone());
        at += 1;
        if words.get(at).is_none_or(|(_, word)| word != "::") {
            break;
        }
        at += 1;
    }
    found.push((line, path));
    at
}

/// The path from `crate` on, where it begins with a word that stands for a place in the crate.
fn resolved(path: &[String], here: &[String]) -> Vec<String> {
    let mut base = here.to_vec();
    let mut rest = path;
    match path[0].as_str() {
        "crate" | "wscast" => base.truncate(1),
        "self" => {}
        "super" => {
            while rest.first().is_some_and(|word| word == "super") && base.len() > 1 {
                base.pop();
                rest = &rest[1..];
            }
            return [&base[..], rest].concat();
        }
        _ => return path.to_vec(),
    }
    [&base[..], &rest[1..]].concat()
}

fn is_name(word: &str) -> bool {
    word.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Names and marks with their lines; without comments, strings, characters and lifetimes.
fn words(text: &str) -> Vec<(usize, String)> {
    let text: Vec<char> = text.chars().collect();
    let (mut words, mut line, mut at) = (Vec::new(), 1, 0);
    let starts =
        |at: usize, what: &str| what.chars().enumerate().all(|(step, one)| text.get(at + step) == Some(&one));
    while at < text.len() {
        let begin = at;
        let one = text[at];
        if starts(at, "//") {
            while at < text.len() && text[at] != '\n' {
                at += 1;
            }
        } else if starts(at, "/*") {
            let mut depth = 0;
            loop {
                let step = if starts(at, "/*") { 1 } else { -i32::from(starts(at, "*/")) };
                depth += step;
                at += if step == 0 { 1 } else { 2 };
                if depth == 0 || at >= text.len() {
                    break;
                }
            }
        } else if let Some(end) = string_end(&text, at) {
            at = end;
        } else if one == '\'' {
            // A character ends in a quote; a lifetime does not.
            let escaped = text.get(at + 1) == Some(&'\\');
            let quote =
                (at + 2 + usize::from(escaped)..text.len().min(at + 14)).find(|&place| text[place] == '\'');
            match quote {
                Some(end) if escaped || end == at + 2 => at = end + 1,
                _ => {
                    let name = text[at + 1..].iter().take_while(|one| one.is_alphanumeric() || **one == '_');
                    at += 1 + name.count();
                }
            }
        } else if one.is_alphanumeric() || one == '_' {
            at += text[at..].iter().take_while(|one| one.is_alphanumeric() || **one == '_').count();
            words.push((line, text[begin..at].iter().collect()));
        } else {
            at += if starts(at, "::") { 2 } else { 1 };
            if !one.is_whitespace() {
                words.push((line, text[begin..at].iter().collect()));
            }
        }
        line += text[begin..at.min(text.len())].iter().filter(|&&one| one == '\n').count();
    }
    words
}

/// Where the string that begins at `at` ends, of any kind; `None` where none begins.
fn string_end(text: &[char], at: usize) -> Option<usize> {
    if at > 0 && (text[at - 1].is_alphanumeric() || text[at - 1] == '_') {
        return None;
    }
    let prefix = text[at..].iter().take_while(|one| "brc".contains(**one)).count();
    let raw = text[at..at + prefix].contains(&'r');
    let hashes = if raw { text[at + prefix..].iter().take_while(|one| **one == '#').count() } else { 0 };
    let mut end = at + prefix + hashes;
    if prefix > 2 || text.get(end) != Some(&'"') {
        return None;
    }
    end += 1;
    while end < text.len() {
        match text[end] {
            '\\' if !raw => end += 2,
            '"' if text[end + 1..].iter().take(hashes).filter(|one| **one == '#').count() == hashes => {
                return Some(end + 1 + hashes);
            }
            _ => end += 1,
        }
    }
    Some(end)
}

/// The folder of the crate.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A path as people name it.
pub fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// Every Rust file below a folder.
pub fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}
