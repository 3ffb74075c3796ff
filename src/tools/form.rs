//! How a heard datagram looks on standard output.

use std::io::Write;
use std::net::SocketAddr;

use serde::Serialize;

use crate::tools::timestamp;

/// A datagram as a listener has it.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Nanoseconds since 1970: at the kernel, or, from a gateway, at this program.
    pub time: u64,
    /// Who sent it; a gateway's raw stream doesn't say.
    pub source: Option<SocketAddr>,
    /// Name of the interface that it came in by, here or at the gateway.
    pub interface: Option<&'a str>,
    /// TTL or hop limit on arrival.
    pub ttl: Option<u8>,
    /// Number within the gateway's stream, where one is told.
    pub sequence: Option<u32>,
    /// The UDP payload.
    pub payload: &'a [u8],
}

/// What is written for each datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One line: time, source, length, the payload as text, cut.
    Line,
    /// The same without the payload, which follows as a hex dump.
    Hex,
    /// The payload's bytes and nothing else.
    Raw,
    /// One JSON object a line.
    Json,
    /// Nothing.
    Nothing,
}

/// Characters of payload on a line.
const SHOWN: usize = 80;
/// Bytes on a line of a hex dump.
const ROW: usize = 16;

#[derive(Serialize)]
struct Object<'a> {
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<u32>,
    length: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base16: Option<String>,
}

impl Form {
    /// Appends what is to be written for `arrival`.
    pub fn write(self, arrival: &Arrival<'_>, out: &mut Vec<u8>) {
        match self {
            Form::Nothing => {}
            Form::Raw => out.extend_from_slice(arrival.payload),
            Form::Line => line(out, &format!("{} {}", head(arrival), escape(arrival.payload))),
            Form::Hex => {
                line(out, &head(arrival));
                for (row, bytes) in arrival.payload.chunks(ROW).enumerate() {
                    line(out, &dump(row * ROW, bytes));
                }
            }
            Form::Json => {
                let text = std::str::from_utf8(arrival.payload).ok();
                let object = Object {
                    time: timestamp::format(arrival.time),
                    source: arrival.source,
                    interface: arrival.interface,
                    ttl: arrival.ttl,
                    sequence: arrival.sequence,
                    length: arrival.payload.len(),
                    text,
                    base16: text.is_none().then(|| base16(arrival.payload)),
                };
                serde_json::to_writer(&mut *out, &object).expect("plain fields, written to memory");
                out.push(b'\n');
            }
        }
    }
}

fn line(out: &mut Vec<u8>, text: &str) {
    writeln!(out, "{text}").expect("writing to memory never fails");
}

fn head(arrival: &Arrival<'_>) -> String {
    let source = arrival.source.map_or_else(String::new, |source| format!("{source} "));
    format!("{} {source}{}", timestamp::format(arrival.time), arrival.payload.len())
}

/// A payload as one line of text that does nothing to a terminal: printable characters as they are, everything else
/// escaped, at most [`SHOWN`] characters of it.
fn escape(payload: &[u8]) -> String {
    let mut shown = String::new();
    let mut count = 0;
    for chunk in payload.utf8_chunks() {
        let characters = chunk.valid().chars().map(|character| match character {
            '"' | '\'' => character.to_string(),
            other => other.escape_debug().to_string(),
        });
        let bytes = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}"));
        for piece in characters.chain(bytes) {
            if count == SHOWN {
                shown.push('…');
                return shown;
            }
            shown.push_str(&piece);
            count += 1;
        }
    }
    shown
}

/// One row of a hex dump: offset, bytes, and those that are printable.
fn dump(offset: usize, bytes: &[u8]) -> String {
    let hex: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let printable = |byte: &u8| if matches!(byte, b' '..=b'~') { char::from(*byte) } else { '.' };
    let text: String = bytes.iter().map(printable).collect();
    format!("{offset:04x}  {:<47}  {text}", hex.join(" "))
}

fn base16(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(form: Form, payload: &[u8]) -> String {
        let arrival = Arrival {
            time: 1_500_000_000_000_000_000,
            source: Some(SocketAddr::from(([10, 0, 0, 1], 4000))),
            interface: Some("lan0"),
            ttl: Some(1),
            sequence: None,
            payload,
        };
        let mut out = Vec::new();
        form.write(&arrival, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_line_is_one_line_and_harmless() {
        assert_eq!(
            written(Form::Line, b"it's \"\xc3\xa4\"\n\x1b[2J\xff\\"),
            "2017-07-14T02:40:00.000000Z 10.0.0.1:4000 16 it's \"ä\"\\n\\u{1b}[2J\\xff\\\\\n"
        );
        let long = escape(&[b'a'; 81]);
        assert_eq!((long.chars().count(), long.ends_with('…')), (81, true));
        assert_eq!(escape(&[b'a'; 80]).chars().count(), 80);
        assert!(!escape("\u{202e}".as_bytes()).contains('\u{202e}'));
    }

    #[test]
    fn hex_has_offset_bytes_and_text() {
        let dumped = written(Form::Hex, b"0123456789abcdef\x00z");
        let rows: Vec<_> = dumped.lines().collect();
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[1], "0000  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  0123456789abcdef");
        assert_eq!(rows[2], format!("0010  {:<47}  .z", "00 7a"));
    }

    #[test]
    fn json_has_text_or_base16() {
        let object: serde_json::Value = serde_json::from_str(&written(Form::Json, b"hi")).expect("JSON");
        assert_eq!(
            object,
            serde_json::json!({"time": "2017-07-14T02:40:00.000000Z", "source": "10.0.0.1:4000",
                "interface": "lan0", "ttl": 1, "length": 2, "text": "hi"})
        );
        let object: serde_json::Value =
            serde_json::from_str(&written(Form::Json, b"\xff\x00")).expect("JSON");
        assert_eq!((&object["base16"], object.get("text")), (&serde_json::json!("ff00"), None));
    }

    #[test]
    fn raw_and_nothing_are_what_they_say() {
        assert_eq!(written(Form::Raw, b"a\nb"), "a\nb");
        assert_eq!(written(Form::Nothing, b"a\nb"), "");
    }
}
