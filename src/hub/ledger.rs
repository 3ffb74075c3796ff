//! The books of one stream. They balance: received = published + refused by cause; what the kernel dropped stands beside.

use std::cell::Cell;

use crate::model::status::RefusedDatagrams;

/// Counters of a stream; none ever goes down.
#[derive(Debug, Default)]
pub struct Ledger {
    received: Cell<u64>,
    received_bytes: Cell<u64>,
    truncated: Cell<u64>,
    wrong_destination: Cell<u64>,
    kernel_drops: Cell<u64>,
    /// The present socket's own count when last looked at.
    socket_drops: Cell<u32>,
}

impl Ledger {
    /// One datagram was read from the kernel.
    pub fn receive(&self) {
        add(&self.received, 1);
    }

    /// It goes into the log, with so many bytes of payload.
    pub fn publish(&self, bytes: usize) {
        add(&self.received_bytes, bytes as u64);
    }

    /// It was cut off and goes nowhere.
    pub fn refuse_truncated(&self) {
        add(&self.truncated, 1);
    }

    /// It came for another address or interface and goes nowhere.
    pub fn refuse_wrong_destination(&self) {
        add(&self.wrong_destination, 1);
    }

    /// The present socket says that it has dropped so many in all. The kernel's count wraps at 2^32.
    pub fn kernel_dropped(&self, drops: u32) {
        let new = drops.wrapping_sub(self.socket_drops.get());
        // A datagram queued before the last look carries an older count.
        if new.cast_signed() > 0 {
            add(&self.kernel_drops, u64::from(new));
            self.socket_drops.set(drops);
        }
    }

    /// A new socket counts from nothing. The old one's drops have been told before.
    pub fn new_socket(&self) {
        self.socket_drops.set(0);
    }

    /// Datagrams read from the kernel.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.get()
    }

    /// Payload bytes of those that were published.
    #[must_use]
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes.get()
    }

    /// Datagrams that the kernel dropped before they could be read.
    #[must_use]
    pub fn kernel_drops(&self) -> u64 {
        self.kernel_drops.get()
    }

    /// Datagrams that were read and not published.
    #[must_use]
    pub fn refused(&self) -> RefusedDatagrams {
        RefusedDatagrams { truncated: self.truncated.get(), wrong_destination: self.wrong_destination.get() }
    }
}

fn add(counter: &Cell<u64>, amount: u64) {
    counter.set(counter.get() + amount);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_drops_add_up_over_sockets_stale_counts_and_the_wrap() {
        let ledger = Ledger::default();
        for drops in [5, 3, 9, u32::MAX / 2, u32::MAX - 1, 4] {
            ledger.kernel_dropped(drops);
        }
        assert_eq!(ledger.kernel_drops(), u64::from(u32::MAX) + 5);
        ledger.new_socket();
        ledger.kernel_dropped(2);
        assert_eq!(ledger.kernel_drops(), u64::from(u32::MAX) + 7);
    }
}
