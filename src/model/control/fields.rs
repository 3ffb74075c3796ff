//! The fields of a client's JSON object, read one by one with words for what is wrong.

use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::{CommandError, ErrorCode, LARGEST_ID, LONGEST_COMMAND};
use crate::model::source::{MAX_SOURCES, parse_source};
use crate::model::text::quote;

/// Lists and objects inside one another, the message itself included.
const DEEPEST: usize = 8;

/// One object; what is absent or `null` has its default.
pub(super) struct Fields {
    map: Map<String, Value>,
    /// The client's number for what it says, where one can be read.
    pub(super) id: Option<u64>,
}

impl Fields {
    pub(super) fn parse(text: &str) -> Result<Fields, CommandError> {
        let refuse = |code, message| CommandError { id: None, code, message };
        if text.len() > LONGEST_COMMAND {
            let message = format!(
                "the message has {} bytes: send {LONGEST_COMMAND} at most, and datagrams as binary messages",
                text.len()
            );
            return Err(refuse(ErrorCode::TooLong, message));
        }
        if depth(text) > DEEPEST {
            let message =
                format!("the message is not JSON as it is taken here: it is nested more than {DEEPEST} deep");
            return Err(refuse(ErrorCode::BadJson, message));
        }
        let map = match serde_json::from_str(text) {
            Ok(Value::Object(map)) => map,
            Ok(_) => {
                let message = r#"the message is no JSON object: send one, as {"type":"ping","id":1}"#;
                return Err(refuse(ErrorCode::BadJson, message.to_owned()));
            }
            Err(error) => {
                let message = format!("the message is not JSON: {error}: send one JSON object");
                return Err(refuse(ErrorCode::BadJson, message));
            }
        };
        let id = map.get("id").filter(|id| !id.is_null());
        let read = id.and_then(Value::as_u64).filter(|&id| id <= LARGEST_ID);
        let fields = Fields { map, id: read };
        if fields.map.get("id").is_some_and(|id| !id.is_null()) && read.is_none() {
            return Err(
                fields.wrong("id", format_args!("a whole number of 0 to {LARGEST_ID}, or leave it out"))
            );
        }
        Ok(fields)
    }

    /// An error that carries the client's number.
    pub(super) fn refuse(&self, code: ErrorCode, message: impl Display) -> CommandError {
        CommandError { id: self.id, code, message: message.to_string() }
    }

    /// Says what `field` has to be.
    pub(super) fn wrong(&self, field: &str, write: impl Display) -> CommandError {
        let message = match self.present(field) {
            Some(value) => format!("{field} is {}: write {write}", shown(value)),
            None => format!("{field} is missing: write {write}"),
        };
        self.refuse(ErrorCode::BadField, message)
    }

    /// What a field's own type says is wrong.
    pub(super) fn impossible(&self, field: &str, error: impl Display) -> CommandError {
        self.refuse(ErrorCode::BadField, format_args!("{field}: {error}"))
    }

    pub(super) fn text(&self, field: &str, write: &str) -> Result<Option<&str>, CommandError> {
        match self.present(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(field, write)),
        }
    }

    /// A field whose text is one of the model's types.
    pub(super) fn parsed<T>(&self, field: &str, write: &str) -> Result<Option<T>, CommandError>
    where
        T: FromStr<Err: Display>,
    {
        let text = self.text(field, write)?;
        text.map(|text| text.parse().map_err(|error| self.impossible(field, error))).transpose()
    }

    pub(super) fn switch(&self, field: &str) -> Result<Option<bool>, CommandError> {
        match self.present(field) {
            None => Ok(None),
            Some(Value::Bool(switch)) => Ok(Some(*switch)),
            Some(_) => Err(self.wrong(field, "true or false")),
        }
    }

    /// A whole number of `least` to `most`.
    pub(super) fn number<T>(&self, field: &str, least: T, most: T) -> Result<Option<T>, CommandError>
    where
        T: TryFrom<u64> + PartialOrd + Display + Copy,
    {
        let Some(value) = self.present(field) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| T::try_from(number).ok());
        match number.filter(|&number| least <= number && number <= most) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(field, format_args!("a whole number of {least} to {most}"))),
        }
    }

    /// The same where it can't be left out.
    pub(super) fn needed_number<T>(&self, field: &str, least: T, most: T) -> Result<T, CommandError>
    where
        T: TryFrom<u64> + PartialOrd + Display + Copy,
    {
        let missing = || self.wrong(field, format_args!("a whole number of {least} to {most}"));
        self.number(field, least, most)?.ok_or_else(missing)
    }

    /// Addresses of senders; an absent list is an empty one.
    pub(super) fn addresses(&self, field: &str) -> Result<Vec<IpAddr>, CommandError> {
        let wrong = || self.wrong(field, r#"a list of addresses, as ["10.0.0.5"]"#);
        let list = match self.present(field) {
            None => return Ok(Vec::new()),
            Some(Value::Array(list)) => list,
            Some(_) => return Err(wrong()),
        };
        if list.len() > MAX_SOURCES {
            return Err(self.refuse(
                ErrorCode::BadField,
                format_args!("{field} names more than {MAX_SOURCES} sources: leave some out"),
            ));
        }
        let address = |value: &Value| {
            let text = value.as_str().ok_or_else(wrong)?;
            parse_source(text).map_err(|error| self.impossible(field, error))
        };
        list.iter().map(address).collect()
    }

    /// The fields of an object inside this one; its errors carry this one's number.
    pub(super) fn object(&self, field: &str, write: &str) -> Result<Option<Fields>, CommandError> {
        match self.present(field) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Fields { map: map.clone(), id: self.id })),
            Some(_) => Err(self.wrong(field, write)),
        }
    }

    /// Whether a field is there.
    pub(super) fn has(&self, field: &str) -> bool {
        self.present(field).is_some()
    }

    fn present(&self, field: &str) -> Option<&Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }
}

/// How deep lists and objects are nested, at most; of what is no JSON, any number.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// A value as it can be repeated: texts, numbers and the like, cut; of lists and objects the kind alone.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_is_bounded() {
        assert_eq!(depth(r#"{"a":[[1]],"b":"[[[[{{{","c":"\"[[["}"#), 3);
        let nested = |depth| format!(r#"{{"type":"ping","x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert!(Fields::parse(&nested(DEEPEST - 1)).is_ok());
        let error = Fields::parse(&nested(DEEPEST)).err().unwrap();
        assert!(error.code == ErrorCode::BadJson && error.message.contains("8 deep"), "{}", error.message);
    }
}
