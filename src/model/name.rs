//! Names of streams that the configuration gives.

use thiserror::Error;

use super::text::quote;

/// The longest name, in bytes.
pub const LONGEST_NAME: usize = 64;

/// A text that can't name a stream.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{} can't name a stream: write 1 to {LONGEST_NAME} of A-Z a-z 0-9 . _ -, and not . or ..", quote(.0))]
pub struct NameError(String);

/// Checks that `name` can stand in `/streams/NAME`: 1 to 64 of `[A-Za-z0-9._-]`. `.` and `..` are refused
/// because every URL parser takes them out of a path.
pub fn check_name(name: &str) -> Result<(), NameError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let fits = (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(allowed);
    if fits && name != "." && name != ".." { Ok(()) } else { Err(NameError(name.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["a", "Camera-1_north.hd", &"x".repeat(64)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "ä", &"x".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
