//! WebSocket frames as bytes (RFC 6455 section 5): what the gateway writes, and a walk along what clients send.

use thiserror::Error;

/// Longest header of a frame from a server: it is never masked.
pub const MAX_HEADER: usize = 10;

/// Kind of a frame (RFC 6455 section 11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// UTF-8 text.
    Text = 1,
    /// Bytes.
    Binary = 2,
    /// Close.
    Close = 8,
    /// Ping.
    Ping = 9,
    /// Pong.
    Pong = 10,
}

/// Header of one whole, unmasked frame with `length` bytes of payload; the second value is its own length.
#[must_use]
pub fn header(opcode: Opcode, length: usize) -> ([u8; MAX_HEADER], usize) {
    const FINAL: u8 = 0x80;
    let mut bytes = [0; MAX_HEADER];
    bytes[0] = FINAL | opcode as u8;
    if let Ok(short) = u8::try_from(length)
        && short < 126
    {
        bytes[1] = short;
        (bytes, 2)
    } else if let Ok(medium) = u16::try_from(length) {
        bytes[1] = 126;
        bytes[2..4].copy_from_slice(&medium.to_be_bytes());
        (bytes, 4)
    } else {
        bytes[1] = 127;
        bytes[2..10].copy_from_slice(&(length as u64).to_be_bytes());
        (bytes, 10)
    }
}

/// Length of the header that [`header`] makes for `length` bytes of payload.
#[must_use]
pub fn header_length(length: usize) -> usize {
    match length {
        0..126 => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}

/// Length of the header at the start of a frame that the gateway wrote.
#[must_use]
pub fn written_header_length(second_byte: u8) -> usize {
    match second_byte {
        126 => 4,
        127 => 10,
        _ => 2,
    }
}

/// Appends one whole frame.
pub fn put(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let (header, length) = header(opcode, payload.len());
    out.extend_from_slice(&header[..length]);
    out.extend_from_slice(payload);
}

/// Appends a close frame; the reason is cut at a character boundary to the 123 bytes that fit (RFC 6455 section 5.5).
pub fn put_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let mut payload = Vec::with_capacity(125);
    payload.extend_from_slice(&code.to_be_bytes());
    payload.extend_from_slice(cut(reason, 123).as_bytes());
    put(out, Opcode::Close, &payload);
}

/// The longest start of `text` that has at most `bytes` bytes.
#[must_use]
pub fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// What a client may put into the frames of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameBounds {
    /// Frames a message may consist of; `None` for any number.
    pub fragments: Option<u32>,
    /// Bytes of payload a message may have.
    pub message_size: usize,
}

/// What a frame header in a client's bytes broke.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum FrameViolation {
    /// More fragments than [`FrameBounds::fragments`].
    #[error("flood: a message in more than {0} fragments")]
    Fragments(u32),
    /// More control frames than the rate allows.
    #[error("flood: too many control frames")]
    ControlFrames,
    /// A message larger than [`FrameBounds::message_size`].
    #[error("message_too_large: more than {0} bytes")]
    MessageSize(usize),
}

/// Follows the frame headers in a client's bytes, payload unseen, to bound what the protocol's parser does not.
///
/// The bytes go on to that parser, which decides whether they are a valid protocol; this only counts.
#[derive(Debug)]
pub struct FrameWalk {
    bounds: FrameBounds,
    header: [u8; 14],
    filled: u8,
    /// Bytes of the present frame's payload still to come.
    payload: u64,
    fragments: u32,
    message: u64,
    in_message: bool,
}

impl FrameWalk {
    /// At the start of a connection's bytes.
    #[must_use]
    pub fn new(bounds: FrameBounds) -> Self {
        FrameWalk {
            bounds,
            header: [0; 14],
            filled: 0,
            payload: 0,
            fragments: 0,
            message: 0,
            in_message: false,
        }
    }

