//! What the demo's sources say: sensor readings, a ticker and a counter, made up as they are sent.

use std::time::Duration;

use serde::Serialize;

use crate::lan::transmit::Transmitter;
use crate::sys::random;
use crate::tools::timestamp;

/// A source of made-up datagrams. Each ends with a line end, for people who look at the stream with curl.
#[derive(Clone, Debug)]
pub enum DemoSource {
    /// JSON readings of several sensors in turn.
    Sensors(Vec<Sensor>, Walk),
    /// Prices of symbols that nobody trades, in turn.
    Ticker(Vec<Symbol>, Walk),
    /// Numbers, as `wscast send --number` makes them.
    Counter,
}

/// One sensor and its last reading.
#[derive(Clone, Debug)]
pub struct Sensor {
    name: &'static str,
    /// Degrees Celsius.
    temperature: f64,
    /// Percent.
    humidity: f64,
}

#[derive(Serialize)]
struct Reading {
    sensor: &'static str,
    temperature: f64,
    humidity: f64,
    time: String,
}

/// One symbol and its last price.
#[derive(Clone, Debug)]
pub struct Symbol {
    name: &'static str,
    price: f64,
}

/// Random steps (xorshift64*, Vigna 2016): good enough to look alive.
#[derive(Clone, Debug)]
pub struct Walk(u64);

impl DemoSource {
    /// Three sensors.
    #[must_use]
    pub fn sensors() -> Self {
        let sensor = |name, temperature, humidity| Sensor { name, temperature, humidity };
        let sensors = vec![
            sensor("greenhouse-1", 21.4, 68.0),
            sensor("greenhouse-2", 23.1, 71.5),
            sensor("cellar", 11.8, 54.2),
        ];
        DemoSource::Sensors(sensors, Walk::seeded(random::number()))
    }

    /// Four symbols.
    #[must_use]
    pub fn ticker() -> Self {
        let symbol = |name, price| Symbol { name, price };
        let symbols =
            vec![symbol("ACORN", 41.2), symbol("BEECH", 17.9), symbol("CEDAR", 88.5), symbol("DAISY", 3.4)];
        DemoSource::Ticker(symbols, Walk::seeded(random::number()))
    }

    /// Payload number `number`, from 0, at `time` in nanoseconds since 1970.
    pub fn payload(&mut self, number: u64, time: u64) -> String {
        match self {
            DemoSource::Sensors(sensors, walk) => {
                let count = sensors.len();
                let sensor = &mut sensors[number as usize % count];
                sensor.temperature = (sensor.temperature + walk.step(0.15)).clamp(-20.0, 50.0);
                sensor.humidity = (sensor.humidity + walk.step(0.4)).clamp(0.0, 100.0);
                let reading = Reading {
                    sensor: sensor.name,
                    temperature: rounded(sensor.temperature, 10.0),
                    humidity: rounded(sensor.humidity, 10.0),
                    time: timestamp::format(time),
                };
                let reading = serde_json::to_string(&reading).expect("plain fields are JSON");
                format!("{reading}\n")
            }
            DemoSource::Ticker(symbols, walk) => {
                let count = symbols.len();
                let symbol = &mut symbols[number as usize % count];
                let before = symbol.price;
                symbol.price = (before * (1.0 + walk.step(0.01))).clamp(0.5, 1000.0);
                format!("{} {:.2} {:+.2}\n", symbol.name, symbol.price, symbol.price - before)
            }
            DemoSource::Counter => format!("{number} {}\n", timestamp::format(time)),
        }
    }

    /// Sends one payload each `interval`, for ever. What can't be sent is left out: the next one is as good.
    pub async fn run(mut self, transmitter: Transmitter, interval: Duration) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        for number in 0.. {
            ticks.tick().await;
            if let Err(error) = transmitter.send(self.payload(number, timestamp::now()).as_bytes()) {
                tracing::debug!(%error, "a demo source could not send");
            }
        }
    }
}

impl Walk {
    /// From a seed; 0 would stay 0 for ever, and is replaced.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Walk(seed.max(1))
    }

    /// A step of `-size` to `size`.
    pub fn step(&mut self, size: f64) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11;
        size * (bits as f64 / (1_u64 << 52) as f64 - 1.0)
    }
}

/// Rounded to a part of 1, as 10.0 for tenths.
fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::sequence;

    #[test]
    fn steps_stay_in_bounds_and_go_both_ways() {
        for seed in [0, 1, u64::MAX] {
            let mut walk = Walk::seeded(seed);
            let steps: Vec<f64> = (0..1000).map(|_| walk.step(2.0)).collect();
            assert!(steps.iter().all(|step| (-2.0..=2.0).contains(step)));
            let up = steps.iter().filter(|step| **step > 0.0).count();
            assert!((400..600).contains(&up), "{up} of 1000 up");
        }
    }

    #[test]
    fn readings_are_json_lines() {
        let mut sensors = DemoSource::sensors();
        let names: Vec<_> = (0..6)
            .map(|number| {
                let line = sensors.payload(number, 0);
                let reading: serde_json::Value = serde_json::from_str(&line).expect("JSON");
                assert!(
                    line.ends_with('\n') && reading["temperature"].is_f64() && reading["humidity"].is_f64()
                );
                assert_eq!(reading["time"], "1970-01-01T00:00:00.000000Z");
                reading["sensor"].as_str().expect("a name").to_owned()
            })
            .collect();
        assert_eq!(names[..3], ["greenhouse-1", "greenhouse-2", "cellar"]);
        assert_eq!(names[..3], names[3..]);
    }

    #[test]
    fn the_ticker_speaks_and_the_counter_counts() {
        let line = DemoSource::ticker().payload(0, 0);
        let words: Vec<_> = line.trim_end().split(' ').collect();
        assert_eq!((words.len(), words[0]), (3, "ACORN"));
        assert!(words[1].parse::<f64>().expect("a price") > 0.0);
        assert_eq!(sequence::number(DemoSource::Counter.payload(41, 0).as_bytes()), Some(41));
    }
}
