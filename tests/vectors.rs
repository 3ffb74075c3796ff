//! What stands in `tests/vectors` is what the codec writes and reads.
#![allow(clippy::unwrap_used)] // a failed one fails its test

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use serde::Deserialize;
use wscast::model::control::{Command, Notice, NoticeError};
use wscast::model::link::record::{Content, Identity, LinkHeader, LinkRecords};
use wscast::model::record::{Origin, RecordError, RecordHeader, Records, SendRecord, SendRecords};

#[derive(Deserialize)]
struct RecordVectors {
    from_gateway: Vec<Message<Heard>>,
    from_gateway_malformed: Vec<Malformed>,
    from_client: Vec<Message<Sent>>,
    from_client_malformed: Vec<Malformed>,
}

#[derive(Deserialize)]
struct Message<R> {
    name: String,
    hex: String,
    records: Vec<R>,
    #[serde(default = "yes")]
    canonical: bool,
}

#[derive(Deserialize)]
struct Heard {
    kind: String,
    number: u32,
    sequence: u32,
    source: IpAddr,
    port: u16,
    ttl: Option<u8>,
    arrival: String,
    truncated: bool,
    from_client: bool,
    payload: String,
}

#[derive(Deserialize)]
struct Sent {
    sender: u32,
    payload: String,
}

#[derive(Deserialize)]
struct Malformed {
    name: String,
    hex: String,
    records: usize,
    error: String,
    at: Option<usize>,
}

#[derive(Deserialize)]
struct ControlVectors {
    commands: Vec<Text>,
    malformed_commands: Vec<BadCommand>,
    notices: Vec<Text>,
    malformed_notices: Vec<BadNotice>,
}

#[derive(Deserialize)]
struct Text {
    name: String,
    text: String,
    canonical: String,
}

#[derive(Deserialize)]
struct BadCommand {
    name: String,
    text: String,
    id: Option<u64>,
    code: String,
    words: String,
}

#[derive(Deserialize)]
struct BadNotice {
    name: String,
    text: String,
    error: String,
}

#[test]
fn records_from_the_gateway() {
    let vectors = records();
    assert!(vectors.from_gateway.len() > 5);
    for vector in &vectors.from_gateway {
        let (name, bytes) = (&vector.name, bytes(&vector.hex));
        let mut written = Vec::new();
        let mut read = Records::new(&bytes);
        for heard in &vector.records {
            let (header, payload) = (heard.header(), self::bytes(&heard.payload));
            header.put(&payload, &mut written);
            let record = read.next().unwrap().unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!((record.header, record.payload), (header, &payload[..]), "{name}");
        }
        assert!(read.next().is_none(), "{name}");
        assert_eq!(written == *bytes, vector.canonical, "{name}");
    }
}

#[test]
fn records_from_a_client() {
    let vectors = records();
    assert!(!vectors.from_client.is_empty());
    for vector in &vectors.from_client {
        let (name, bytes) = (&vector.name, bytes(&vector.hex));
        let mut written = Vec::new();
        let mut read = SendRecords::new(&bytes);
        for sent in &vector.records {
            let payload = self::bytes(&sent.payload);
            let record = SendRecord { sender: sent.sender, payload: &payload };
            record.put(&mut written);
            assert_eq!(read.next(), Some(Ok(record)), "{name}");
        }
        assert_eq!(read.next(), None, "{name}");
        assert_eq!(written, *bytes, "{name}");
    }
}

#[test]
fn malformed_records() {
    let vectors = records();
    assert!(!vectors.from_gateway_malformed.is_empty() && !vectors.from_client_malformed.is_empty());
    for vector in &vectors.from_gateway_malformed {
        let bytes = bytes(&vector.hex);
        vector.check(&Records::new(&bytes).map(|record| record.map(drop)).collect::<Vec<_>>());
    }
    for vector in &vectors.from_client_malformed {
        let bytes = bytes(&vector.hex);
        vector.check(&SendRecords::new(&bytes).map(|record| record.map(drop)).collect::<Vec<_>>());
    }
}

