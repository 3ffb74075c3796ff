//! Writes what fuzzing begins with to `fuzz/corpus`, a file each: the vectors of `tests/vectors`, and examples of everything else.

use std::fs;
use std::path::Path;

use serde_json::Value;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (vectors, target) in [("records.json", "client_record"), ("control.json", "client_control")] {
        let corpus = here.join("corpus").join(target);
        fs::create_dir_all(&corpus)?;
        let text = fs::read_to_string(here.join("../tests/vectors").join(vectors))?;
        let lists: serde_json::Map<String, Value> = serde_json::from_str(&text)?;
        for (list, entries) in &lists {
            for (number, entry) in entries.as_array().into_iter().flatten().enumerate() {
                let bytes = match (entry["hex"].as_str(), entry["text"].as_str()) {
                    (Some(hex), _) => decode(hex)?,
                    (None, Some(text)) => text.as_bytes().to_vec(),
                    (None, None) => continue,
                };
                fs::write(corpus.join(format!("{list}-{number}")), bytes)?;
            }
        }
    }
    let example = fs::read(here.join("../tests/example.toml"))?;
    let files: Vec<Vec<u8>> =
        [example].into_iter().chain(FILES.iter().map(|text| text.as_bytes().to_vec())).collect();
    seed(here, "configuration", &files)?;
    seed(here, "url", &URLS.map(|text| text.as_bytes().to_vec()))?;
    let requests: Vec<Vec<u8>> = URLS.iter().flat_map(|url| requests(url)).collect();
    seed(here, "request", &requests)?;
    // The first byte says in which pieces the others come.
    let frames: Vec<Vec<u8>> = frames().into_iter().map(|bytes| [&[3][..], &bytes].concat()).collect();
    seed(here, "client_frames", &frames)?;
    seed(here, "announcement", &SESSIONS.map(|text| text.as_bytes().to_vec()))?;
    seed(here, "media", &media())
}

/// URLs, and what flags have in them.
const URLS: [&str; 16] = [
    "/udp/239.1.2.3:5000",
    "/udp/10.0.0.5@232.1.2.3:5000/?interface=lo&overflow=latest&replay=10",
    "/udp/[ff15::42]:5000?interface=all&latency=20ms&exclude=10.0.0.9,10.0.0.10",
    "/udp/10.0.0.5,10.0.0.6%40232.1.2.3:5000?echo=1&replies=1&ttl=4&loop=0&receive=0",
    "/rtp/239.1.2.3:5000?start=keyframe&token=abc",
    "/streams/camera?replay=500ms",
    "/v1",
    "/api/v1/status",
    "/metrics",
    "/wscast.js",
    "239.1.2.3:5000",
    "[ff15::]/16:5000-5999",
    "239.0.0.0/8",
    "127.0.0.1",
    "memory=90%",
    "send-bandwidth=1Mbit/s",
];

/// Sessions as they are announced.
const SESSIONS: [&str; 2] = [
    "v=0\r\no=- 1 1 IN IP4 10.1.0.2\r\ns=News\r\ni=At eight\r\nc=IN IP4 239.1.2.3/8\r\nt=0 0\r\nm=video 5004 RTP/AVP 33\r\n",
    "v=0\r\no=a 2 1 IN IP6 2001:db8::5\r\ns=-\r\nt=0 4000000000\r\nm=audio 5006/2 udp 97\r\nc=IN IP6 ff35::1\r\n\
     a=source-filter: incl IN IP6 ff35::1 2001:db8::5\r\n",
];

/// Two packets of RTP and the FEC of a row of both (SMPTE 2022-1); the first byte makes each 36 bytes long.
fn media() -> Vec<Vec<u8>> {
    let packet =
        |sequence: u8| [&[0x80, 33, 0, sequence, 0, 0, 0, 9, 0, 0, 0, 1][..], &[sequence; 24]].concat();
    let mut fec = vec![0x80, 96, 0, 7, 0, 0, 0, 9, 0, 0, 0, 0];
    fec.extend([0, 1, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x40, 1, 2, 0]);
    fec.extend([3; 8]);
    vec![[&[3][..], &packet(1), &packet(2), &fec].concat(), [&[3][..], &packet(1), &fec].concat()]
}

/// Configuration files, right and wrong.
const FILES: [&str; 4] = [
    "listen = [\"127.0.0.1:8080\", \"[::1]:8080\"]\nallow-send = [\"239.1.2.3\"]\n",
    "[limits]\nall = \"off\"\nstreams = 3\n[streams.a]\ngroup = \"232.1.2.3:5\"\nsources = [\"10.0.0.5\"]\n",
    "listen = 5\n",
    "[streams.\"\"]\ngroup = 7\n",
];

/// A request for `url`, plain and as a WebSocket that goes on with frames.
fn requests(url: &str) -> [Vec<u8>; 2] {
    let head = format!("GET {url} HTTP/1.1\r\nHost: localhost\r\n");
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: wscast.v1, wscast.raw\r\n";
    let websocket = format!("{head}Origin: http://localhost\r\n{upgrade}\r\n").into_bytes();
    [format!("{head}Connection: close\r\n\r\n").into_bytes(), [websocket, frames().concat()].concat()]
}

/// Frames of a client (RFC 6455 section 5.7 and others), masked with zeros.
fn frames() -> Vec<Vec<u8>> {
    let frame =
        |first: u8, payload: &[u8]| [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0][..], payload].concat();
    vec![
        frame(0x81, b"{\"type\":\"ping\",\"id\":9}"),
        frame(0x81, b"{\"type\":\"join\",\"id\":1,\"group\":\"239.1.2.3\",\"port\":5000}"),
        frame(0x82, &[3, 0, 2, 0, 1, 0, 0, 0, 7, 7]),
        [frame(0x01, b"Hel"), frame(0x80, b"lo")].concat(),
        frame(0x89, b"Hello"),
        frame(0x8a, b"Hello"),
        [&[0x82, 0xfe, 1, 0, 0, 0, 0, 0][..], &[7; 256]].concat(),
        frame(0x88, &[3, 0xe8]),
    ]
}

fn seed(here: &Path, target: &str, seeds: &[Vec<u8>]) -> Result<(), Box<dyn std::error::Error>> {
    let corpus = here.join("corpus").join(target);
    fs::create_dir_all(&corpus)?;
    for (number, bytes) in seeds.iter().enumerate() {
        fs::write(corpus.join(format!("seed-{number}")), bytes)?;
    }
    Ok(())
}

fn decode(hex: &str) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    hex.as_bytes().chunks(2).map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?)).collect()
}
