//! How a stream stands: its state, its losses, its books.

use std::time::{Duration, Instant};

use crate::hub::stream::Stream;
use crate::model::control::StreamState;
use crate::model::source::SourceFilter;
use crate::model::status::{LogStatus, ReceiveBuffer, StreamLosses, StreamStatus};

/// A stream that had a datagram within this time is `receiving`.
const RECEIVING: Duration = Duration::from_secs(2);

impl Stream {
    /// How it is.
    #[must_use]
    pub fn state(&self) -> StreamState {
        if self.attachment.borrow().outages.reason().is_some() {
            StreamState::WaitingForInterface
        } else if self.seen.borrow().any_since(self.now().saturating_sub(RECEIVING)) {
            StreamState::Receiving
        } else {
            StreamState::Silent
        }
    }

    /// Datagrams that the kernel dropped for want of buffer, as far as known.
    #[must_use]
    pub fn lost_in_kernel(&self) -> u64 {
        self.ledger.kernel_drops()
    }

    /// Grows with each loss that all subscribers are to be told of.
    #[must_use]
    pub fn losses(&self) -> u64 {
        self.lost_in_kernel() + self.outages_over()
    }

    /// How often its interface was away and has come back.
    #[must_use]
    pub fn outages_over(&self) -> u64 {
        self.outages_over.get()
    }

    /// How long its interface has been away in all, the present outage included.
    #[must_use]
    pub fn outage_time(&self) -> Duration {
        self.attachment.borrow().outages.time(Instant::now())
    }

    /// Its books.
    #[must_use]
    pub fn status(&self) -> StreamStatus {
        self.tick();
        let (log, seen, attachment) = (self.log.borrow(), self.seen.borrow(), self.attachment.borrow());
        let outages = attachment.outages.status(Instant::now());
        let (sources, exclude) = match &self.key.filter {
            SourceFilter::Any => (&[][..], &[][..]),
            SourceFilter::Include(sources) => (&sources[..], &[][..]),
            SourceFilter::Exclude(sources) => (&[][..], &sources[..]),
        };
        StreamStatus {
            number: self.run.number(),
            shard: self.settings.shard,
            group: self.key.group.to_string(),
            transport: self.key.transport.name(),
            sources: sources.iter().map(ToString::to_string).collect(),
            exclude: exclude.iter().map(ToString::to_string).collect(),
            asked_interface: self.key.interface.to_string(),
            interface: self.interface(),
            state: self.state().name(),
            waiting: attachment.outages.reason().map(str::to_owned),
            received: self.ledger.received(),
            received_bytes: self.ledger.received_bytes(),
            published: log.head_sequence(),
            refused: self.ledger.refused(),
            rtp: self.depacketizer.as_ref().map(|rtp| rtp.borrow().status(attachment.fec.len())),
            lost: StreamLosses {
                kernel: self.ledger.kernel_drops(),
                interface: (outages.count == 0).then_some(0),
            },
            outages,
            subscribers: self.audience.len() + self.record_audience.len(),
            seen_sources: seen.sources(),
            ttl: seen.ttl(),
            last_received: seen.arrival(),
            receive_buffer: ReceiveBuffer { asked: self.receive_buffer.get(), granted: attachment.granted },
            log: LogStatus { bytes: log.bytes(), datagrams: log.datagrams() },
            copies: Vec::new(),
        }
    }
}
