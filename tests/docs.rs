//! The documents say what the program does.
#![allow(clippy::unwrap_used)] // a failed one fails its test

use std::collections::BTreeSet;

use wscast::tools::doctor::finding::Name;

#[test]
fn every_finding_has_its_heading() {
    let text = read("docs/troubleshooting.md");
    let (_, section) = text.split_once("## What `wscast doctor` finds").expect("the section");
    let headings = section.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'));
    let headings: Vec<&str> = headings.collect();
    let names: Vec<&str> = Name::ALL.iter().map(|name| name.word()).collect();
    let (have, want) = (headings.iter().collect::<BTreeSet<_>>(), names.iter().collect::<BTreeSet<_>>());
    assert_eq!(have, want);
    assert_eq!(headings.len(), names.len(), "a heading stands twice");
}

fn read(path: &str) -> String {
    std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}
