//! What comes behind the handshake: any bytes are frames or a violation with a code of RFC 6455, and it makes no difference
//! in which pieces they come.
#![no_main]

use std::time::Instant;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use wscast::model::frame::FrameBounds;
use wscast::web::websocket::{Incoming, Intake, ReadEnd, WebSocket, WebSocketLimits};

const LIMITS: WebSocketLimits = WebSocketLimits {
    frames: FrameBounds { fragments: Some(4), message_size: 2048 },
    control_frames: None,
    reassembly: None,
    read_buffer: 256,
};

/// What was heard, how it ended, and what is to be answered.
#[derive(Debug, Default, PartialEq)]
struct Conversation {
    heard: Vec<Vec<u8>>,
    end: Option<(u16, String)>,
    answers: Vec<u8>,
}

fn converse<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Conversation {
    let mut websocket = WebSocket::server(&LIMITS, Bytes::new(), Instant::now());
    let mut conversation = Conversation::default();
    for piece in pieces {
        let mut buffer = piece.to_vec();
        let mut intake = Intake::of(&mut buffer);
        loop {
            match websocket.read(&mut intake, &mut conversation.answers) {
                Ok(Some(Incoming::Text(text))) => conversation.heard.push(text.as_bytes().to_vec()),
                Ok(Some(Incoming::Binary(bytes))) => {
                    assert!(bytes.len() <= LIMITS.frames.message_size);
                    conversation.heard.push(bytes.to_vec());
                }
                Ok(Some(Incoming::Alive)) => {}
                Ok(None) => break,
                Ok(Some(Incoming::Close { code, reason })) => {
                    conversation.end = Some((code, reason));
                    return conversation;
                }
                Err(ReadEnd::Violation(code, reason)) => {
                    assert!(matches!(code, 1002 | 1007 | 1008 | 1009), "{code} {reason}");
                    // How much of a message had come when it was found too long depends on the pieces.
                    conversation.end = Some((code, String::new()));
                    return conversation;
                }
                Err(ReadEnd::Gone) => {
                    conversation.end = Some((1006, String::new()));
                    return conversation;
                }
            }
        }
    }
    conversation
}

fuzz_target!(|input: (u8, Vec<u8>)| {
    let (size, bytes) = input;
    let whole = converse(std::iter::once(&bytes[..]));
    let pieces = converse(bytes.chunks(usize::from(size) + 1));
    if whole.end.as_ref().is_none_or(|(code, _)| *code == 1000) {
        assert_eq!(whole, pieces);
    } else {
        assert_eq!((whole.heard, whole.end.is_some()), (pieces.heard, pieces.end.is_some()));
    }
});
