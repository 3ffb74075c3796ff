//! The program's log: lines on standard error, and a level that may change while it runs.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicU8, Ordering};

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber, error};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::model::config::{LogFormat, LogLevel};

/// The level now, where `RUST_LOG` does not say what is logged. What it decides is remembered at each place that logs, so a
/// line that is not wanted costs what it did without it.
static LEVEL: AtomicU8 = AtomicU8::new(LogLevel::Info as u8);

/// Lets through what [`LEVEL`] does.
struct Level;

/// Logs to standard error. `RUST_LOG` says what, `level` where it is not set.
pub fn start(format: LogFormat, level: LogLevel) {
    LEVEL.store(level as u8, Ordering::Relaxed);
    let filter = EnvFilter::try_from_default_env().map_or_else(|_| Level.boxed(), Layer::boxed);
    let (log, lines) = (tracing_subscriber::registry().with(filter), fmt::layer().with_writer(io::stderr));
    match format {
        LogFormat::Json => log.with(lines.json()).init(),
        LogFormat::Text => log.with(lines.with_ansi(io::stderr().is_terminal())).init(),
    }
    // In the log's own format and place, with the span that it happened in.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let words = panic.payload_as_str().unwrap_or("no words");
        error!(place, "panic: {words}");
    }));
}

/// Another level from now on.
pub fn set_level(level: LogLevel) {
    if LEVEL.swap(level as u8, Ordering::Relaxed) != level as u8 {
        tracing::callsite::rebuild_interest_cache();
    }
}

fn level() -> LevelFilter {
    const OFTENER: [LevelFilter; 5] =
        [LevelFilter::ERROR, LevelFilter::WARN, LevelFilter::INFO, LevelFilter::DEBUG, LevelFilter::TRACE];
    OFTENER.get(usize::from(LEVEL.load(Ordering::Relaxed))).copied().unwrap_or(LevelFilter::TRACE)
}

impl<S: Subscriber> Layer<S> for Level {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if *metadata.level() <= level() { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= level()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(level())
    }
}
