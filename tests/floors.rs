//! The crate's floors: imports go down only, and what belongs to one floor is on no other.
//!
//! `mod tests` counts like the rest, but for what a floor may not name.
#![allow(clippy::unwrap_used)] // a failed one fails its test

#[path = "support/sources.rs"]
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use sources::{Crate, SourceFile, root, shown, sources};

/// Top-level modules by floor. Those of the program stand beside each other; every other module is a place of its own.
const FLOORS: [(u8, &[&str]); 5] = [
    (5, &["lib", "main", "cli", "gateway", "tools"]),
    (4, &["web", "site"]),
    // Links mirror what memberships hear and senders send, as streams do, and know nothing of the streams.
    (3, &["hub", "link"]),
    (2, &["lan", "client"]),
    (1, &["model", "sys"]),
];
const PROGRAM: u8 = 5;

/// What a place may not name, as beginnings of paths, and why.
const FORBIDDEN: [(&str, &[&str], &str); 4] = [
    (
        "hub",
        &["hyper", "hyper_util", "http_body_util", "http", "tungstenite", "tokio_tungstenite"],
        "knows nothing of HTTP",
    ),
    (
        "lan",
        &["hyper", "hyper_util", "http_body_util", "http", "tungstenite", "tokio_tungstenite"],
        "knows nothing of HTTP",
    ),
    (
        "model",
        &[
            "tokio",
            "socket2",
            "libc",
            "std::net::UdpSocket",
            "std::net::TcpStream",
            "std::net::TcpListener",
            "std::fs",
            "std::io",
            "std::env",
            "std::process",
            "std::thread",
            "Instant::now",
            "SystemTime::now",
        ],
        "is pure: no I/O, and time is passed in",
    ),
    ("sys", &["tracing", "hyper", "tungstenite", "tokio_tungstenite"], "is the system calls alone"),
];

/// A longer file says why in its first comment.
const LINES: usize = 450;
const ARGUMENT: &str = "Over 450 lines because";

#[test]
fn imports_go_down() {
    let crate_ = Crate::read();
    let mut wrong = String::new();
    for link in crate_.links() {
        let (from, to) = (place(&link.from), place(&link.to));
        let (Some(from_floor), Some(to_floor)) = (floor(from), floor(to)) else {
            let unknown = if floor(from).is_none() { from } else { to };
            let _ = writeln!(wrong, "{link}: {unknown} is on no floor of tests/floors.rs");
            continue;
        };
        let beside = from == to || (from_floor == PROGRAM && to_floor == PROGRAM);
        if !beside && to_floor >= from_floor {
            let _ = writeln!(wrong, "{link}: from floor {from_floor} to floor {to_floor}");
        }
    }
    assert!(wrong.is_empty(), "imports go down only:\n{wrong}");
}

#[test]
fn no_circles() {
    let crate_ = Crate::read();
    let links = crate_.links();
    // Between places, those of the program included.
    let places = links.iter().map(|link| (place(&link.from).to_owned(), place(&link.to).to_owned()));
    let circles = circles(places.filter(|(from, to)| from != to && from != "lib" && from != "main"));
    assert!(circles.is_empty(), "circles between folders: {circles:#?}");
    // Inside a folder they are shown, for whoever wants to untangle them.
    for folder in FLOORS.iter().flat_map(|(_, places)| *places) {
        let inside = links.iter().filter(|link| place(&link.from) == *folder && place(&link.to) == *folder);
        let files = inside.map(|link| (link.from.clone(), link.to.clone()));
        for circle in self::circles(files.filter(|(from, to)| from != to)) {
            println!("a circle inside {folder}: {}", circle.join(", "));
        }
    }
}

#[test]
fn each_floor_names_only_what_is_its_own() {
    let mut wrong = String::new();
    for file in &Crate::read().files {
        for (_, names, why) in FORBIDDEN.iter().filter(|(place_, ..)| place(&file.module) == *place_) {
            for path in file.paths.iter().filter(|path| !path.in_tests) {
                // `Instant::now` is found at the end of a path, a crate at its beginning.
                let text = path.words.join("::");
                let named = names.iter().find(|name| {
                    text == **name
                        || text.starts_with(&format!("{name}::"))
                        || text.ends_with(&format!("::{name}"))
                });
                if let Some(name) = named {
                    let _ =
                        writeln!(wrong, "{}:{}: {name}: {} {why}", file.path, path.line, place(&file.module));
                }
            }
        }
        for line in file.unsafe_lines.iter().filter(|_| place(&file.module) != "sys") {
            let _ = writeln!(wrong, "{}:{line}: `unsafe` outside src/sys", file.path);
        }
    }
    assert!(wrong.is_empty(), "what belongs to another floor:\n{wrong}");
}

