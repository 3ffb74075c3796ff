//! A token in a file: what `ps` and the history of a shell don't show.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use thiserror::Error;

use crate::model::control::Token;

/// Bytes that are read of a file at most: more than any JWT that fits into a header.
pub const LARGEST_TOKEN_FILE: u64 = 16 << 10;

/// The first line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFile {
    /// The token.
    pub token: Token,
    /// Whether others on this machine than its owner may read the file.
    pub open_to_others: bool,
}

/// A file that no token can be read from. What is in it is not repeated.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("reading the token in {file}: {reason}")]
pub struct TokenFileError {
    file: String,
    reason: String,
}

impl TokenFile {
    /// Reads `file`.
    ///
    /// # Errors
    /// [`TokenFileError`] where it can't be read, or has no token in its first line.
    pub fn read(file: &Path) -> Result<TokenFile, TokenFileError> {
        let failed = |reason: String| TokenFileError { file: file.display().to_string(), reason };
        let mut text = String::new();
        let opened = File::open(file).map_err(|error| failed(error.to_string()))?;
        let mode = opened.metadata().map_err(|error| failed(error.to_string()))?.mode();
        opened
            .take(LARGEST_TOKEN_FILE)
            .read_to_string(&mut text)
            .map_err(|error| failed(error.to_string()))?;
        let line = text.lines().next().unwrap_or("").trim();
        if line.is_empty() || !line.bytes().all(|byte| byte.is_ascii_graphic()) {
            let reason =
                "its first line has to be the token and nothing else, as `wscast token new` prints it";
            return Err(failed(reason.to_owned()));
        }
        let regular = mode & libc::S_IFMT == libc::S_IFREG;
        Ok(TokenFile { token: Token(line.to_owned()), open_to_others: regular && mode & 0o044 != 0 })
    }

    /// What to say about a file that others may read.
    #[must_use]
    pub fn warning(&self, file: &Path) -> Option<String> {
        let file = file.display();
        self.open_to_others
            .then(|| format!("others on this machine may read the token in {file}: `chmod 600 {file}`"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_first_line_is_the_token_and_others_are_told_of() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        for (text, mode, expected) in [
            ("secret\n", 0o600, Some(("secret", false))),
            (" secret \r\nrest", 0o640, Some(("secret", true))),
            ("secret", 0o604, Some(("secret", true))),
            ("", 0o600, None),
            ("\nsecret", 0o600, None),
            ("two words", 0o600, None),
        ] {
            fs::write(&file, text).expect("write the file");
            fs::set_permissions(&file, Permissions::from_mode(mode)).expect("set its mode");
            let read = TokenFile::read(&file);
            let found = read.as_ref().ok().map(|read| (read.token.0.as_str(), read.open_to_others));
            assert_eq!(found, expected, "{text:?}");
            assert!(read.is_ok() || !read.expect_err("an error").to_string().contains("secret"));
        }
        assert!(TokenFile::read(&folder.path().join("none")).is_err());
    }
}
