//! `docs/dependencies.md` counts the crates that each dependency brings: the counts are those of the lock file.
#![allow(clippy::unwrap_used)] // a failed one fails its test

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// One row of the table.
struct Row {
    names: Vec<String>,
    adds: usize,
}

#[test]
fn the_document_counts_the_crates_as_they_are() {
    let (rows, tree) = (rows(), Tree::read());
    let named: BTreeSet<&str> = rows.iter().flat_map(|row| &row.names).map(String::as_str).collect();
    let direct: BTreeSet<&str> = tree.direct.iter().map(|one| bare(one)).collect();
    let missing: Vec<_> = direct.difference(&named).collect();
    assert!(missing.is_empty(), "docs/dependencies.md has no row for {missing:?}");
    let gone: Vec<_> = named.difference(&direct).collect();
    assert!(gone.is_empty(), "docs/dependencies.md has a row for {gone:?}, which Cargo.toml does not name");

    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for Row { names, adds } in &rows {
        let before = seen.len();
        for crate_ in tree.direct.iter().filter(|one| names.iter().any(|name| name == bare(one))) {
            seen.extend(tree.closure(crate_));
        }
        let brought = seen.len() - before;
        if brought != *adds {
            wrong.push(format!("{}: says {adds}, brings {brought}", names.join(", ")));
        }
    }
    assert!(wrong.is_empty(), "docs/dependencies.md is stale:\n{}", wrong.join("\n"));
}

/// The table's rows, in their order.
fn rows() -> Vec<Row> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/dependencies.md");
    let text = std::fs::read_to_string(path).expect("the document");
    let cells =
        text.lines().filter(|line| line.starts_with('|')).map(|line| line.split('|').collect::<Vec<_>>());
    cells
        .filter_map(|cells| {
            let adds = cells.get(3)?.trim().parse().ok()?;
            let names = cells[1].split(" (").next()?.split(',');
            Some(Row { names: names.map(|name| name.trim().to_owned()).collect(), adds })
        })
        .collect()
}

/// Who needs whom, on Linux, with all features: by name and version.
struct Tree {
    needs: BTreeMap<String, BTreeSet<String>>,
    /// What Cargo.toml names for the program itself.
    direct: BTreeSet<String>,
}

impl Tree {
    fn read() -> Self {
        let output = Command::new(env!("CARGO"))
            .args([
                "tree",
                "-e",
                "normal,build",
                "--all-features",
                "--locked",
                "--offline",
                "--prefix",
                "depth",
            ])
            .args(["--target", "x86_64-unknown-linux-gnu"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("run cargo");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "cargo tree: {said}");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let mut tree = Tree { needs: BTreeMap::new(), direct: BTreeSet::new() };
        // A crate that stands in the tree again stands there without what it needs.
        let mut above: Vec<String> = Vec::new();
        for line in text.lines() {
            let digits = line.find(|letter: char| !letter.is_ascii_digit()).expect("a name behind the depth");
            let depth: usize = line[..digits].parse().expect("a depth");
            let name = line[digits..].split(' ').take(2).collect::<Vec<_>>().join(" ");
            above.truncate(depth);
            if let Some(parent) = above.last() {
                tree.needs.entry(parent.clone()).or_default().insert(name.clone());
            }
            if depth == 1 {
                tree.direct.insert(name.clone());
            }
            above.push(name);
        }
        tree
    }

    /// `name` and all that it needs.
    fn closure(&self, name: &str) -> BTreeSet<String> {
        let (mut found, mut open) = (BTreeSet::new(), vec![name.to_owned()]);
        while let Some(one) = open.pop() {
            open.extend(self.needs.get(&one).into_iter().flatten().cloned());
            found.insert(one);
        }
        found
    }
}

/// The name of a crate without its version.
fn bare(crate_: &str) -> &str {
    crate_.split(' ').next().unwrap_or(crate_)
}