#[test]
fn files_are_short_or_say_why_not() {
    let mut wrong = String::new();
    for folder in ["src", "tests", "examples"] {
        for path in sources(&root().join(folder)) {
            let text = std::fs::read_to_string(&path).expect("a source file");
            let lines = text.lines().count();
            let argued =
                text.lines().take_while(|line| line.starts_with("//!")).any(|line| line.contains(ARGUMENT));
            if lines > LINES && !argued {
                let _ = writeln!(
                    wrong,
                    "{}:1: {lines} lines and no \"{ARGUMENT}\" in its first comment",
                    shown(&path)
                );
            }
        }
    }
    assert!(wrong.is_empty(), "more than {LINES} lines:\n{wrong}");
}

#[test]
fn the_reader_finds_every_kind_of_path() {
    let text = r##"
        use crate::{hub::{log::Log as L, cursor}, lan::*};
        pub use super::frame;
        // crate::not::this
        /* nor /* crate::this::one */ here */
        const S: &str = "crate::nor::this"; const R: &str = r#"crate::"nor""#; const C: char = '"';
        fn f<'a>(x: &'a crate::sys::batch::Batch) -> self::Own { super::super::web::http::answer::<u8>(b'{') }
        mod tests { use super::*; use super::super::group::Group; fn g() { Instant::now(); } }
        macro_rules! m { () => { $crate::hidden } } pub(crate) use hyper::Request;
        unsafe fn h() {}
    "##;
    let file = SourceFile::parse("src/model/request.rs", "model::request", text);
    let found: Vec<String> =
        file.paths.iter().map(|path| format!("{} {}", path.line, path.words.join("::"))).collect();
    for expected in [
        "2 crate::hub::log::Log",
        "2 crate::hub::cursor",
        "2 crate::lan",
        "3 crate::model::frame",
        "7 crate::sys::batch::Batch",
        "7 crate::model::request::Own",
        "7 crate::web::http::answer",
        "8 crate::model::request",
        "8 crate::model::group::Group",
        "8 Instant::now",
        "9 hyper::Request",
    ] {
        assert!(found.iter().any(|one| one == expected), "{expected} is not in {found:#?}");
    }
    assert!(
        !found.iter().any(|one| ["not", "nor", "hidden", "this"].iter().any(|word| one.contains(word))),
        "{found:#?}"
    );
    assert_eq!(file.unsafe_lines, [10]);
    assert!(file.paths.iter().all(|path| path.in_tests == (path.line == 8)), "{found:#?}");
}

/// Groups of names that reach each other.
fn circles(links: impl Iterator<Item = (String, String)>) -> Vec<Vec<String>> {
    let mut next: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (from, to) in links {
        next.entry(from).or_default().insert(to);
    }
    let reach = |from: &String| {
        let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(one) = open.pop() {
            open.extend(next.get(one).into_iter().flatten().filter(|to| reached.insert((*to).clone())));
        }
        reached
    };
    let reached: BTreeMap<&String, BTreeSet<String>> = next.keys().map(|from| (from, reach(from))).collect();
    let circle = |from: &String| -> Vec<String> {
        let back = |to: &&String| reached.get(*to).is_some_and(|reached| reached.contains(from));
        reached[from].iter().filter(back).cloned().collect()
    };
    let all: BTreeSet<Vec<String>> = next.keys().map(circle).filter(|circle| !circle.is_empty()).collect();
    all.into_iter().collect()
}

/// The top-level module.
fn place(module: &str) -> &str {
    module.split("::").next().unwrap_or(module)
}

fn floor(place: &str) -> Option<u8> {
    FLOORS.iter().find(|(_, places)| places.contains(&place)).map(|(floor, _)| *floor)
}
