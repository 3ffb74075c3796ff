//! The functions that run for each datagram, each flush and each frame of a client: `cargo bench --bench hot`.
//!
//! Allocations are counted beside the time: on the data path there are none. What a whole gateway costs is another question;
//! `netns-scripts/bench` answers it.

use std::hint::black_box;
use std::io::IoSlice;
use std::time::{Duration, Instant};

use divan::counter::{BytesCount, ItemsCount};
use divan::{AllocProfiler, Bencher};
use wscast::hub::cursor::{Cause, Cursor, LagBounds, ReplayBounds};
use wscast::hub::log::{Log, LogBounds};
use wscast::model::bucket::TokenBucket;
use wscast::model::frame::{FrameBounds, FrameWalk};
use wscast::model::group::Group;
use wscast::model::policy::{Policy, ReceiveRule};
use wscast::model::request::{self, Replay};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// A quote, a video packet, the longest datagram.
const SIZES: [usize; 3] = [100, 1316, 65507];

/// The gateway's defaults.
const LOG: LogBounds = LogBounds { bytes: 4 << 20, datagrams: 65536, age: Duration::from_secs(2) };
const LAG: LagBounds = LagBounds { bytes: 4 << 20, datagrams: 65536, age: Duration::from_secs(2) };
const REPLAY: ReplayBounds = ReplayBounds { bytes: 4 << 20, age: Duration::from_secs(2) };
const FRAMES: FrameBounds = FrameBounds { fragments: Some(16), message_size: 65536 };

/// Parts of one vectored write.
const PARTS: usize = 64;

fn main() {
    divan::main();
}

/// What a stream does with a datagram.
fn put(log: &mut Log, payload: &[u8], at: Duration) {
    if let Some(keep) = log.crowded(payload.len()) {
        log.forget_before(keep);
    }
    log.append(payload, at, None);
}

/// A log that has sent all of its first datagrams away already, so that it is in the state that it stays in.
fn full_log(size: usize) -> Log {
    let mut log = Log::new(LOG);
    let payload = vec![7; size];
    while log.first_sequence() <= 2 * log.datagrams() {
        put(&mut log, &payload, Duration::ZERO);
    }
    log
}

/// A subscriber that stands at the oldest datagram of `log`.
fn late_cursor(log: &Log) -> Cursor {
    Cursor::new(log, Replay::Datagrams(u32::MAX), REPLAY, Duration::ZERO)
}

/// Frames as clients send them: masked, whole.
fn client_frames(size: usize, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..count {
        bytes.push(0x82);
        match u16::try_from(size) {
            Ok(short) if short < 126 => bytes.push(0x80 | short as u8),
            Ok(medium) => {
                bytes.push(0x80 | 126);
                bytes.extend_from_slice(&medium.to_be_bytes());
            }
            Err(_) => {
                bytes.push(0x80 | 127);
                bytes.extend_from_slice(&(size as u64).to_be_bytes());
            }
        }
        bytes.extend_from_slice(&[1, 2, 3, 4]);
        bytes.resize(bytes.len() + size, 0);
    }
    bytes
}

/// One datagram into a full log: the oldest go, the new one is framed.
#[divan::bench(args = SIZES)]
fn append(bencher: Bencher<'_, '_>, size: usize) {
    let mut log = full_log(size);
    let payload = vec![7; size];
    bencher.counter(BytesCount::new(size)).bench_local(|| put(&mut log, black_box(&payload), Duration::ZERO));
}

/// A subscriber over one datagram that was written whole, in a log full of them.
#[divan::bench(args = SIZES)]
fn cursor_advance(bencher: Bencher<'_, '_>, size: usize) {
    let log = full_log(size);
    let frame = log.start_of(log.first_sequence() + 1) - log.start_of(log.first_sequence());
    let mut cursor = late_cursor(&log);
    bencher.bench_local(|| {
        if cursor.position() == log.head() {
            cursor = late_cursor(&log);
        }
        cursor.advance(black_box(&log), frame);
    });
}

