//! Control frames of one client that wait for the next boundary between data frames.

/// Whole frames: pongs, pings, a close, private messages.
#[derive(Debug, Default)]
pub struct Control {
    bytes: Vec<u8>,
    written: usize,
}

/// What an empty one may keep allocated.
const KEPT: usize = 256;

impl Control {
    /// Where frames are appended, whole.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What is still to be written.
    #[must_use]
    pub fn unwritten(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// Moves over `bytes` that were written.
    pub fn advance(&mut self, bytes: usize) {
        self.written += bytes;
        if self.written == self.bytes.len() {
            self.written = 0;
            self.bytes.clear();
            self.bytes.shrink_to(KEPT);
        }
    }
}
