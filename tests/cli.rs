//! The command line as scripts see it: exit codes, and what is said about mistakes. Nothing here touches a network but
//! the loopback interface.
#![allow(clippy::unwrap_used)] // a failed one fails its test

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use wscast::model::config::{Config, Overrides};
use wscast::model::limits::{Limits, NAMES};

const EXAMPLE: &str = include_str!("example.toml");

#[test]
fn a_mistake_in_the_file_is_shown_where_it_is() {
    for (text, place, words, excerpt) in [
        (
            "threads = 2\nallow-recieve = []\n",
            ":2:1: ",
            "unknown field `allow-recieve`",
            "2 | allow-recieve = []",
        ),
        ("max-ttl = 0\n", ":1:11: ", "write 1 to 255", "1 | max-ttl = 0"),
        ("max-ttl = 256\n", ":1:11: ", "write 1 to 255", "1 | max-ttl = 256"),
        ("[limits]\nstreams = \"many\"\n", ":2:1: ", "or off", "2 | streams = \"many\""),
        ("[streams.a]\ngroup = \"10.0.0.1:5000\"\n", ":2:9: ", "not a multicast address", "2 | group"),
        ("listen = [\"127.0.0.1\"]\n", ":1:11: ", "ADDR:PORT", "1 | listen"),
        ("allow-send = [\"239.1.2.3:0\"]\n", ":1:15: ", "port", "1 | allow-send"),
        ("= 5\n", ":1:1: ", "", "1 | = 5"),
    ] {
        let (_folder, file) = file(text);
        for arguments in [vec!["check-config", &file], vec!["serve", "--config", &file]] {
            let (code, said) = run(&arguments, &[]);
            assert_eq!(code, Some(2), "{said}");
            assert!(said.contains(&format!("{file}{place}")) && said.contains(words), "{said}");
            let mut lines = said.lines().skip_while(|line| !line.starts_with(excerpt));
            let shown = lines.next().unwrap_or_else(|| panic!("{excerpt:?} is not in\n{said}"));
            let carets = lines.next().unwrap_or_default();
            assert!(carets.ends_with('^') && carets.len() <= shown.len().max(5), "{said}");
        }
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    for arguments in [["check-config", "/nowhere/wscast.toml"], ["serve", "--config=/nowhere/wscast.toml"]] {
        let (code, said) = run(&arguments, &[]);
        assert_eq!(code, Some(2));
        assert!(said.contains("/nowhere/wscast.toml: No such file"), "{said}");
    }
}

#[test]
fn the_example_has_every_key_with_its_default() {
    let (_folder, file) = file(EXAMPLE);
    let (code, said) = run(&["check-config", &file], &[]);
    assert_eq!((code, said.trim()), (Some(0), &*format!("{file}: ok, 3 named streams")));

    let (_, help) = run(&["serve", "--help"], &[]);
    let flags: Vec<&str> = help
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("--"))
        .filter_map(|line| line.split([' ', '[']).next())
        .collect();
    assert!(flags.len() > 10, "{help}");
    for file in ["player", "control", "[tls]"] {
        let (key, table) = (format!("\n# {file} = "), format!("\n# {file}\n"));
        assert!(EXAMPLE.contains(&key) || EXAMPLE.contains(&table), "files that few have: {file}");
    }
    for flag in flags.iter().filter(|flag| flag.starts_with("tls-") || **flag == "dev-cert") {
        let key = flag.strip_prefix("tls-").unwrap_or(flag);
        assert!(EXAMPLE.contains(&format!("\n# {key} = ")), "{key} is not in the example");
    }
    let apart = ["config", "limit", "help", "player", "control", "dev-cert"];
    for flag in flags.iter().filter(|flag| !apart.contains(flag) && !flag.starts_with("tls-")) {
        assert!(EXAMPLE.contains(&format!("\n{flag} = ")), "{flag} is not in the example");
    }
    for name in NAMES {
        assert!(EXAMPLE.contains(&format!("\n{name} = ")), "limit {name} is not in the example");
    }
    let example = Config::build(Some(("example.toml", EXAMPLE)), Overrides::default()).unwrap();
    let default = Config::build(None, Overrides::default()).unwrap();
    assert_eq!(example.limits, Limits::default());
    assert_eq!(
        (example.threads, example.io_uring, example.receive_buffer, example.max_ttl, example.linger),
        (default.threads, default.io_uring, default.receive_buffer, default.max_ttl, default.linger)
    );
    assert_eq!((example.log_format, &example.listen[0]), (default.log_format, &default.listen[0]));
    assert_eq!(example.log_level, default.log_level);
}

