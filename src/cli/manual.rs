//! Flags of `wscast completions` and `wscast man`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

/// Flags of `wscast completions`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  wscast completions bash > ~/.local/share/bash-completion/completions/wscast
  wscast completions zsh > \"${fpath[1]}/_wscast\"
  wscast completions fish > ~/.config/fish/completions/wscast.fish")]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// Flags of `wscast man`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  wscast man | man -l -
  wscast man serve | man -l -
  wscast man --all /usr/local/share/man/man1")]
pub struct ManArgs {
    /// The verb whose page it is [default: that of the program]
    #[arg(conflicts_with = "all")]
    pub verb: Option<String>,

    /// Write the pages of the program and of all its verbs into this folder
    #[arg(long, value_name = "FOLDER")]
    pub all: Option<PathBuf>,
}
