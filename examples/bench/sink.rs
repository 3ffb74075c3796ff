//! Many WebSocket clients on one thread: every number on every connection is checked, some messages timed.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader, ReadBuf};
use wscast::model::frame::written_header_length;
use wscast::model::record::{Origin, Records};

use crate::line::Line;
use crate::{Outcome, STAMP, SinkArguments, clock, nth_group};

/// Bytes read at once.
const READ: usize = 256 << 10;
/// The measurement ends when nothing has come for so long.
const QUIET: Duration = Duration::from_secs(1);
/// One frame in so many is timed; a prime, so that it is every client's turn.
const TIMED: u64 = 17;

#[derive(Default)]
struct Totals {
    frames: u64,
    missing: u64,
    disorder: u64,
    closed: u64,
    first: Option<Instant>,
    last: Option<Instant>,
    /// Microseconds from the source's stamp.
    delays: Vec<u32>,
    /// Frames of each client.
    clients: Vec<u64>,
}

/// The number that comes next.
enum Numbers {
    /// In the one stream.
    Raw(Option<u64>),
    /// By the stream's number.
    Records(Vec<(u32, u64)>),
}

/// One connection.
struct Client {
    number: usize,
    numbers: Numbers,
    /// The start of a frame whose rest has not come.
    kept: Vec<u8>,
}

/// Connects, says `READY`, counts until it has what standard input says that there is, or nothing more comes; prints a line of
/// JSON, and holds the connections until it is killed, so that the server's memory and CPU can be read meanwhile.
pub(crate) fn run(arguments: &SinkArguments) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let end = Duration::from_secs_f64(arguments.deadline);
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let totals = Rc::new(RefCell::new(Totals::default()));
        let scratch = Rc::new(RefCell::new(vec![0; READ]));
        for number in 0..arguments.clients {
            let path = match arguments.group {
                Some(_) if arguments.v1 => "/v1".to_owned(),
                Some(group) => format!("/udp/{}", nth_group(group, number % arguments.streams)),
                None => "/".to_owned(),
            };
            let (mut stream, mut kept) = open(arguments, &path).await?;
            if arguments.v1 {
                join(arguments, &mut stream, &mut kept).await?;
            }
            totals.borrow_mut().clients.push(0);
            let numbers = if arguments.v1 { Numbers::Records(Vec::new()) } else { Numbers::Raw(None) };
            let client = Client { number, numbers, kept };
            tokio::task::spawn_local(read(client, stream, Rc::clone(&totals), Rc::clone(&scratch)));
        }
        println!("READY");
        let mut input = BufReader::new(tokio::io::stdin()).lines();
        let told =
            tokio::time::timeout(end, input.next_line()).await??.ok_or("nobody says how many there are")?;
        wait(&totals, told.parse()?, end).await;
        println!("{}", report(&mut totals.borrow_mut()));
        tokio::time::sleep(end).await;
        Ok(())
    })
}

