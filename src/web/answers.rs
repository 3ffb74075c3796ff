//! Room for answers that are made for one client and may be read slowly or never: the status above all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// Bytes of such answers that the gateway holds at once.
pub const ROOM: usize = 32 << 20;

/// The room, shared by all shards.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    held: Arc<AtomicUsize>,
}

/// A part of the room; given back when dropped.
#[derive(Debug)]
pub struct Held {
    held: Arc<AtomicUsize>,
    bytes: usize,
}

impl Answers {
    /// Takes room for `bytes`, if there is; one answer alone always has it.
    #[must_use]
    pub fn hold(&self, bytes: usize) -> Option<Held> {
        let taken = self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            (held == 0 || held.saturating_add(bytes) <= ROOM).then_some(held.saturating_add(bytes))
        });
        taken.is_ok().then(|| Held { held: Arc::clone(&self.held), bytes })
    }

    /// A text as a body that holds its room until the last of it is written; `None` without room.
    #[must_use]
    pub fn body(&self, text: Vec<u8>) -> Option<Bytes> {
        struct Text(Vec<u8>, #[expect(dead_code, reason = "held until dropped")] Held);

        impl AsRef<[u8]> for Text {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        let held = self.hold(text.len())?;
        Some(Bytes::from_owner(Text(text, held)))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_is_given_back_with_the_last_part_of_an_answer() {
        let answers = Answers::default();
        let first = answers.body(vec![7; ROOM - 10]).unwrap();
        assert!(answers.body(vec![7; 11]).is_none());
        let part = first.slice(5..6);
        drop(first);
        assert!(answers.hold(11).is_none());
        drop(part);
        assert!(answers.hold(11).is_some());
        assert!(answers.hold(ROOM + 1).is_some(), "one alone is never too large");
    }
}
