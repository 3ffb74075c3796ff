//! Metrics of the process, the gateway, its sessions and the write path.

use std::time::{Duration, SystemTime};

use crate::model::status::{EndedParts, FlushCounts, OTHER_CODE, SessionStatus, Status};
use crate::sys::process::Process;
use crate::web::metrics::LISTED;
use crate::web::metrics::exposition::{Exposition, Family};
use crate::web::server::Server;

/// Nanoseconds in a second.
const NANOSECONDS: f64 = 1e9;

/// The names that every exporter gives these.
pub(super) fn process(page: &mut Exposition, process: &Process) {
    let mut cpu = Family::counter();
    cpu.put(&[], process.cpu.as_secs_f64());
    page.add("process_cpu_seconds_total", "CPU time, user and system.", cpu);
    page.gauge("process_resident_memory_bytes", "Memory in use.", process.resident as f64);
    page.gauge("process_virtual_memory_bytes", "Address space.", process.virtual_memory as f64);
    page.gauge("process_open_fds", "Open file descriptors.", process.descriptors as f64);
    page.gauge("process_max_fds", "How many there may be.", process.descriptors_limit as f64);
    page.gauge("process_threads", "Threads.", process.threads as f64);
}

/// The gateway itself, what it may take and what it has taken.
pub(super) fn gateway(page: &mut Exposition, status: &Status, server: &Server) {
    let mut build = Family::gauge();
    build.put(&[("version", status.gateway.version)], 1.0);
    page.add("wscast_build_info", "The version that runs; always 1.", build);
    let started = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .saturating_sub(Duration::from_secs_f64(status.gateway.uptime_seconds));
    page.gauge(
        "process_start_time_seconds",
        "When the gateway was started, in seconds since 1970.",
        started.as_secs_f64().round(),
    );
    page.gauge("wscast_draining", "1 when the gateway is stopping.", flag(status.gateway.draining));
    page.gauge(
        "wscast_io_uring",
        "1 when writes to many clients are batched through io_uring.",
        flag(status.gateway.io_uring == "on"),
    );
    let configuration = &status.gateway.configuration;
    let mut reloads = Family::counter();
    reloads.count(&[("outcome", "accepted")], configuration.generation.saturating_sub(1));
    reloads.count(&[("outcome", "refused")], configuration.reloads_refused);
    page.add(
        "wscast_reloads_total",
        "Reloads of the configuration that were taken over, or refused.",
        reloads,
    );
    let refused = configuration.last_reload.as_ref().is_some_and(|last| !last.taken_over);
    page.gauge(
        "wscast_config_last_reload_successful",
        "0 when the last reload was refused, 1 when it was taken over or there was none.",
        flag(!refused),
    );
    if let Some(bound) = status.gateway.memory_bound_bytes {
        page.gauge("wscast_memory_bound_bytes", "The most that streams and clients may take.", bound as f64);
    }
    let mut cpu = Family::counter();
    for (shard, seconds) in &status.totals.cpu_seconds {
        cpu.put(&[("shard", &shard.to_string())], *seconds);
    }
    page.add("wscast_shard_cpu_seconds_total", "CPU time of each shard's thread; 1 a second is all.", cpu);
    let admission = &status.gateway.admission;
    page.gauge("wscast_connections", "TCP connections open now.", f64::from(admission.connections));
    page.gauge(
        "wscast_connections_in_handshake",
        "Connections whose first request has not been read yet.",
        admission.handshakes as f64,
    );
    page.counter(
        "wscast_handshakes_gave_way_total",
        "Unfinished handshakes that were cut off for newer ones.",
        admission.gave_way,
    );
    page.counter(
        "wscast_panics_total",
        "Mistakes of the program that ended one session.",
        status.gateway.panics,
    );
    page.gauge(
        "wscast_memory_short",
        "1 while memory is above its mark, so that nothing new is begun.",
        flag(status.gateway.memory_short),
    );
    let limits = &server.config().limits;
    let mut limit = Family::gauge();
    for (name, most) in
        [("connections", limits.connections), ("handshakes", limits.handshakes), ("streams", limits.streams)]
    {
        if let Some(most) = most {
            limit.put(&[("limit", name)], f64::from(most));
        }
    }
    page.add("wscast_limit", "Limits of the gateway as a whole that are not off.", limit);
    let mut handshakes = Family::counter();
    for (kind, sums) in status.session_sums() {
        handshakes.count(&[("outcome", "opened"), ("kind", kind), ("code", "")], sums.count);
    }
    for (code, count) in &status.refused {
        handshakes.count(&[("outcome", "refused"), ("kind", ""), ("code", code)], *count);
    }
    page.add(
        "wscast_handshakes_total",
        "Requests that became a session, by its kind, or were refused, by HTTP status or close code.",
        handshakes,
    );
}