#[test]
fn commands() {
    let vectors = control();
    assert!(vectors.commands.len() > 10);
    for Text { name, text, canonical } in &vectors.commands {
        let command = Command::decode(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(&command.encode(), canonical, "{name}");
        assert_eq!(Command::decode(canonical), Ok(command), "{name}");
    }
}

#[test]
fn malformed_commands() {
    let vectors = control();
    assert!(vectors.malformed_commands.len() > 10);
    for vector in &vectors.malformed_commands {
        let error = Command::decode(&vector.text).expect_err(&vector.name);
        assert_eq!((error.id, error.code.name()), (vector.id, &*vector.code), "{}: {error}", vector.name);
        assert!(error.message.contains(&vector.words), "{}: {error}", vector.name);
    }
}

#[test]
fn notices() {
    let vectors = control();
    assert!(vectors.notices.len() > 10);
    for Text { name, text, canonical } in &vectors.notices {
        let notice = Notice::decode(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(&notice.encode(), canonical, "{name}");
    }
    for BadNotice { name, text, error } in &vectors.malformed_notices {
        let found = match Notice::decode(text).expect_err(name) {
            NoticeError::Malformed(_) => "malformed",
            NoticeError::UnknownType(_) => "unknown_type",
        };
        assert_eq!(found, error, "{name}");
    }
}

impl Heard {
    fn header(&self) -> RecordHeader {
        RecordHeader {
            origin: match &*self.kind {
                "datagram" => Origin::Stream(self.number),
                "reply" => Origin::Reply(self.number),
                other => panic!("no kind {other}"),
            },
            sequence: self.sequence,
            source: SocketAddr::new(self.source, self.port),
            ttl: self.ttl,
            arrival: self.arrival.parse().expect("nanoseconds"),
            truncated: self.truncated,
            from_client: self.from_client,
        }
    }
}

impl Malformed {
    fn check(&self, read: &[Result<(), RecordError>]) {
        let (last, before) = read.split_last().expect("at least the error");
        assert!(before.len() == self.records && before.iter().all(Result::is_ok), "{}: {read:?}", self.name);
        let error = last.expect_err(&self.name);
        let at = match error {
            RecordError::Empty => None,
            RecordError::UnknownKind { at, .. }
            | RecordError::ShortHeader { at, .. }
            | RecordError::ShortPayload { at, .. }
            | RecordError::UnknownFlags { at, .. }
            | RecordError::BadSource { at, .. } => Some(at),
        };
        assert_eq!((error.name(), at), (&*self.error, self.at), "{}", self.name);
    }
}

fn records() -> RecordVectors {
    serde_json::from_str(include_str!("vectors/records.json")).expect("tests/vectors/records.json")
}

fn control() -> ControlVectors {
    serde_json::from_str(include_str!("vectors/control.json")).expect("tests/vectors/control.json")
}

fn bytes(hex: &str) -> Bytes {
    let digits =
        |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).expect("hex digits");
    hex.as_bytes().chunks(2).map(digits).collect()
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct LinkVectors {
    records: Vec<LinkMessage>,
    malformed: Vec<Malformed>,
}

#[derive(Deserialize)]
struct LinkMessage {
    name: String,
    hex: String,
    records: Vec<LinkRecord>,
}

#[derive(Deserialize)]
struct LinkRecord {
    kind: String,
    channel: u32,
    sequence: u32,
    source: IpAddr,
    port: u16,
    ttl: u8,
    hops: u8,
    arrival: String,
    gateway: String,
    number: Option<String>,
    run: Option<u32>,
    asker: Option<IpAddr>,
    asker_port: Option<u16>,
    payload: String,
}

impl LinkRecord {
    fn header(&self) -> LinkHeader {
        let gateway = u64::from_str_radix(&self.gateway, 16).expect("hex digits");
        let content = match &*self.kind {
            "datagram" => Content::Datagram(Identity {
                gateway,
                run: self.run.expect("a run"),
                sequence: self.number.as_ref().and_then(|number| number.parse().ok()).expect("a number"),
            }),
            "answer" => {
                let asker = self.asker.zip(self.asker_port).map(SocketAddr::from).expect("an asker");
                Content::Answer { gateway, asker }
            }
            other => panic!("no kind {other}"),
        };
        LinkHeader {
            content,
            channel: self.channel,
            sequence: self.sequence,
            source: SocketAddr::new(self.source, self.port),
            ttl: Some(self.ttl).filter(|ttl| *ttl != 0),
            hops: self.hops,
            arrival: self.arrival.parse().expect("nanoseconds"),
        }
    }
}

#[test]
fn records_between_gateways() {
    let vectors: LinkVectors =
        serde_json::from_str(include_str!("vectors/links.json")).expect("tests/vectors/links.json");
    assert!(vectors.records.len() > 3 && vectors.malformed.len() > 5);
    for vector in &vectors.records {
        let (name, bytes) = (&vector.name, bytes(&vector.hex));
        let (mut written, mut read) = (Vec::new(), LinkRecords::new(&bytes));
        for record in &vector.records {
            let (header, payload) = (record.header(), self::bytes(&record.payload));
            header.put(&payload, &mut written);
            assert_eq!(read.next(), Some(Ok((header, &payload[..]))), "{name}");
        }
        assert_eq!(read.next(), None, "{name}");
        assert_eq!(written, *bytes, "{name}");
    }
    for vector in &vectors.malformed {
        let bytes = bytes(&vector.hex);
        let read: Vec<_> = LinkRecords::new(&bytes).collect();
        let (last, before) = read.split_last().expect("at least the error");
        assert!(before.len() == vector.records && before.iter().all(Result::is_ok), "{}", vector.name);
        assert_eq!(last.expect_err(&vector.name).name(), vector.error, "{}", vector.name);
    }
}
