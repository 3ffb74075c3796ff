//! `wscast serve`: the gateway as a program, from its flags to its last signal.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::task::AbortOnDropHandle;
use tracing::info;

use crate::cli::ServeArgs;
use crate::gateway::{Gateway, StartError};
use crate::model::config::Config;
use crate::tools::check_config;
use crate::tools::control::{ControlSocket, Verdict};
use crate::tools::failure::Failure;
use crate::tools::{log, service_manager};
use crate::web::tls::Tls;

/// Exit code of a second signal.
const AT_ONCE: i32 = 130;

/// Runs until SIGINT or SIGTERM, and reads its configuration again at SIGHUP.
///
/// # Errors
/// [`Failure`].
pub fn run(arguments: ServeArgs) -> Result<(), Failure> {
    let config = read(&arguments)?;
    log::start(config.log_format, config.log_level);
    block_on(async move {
        let control = config.control.as_deref().map(open_control).transpose()?;
        let source = Source { arguments, control };
        serve(Gateway::start(config), Some(source), |_| Ok(())).await
    })
}

/// Where the configuration comes from, and who may ask for it to be read again.
#[derive(Debug)]
pub struct Source {
    arguments: ServeArgs,
    control: Option<ControlSocket>,
}

/// What a running gateway is told by its operator.
enum Told {
    Stop,
    Reload,
}

/// The signals that a gateway answers.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
}

/// Awaits the gateway's start, says where it listens, calls `started`, reloads from `source` where it is told to, and stops at
/// a signal.
///
/// # Errors
/// [`Failure`].
pub async fn serve(
    gateway: impl Future<Output = Result<Gateway, StartError>>,
    source: Option<Source>,
    started: impl FnOnce(&Gateway) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut signals = Signals::listen(source.is_some())?;
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
    service_manager::ready("serving");
    let watch = AbortOnDropHandle::new(tokio::spawn(service_manager::keep_watch(gateway.vitals())));
    if let Some(source) = &source {
        source.obey(&gateway, &mut signals).await;
    } else {
        signals.stop().await;
    }
    info!("stopping: closing sessions and leaving groups; a second signal stops at once");
    service_manager::stopping();
    tokio::select! {
        () = gateway.shutdown() => {}
        () = signals.stop() => std::process::exit(AT_ONCE),
    }
    drop(watch);
    Ok(())
}

impl Signals {
    fn listen(reloads: bool) -> Result<Self, Failure> {
        let handler = |kind| signal(kind).map_err(|error| Failure::doing("waiting for signals", &error));
        let hangup = reloads.then(|| handler(SignalKind::hangup())).transpose()?;
        let (interrupt, terminate) = (handler(SignalKind::interrupt())?, handler(SignalKind::terminate())?);
        Ok(Signals { interrupt, terminate, hangup })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    async fn told(&mut self) -> Told {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.terminate.recv() => Told::Stop,
            _ = hangup => Told::Reload,
        }
    }
}

impl Source {
    /// Reloads as often as it is told to, until it is told to stop.
    async fn obey(&self, gateway: &Gateway, signals: &mut Signals) {
        let asked = || async {
            match &self.control {
                Some(control) => control.asked().await,
                None => std::future::pending().await,
            }
        };
        loop {
            let asked = tokio::select! {
                told = signals.told() => match told {
                    // The terminal of a gateway that was started by hand has gone, and its user with it.
                    Told::Reload if self.arguments.config.is_none() && io::stdin().is_terminal() => return,
                    Told::Reload => None,
                    Told::Stop => return,
                },
                asked = asked() => Some(asked),
            };
            let verdict = tokio::select! {
                verdict = self.reload(gateway) => verdict,
                () = signals.stop() => return,
            };
            if let Some(asked) = asked {
                asked.answer(&verdict).await;
            }
        }
    }

    async fn reload(&self, gateway: &Gateway) -> Verdict {
        service_manager::reloading();
        let verdict = match read(&self.arguments) {
            Ok(config) => {
                let level = config.log_level;
                match gateway.reload(config).await {
                    Ok(reloaded) => {
                        log::set_level(level);
                        Verdict::TakenOver(reloaded)
                    }
                    Err(error) => Verdict::Refused { reason: error.to_string() },
                }
            }
            Err(failure) => {
                let reason = failure.to_string();
                gateway.note_refused_reload(&reason);
                Verdict::Refused { reason }
            }
        };
        service_manager::ready(&match &verdict {
            Verdict::TakenOver(reloaded) => format!("serving, configuration {}", reloaded.generation),
            Verdict::Refused { reason } => {
                let first = reason.lines().next().unwrap_or_default();
                format!("serving the configuration from before: {first}")
            }
        });
        verdict
    }
}

/// The configuration as files, environment and flags have it now.
fn read(arguments: &ServeArgs) -> Result<Config, Failure> {
    check_config::read(arguments.config.as_deref(), arguments.clone().overrides())
}

fn open_control(path: &Path) -> Result<ControlSocket, Failure> {
    ControlSocket::bind(path).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => ": its folder has to be there",
            io::ErrorKind::PermissionDenied => ": its folder has to be this user's to write to",
            _ => "",
        };
        Failure::Bind(format!("listening at the control socket {}: {error}{hint}", path.display()))
    })
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