    /// Whether a frame or message has begun and not ended.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        self.in_message || self.filled > 0 || self.payload > 0
    }

    /// Walks along `bytes`. `control` is asked once for each control frame whether it may pass.
    ///
    /// # Errors
    /// The violation, and how many of `bytes` come before the frame that it is in.
    pub fn walk(
        &mut self,
        bytes: &[u8],
        mut control: impl FnMut() -> bool,
    ) -> Result<(), (FrameViolation, usize)> {
        let mut at = 0;
        let mut frame_start = 0;
        while at < bytes.len() {
            if self.payload > 0 {
                let step = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.payload -= step as u64;
                at += step;
                continue;
            }
            if self.filled == 0 {
                frame_start = at;
            }
            self.header[usize::from(self.filled)] = bytes[at];
            self.filled += 1;
            at += 1;
            if usize::from(self.filled) == header_need(&self.header, self.filled) {
                self.filled = 0;
                self.begin_frame(&mut control).map_err(|violation| (violation, frame_start))?;
            }
        }
        Ok(())
    }

    fn begin_frame(&mut self, control: &mut impl FnMut() -> bool) -> Result<(), FrameViolation> {
        let (last, opcode) = (self.header[0] & 0x80 != 0, self.header[0] & 0x0f);
        let length = match self.header[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes([self.header[2], self.header[3]])),
            127 => u64::from_be_bytes([
                self.header[2],
                self.header[3],
                self.header[4],
                self.header[5],
                self.header[6],
                self.header[7],
                self.header[8],
                self.header[9],
            ]),
            short => u64::from(short),
        };
        self.payload = length;
        if opcode >= 8 {
            return if control() { Ok(()) } else { Err(FrameViolation::ControlFrames) };
        }
        if opcode != 0 {
            (self.fragments, self.message) = (0, 0);
        }
        self.fragments += 1;
        self.message = self.message.saturating_add(length);
        self.in_message = !last;
        if let Some(most) = self.bounds.fragments
            && self.fragments > most
        {
            return Err(FrameViolation::Fragments(most));
        }
        if self.message > self.bounds.message_size as u64 {
            return Err(FrameViolation::MessageSize(self.bounds.message_size));
        }
        Ok(())
    }
}

/// How many bytes the header takes whose first `filled` are known.
fn header_need(header: &[u8; 14], filled: u8) -> usize {
    if filled < 2 {
        return 2;
    }
    let mask = if header[1] & 0x80 != 0 { 4 } else { 0 };
    mask + written_header_length(header[1] & 0x7f)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: FrameBounds = FrameBounds { fragments: Some(2), message_size: 1000 };

    #[test]
    fn headers_have_the_shortest_form() {
        for (length, expected) in [(0, 2), (125, 2), (126, 4), (65535, 4), (65536, 10)] {
            assert_eq!(header(Opcode::Binary, length).1, expected);
            assert_eq!(header_length(length), expected);
            assert_eq!(written_header_length(header(Opcode::Binary, length).0[1]), expected);
        }
    }

    #[test]
    fn a_close_reason_is_cut_at_a_character() {
        let mut out = Vec::new();
        put_close(&mut out, 1001, &"ü".repeat(100));
        assert_eq!(out[1], 124);
        assert!(std::str::from_utf8(&out[4..]).is_ok());
    }

    #[test]
    fn too_many_fragments_are_found_at_the_frame_that_is_too_many() {
        let mut walk = FrameWalk::new(BOUNDS);
        let bytes = [client(0x02, 3), client(0x00, 3), client(0x00, 3)].concat();
        assert_eq!(walk.walk(&bytes, || true), Err((FrameViolation::Fragments(2), 18)));
    }

    #[test]
    fn a_message_is_measured_over_its_fragments() {
        let mut walk = FrameWalk::new(BOUNDS);
        let bytes = [client(0x82, 1000), client(0x02, 600), client(0x80, 401)].concat();
        let before = client(0x82, 1000).len() + client(0x02, 600).len();
        assert_eq!(walk.walk(&bytes, || true), Err((FrameViolation::MessageSize(1000), before)));
    }

    #[test]
    fn control_frames_ask_each_time_and_may_stand_inside_a_message() {
        let mut walk = FrameWalk::new(BOUNDS);
        let bytes = [client(0x02, 3), client(0x89, 5), client(0x80, 3), client(0x89, 5)].concat();
        let mut left = 1;
        let result = walk.walk(&bytes, || {
            left -= 1;
            left >= 0
        });
        assert_eq!(result, Err((FrameViolation::ControlFrames, 9 + 11 + 9)));
    }

    proptest! {
        #[test]
        fn however_the_bytes_are_cut_the_walk_ends_outside(cuts in prop::collection::vec(1usize..40, 1..60)) {
            let bytes = [client(0x82, 300), client(0x01, 7), client(0x89, 2), client(0x80, 9), client(0x82, 0)].concat();
            let mut walk = FrameWalk::new(BOUNDS);
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                prop_assert!(walk.walk(now, || true).is_ok());
                rest = later;
            }
            prop_assert!(!walk.is_inside());
        }

        #[test]
        fn any_bytes_are_walked_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = FrameWalk::new(BOUNDS).walk(&bytes, || true);
        }
    }

    fn client(first: u8, length: usize) -> Vec<u8> {
        let (mut header, header_length) = header(Opcode::Binary, length);
        header[0] = first;
        header[1] |= 0x80;
        let mut bytes = header[..header_length].to_vec();
        bytes.extend_from_slice(&[1, 2, 3, 4]);
        bytes.resize(bytes.len() + length, 0);
        bytes
    }
}