/// Waits for `wanted` frames, or for the first silence.
async fn wait(totals: &RefCell<Totals>, wanted: u64, end: Duration) {
    let start = Instant::now();
    loop {
        let (frames, last) = (totals.borrow().frames, totals.borrow().last.unwrap_or(start).max(start));
        if frames >= wanted || last.elapsed() > QUIET || start.elapsed() > end {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn report(totals: &mut Totals) -> Value {
    totals.delays.sort_unstable();
    totals.clients.sort_unstable();
    let quantile = |share: f64| {
        let at = (totals.delays.len() as f64 * share) as usize;
        totals.delays.get(at.min(totals.delays.len().saturating_sub(1)))
    };
    let seconds = match (totals.first, totals.last) {
        (Some(first), Some(last)) => last.duration_since(first).as_secs_f64(),
        _ => 0.0,
    };
    json!({
        "frames": totals.frames, "missing": totals.missing, "disorder": totals.disorder, "closed": totals.closed,
        "worst_client": totals.clients.first(), "median_client": totals.clients.get(totals.clients.len() / 2),
        "seconds": seconds, "p50": quantile(0.5), "p99": quantile(0.99), "p999": quantile(0.999),
    })
}

/// A connection after its handshake, and what came right behind that.
async fn open(arguments: &SinkArguments, path: &str) -> Outcome<(Line, Vec<u8>)> {
    let mut stream = Line::connect(arguments.server, arguments.tls).await?;
    stream
        .write_all(
            format!(
                "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{}\r\n",
                arguments.server,
                if arguments.v1 { "Sec-WebSocket-Protocol: wscast.v1\r\n" } else { "" },
            )
            .as_bytes(),
        )
        .await?;
    let mut head = Vec::new();
    let length = loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Err("the server closed during the handshake".into());
        }
        if let Some(at) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
    };
    if !head.starts_with(b"HTTP/1.1 101") {
        return Err(String::from_utf8_lossy(&head).into());
    }
    head.drain(..length);
    Ok((stream, head))
}

/// Joins every group on one connection, and waits for the answers.
async fn join(arguments: &SinkArguments, stream: &mut Line, kept: &mut Vec<u8>) -> Outcome<()> {
    let first = arguments.group.ok_or("no group")?;
    let mut said = Vec::new();
    for number in 0..arguments.streams {
        let group = nth_group(first, number);
        let text =
            json!({"type": "join", "id": number, "group": group.ip(), "port": group.port()}).to_string();
        // A mask of zeros leaves the text as it is.
        said.extend_from_slice(&[0x81, 0x80 | 126]);
        said.extend_from_slice(&u16::try_from(text.len())?.to_be_bytes());
        said.extend_from_slice(&[0; 4]);
        said.extend_from_slice(text.as_bytes());
    }
    stream.write_all(&said).await?;
    let mut joined = 0;
    while joined < arguments.streams {
        match whole(kept) {
            Some((head, length)) => {
                let text = String::from_utf8_lossy(&kept[head..head + length]).into_owned();
                if text.contains("\"error\"") {
                    return Err(text.into());
                }
                joined += usize::from(text.contains("\"joined\""));
                kept.drain(..head + length);
            }
            None if stream.read_buf(kept).await? == 0 => return Err("closed while joining".into()),
            None => {}
        }
    }
    Ok(())
}

/// Reads one connection.
async fn read(
    mut client: Client,
    mut stream: Line,
    totals: Rc<RefCell<Totals>>,
    scratch: Rc<RefCell<Vec<u8>>>,
) {
    let Client { number, numbers, kept } = &mut client;
    loop {
        // The room is shared, and nobody else has its turn between the read and the look at what was read.
        let read = poll_fn(|context| {
            let mut scratch = scratch.borrow_mut();
            let mut room = ReadBuf::new(&mut scratch);
            Pin::new(&mut stream).poll_read(context, &mut room).map_ok(|()| room.filled().len())
        });
        let length = match read.await {
            Ok(0) | Err(_) => break,
            Ok(length) => length,
        };
        let scratch = scratch.borrow();
        let (now, stamp) = (Instant::now(), clock());
        let mut totals = totals.borrow_mut();
        let before = totals.frames;
        if kept.is_empty() {
            let used = frames(&scratch[..length], numbers, &mut totals, stamp);
            kept.extend_from_slice(&scratch[used..length]);
        } else {
            kept.extend_from_slice(&scratch[..length]);
            let used = frames(kept, numbers, &mut totals, stamp);
            kept.drain(..used);
        }
        if totals.frames > before {
            let came = totals.frames - before;
            totals.clients[*number] += came;
            totals.first.get_or_insert(now);
            totals.last = Some(now);
        }
    }
    totals.borrow_mut().closed += 1;
}

/// Header and payload length of the frame at the start of `bytes`, if it is there whole.
fn whole(bytes: &[u8]) -> Option<(usize, usize)> {
    let second = bytes.get(1)?;
    let head = written_header_length(*second);
    if bytes.len() < head {
        return None;
    }
    let length = match head {
        2 => usize::from(*second),
        4 => usize::from(u16::from_be_bytes([bytes[2], bytes[3]])),
        _ => usize::from(u16::from_be_bytes([bytes[8], bytes[9]])) + (usize::from(bytes[7]) << 16),
    };
    (bytes.len() >= head + length).then_some((head, length))
}

/// Counts the datagrams in the whole frames at the start of `bytes`; says how many bytes those have.
fn frames(bytes: &[u8], numbers: &mut Numbers, totals: &mut Totals, now: u64) -> usize {
    let mut at = 0;
    while let Some((head, length)) = whole(&bytes[at..]) {
        let payload = &bytes[at + head..at + head + length];
        // Pings of the server and control messages are no datagrams.
        if bytes[at] & 0x0f == 2 {
            match numbers {
                Numbers::Raw(next) => count(payload, next, totals, now),
                Numbers::Records(streams) => {
                    for record in Records::new(payload).flatten() {
                        let Origin::Stream(stream) = record.header.origin else { continue };
                        let known = streams.iter().position(|(number, _)| *number == stream);
                        let mut next = known.map(|place| streams[place].1);
                        count(record.payload, &mut next, totals, now);
                        match (known, next) {
                            (Some(place), Some(next)) => streams[place].1 = next,
                            (None, Some(next)) => streams.push((stream, next)),
                            (_, None) => {}
                        }
                    }
                }
            }
        }
        at += head + length;
    }
    at
}

/// Counts one datagram; short ones have no number.
fn count(payload: &[u8], next: &mut Option<u64>, totals: &mut Totals, now: u64) {
    totals.frames += 1;
    if payload.len() < STAMP {
        return;
    }
    let word = |from: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&payload[from..from + 8]);
        u64::from_le_bytes(word)
    };
    let number = word(0);
    match *next {
        Some(expected) if number > expected => totals.missing += number - expected,
        Some(expected) if number < expected => totals.disorder += 1,
        _ => {}
    }
    *next = Some(number + 1);
    if totals.frames.is_multiple_of(TIMED) {
        totals.delays.push(u32::try_from(now.saturating_sub(word(8)) / 1000).unwrap_or(u32::MAX));
    }
}
