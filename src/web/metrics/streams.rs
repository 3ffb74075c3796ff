//! Metrics of streams: each of them, and the sums over all that there ever were.

use crate::model::status::{RtpStatus, Status, StreamStatus};
use crate::web::metrics::LISTED;
use crate::web::metrics::exposition::{Exposition, Family};

/// What a stream can be in.
const STATES: [&str; 3] = ["receiving", "silent", "waiting-for-interface"];

/// Sums over all streams since the start, ended ones included. With several shards each counts its own copies.
pub(super) fn sums(page: &mut Exposition, status: &Status) {
    let sums = status.stream_sums();
    page.counter("wscast_received_datagrams_total", "Datagrams read from the kernel.", sums.received);
    page.counter(
        "wscast_received_bytes_total",
        "Payload bytes of the datagrams that went into a log.",
        sums.received_bytes,
    );
    let mut refused = Family::counter();
    refused.count(&[("cause", "truncated")], sums.truncated);
    refused.count(&[("cause", "wrong_destination")], sums.wrong_destination);
    page.add("wscast_refused_datagrams_total", "Datagrams read and not published, by cause.", refused);
    page.counter(
        "wscast_kernel_dropped_datagrams_total",
        "Datagrams that the kernel dropped because a stream's receive buffer was full.",
        sums.lost_kernel,
    );
    page.counter("wscast_outages_total", "Times that a stream had no interface to receive on.", sums.outages);
    let mut seconds = Family::counter();
    seconds.put(&[], sums.outage_seconds);
    page.add(
        "wscast_outage_seconds_total",
        "Time that streams had no interface to receive on; what was missed then is unknown.",
        seconds,
    );
    page.counter("wscast_streams_started_total", "Streams that were started, on each shard.", sums.count);
    let mut numbers: Vec<u32> = status.streams.iter().map(|stream| stream.number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    page.gauge("wscast_streams", "Streams that run now.", numbers.len() as f64);
    let mut states = Family::gauge();
    for state in STATES {
        let mut of: Vec<u32> = status
            .streams
            .iter()
            .filter(|stream| stream.state == state)
            .map(|stream| stream.number)
            .collect();
        of.sort_unstable();
        of.dedup();
        states.put(&[("state", state)], of.len() as f64);
    }
    page.add("wscast_streams_in_state", "Streams that run now, by state.", states);
    let bytes: u64 = status.streams.iter().map(|stream| stream.log.bytes).sum();
    page.gauge("wscast_log_bytes", "Bytes of frames that the logs of all streams hold.", bytes as f64);
}

/// One series for each stream and shard, at most [`LISTED`]: those that were started first.
pub(super) fn each(page: &mut Exposition, status: &Status) {
    let mut streams: Vec<&StreamStatus> = status.streams.iter().collect();
    streams.sort_by_key(|stream| (stream.number, stream.shard));
    streams.truncate(LISTED);
    let labels: Vec<Identity> = streams.iter().map(|stream| Identity::of(stream)).collect();
    let mut of = |name: &str, help: &str, family: Family, value: &dyn Fn(&StreamStatus) -> Option<f64>| {
        let mut family = family;
        for (stream, identity) in streams.iter().zip(&labels) {
            if let Some(value) = value(stream) {
                family.put(&identity.labels(), value);
            }
        }
        page.add(name, help, family);
    };
    of(
        "wscast_stream_received_datagrams_total",
        "Datagrams of this stream read from the kernel.",
        Family::counter(),
        &|stream| Some(stream.received as f64),
    );
    of(
        "wscast_stream_received_bytes_total",
        "Payload bytes of this stream's datagrams that went into its log.",
        Family::counter(),
        &|stream| Some(stream.received_bytes as f64),
    );
    of(
        "wscast_stream_refused_datagrams_total",
        "Datagrams of this stream read and not published: cut off, or for another address or interface.",
        Family::counter(),
        &|stream| Some((stream.refused.truncated + stream.refused.wrong_destination) as f64),
    );
    of(
        "wscast_stream_kernel_dropped_datagrams_total",
        "Datagrams of this stream that the kernel dropped because the receive buffer was full.",
        Family::counter(),
        &|stream| Some(stream.lost.kernel as f64),
    );
    of(
        "wscast_stream_outages_total",
        "Times that this stream had no interface to receive on.",
        Family::counter(),
        &|stream| Some(stream.outages.count as f64),
    );
    of(
        "wscast_stream_receiving",
        "1 when a datagram came within the last 2 s.",
        Family::gauge(),
        &|stream| Some(f64::from(u8::from(stream.state == STATES[0]))),
    );
    of(
        "wscast_stream_joined",
        "1 when this stream has an interface to receive on, 0 when it waits for it.",
        Family::gauge(),
        &|stream| Some(f64::from(u8::from(stream.state != STATES[2]))),
    );
    of("wscast_stream_subscribers", "Subscribers of this stream now.", Family::gauge(), &|stream| {
        Some(stream.subscribers as f64)
    });
    of(
        "wscast_stream_last_received_timestamp_seconds",
        "When the last datagram came, in seconds since 1970; absent before the first.",
        Family::gauge(),
        &|stream| stream.last_received,
    );
    of(
        "wscast_stream_log_bytes",
        "Bytes of frames that this stream's log holds.",
        Family::gauge(),
        &|stream| Some(stream.log.bytes as f64),
    );
    of(
        "wscast_stream_receive_buffer_bytes",
        "Receive buffer that the kernel granted this stream, as the kernel counts it.",
        Family::gauge(),
        &|stream| Some(stream.receive_buffer.granted as f64),
    );
    rtp(&mut of);
    named(page, status);
}

/// Puts a series on the page for each stream of which it says something.
type Put<'a> = dyn FnMut(&str, &str, Family, &dyn Fn(&StreamStatus) -> Option<f64>) + 'a;

/// What only streams have from which RTP is taken off.
fn rtp(of: &mut Put<'_>) {
    let mut counter = |name: &str, help: &str, value: fn(&RtpStatus) -> u64| {
        of(name, help, Family::counter(), &|stream| stream.rtp.as_ref().map(|rtp| value(rtp) as f64));
    };
    counter(
        "wscast_stream_rtp_missing_packets_total",
        "RTP packets that never came or came too late: holes in what clients got.",
        |rtp| rtp.missing,
    );
    counter(
        "wscast_stream_rtp_repaired_packets_total",
        "RTP packets that were lost and brought back by FEC.",
        |rtp| rtp.repaired,
    );
    counter("wscast_stream_rtp_reordered_packets_total", "RTP packets that were put back in order.", |rtp| {
        rtp.reordered
    });
    counter(
        "wscast_stream_rtp_dropped_packets_total",
        "RTP packets not passed on: duplicates, too late, of another sender, empty, or no RTP.",
        |rtp| rtp.duplicate + rtp.late + rtp.other_sender + rtp.empty + rtp.malformed,
    );
}

/// The configuration's names, to be joined with the series of streams by group.
fn named(page: &mut Exposition, status: &Status) {
    let mut info = Family::gauge();
    for (name, stream) in status.gateway.named_streams.iter().take(LISTED) {
        let filter = filter(&stream.sources, &stream.exclude);
        let interface = stream.interface.as_deref().unwrap_or("");
        info.put(
            &[("name", name), ("group", &stream.group), ("interface", interface), ("filter", &filter)],
            1.0,
        );
    }
    page.add(
        "wscast_named_stream_info",
        "Streams that the configuration names, with an empty interface for the default; always 1.",
        info,
    );
}

/// What tells a stream from the others: the same after it has ended and begun again.
struct Identity {
    group: String,
    interface: String,
    filter: String,
    shard: String,
}

impl Identity {
    fn of(stream: &StreamStatus) -> Self {
        Identity {
            group: stream.group.clone(),
            interface: stream.asked_interface.clone(),
            filter: filter(&stream.sources, &stream.exclude),
            shard: stream.shard.to_string(),
        }
    }

    fn labels(&self) -> [(&'static str, &str); 4] {
        [
            ("group", &self.group),
            ("interface", &self.interface),
            ("filter", &self.filter),
            ("shard", &self.shard),
        ]
    }
}

/// `10.0.0.5,10.0.0.6` for sources that are heard alone, `!10.0.0.9` for those that are not heard, else nothing.
fn filter(sources: &[String], exclude: &[String]) -> String {
    let sign = if exclude.is_empty() { "" } else { "!" };
    format!("{sign}{}", [sources, exclude].concat().join(","))
}
