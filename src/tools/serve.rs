//! `wscast serve`: the gateway as a program, from its flags to its last signal.

use std::io::{self, IsTerminal, Write};

use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

use crate::cli::ServeArgs;
use crate::gateway::{Gateway, StartError};
use crate::model::config::LogFormat;
use crate::tools::check_config;
use crate::tools::failure::Failure;
use crate::web::tls::Tls;

/// Exit code of a second signal.
const AT_ONCE: i32 = 130;

/// Runs until SIGINT or SIGTERM.
///
/// # Errors
/// [`Failure`].
pub fn run(arguments: ServeArgs) -> Result<(), Failure> {
    let path = arguments.config.clone();
    let config = check_config::read(path.as_deref(), arguments.overrides())?;
    start_log(config.log_format, "info");
    block_on(serve(Gateway::start(config), |_| Ok(())))
}

/// Awaits the gateway's start, says where it listens, calls `started`, and stops at a signal.
///
/// # Errors
/// [`Failure`].
pub async fn serve(
    gateway: impl Future<Output = Result<Gateway, StartError>>,
    started: impl FnOnce(&Gateway) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let handler = |kind| signal(kind).map_err(|error| Failure::doing("waiting for signals", &error));
    let (mut interrupt, mut terminate) =
        (handler(SignalKind::interrupt())?, handler(SignalKind::terminate())?);
    let gateway = gateway.await?;
    for listener in gateway.listeners() {
        // A script that reads the first line may have closed the pipe behind it.
        let _ = writeln!(io::stdout(), "listening on {}", listener.url());
    }
    if let Some(fingerprint) = gateway.tls().and_then(Tls::made_fingerprint) {
        let _ = writeln!(io::stdout(), "made a certificate with SHA-256 {fingerprint}");
    }
    let _ = io::stdout().flush();
    started(&gateway)?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    info!("stopping: closing sessions and leaving groups; a second signal stops at once");
    tokio::select! {
        () = gateway.shutdown() => Ok(()),
        _ = interrupt.recv() => std::process::exit(AT_ONCE),
        _ = terminate.recv() => std::process::exit(AT_ONCE),
    }
}

/// Logs to standard error. `RUST_LOG` says what, `level` where it is not set.
pub fn start_log(format: LogFormat, level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Json => log.json().init(),
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).init(),
    }
    // In the log's own format and place, with the span that it happened in.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let words = panic.payload_as_str().unwrap_or("no words");
        error!(place, "panic: {words}");
    }));
}

/// Runs a command's future on a runtime of its own.
///
/// # Errors
/// [`Failure::Running`] where there is no runtime, else the command's own.
pub fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::doing("starting the runtime", &error))?;
    let result = runtime.block_on(command);
    // Not waiting for a write to a pipe that nobody reads.
    runtime.shutdown_background();
    result
}
