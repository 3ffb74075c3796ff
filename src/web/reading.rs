//! One stream that a client reads, and the client's place in it.

use std::rc::Rc;

use crate::hub::cursor::{Cause, Cursor, LagBounds};
use crate::hub::stream::Stream;
use crate::model::status::SubscriptionStatus;
use crate::web::ending::{EndedBy, Ending};

/// One stream that the client reads.
pub struct Reading {
    /// The stream.
    pub stream: Rc<Stream>,
    /// The client's place in its log.
    pub cursor: Cursor,
}

impl Reading {
    /// The bound that the client breaks now, if any.
    #[must_use]
    pub fn lag(&self, bounds: &LagBounds) -> Option<Cause> {
        self.cursor.lag(&self.stream.log(), bounds, self.stream.now())
    }

    /// Its books.
    #[must_use]
    pub fn status(&self) -> SubscriptionStatus {
        let log = self.stream.log();
        SubscriptionStatus {
            stream: self.stream.number(),
            group: self.stream.key().group.to_string(),
            interface: self.stream.interface(),
            published: self.cursor.published(&log),
            written: self.cursor.written(),
            withheld: self.cursor.withheld(),
            lost: self.cursor.lost(),
            pending: self.cursor.pending(&log),
        }
    }
}

/// The end of a client that was to be closed rather than skip.
#[must_use]
pub fn slow_consumer(readings: &[Reading]) -> Ending {
    let lost: u64 = readings
        .iter()
        .map(|reading| {
            let lost = reading.cursor.lost();
            // What waits will not be written any more either.
            lost.bytes + lost.datagrams + lost.age + reading.cursor.untouched(&reading.stream.log())
        })
        .sum();
    Ending { code: 4508, reason: format!("slow_consumer: lost={lost}"), by: EndedBy::Gateway }
}
