//! The documents say what the program does: every command in them is run, every configuration read, every JSON parsed.
//!
//! A block of commands is marked `sh`. It runs line by line on a host of the lab whose `eth0` hears 239.1.2.3:5000,
//! 10.1.0.2@232.1.2.3:5000 and 10.1.0.2@232.1.2.4:5000; what it starts is reached by the lines and blocks behind it. One that can't be run is
//! marked `sh not run: REASON`, which is printed and counted.
#![allow(clippy::unwrap_used)] // a failed one fails its test

#[path = "docs/block.rs"]
mod block;
#[path = "docs/desk.rs"]
mod desk;
#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use block::{Block, blocks, documents, inline_commands};
use clap::{CommandFactory as _, Parser as _};
use desk::Desk;
use support::lab::{lab_test, skip};
use wscast::cli::Cli;
use wscast::model::limits::{Limits, NAMES};
use wscast::tools::doctor::finding::Name;

const WSCAST: &str = env!("CARGO_BIN_EXE_wscast");

/// Documents whose commands have a test of their own, below; the rest share one.
const OWN: [&str; 2] = ["README.md", "docs/getting-started.md"];

lab_test! {
    fn the_commands_of_the_readme_run(lab) {
        Desk::new(lab).run("README.md");
    }
}

lab_test! {
    fn the_commands_of_getting_started_run(lab) {
        Desk::new(lab).run("docs/getting-started.md");
    }
}

lab_test! {
    fn the_commands_of_all_other_documents_run(lab) {
        let mut desk = Desk::new(lab);
        for document in documents().iter().filter(|document| !OWN.contains(&document.as_str())) {
            desk.run(document);
        }
    }
}

