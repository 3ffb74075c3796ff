//! Many WebSocket clients on one thread: every number on every connection is checked, one message in sixteen timed.

use std::cell::RefCell;
use std::io::{self, BufRead};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wscast::model::frame::written_header_length;

use crate::{Outcome, STAMP, SinkArguments, clock};

/// Bytes read at once.
const READ: usize = 256 << 10;
/// The measurement ends when nothing has come for so long.
const QUIET: Duration = Duration::from_secs(1);

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
}

/// Connects, says `READY`, counts until it is quiet, prints a line of JSON, and holds the connections until standard input
/// ends, so that the server's memory and CPU can be read meanwhile.
pub(crate) fn run(arguments: &SinkArguments) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let totals = Rc::new(RefCell::new(Totals::default()));
        let scratch = Rc::new(RefCell::new(vec![0; READ]));
        for _ in 0..arguments.clients {
            let stream = open(arguments).await?;
            tokio::task::spawn_local(read(stream, Rc::clone(&totals), Rc::clone(&scratch)));
        }
        println!("READY");
        loop {
            tokio::time::sleep(QUIET / 10).await;
            if totals.borrow().last.is_some_and(|last| last.elapsed() > QUIET) {
                break;
            }
        }
        let mut totals = totals.borrow_mut();
        totals.delays.sort_unstable();
        let quantile = |share: f64| {
            let at = (totals.delays.len() as f64 * share) as usize;
            totals.delays.get(at.min(totals.delays.len().saturating_sub(1))).copied().unwrap_or(0)
        };
        let seconds = match (totals.first, totals.last) {
            (Some(first), Some(last)) => last.duration_since(first).as_secs_f64(),
            _ => 0.0,
        };
        println!(
            "{}",
            json!({
                "frames": totals.frames, "missing": totals.missing, "disorder": totals.disorder, "closed": totals.closed,
                "seconds": seconds, "p50": quantile(0.5), "p99": quantile(0.99), "p999": quantile(0.999),
            })
        );
        let _ = io::stdin().lock().lines().next();
        Ok(())
    })
}

async fn open(arguments: &SinkArguments) -> Outcome<TcpStream> {
    let mut stream = TcpStream::connect(arguments.server).await?;
    stream
        .write_all(
            format!(
                "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                arguments.path, arguments.server
            )
            .as_bytes(),
        )
        .await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    if !head.starts_with(b"HTTP/1.1 101") {
        return Err(String::from_utf8_lossy(&head).into());
    }
    Ok(stream)
}

async fn read(stream: TcpStream, totals: Rc<RefCell<Totals>>, scratch: Rc<RefCell<Vec<u8>>>) {
    // The start of a frame whose rest has not come.
    let mut kept = Vec::new();
    let mut next = None;
    while stream.readable().await.is_ok() {
        let mut scratch = scratch.borrow_mut();
        let length = match stream.try_read(&mut scratch) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => break,
        };
        let (now, stamp) = (Instant::now(), clock());
        let mut totals = totals.borrow_mut();
        totals.first.get_or_insert(now);
        totals.last = Some(now);
        if kept.is_empty() {
            let used = frames(&scratch[..length], &mut next, &mut totals, stamp);
            kept.extend_from_slice(&scratch[used..length]);
        } else {
            kept.extend_from_slice(&scratch[..length]);
            let used = frames(&kept, &mut next, &mut totals, stamp);
            kept.drain(..used);
        }
    }
    totals.borrow_mut().closed += 1;
}

/// Counts the whole frames at the start of `bytes`; says how many bytes they have.
fn frames(bytes: &[u8], next: &mut Option<u64>, totals: &mut Totals, now: u64) -> usize {
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        let Some(second) = rest.get(1) else { return at };
        let head = written_header_length(*second);
        if rest.len() < head {
            return at;
        }
        let length = match head {
            2 => usize::from(*second),
            4 => usize::from(u16::from_be_bytes([rest[2], rest[3]])),
            _ => usize::from(u16::from_be_bytes([rest[8], rest[9]])) + (usize::from(rest[7]) << 16),
        };
        if rest.len() < head + length {
            return at;
        }
        // Pings of the server are no datagrams.
        if rest[0] & 0x0f == 2 && length >= STAMP {
            let word = |from: usize| {
                let mut word = [0; 8];
                word.copy_from_slice(&rest[head + from..head + from + 8]);
                u64::from_le_bytes(word)
            };
            let number = word(0);
            match *next {
                Some(expected) if number > expected => totals.missing += number - expected,
                Some(expected) if number < expected => totals.disorder += 1,
                _ => {}
            }
            *next = Some(number + 1);
            totals.frames += 1;
            if totals.frames.is_multiple_of(16) {
                totals.delays.push(u32::try_from(now.saturating_sub(word(8)) / 1000).unwrap_or(u32::MAX));
            }
        }
        at += head + length;
    }
}