/// The write path.
pub(super) fn flushes(page: &mut Exposition, flushes: &FlushCounts) {
    page.histogram(
        "wscast_added_latency_seconds",
        "From the arrival of a flush's oldest datagram at the kernel until all subscribers had been written to.",
        &flushes.latency,
        NANOSECONDS,
    );
    page.histogram("wscast_flush_datagrams", "Datagrams that left in one flush.", &flushes.datagrams, 1.0);
    page.histogram(
        "wscast_flush_subscribers",
        "Subscribers that a stream had at a flush.",
        &flushes.subscribers,
        1.0,
    );
}

/// Sessions: how many there are, and sums of the books of all that there ever were.
pub(super) fn sessions(page: &mut Exposition, status: &Status) {
    let mut open = Family::gauge();
    for kind in SessionStatus::KINDS {
        let count = status.sessions.iter().filter(|session| session.kind == kind).count();
        open.put(&[("kind", kind)], count as f64);
    }
    page.add("wscast_sessions", "Sessions open now, by kind.", open);
    let blocked = status.sessions.iter().filter(|session| session.blocked).count();
    page.gauge("wscast_sessions_blocked", "Sessions whose socket takes no more for now.", blocked as f64);
    let pending: u64 =
        status.sessions.iter().flat_map(|session| &session.subscriptions).map(|books| books.pending).sum();
    page.gauge(
        "wscast_client_pending_datagrams",
        "Datagrams that wait in logs for clients, counted for each client.",
        pending as f64,
    );
    let mut closed = Family::counter();
    for ((code, by), count) in &status.totals.closed {
        let code = if *code == OTHER_CODE { "other".to_owned() } else { code.to_string() };
        closed.count(&[("code", &code), ("by", by)], *count);
    }
    page.add("wscast_sessions_closed_total", "Sessions that ended, by close code and who closed.", closed);
    deliveries(page, status);
    sends(page, status);
}

/// What clients got. The books balance: published = written + withheld + lost + pending.
fn deliveries(page: &mut Exposition, status: &Status) {
    let (mut published, mut written, mut bytes) = (Family::counter(), Family::counter(), Family::counter());
    let mut sums = EndedParts::default();
    for (kind, of) in status.session_sums() {
        published.count(&[("kind", kind)], of.parts.published);
        written.count(&[("kind", kind)], of.parts.written);
        bytes.count(&[("kind", kind)], of.bytes);
        sums.absorb(&of.parts);
    }
    page.add(
        "wscast_client_published_datagrams_total",
        "Datagrams that came while a client was subscribed, counted for each client, by its kind.",
        published,
    );
    page.add(
        "wscast_client_written_datagrams_total",
        "Datagrams whose last byte the kernel took for a client.",
        written,
    );
    page.add("wscast_client_written_bytes_total", "Bytes that the kernel took for clients.", bytes);
    let mut lost = Family::counter();
    for (cause, count) in [
        ("lag-bytes", sums.lost.bytes),
        ("lag-datagrams", sums.lost.datagrams),
        ("lag-age", sums.lost.age),
        ("closed", sums.lost.closed),
    ] {
        lost.count(&[("cause", cause)], count);
    }
    page.add(
        "wscast_client_lost_datagrams_total",
        "Datagrams lost to a client, by the limit that it broke; closed: not written at its end.",
        lost,
    );
    page.counter(
        "wscast_client_withheld_datagrams_total",
        "Datagrams not meant for a client: its own, or passed over by overflow=latest.",
        sums.withheld,
    );
}

/// What clients sent. The books balance: accepted = sent + refused.
fn sends(page: &mut Exposition, status: &Status) {
    let mut sums = EndedParts::default();
    status.session_sums().values().for_each(|of| sums.absorb(&of.parts));
    let open =
        status.sessions.iter().map(|session| session.senders.len() + usize::from(session.sender.is_some()));
    page.gauge("wscast_senders", "Senders that clients have open.", open.sum::<usize>() as f64);
    page.counter(
        "wscast_sender_accepted_datagrams_total",
        "Datagrams that clients gave to be sent.",
        sums.accepted,
    );
    page.counter(
        "wscast_sender_sent_datagrams_total",
        "Datagrams of clients given to the kernel.",
        sums.sent,
    );
    let mut refused = Family::counter();
    for (cause, count) in
        [("rate", sums.refused.rate), ("size", sums.refused.size), ("kernel", sums.refused.kernel)]
    {
        refused.count(&[("cause", cause)], count);
    }
    page.add(
        "wscast_sender_refused_datagrams_total",
        "Datagrams of clients that were not sent, by cause.",
        refused,
    );
}

/// The host's interfaces, at most [`LISTED`].
pub(super) fn interfaces(page: &mut Exposition, status: &Status) {
    let (mut up, mut running) = (Family::gauge(), Family::gauge());
    for interface in status.interfaces.iter().take(LISTED) {
        let labels = [("interface", interface.name.as_str())];
        up.put(&labels, flag(interface.up));
        running.put(&labels, flag(interface.running));
    }
    page.add("wscast_interface_up", "1 when the interface is administratively up.", up);
    page.add("wscast_interface_running", "1 when the interface has a carrier.", running);
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}
