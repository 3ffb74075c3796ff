//! The demo's moving picture: a short MPEG-TS loop, sent at its own pace, with clocks and counters that go on from round to
//! round, so that no player notices where it begins again.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::lan::transmit::Transmitter;

/// Bytes of a transport packet (ISO/IEC 13818-1 section 2.4.3.2).
const PACKET: usize = 188;
/// Packets in a datagram: what fits an Ethernet frame.
const TOGETHER: usize = 7;
/// How long a round takes: 200 pictures at 25 a second.
const ROUND: Duration = Duration::from_secs(8);
/// Ticks a second of presentation times, and bits of their counters.
const CLOCK: u64 = 90_000;
const CLOCK_BITS: u32 = 33;
/// Ticks a second of the program clock, for each of those.
const FINE: u64 = 300;
/// Who is further behind (the machine slept) goes on from now; a burst of all that was due would do harm.
const FORGIVEN: Duration = Duration::from_secs(1);

/// `src/tools/demo/make-picture` makes it.
static LOOP: &[u8] = include_bytes!("demo/picture.ts");

/// The loop, and where it is.
#[derive(Clone, Debug)]
pub struct Picture {
    /// When each datagram of a round is due, from its beginning.
    due: Vec<Duration>,
    round: u32,
    place: usize,
    /// The last continuity counter of each PID.
    counters: BTreeMap<u16, u8>,
}

impl Picture {
    /// At its beginning.
    #[must_use]
    pub fn new() -> Self {
        Picture { due: due(LOOP), round: 0, place: 0, counters: BTreeMap::new() }
    }

    /// The next datagram, and when it is due, counted from the beginning of the first round.
    fn next(&mut self) -> (Duration, Vec<u8>) {
        let at = ROUND * self.round + self.due[self.place];
        let start = self.place * TOGETHER * PACKET;
        let mut datagram = LOOP[start..LOOP.len().min(start + TOGETHER * PACKET)].to_vec();
        let later = ROUND.as_secs() * CLOCK * u64::from(self.round);
        for packet in datagram.chunks_exact_mut(PACKET) {
            self.restamp(packet, later);
        }
        self.place += 1;
        if self.place == self.due.len() {
            (self.place, self.round) = (0, self.round.wrapping_add(1));
        }
        (at, datagram)
    }

    /// Brings a packet's clocks `later` by so many ticks, and its counter to what follows.
    fn restamp(&mut self, packet: &mut [u8], later: u64) {
        let pid = u16::from_be_bytes([packet[1], packet[2]]) & 0x1fff;
        let (adaptation, payload) = (packet[3] & 0x20 != 0, packet[3] & 0x10 != 0);
        if payload && pid != 0x1fff {
            let counter = self.counters.entry(pid).or_insert(packet[3].wrapping_sub(1) & 0xf);
            *counter = (*counter + 1) & 0xf;
            packet[3] = packet[3] & 0xf0 | *counter;
        }
        if let Some(clock) = clock(packet) {
            let base = (clock / FINE + later) % (1 << CLOCK_BITS);
            let bytes = (base << 15 | 0x3f << 9 | (clock % FINE)).to_be_bytes();
            packet[6..12].copy_from_slice(&bytes[2..]);
        }
        let begin = 4 + if adaptation { 1 + usize::from(packet[4]) } else { 0 };
        let starts = packet[1] & 0x40 != 0;
        if let Some(header) = packet.get_mut(begin..).filter(|_| starts && payload)
            && header.len() >= 19
            && header[..3] == [0, 0, 1]
            && (0xbd..=0xef).contains(&header[3])
        {
            let times = header[7] >> 6;
            for stamp in [(2, 9), (1, 14)].into_iter().filter(|(flag, _)| times & flag != 0) {
                add(&mut header[stamp.1..stamp.1 + 5], later);
            }
        }
    }

    /// Sends round after round, for ever. What can't be sent is lost, as on any network.
    pub async fn run(mut self, transmitter: Transmitter) {
        let mut start = Instant::now();
        loop {
            let (at, datagram) = self.next();
            let behind = start.elapsed().saturating_sub(at);
            if behind > FORGIVEN {
                start += behind;
            }
            tokio::time::sleep_until(start + at).await;
            if let Err(error) = transmitter.send(&datagram) {
                tracing::debug!(%error, "the demo's picture could not be sent");
            }
        }
    }
}

impl Default for Picture {
    fn default() -> Self {
        Self::new()
    }
}

