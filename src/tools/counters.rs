//! What went by: counted, put into words, and shown live on a terminal.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Datagrams and bytes of payload, and when the first and the last went by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    datagrams: u64,
    bytes: u64,
    span: Option<(Instant, Instant)>,
}

/// A line on standard error that is written over again and again.
#[derive(Debug)]
pub struct LiveLine {
    before: Option<(Instant, Traffic)>,
}

/// How often a live line is written.
pub const REFRESH: Duration = Duration::from_millis(500);

impl Traffic {
    /// Counts one datagram with `bytes` of payload at `now`; times come in order.
    pub fn count(&mut self, bytes: usize, now: Instant) {
        self.datagrams += 1;
        self.bytes += bytes as u64;
        self.span = Some((self.span.map_or(now, |(first, _)| first), now));
    }

    /// How many datagrams.
    #[must_use]
    pub fn datagrams(&self) -> u64 {
        self.datagrams
    }

    /// Bytes of their payloads.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Seconds from the first to the last.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.span.map_or(0.0, |(first, last)| last.duration_since(first).as_secs_f64())
    }

    /// Datagrams per second from the first to the last; `None` where two at different times are wanting.
    #[must_use]
    pub fn datagrams_per_second(&self) -> Option<f64> {
        let seconds = self.seconds();
        // N datagrams have N - 1 spaces between them.
        (seconds > 0.0).then(|| (self.datagrams - 1) as f64 / seconds)
    }

    /// Bits of payload per second, at the average size.
    #[must_use]
    pub fn bits_per_second(&self) -> Option<f64> {
        let average = self.bytes as f64 / self.datagrams.max(1) as f64;
        self.datagrams_per_second().map(|rate| rate * average * 8.0)
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.datagrams == 1 { "" } else { "s" };
        write!(formatter, "{} datagram{plural}, {} bytes", self.datagrams, self.bytes)?;
        if let (Some(datagrams), Some(bits)) = (self.datagrams_per_second(), self.bits_per_second()) {
            let seconds = self.seconds();
            write!(formatter, " in {seconds:.3} s: {datagrams:.1} datagrams/s, {}", bit_rate(bits))?;
        }
        Ok(())
    }
}

impl LiveLine {
    /// A line, where standard error is a terminal.
    #[must_use]
    pub fn on_terminal() -> Option<Self> {
        io::stderr().is_terminal().then_some(LiveLine { before: None })
    }

    /// Shows what went by, with the rates since the last time; `rest` stands at the end.
    pub fn show(&mut self, traffic: &Traffic, rest: &str, now: Instant) {
        let rates = self.before.map_or_else(String::new, |(then, before)| {
            let seconds = now.duration_since(then).as_secs_f64().max(0.001);
            let datagrams = (traffic.datagrams - before.datagrams) as f64 / seconds;
            let bits = (traffic.bytes - before.bytes) as f64 * 8.0 / seconds;
            format!("  {datagrams:.1}/s  {}", bit_rate(bits))
        });
        self.before = Some((now, *traffic));
        let mut terminal = io::stderr();
        // Back to the first column, and clear to the end of the line.
        let _ = write!(terminal, "\r{} datagrams{rates}  {rest}\x1b[K", traffic.datagrams);
        let _ = terminal.flush();
    }

    /// Takes the line away, so that something else can be said.
    pub fn clear(&mut self) {
        if self.before.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// Says one line to people, on standard error; nobody listening is no reason to stop.
pub fn say(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Bits per second in a unit that keeps the number short.
fn bit_rate(bits: f64) -> String {
    let (divisor, unit) = match bits {
        bits if bits >= 1e9 => (1e9, "Gbit/s"),
        bits if bits >= 1e6 => (1e6, "Mbit/s"),
        bits if bits >= 1e3 => (1e3, "kbit/s"),
        _ => (1.0, "bit/s"),
    };
    format!("{:.1} {unit}", bits / divisor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_taken_between_first_and_last() {
        let start = Instant::now();
        let mut traffic = Traffic::default();
        assert_eq!(traffic.to_string(), "0 datagrams, 0 bytes");
        traffic.count(1000, start);
        assert_eq!(traffic.to_string(), "1 datagram, 1000 bytes");
        for i in 1..=100 {
            traffic.count(1000, start + Duration::from_millis(10 * i));
        }
        assert_eq!((traffic.datagrams(), traffic.bytes()), (101, 101_000));
        assert_eq!(
            traffic.to_string(),
            "101 datagrams, 101000 bytes in 1.000 s: 100.0 datagrams/s, 800.0 kbit/s"
        );
    }

    #[test]
    fn bit_rates_have_a_unit_that_fits() {
        for (bits, text) in
            [(0.0, "0.0 bit/s"), (1500.0, "1.5 kbit/s"), (2e6, "2.0 Mbit/s"), (1e9, "1.0 Gbit/s")]
        {
            assert_eq!(bit_rate(bits), text);
        }
    }
}
