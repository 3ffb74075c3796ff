//! Asks a busy gateway for small things, again and again, and times the answers: the page, a ping, a join.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wscast::model::frame::{self, Opcode};

use crate::{Outcome, ProbeArguments, nth_group};

/// Between one round of questions and the next.
const PAUSE: Duration = Duration::from_millis(50);
/// An answer that takes longer is none.
const DEADLINE: Duration = Duration::from_secs(10);

/// Prints `READY`, then, when the time is over, a line of JSON: for each kind of question how many milliseconds the median
/// and the slowest answer took, and how many datagrams the kernel has dropped.
pub(crate) fn run(arguments: &ProbeArguments) -> Outcome<()> {
    let mut pinged = upgrade(arguments.server, &format!("/udp/{}", arguments.group))?.0;
    println!("READY");
    let end = Instant::now() + Duration::from_secs_f64(arguments.seconds);
    let (mut page, mut ping, mut join) = (Vec::new(), Vec::new(), Vec::new());
    let mut number = 1;
    while Instant::now() < end {
        page.push(timed(|| fetch(arguments.server, "/").map(drop))?);
        ping.push(timed(|| ping_once(&mut pinged))?);
        let path = format!("/udp/{}", nth_group(arguments.group, number));
        join.push(timed(|| upgrade(arguments.server, &path).map(drop))?);
        number += 1;
        thread::sleep(PAUSE);
    }
    let status = fetch(arguments.server, "/api/v1/status")?;
    let status: Value = serde_json::from_str(&status)?;
    let streams = status["streams"].as_array().into_iter().flatten();
    let dropped: u64 = streams.filter_map(|stream| stream["lost"]["kernel"].as_u64()).sum();
    println!(
        "{}",
        json!({"page": summary(page), "ping": summary(ping), "join": summary(join), "kernel_drops": dropped})
    );
    Ok(())
}

fn timed(question: impl FnOnce() -> Outcome<()>) -> Outcome<f64> {
    let start = Instant::now();
    question()?;
    Ok(start.elapsed().as_secs_f64() * 1000.0)
}

fn summary(mut times: Vec<f64>) -> Value {
    times.sort_by(f64::total_cmp);
    json!({"count": times.len(), "median": times.get(times.len() / 2), "slowest": times.last()})
}

fn connect(server: SocketAddr) -> Outcome<TcpStream> {
    let stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    Ok(stream)
}

/// The body of an answer.
fn fetch(server: SocketAddr, path: &str) -> Outcome<String> {
    let mut stream = connect(server)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    if head.starts_with("HTTP/1.1 200") { Ok(body.to_owned()) } else { Err(head.into()) }
}

/// A WebSocket, and what came behind its handshake.
fn upgrade(server: SocketAddr, path: &str) -> Outcome<(TcpStream, Vec<u8>)> {
    let mut stream = connect(server)?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )?;
    let (mut head, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let length = stream.read(&mut part)?;
        head.extend_from_slice(&part[..length]);
        if let Some(at) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            if !head.starts_with(b"HTTP/1.1 101") {
                return Err(String::from_utf8_lossy(&head).into());
            }
            return Ok((stream, head.split_off(at + 4)));
        }
        if length == 0 {
            return Err("the server closed during the handshake".into());
        }
    }
}

/// A ping on a connection of a stream without datagrams: whatever comes is the answer, or a ping of the server.
fn ping_once(stream: &mut TcpStream) -> Outcome<()> {
    // A masked frame; a mask of zeros leaves the payload as it is.
    stream.write_all(&[0x80 | Opcode::Ping as u8, 0x80 | 4, 0, 0, 0, 0, b'b', b'u', b's', b'y'])?;
    let mut expected = Vec::new();
    frame::put(&mut expected, Opcode::Pong, b"busy");
    let (mut got, mut part) = (Vec::new(), [0; 256]);
    while !got.windows(expected.len()).any(|window| window == expected) {
        let length = stream.read(&mut part)?;
        if length == 0 {
            return Err("the pinged connection was closed".into());
        }
        got.extend_from_slice(&part[..length]);
    }
    Ok(())
}
