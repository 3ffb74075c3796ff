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

/// Some of the names, each written out or with `*` for any part of it: `camera-*`, `*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(Vec<String>);

/// A text that is no pattern of names.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{} is no stream's name: write one, or a part with *, as camera-*", quote(.0))]
pub struct PatternError(String);

impl Names {
    /// Every name.
    #[must_use]
    pub fn all() -> Names {
        Names(vec!["*".to_owned()])
    }

    /// Those that match one of `patterns`, each checked with [`check_pattern`].
    #[must_use]
    pub fn matching(patterns: Vec<String>) -> Names {
        Names(patterns)
    }

    /// Whether `name` is one of them.
    #[must_use]
    pub fn contain(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| matches(pattern, name))
    }

    /// The patterns.
    #[must_use]
    pub fn patterns(&self) -> &[String] {
        &self.0
    }
}

/// Checks that `pattern` is a name, or one with `*` in it.
pub fn check_pattern(pattern: &str) -> Result<String, PatternError> {
    let refused = || PatternError(pattern.to_owned());
    let fits = pattern.len() <= LONGEST_NAME && pattern.matches('*').count() <= 8;
    if pattern == "*" || (fits && check_name(&pattern.replace('*', "x")).is_ok()) {
        Ok(pattern.to_owned())
    } else {
        Err(refused())
    }
}

/// Each part between stars is found in order: the first at the beginning, the last at the end.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(first) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return left.ends_with(part);
        }
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    true
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

    #[test]
    fn patterns_have_stars() {
        for (pattern, name, matches) in [
            ("*", "anything", true),
            ("camera", "camera", true),
            ("camera", "camera-1", false),
            ("camera-*", "camera-1", true),
            ("camera-*", "camera", false),
            ("*-hd", "a-hd", true),
            ("*-hd", "a-hd2", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "a1c2b", false),
            ("a*a", "a", false),
        ] {
            let names = Names::matching(vec![check_pattern(pattern).expect(pattern)]);
            assert_eq!(names.contain(name), matches, "{pattern} {name}");
        }
        assert!(!Names::default().contain("a") && Names::all().contain("a"));
        for bad in ["", "a/b", "a b", &"*".repeat(9)] {
            assert!(check_pattern(bad).is_err(), "{bad}");
        }
    }
}
