//! `wscast reload`: asks a running gateway to read its configuration again, and says what came of it.

use std::path::PathBuf;

use crate::cli::ReloadArgs;
use crate::model::config::Config;
use crate::tools::check_config::text_of;
use crate::tools::control::{Verdict, ask_to_reload};
use crate::tools::failure::Failure;
use crate::tools::serve::block_on;

/// Checks the file, asks, and says.
///
/// # Errors
/// [`Failure::Usage`] for a file that is wrong or names no control socket, [`Failure::Running`] where nobody answers or the
/// gateway refuses.
pub fn run(arguments: ReloadArgs) -> Result<(), Failure> {
    let ReloadArgs { config, control, json } = arguments;
    let in_file = config.as_deref().map(control_of).transpose()?.flatten();
    let Some(path) = control.or(in_file) else {
        return Err(Failure::Usage(
            "no control socket is known: give --control PATH, or --config with a file that has control = \"PATH\". A \
             gateway without one reloads at SIGHUP and says in its log and status what came of it"
                .to_owned(),
        ));
    };
    block_on(async move {
        let failed = |error| Failure::doing(&format!("asking the gateway at {}", path.display()), &error);
        let verdict = ask_to_reload(&path).await.map_err(failed)?;
        if json {
            println!("{}", serde_json::to_string(&verdict).unwrap_or_else(|error| error.to_string()));
        }
        match verdict {
            Verdict::TakenOver(reloaded) => {
                if !json {
                    println!("reloaded, generation {}: {}", reloaded.generation, reloaded.changes);
                    if reloaded.closed > 0 {
                        println!("closed, as no longer allowed: {}", reloaded.closed);
                    }
                }
                Ok(())
            }
            Verdict::Refused { reason } => {
                Err(Failure::Running(format!("reload refused, nothing has changed: {reason}")))
            }
        }
    })
}

/// The control socket that a file names; the file is checked on the way. Flags that the gateway was started with may
/// complete it, so whether it is complete is left to the gateway.
fn control_of(file: &std::path::Path) -> Result<Option<PathBuf>, Failure> {
    let (name, text) = text_of(file)?;
    Config::control_in(&name, &text).map_err(|error| Failure::Usage(error.to_string()))
}
