//! Percent encoding of URLs (RFC 3986 section 2.1).

use std::borrow::Cow;

/// `text` with each `%XX` replaced by its byte; `None` where an encoding is broken or the bytes are not
/// UTF-8.
pub(crate) fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' { digit(bytes.next()?)? << 4 | digit(bytes.next()?)? } else { byte });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

/// `text` as it may stand in a query: letters, digits and `-._~:` as they are, everything else as `%XX`.
pub(crate) fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decodes_what_is_whole() {
        assert_eq!(decode("a%40b%5b%5D"), Some("a@b[]".into()));
        assert_eq!(decode("%C3%A4"), Some("ä".into()));
        for bad in ["%", "%4", "%g0", "%+4", "%FF", "%C3"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn reads_back_every_text(text in ".*") {
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
            prop_assert_eq!(decode(&encoded).expect("valid"), text.as_str());
            let _ = decode(&text);
            let encoded = encode(&text);
            prop_assert_eq!(decode(&encoded).expect("valid"), text.as_str());
        }
    }
}