/// When each datagram is due: what comes between two readings of the program clock is spread evenly.
fn due(transport: &[u8]) -> Vec<Duration> {
    let readings: Vec<(usize, u64)> = transport
        .chunks_exact(PACKET)
        .enumerate()
        .filter_map(|(place, packet)| Some((place, clock(packet)?)))
        .collect();
    let first = readings.first().map_or(0, |(_, clock)| *clock);
    let end = (transport.len() / PACKET, first + ROUND.as_secs() * CLOCK * FINE);
    let time = |place: usize| {
        let next = readings.partition_point(|(at, _)| *at <= place);
        let Some(&(before, from)) = next.checked_sub(1).and_then(|last| readings.get(last)) else { return 0 };
        let (after, to) = readings.get(next).copied().unwrap_or(end);
        from - first + (to - from) * (place - before) as u64 / (after - before).max(1) as u64
    };
    let places = (0..transport.len() / PACKET).step_by(TOGETHER);
    places.map(|place| Duration::from_nanos(time(place) * 1000 / 27)).collect()
}

/// The program clock that a packet carries, in ticks of 27 MHz (section 2.4.3.5).
fn clock(packet: &[u8]) -> Option<u64> {
    let has = packet[3] & 0x20 != 0 && packet[4] >= 7 && packet[5] & 0x10 != 0;
    let bytes: [u8; 8] = [0, 0, packet[6], packet[7], packet[8], packet[9], packet[10], packet[11]];
    let field = u64::from_be_bytes(bytes);
    has.then_some((field >> 15) * FINE + (field & 0x1ff))
}

/// Adds to a presentation or decoding time, which has marker bits in between (section 2.4.3.7).
fn add(stamp: &mut [u8], later: u64) {
    let time = (stamp_of(stamp) + later) % (1 << CLOCK_BITS);
    let part = |shift: u32, bits: u32| (time >> shift & ((1 << bits) - 1)) as u8;
    stamp[0] = stamp[0] & 0xf0 | part(30, 3) << 1 | 1;
    stamp[1] = part(22, 8);
    stamp[2] = part(15, 7) << 1 | 1;
    stamp[3] = part(7, 8);
    stamp[4] = part(0, 7) << 1 | 1;
}

fn stamp_of(stamp: &[u8]) -> u64 {
    let [high, middle, low] = [u64::from(stamp[0]) >> 1 & 7, two(stamp, 1) >> 1, two(stamp, 3) >> 1];
    high << 30 | middle << 15 | low
}

fn two(bytes: &[u8], at: usize) -> u64 {
    u64::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Presentation time of a packet that begins a picture, or a piece of sound.
    fn presented(packet: &[u8]) -> Option<(u8, u64)> {
        let begin = 4 + if packet[3] & 0x20 != 0 { 1 + usize::from(packet[4]) } else { 0 };
        let header = packet.get(begin..begin + 14).filter(|_| packet[1] & 0x40 != 0)?;
        let has = header[..3] == [0, 0, 1] && header[7] & 0x80 != 0;
        has.then(|| (header[3], stamp_of(&header[9..14])))
    }

    #[test]
    fn three_rounds_look_like_one_stream() {
        let mut picture = Picture::new();
        let mut counters: BTreeMap<u16, u8> = BTreeMap::new();
        let (mut clocks, mut pictures, mut sounds) = (Vec::new(), Vec::new(), Vec::new());
        let mut last = Duration::ZERO;
        for _ in 0..3 * picture.due.len() {
            let (at, datagram) = picture.next();
            assert!(at >= last && at < 3 * ROUND, "{at:?} after {last:?}");
            last = at;
            assert!(datagram.len() <= 1316 && datagram.len() % PACKET == 0);
            for packet in datagram.chunks_exact(PACKET) {
                assert_eq!(packet[0], 0x47);
                let pid = u16::from_be_bytes([packet[1], packet[2]]) & 0x1fff;
                if packet[3] & 0x10 != 0 {
                    let counter = packet[3] & 0xf;
                    if let Some(before) = counters.insert(pid, counter) {
                        assert_eq!(counter, (before + 1) & 0xf, "PID {pid}");
                    }
                }
                clocks.extend(clock(packet));
                match presented(packet) {
                    Some((0xe0..=0xef, time)) => pictures.push(time),
                    Some((_, time)) => sounds.push(time),
                    None => {}
                }
            }
        }
        assert!(clocks.windows(2).all(|two| two[0] < two[1]), "the program clock goes on");
        // Baseline: no picture waits for a later one.
        assert_eq!(pictures.len(), 600);
        assert!(
            pictures.windows(2).all(|two| two[1] - two[0] == 3600),
            "25 pictures a second, across rounds too"
        );
        assert!(sounds.windows(2).all(|two| two[0] < two[1] && two[1] - two[0] < CLOCK), "the sound goes on");
        let ticks = clocks.last().unwrap_or(&0) - clocks[0];
        let seconds = ticks as f64 / (CLOCK * FINE) as f64;
        assert!((23.5..24.0).contains(&seconds), "{seconds} s");
    }

    #[test]
    fn times_wrap_as_their_counters_do() {
        let mut stamp = [0x2f, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(stamp_of(&stamp), (1 << 33) - 1);
        add(&mut stamp, 5);
        assert_eq!((stamp_of(&stamp), stamp[0]), (4, 0x21));
    }
}