#[test]
fn other_machines_come_in_only_where_it_is_said_what_they_may() {
    let receive = ["--allow-receive", "239.0.0.0/8"];
    for (arguments, add) in [
        (&[][..], "add --allow-receive 239.0.0.0/8 --no-auth"),
        (&["--no-auth"], "add --allow-receive 239.0.0.0/8"),
        (&receive, "add --no-auth"),
    ] {
        for listen in ["0.0.0.0:0", "[::]:0", "10.9.0.1:0", "[::ffff:10.9.0.1]:0"] {
            let all = [&["serve", "--listen", listen], arguments].concat();
            let (code, said) = run(&all, &[]);
            assert_eq!(code, Some(2), "{said}");
            assert!(said.contains(add) && said.contains(listen), "{said}");
            let (code, said) = run(&[&["serve"], arguments].concat(), &[("WSCAST_LISTEN", listen)]);
            assert!(code == Some(2) && said.contains(add), "{said}");
        }
    }
}

#[test]
fn a_port_in_use_is_named() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let port = holder.local_addr().unwrap().port();
    // The first could be had.
    let (code, said) = run(&["serve", "--listen", "127.0.0.1:0", "--listen", &address], &[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains(&format!("listening on {address}: port {port} is already in use")), "{said}");
    assert!(!said.contains("listening on http"), "nothing has started: {said}");

    let (code, said) =
        run(&["serve", "--listen", "192.0.2.1:0", "--no-auth", "--allow-receive", "239.0.0.0/8"], &[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("192.0.2.1 is not an address of this host"), "{said}");
}

#[test]
fn mistakes_on_the_command_line_and_in_the_environment_are_usage() {
    for (arguments, environment, words) in [
        (&["serve", "--lissten", "127.0.0.1:0"][..], None, "--listen"),
        (&["serve", "--listen", "localhost"], None, "ADDR:PORT"),
        (&["serve", "--allow-send", "10.0.0.0/8"], None, "10.0.0.0/8"),
        (&["serve", "--allow-receive", "239.1.2.3:0"], None, "port"),
        (&["serve", "--allow-receive", "[::ffff:239.1.2.3]:5"], None, "IPv4"),
        (&["serve", "--max-ttl", "0"], None, "1 to 255"),
        (&["serve", "--max-ttl", "256"], None, "1 to 255"),
        (&["serve", "--limit", "stream=5"], None, "known are connections,"),
        (&["serve", "--limit", "all=5"], None, "all=off"),
        (&["serve", "--limit", "message-size=1024", "--limit", "send-size=2000"], None, "message-size"),
        (&["serve", "--allow-origin", "*"], None, "--allow-origin"),
        (
            &["serve", "--listen", "127.0.0.1:0", "--player", "/no/mpegts.js"],
            None,
            "reading the player /no/mpegts.js: ",
        ),
        (&["serve", "--allow-host", "http://a"], None, "name alone"),
        (&["serve"], Some(("WSCAST_THREADS", "none")), "1 to 64"),
        (&["serve"], Some(("WSCAST_LIMIT", "streams=4,stream=5")), "no limit \"stream\""),
        (&["serve"], Some(("WSCAST_LOG_FORMAT", "xml")), "text or json"),
        (&["serve"], Some(("WSCAST_NO_AUTH", "perhaps")), "no-auth"),
        (&["sevre"], None, "serve"),
        (&[], None, "Usage"),
    ] {
        let (code, said) = run(arguments, environment.as_slice());
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {words:?} is not in\n{said}");
    }
}

#[test]
fn help_and_version_are_no_mistakes() {
    for arguments in [&["--help"][..], &["serve", "--help"], &["help", "serve"]] {
        let (code, said) = run(arguments, &[]);
        assert_eq!(code, Some(0));
        assert!(said.contains("Usage: wscast"), "{said}");
    }
    let (code, said) = run(&["--version"], &[]);
    assert_eq!((code, said.trim()), (Some(0), concat!("wscast ", env!("CARGO_PKG_VERSION"))));
}

/// A configuration file of this text.
fn file(text: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path: PathBuf = folder.path().join("wscast.toml");
    std::fs::write(&path, text).expect("write the file");
    let path = path.to_str().expect("a plain name").to_owned();
    (folder, path)
}

/// Runs wscast to its end: exit code, and all that it said.
fn run(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_wscast"))
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("start wscast");
    (status.code(), String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr))
}
