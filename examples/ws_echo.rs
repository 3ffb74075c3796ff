//! An echo server on the gateway's own handshake and WebSocket, to point WebSocket conformance suites at.
//!
//! ```text
//! cargo run --release --example ws_echo -- --listen 127.0.0.1:9001
//! ```
//!
//! Text comes back as text, binary as binary, on every path. The limits are raised to what such suites send: messages of
//! 16 MiB, in any number of fragments, for as long as they take, with any number of control frames between them.

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use hyper::body::Incoming as RequestBody;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;
use wscast::model::frame::{self, FrameBounds, Opcode};
use wscast::web::body::Body;
use wscast::web::handshake::{Handshake, upgraded};
use wscast::web::refusal::Refusal;
use wscast::web::socket::{Carrier, Socket};
use wscast::web::websocket::{Incoming, Intake, ReadEnd, WebSocket, WebSocketLimits};

const LIMITS: WebSocketLimits = WebSocketLimits {
    frames: FrameBounds { fragments: None, message_size: 16 << 20 },
    control_frames: None,
    reassembly: None,
    read_buffer: 4 << 10,
};
/// Bytes that may wait to be written; above it nothing more is read, until the peer has read.
const ROOM: usize = 64 << 10;
/// Messages taken from one peer before others get their turn.
const TURN: usize = 64;
/// How long a peer may take to close its side after ours is closed.
const CLOSING: Duration = Duration::from_secs(1);

/// Echo server on wscast's WebSocket.
#[derive(Parser)]
struct Arguments {
    /// Address to listen on; port 0 picks a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:9001")]
    listen: SocketAddr,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve(arguments.listen))
}

async fn serve(address: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    // Whoever reads the first line may have closed the pipe behind it.
    let _ = writeln!(io::stdout(), "listening on http://{}", listener.local_addr()?);
    let _ = io::stdout().flush();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::task::spawn_local(connection(stream));
            }
            // Out of descriptors, mostly: the connection stays in the backlog, so trying at once would spin.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn connection(stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(Socket::plain(Carrier::Tcp(stream))), service_fn(answer))
        .with_upgrades();
    // A peer that breaks off a handshake is its own business.
    let _ = served.await;
}

async fn answer(request: Request<RequestBody>) -> Result<Response<Body>, Infallible> {
    let handshake = match Handshake::read(&request) {
        Ok(Some(handshake)) => handshake,
        Ok(None) => return Ok(Refusal::upgrade_required().response()),
        Err(refusal) => return Ok(refusal.response()),
    };
    let response = handshake.response(None);
    tokio::task::spawn_local(async move {
        if let Some((socket, early)) = upgraded(request).await {
            converse(&socket, early).await;
        }
    });
    Ok(response)
}

/// Echoes until the peer closes, breaks a rule, or is gone.
async fn converse(socket: &Socket, early: Bytes) {
    let mut websocket = WebSocket::server(&LIMITS, early, Instant::now());
    let (mut buffer, mut out) = (vec![0; ROOM], Vec::new());
    loop {
        let turn = take_turn(&mut websocket, Intake::new(socket, &mut buffer), &mut out);
        if write(socket, &mut out).await.is_err() {
            return;
        }
        match turn {
            Turn::Over => return say_goodbye(socket).await,
            Turn::Gone => return,
            Turn::More => tokio::task::yield_now().await,
            Turn::Drained => {
                if socket.readable().await.is_err() {
                    return;
                }
            }
        }
    }
}

/// How a turn ended.
enum Turn {
    /// There may be more to read.
    More,
    /// There is nothing to read now.
    Drained,
    /// The close frame is the last that is written.
    Over,
    /// There is nobody to write to.
    Gone,
}

/// Reads some messages and puts their echoes, and what the protocol wants answered, into `out`.
fn take_turn(websocket: &mut WebSocket, mut intake: Intake<'_>, out: &mut Vec<u8>) -> Turn {
    for _ in 0..TURN {
        match websocket.read(&mut intake, out) {
            Ok(Some(Incoming::Text(text))) => frame::put(out, Opcode::Text, text.as_bytes()),
            Ok(Some(Incoming::Binary(bytes))) => frame::put(out, Opcode::Binary, &bytes),
            Ok(Some(Incoming::Alive)) => {}
            Ok(Some(Incoming::Close { .. })) => return Turn::Over,
            Ok(None) if intake.is_full() => return Turn::More,
            Ok(None) => return Turn::Drained,
            Err(ReadEnd::Violation(code, reason)) => {
                frame::put_close(out, code, &reason);
                return Turn::Over;
            }
            Err(ReadEnd::Gone) => return Turn::Gone,
        }
        if out.len() > ROOM {
            break;
        }
    }
    websocket.keep(&intake);
    Turn::More
}

async fn write(socket: &Socket, out: &mut Vec<u8>) -> io::Result<()> {
    let mut written = 0;
    while written < out.len() {
        socket.writable().await?;
        match socket.try_write(&out[written..]) {
            Ok(bytes) => written += bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    // The room of a large message is given back.
    if out.capacity() > 2 * ROOM {
        *out = Vec::new();
    } else {
        out.clear();
    }
    Ok(())
}

/// Closing with unread input would send a reset, which can overtake the close frame.
async fn say_goodbye(socket: &Socket) {
    socket.end_writing();
    let rest = async {
        let mut buffer = [0; 4096];
        while socket.readable().await.is_ok() {
            match socket.try_read(&mut buffer) {
                Ok(0) => return,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
                _ => {}
            }
        }
    };
    let _ = tokio::time::timeout(CLOSING, rest).await;
}