#[test]
fn blocks_are_of_known_kinds() {
    let known = [
        "sh",
        "js",
        "ts",
        "json",
        "toml",
        "rust",
        "python",
        "html",
        "yaml",
        "ini",
        "text",
        "promql",
        "systemd",
        "nginx",
        "caddyfile",
        "haproxy",
        "dockerfile",
        "sdp",
        "",
    ];
    let (mut wrong, mut not_run) = (Vec::new(), Vec::new());
    for block in documents().iter().flat_map(|document| blocks(document)) {
        let place = format!("{}:{}", block.document, block.line);
        if !known.contains(&block.language.as_str()) {
            wrong.push(format!("{place}: of no known kind: {}", block.language));
        }
        match block.not_run() {
            Some("") => wrong.push(format!("{place}: `not run:` wants a reason")),
            Some(reason) => not_run.push(format!("{place} is not run: {reason}")),
            None if !block.note.is_empty() => wrong.push(format!("{place}: what is {:?}?", block.note)),
            None => {}
        }
        // Commands hidden in plain text would never run; a synopsis has brackets.
        let hidden = |line: &&str| {
            let commands = ["wscast ", "curl ", "sudo ", "ip ", "sysctl ", "systemctl ", "$ "];
            commands.iter().any(|command| line.starts_with(command)) && !line.contains(['[', '|', '<'])
        };
        if matches!(block.language.as_str(), "text" | "")
            && let Some(line) = block.text.lines().find(hidden)
        {
            wrong.push(format!("{place}: a command in a block of text: {line}"));
        }
    }
    for line in &not_run {
        println!("{line}");
    }
    println!("{} blocks are not run", not_run.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn commands_within_sentences_can_be_typed() {
    let mut wrong = Vec::new();
    for document in documents() {
        for (line, command) in inline_commands(&document) {
            if let Err(error) = Cli::try_parse_from(command.split_whitespace()) {
                // Asking for help is no mistake.
                if error.exit_code() != 0 {
                    wrong.push(format!("{document}:{line}: {command}: {error}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn configurations_are_read() {
    let folder = tempfile::tempdir().unwrap();
    // The set of keys that a configuration names is read along with it.
    let made =
        Command::new(WSCAST).args(["token", "key"]).arg(folder.path().join("signing.pem")).output().unwrap();
    std::fs::write(folder.path().join("jwks.json"), made.stdout).unwrap();
    let keys = folder.path().join("jwks.json").display().to_string();
    for block in blocks_in("toml") {
        let file = folder.path().join("wscast.toml");
        std::fs::write(&file, block.text.replace("/etc/wscast/jwks.json", &keys)).unwrap();
        let output = Command::new(WSCAST).arg("check-config").arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}:{}: {said}", block.document, block.line);
    }
}

#[test]
fn json_is_json() {
    for block in blocks_in("json") {
        let mut values = serde_json::Deserializer::from_str(&block.text).into_iter::<serde_json::Value>();
        if let Some(Err(error)) = values.find(Result::is_err) {
            panic!("{}:{}: {error}", block.document, block.line);
        }
    }
}

#[test]
fn scripts_are_scripts() {
    if skip("node", "nodejs") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for block in blocks_in("js") {
        let file = folder.path().join("block.mjs");
        std::fs::write(&file, &block.text).unwrap();
        let output = Command::new("node").arg("--check").arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}:{}: {said}", block.document, block.line);
    }
}

#[test]
fn links_lead_somewhere() {
    let mut wrong = Vec::new();
    for document in documents() {
        let text = block::read(&document);
        let folder = block::root().join(&document).parent().unwrap().to_owned();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            let outside = target.contains("://") || target.starts_with("mailto:") || path.is_empty();
            if !outside && !Path::new(&folder).join(path).exists() {
                wrong.push(format!("{document}: {target}"));
            }
        }
    }
    assert!(wrong.is_empty(), "links to nothing:\n{}", wrong.join("\n"));
}

#[test]
fn every_finding_has_its_heading() {
    let text = block::read("docs/troubleshooting.md");
    let (_, section) = text.split_once("## What `wscast doctor` finds").expect("the section");
    let section = section.split("\n## ").next().unwrap_or(section);
    let headings: Vec<&str> =
        section.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`')).collect();
    let names: Vec<&str> = Name::ALL.iter().map(|name| name.word()).collect();
    let (have, want) = (headings.iter().collect::<BTreeSet<_>>(), names.iter().collect::<BTreeSet<_>>());
    assert_eq!(have, want);
    assert_eq!(headings.len(), names.len(), "a heading stands twice");
}

#[test]
fn the_configuration_reference_has_every_flag_and_limit() {
    let text = block::read("docs/configuration.md");
    let command = Cli::command();
    let serve = command.find_subcommand("serve").expect("wscast serve");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter_map(|line| Some(line.strip_prefix("| ")?.split(" | ").map(str::trim).collect()))
        .collect();
    for argument in serve.get_arguments().filter(|argument| argument.get_long().is_some()) {
        let flag = argument.get_long().unwrap_or_default();
        // The file itself is no key of the file.
        if ["config", "help"].contains(&flag) {
            continue;
        }
        let variable = argument.get_env().map(|name| name.to_string_lossy().into_owned());
        let row = rows.iter().find(|row| {
            row[0].contains(&format!("`{flag}`"))
                || row[0].contains(&format!("--{flag} "))
                || row[0].contains(&format!("--{flag}`"))
                || row[0].contains(&format!("--{flag}[="))
        });
        let row = row.unwrap_or_else(|| panic!("docs/configuration.md has no row for --{flag}"));
        if let Some(variable) = variable {
            assert!(
                row.iter().any(|cell| cell.contains(&format!("`{variable}`"))),
                "{flag}: {variable} is not in {row:?}"
            );
        }
    }
    let section = text.split("## Limits").nth(1).expect("the limits");
    let mut told = BTreeSet::new();
    for row in section.lines().filter_map(|line| line.strip_prefix("| `")) {
        let cells: Vec<&str> = row.split(" | ").map(str::trim).collect();
        let names = cells[0].split(", ").map(|name| name.trim_matches('`'));
        let mut defaults = cells[2].split(", ");
        let mut last = "";
        for name in names {
            // One default may stand for all names of a row.
            last = defaults.next().unwrap_or(last);
            let mut limits = Limits::default();
            let setting = format!("{name}={}", last.replace(' ', ""));
            limits.set(&setting).unwrap_or_else(|error| panic!("{setting}: {error}"));
            assert_eq!(limits, Limits::default(), "docs/configuration.md says {setting}");
            told.insert(name.to_owned());
        }
    }
    let untold: Vec<_> = NAMES.iter().filter(|name| !told.contains(**name)).collect();
    assert!(untold.is_empty(), "docs/configuration.md does not tell of {untold:?}");
}

/// The blocks of a language that are to be run.
fn blocks_in(language: &str) -> Vec<Block> {
    let all = documents().iter().flat_map(|document| blocks(document)).collect::<Vec<_>>();
    all.into_iter().filter(|block| block.language == language && block.not_run().is_none()).collect()
}
