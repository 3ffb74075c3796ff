//! A playlist of streams (M3U) for players.

use std::fmt::Write as _;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What people see.
    pub name: String,
    /// Path and query of the URL.
    pub path: String,
}

/// The playlist: absolute URLs below `base`, as `http://HOST`.
#[must_use]
pub fn write(entries: &[Entry], base: &str) -> String {
    let mut text = "#EXTM3U\n".to_owned();
    for Entry { name, path } in entries {
        // A comma ends what stands before the name; the name itself may have some.
        let name: String = name.chars().map(|shown| if shown.is_control() { ' ' } else { shown }).collect();
        let _ = writeln!(text, "#EXTINF:-1,{name}\n{base}{path}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_entry_is_two_lines_whatever_its_name() {
        let entry = Entry { name: "News,\r\n#EXTINF:-1,x".to_owned(), path: "/streams/news".to_owned() };
        assert_eq!(
            write(&[entry], "http://gateway:8080"),
            "#EXTM3U\n#EXTINF:-1,News,  #EXTINF:-1,x\nhttp://gateway:8080/streams/news\n"
        );
    }
}
