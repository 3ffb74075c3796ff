//! Text messages: any text is a command, or a mistake in one line, and what was understood reads back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wscast::model::control::{Command, Notice};

fuzz_target!(|text: &str| {
    match Command::decode(text) {
        Ok(command) => assert_eq!(Command::decode(&command.encode()), Ok(command)),
        Err(error) => assert!(!error.message.contains(char::is_control)),
    }
    if let Ok(notice) = Notice::decode(text) {
        let written = notice.encode();
        let read = Notice::decode(&written).expect("our own words");
        assert_eq!(read.encode(), written);
    }
});
