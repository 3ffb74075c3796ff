//! One stream on a connection of `wscast.v1`: the client's place in it, its credit, and what it has been told.

use std::rc::Rc;
use std::time::Duration;

use crate::hub::cursor::{Cause, Cursor, LagBounds};
use crate::hub::echo::SenderId;
use crate::hub::stream::Stream;
use crate::model::control::{LossCause, Lost, Notice, StateChanged, StreamState};
use crate::model::frame::{self, Opcode};
use crate::model::request::Overflow;
use crate::model::status::SubscriptionStatus;

/// A stream that the client reads.
pub struct Reading {
    /// The stream.
    pub stream: Rc<Stream>,
    /// The client's place in its records.
    pub cursor: Cursor,
    /// What the client gets when it is too slow.
    pub overflow: Overflow,
    /// Whether it hears what it sent itself.
    pub echo: bool,
    /// Records that it has asked for in all; `None` for any number.
    granted: Option<u64>,
    /// As of when the client knows of everything: [`Stream::losses`] and [`Cursor::passed`].
    known: (u64, u64),
    /// Apart from what is looked at for each write.
    told: Box<Told>,
}

/// What the client knows.
struct Told {
    kernel: u64,
    client: u64,
    echo: u64,
    outages: u64,
    outage_time: Duration,
    state: StreamState,
    /// What the kernel had dropped before the client came.
    kernel_before: u64,
}

impl Reading {
    /// At `cursor`; what happened before is none of this client's business.
    #[must_use]
    pub fn new(stream: Rc<Stream>, cursor: Cursor, overflow: Overflow, echo: bool) -> Self {
        let kernel = stream.lost_in_kernel();
        let known = (stream.losses(), cursor.passed());
        let told = Box::new(Told {
            kernel,
            client: 0,
            echo: 0,
            outages: stream.outages_over(),
            outage_time: stream.outage_time(),
            state: stream.state(),
            kernel_before: kernel,
        });
        Reading { stream, cursor, overflow, echo, granted: None, known, told }
    }

    /// The state that the client knows.
    #[must_use]
    pub fn told_state(&self) -> StreamState {
        self.told.state
    }

    /// The client takes so many records more.
    pub fn grant(&mut self, datagrams: u32) {
        let granted = self.granted.unwrap_or_else(|| self.cursor.handed());
        self.granted = Some(granted.saturating_add(u64::from(datagrams)));
    }

    /// Records that may be written now; `None` for any number.
    #[must_use]
    pub fn credit(&self) -> Option<u64> {
        self.granted.map(|granted| granted.saturating_sub(self.cursor.handed()))
    }

    /// The bound that the client breaks now, if any.
    #[must_use]
    pub fn lag(&self, bounds: &LagBounds) -> Option<Cause> {
        self.cursor.lag(&self.stream.records(), bounds, self.stream.now())
    }

    /// Whether there is nothing but a range of the log to be written: nothing to be told before it, no message to split.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.granted.is_none() && !self.cursor.is_split() && !self.has_news()
    }

    /// The end of what may be written of the log now, between frames. What must be told before, and messages that are for
    /// this client alone, are appended to `control`; the latter make it `carry` records.
    pub fn prepare(&mut self, mine: &[SenderId], control: &mut Vec<u8>, carry: &mut bool) -> u64 {
        let stream = Rc::clone(&self.stream);
        let log = stream.records();
        let mine = if self.echo { &[] } else { mine };
        loop {
            let end = self.cursor.end_before_own(&log, mine);
            if self.has_news() {
                self.tell_losses(control);
            }
            if self.granted.is_none() && !self.cursor.is_split() {
                return end;
            }
            let credit = self.credit().unwrap_or(u64::MAX);
            if end == self.cursor.position() || credit == 0 {
                return self.cursor.position();
            }
            let limit = self.cursor.sequence().saturating_add(credit);
            let fits = log.frame_from(self.cursor.sequence() + 1) <= limit;
            if self.cursor.is_split() || !fits {
                self.cursor.split_off(&log, credit, control);
                *carry = true;
                continue;
            }
            // Up to the last message that the credit covers whole.
            let last = log.sequence_at(end);
            return if limit < last { log.start_of(log.frame_of(limit)) } else { end };
        }
    }

    /// Whether more than [`Reading::prepare`] said may be written.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        self.cursor.position() < self.stream.records().head() && self.credit() != Some(0)
    }

    /// Tells a change of the state, if there is any, and losses.
    pub fn tell_standing(&mut self, control: &mut Vec<u8>) {
        if self.has_news() {
            self.tell_losses(control);
        }
        let state = self.stream.state();
        if state != self.told.state {
            self.told.state = state;
            let interface = self.stream.interface().into();
            put(control, &Notice::State(StateChanged { stream: self.stream.number(), state, interface }));
        }
    }

    /// Tells of a loss that the books know nothing of.
    pub fn tell(&self, datagrams: Option<u64>, cause: LossCause, control: &mut Vec<u8>) {
        let stream = self.stream.number();
        put(
            control,
            &Notice::Lost(Lost { stream, datagrams, cause, total: datagrams.unwrap_or(0), seconds: None }),
        );
    }

    /// Its books.
    #[must_use]
    pub fn status(&self) -> SubscriptionStatus {
        let log = self.stream.records();
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

    /// Datagrams that the client was too slow for, whichever way it wanted them passed over.
    fn lost_to_client(&self) -> u64 {
        let lost = self.cursor.lost();
        lost.bytes + lost.datagrams + lost.age + self.cursor.withheld().latest
    }

    fn has_news(&self) -> bool {
        self.known != (self.stream.losses(), self.cursor.passed())
    }

    fn tell_losses(&mut self, control: &mut Vec<u8>) {
        self.known = (self.stream.losses(), self.cursor.passed());
        let stream = self.stream.number();
        let mut lost = |cause, datagrams, total, seconds| {
            put(control, &Notice::Lost(Lost { stream, datagrams, cause, total, seconds }));
        };
        if self.told.outages != self.stream.outages_over() {
            self.told.outages = self.stream.outages_over();
            let time = self.stream.outage_time();
            let seconds = time.saturating_sub(self.told.outage_time).as_secs_f64();
            self.told.outage_time = time;
            lost(LossCause::Interface, None, 0, Some(seconds));
        }
        let kernel = self.stream.lost_in_kernel();
        if self.told.kernel != kernel {
            lost(LossCause::Kernel, Some(kernel - self.told.kernel), kernel - self.told.kernel_before, None);
            self.told.kernel = kernel;
        }
        let (client, echo) = (self.lost_to_client(), self.cursor.withheld().echo);
        for (cause, told, now) in
            [(LossCause::Client, &mut self.told.client, client), (LossCause::Echo, &mut self.told.echo, echo)]
        {
            if *told != now {
                lost(cause, Some(now - *told), now, None);
                *told = now;
            }
        }
    }
}

/// Appends a text message.
pub fn put(control: &mut Vec<u8>, notice: &Notice<'_>) {
    frame::put(control, Opcode::Text, notice.encode().as_bytes());
}
