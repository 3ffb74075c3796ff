//! Text from outside: quoted safely in messages, and types that serde reads and writes as text.

use std::fmt::Write as _;

/// The most characters of somebody else's text that a message repeats.
const QUOTED: usize = 64;

/// `text` in double quotes, control characters escaped, cut after 64 characters: fit for logs and answers.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for (count, character) in text.chars().enumerate() {
        if count == QUOTED {
            quoted.push('…');
            break;
        }
        match character {
            '\'' => quoted.push('\''),
            other => write!(quoted, "{}", other.escape_debug()).expect("writing to a string never fails"),
        }
    }
    quoted.push('"');
    quoted
}

/// A port, 1..=65535, digits only: `u16::from_str` would also take `+5000`. `None` where it is none.
pub(crate) fn parse_port(text: &str) -> Option<u16> {
    if !is_digits(text) {
        return None;
    }
    text.parse().ok().filter(|&port| port != 0)
}

/// True for one or more ASCII digits and nothing else.
pub(crate) fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Makes serde read and write a type by its `FromStr` and `Display`.
macro_rules! serde_as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_text;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_cut_and_escape() {
        assert_eq!(quote("it's\n\u{1b}[0m"), r#""it's\n\u{1b}[0m""#);
        assert_eq!(quote(&"ä".repeat(65)).chars().count(), 64 + 3);
        assert_eq!(quote(&"a".repeat(64)).chars().count(), 64 + 2);
    }

    #[test]
    fn ports_are_digits() {
        assert_eq!(parse_port("5000"), Some(5000));
        for bad in ["", "0", "+5", "-1", "65536", "5 ", "99999999999999999999"] {
            assert_eq!(parse_port(bad), None, "{bad}");
        }
    }
}
