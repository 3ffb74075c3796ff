//! Static tokens: of each, its SHA-256 is kept and nothing else.

use std::fmt;
use std::str::FromStr;

use ring::digest::{SHA256, digest};
use subtle::{Choice, ConstantTimeEq as _};
use thiserror::Error;

use super::text::serde_as_text;

/// The SHA-256 of a secret, printed and parsed as `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 32]);

/// A text that is no digest. It is not repeated: somebody may have written the token itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "this is not sha256: and 64 hexadecimal digits: `wscast token new` prints the line, never write the token itself here"
)]
pub struct DigestError;

/// A secret that somebody has shown; its `Debug` does not tell it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub String);

impl TokenDigest {
    /// Of a token, or of anything else.
    #[must_use]
    pub fn of(secret: &[u8]) -> TokenDigest {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, secret).as_ref());
        TokenDigest(bytes)
    }

    /// Whether both are the same, in a time that does not depend on where they differ.
    pub fn matches(&self, other: &TokenDigest) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl FromStr for TokenDigest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<TokenDigest, DigestError> {
        let digits = text.strip_prefix("sha256:").ok_or(DigestError)?.as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() {
            return Err(DigestError);
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16).ok_or(DigestError);
            *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
        }
        Ok(TokenDigest(bytes))
    }
}

impl fmt::Display for TokenDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

serde_as_text!(TokenDigest);

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_that_of_the_standard() {
        let abc = TokenDigest::of(b"abc");
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((abc.to_string().as_str(), text.parse()), (text, Ok(abc)));
        assert!(bool::from(abc.matches(&abc)) && !bool::from(abc.matches(&TokenDigest::of(b"abd"))));
        for bad in ["", "abc", &text[7..], &text[..70], &text.replace('b', "g"), &format!("{text}0")] {
            assert_eq!(bad.parse::<TokenDigest>(), Err(DigestError), "{bad}");
        }
    }

    #[test]
    fn a_token_is_not_told() {
        assert_eq!(format!("{:?}", Token("secret".to_owned())), "Token(..)");
    }
}