/// A subscriber that lagged, from within a frame to near the head, the rest of the frame copied.
#[divan::bench(args = SIZES)]
fn cursor_jump(bencher: Bencher<'_, '_>, size: usize) {
    let log = full_log(size);
    let to = Cursor::near_head(&log, &LAG, Duration::ZERO);
    let mut rest = Vec::with_capacity(1 << 17);
    bencher
        .with_inputs(|| {
            let mut cursor = late_cursor(&log);
            cursor.advance(&log, 50);
            cursor
        })
        .bench_local_refs(|cursor| {
            rest.clear();
            cursor.jump(black_box(&log), to, Cause::Bytes, &mut rest);
        });
}

/// Where a subscriber that lagged goes on.
#[divan::bench(args = SIZES)]
fn cursor_near_head(bencher: Bencher<'_, '_>, size: usize) {
    let log = full_log(size);
    bencher.bench_local(|| Cursor::near_head(black_box(&log), &LAG, Duration::from_millis(1)));
}

/// Whether a subscriber lags too much.
#[divan::bench]
fn cursor_lag(bencher: Bencher<'_, '_>) {
    let log = full_log(1316);
    let cursor = late_cursor(&log);
    bencher.bench_local(|| black_box(&cursor).lag(&log, &LAG, Duration::from_millis(1)));
}

/// The slices of one write that covers so many video packets.
#[divan::bench(args = [1, 16, 64, 1024])]
fn flush_slices(bencher: Bencher<'_, '_>, datagrams: u64) {
    let log = full_log(1316);
    let from = log.start_of(log.head_sequence() - datagrams);
    bencher.counter(ItemsCount::new(datagrams)).bench_local(|| {
        let mut parts = [IoSlice::new(&[]); PARTS];
        let (count, bytes) = log.slices(black_box(from), log.head(), &mut parts);
        black_box(&parts[..count]);
        bytes
    });
}

/// The headers of what one read of a client brought.
#[divan::bench(args = [(100, 32), (1316, 6), (65507, 1)])]
fn walk_client_frames(bencher: Bencher<'_, '_>, (size, count): (usize, usize)) {
    let bytes = client_frames(size, count);
    let mut walk = FrameWalk::new(FrameBounds { message_size: 1 << 20, ..FRAMES });
    bencher
        .counter(ItemsCount::new(count))
        .bench_local(|| walk.walk(black_box(&bytes), || true).expect("frames within their bounds"));
}

/// Whether a group may be received: the last of so many entries of the list decides.
#[divan::bench(args = [1, 16, 256])]
fn policy_match(bencher: Bencher<'_, '_>, specs: usize) {
    let others = (1..specs).map(|number| format!("239.{}.{}.0/24", number / 256, number % 256));
    let listed = others.chain(["239.200.0.0/16:5000-6000".to_owned()]);
    let listed = listed.map(|text| text.parse().expect("a spec")).collect();
    let policy = Policy::new(ReceiveRule::listed(listed), vec![]);
    let group: Group = "239.200.2.3:5000".parse().expect("a group");
    assert_eq!(policy.may_receive(&group), Ok(()));
    bencher.bench_local(|| black_box(&policy).may_receive(black_box(&group)).is_ok());
}

/// A stream's URL.
#[divan::bench(args = [
    "/udp/239.1.2.3:5000",
    "/udp/10.0.0.5@232.1.2.3:5000?overflow=latest&latency=5ms",
    "/udp/[2001:db8::5]@[ff35::1]:5000?replay=2s&interface=eth0",
])]
fn parse_url(bencher: Bencher<'_, '_>, url: &str) {
    let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
    assert!(request::parse(path, query).is_ok(), "{url}");
    bencher.bench_local(|| request::parse(black_box(path), black_box(query)));
}

/// One token, of a bucket that fills as fast as it is emptied.
#[divan::bench]
fn token_bucket(bencher: Bencher<'_, '_>) {
    let mut now = Instant::now();
    let mut bucket = TokenBucket::new(1000, 2000, now);
    bencher.bench_local(|| {
        now += Duration::from_millis(1);
        bucket.take(black_box(1), now)
    });
}
