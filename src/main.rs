//! The `wscast` program: parses, starts logging, runs the command, and turns its end into an exit code.

use std::process::ExitCode;

use clap::Parser;
use wscast::cli::{Cli, Command};
use wscast::tools::{check_config, serve};

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::CheckConfig { file } => check_config::run(&file),
        Command::Demo(_) | Command::Listen(_) | Command::Send(_) => Ok(()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("wscast: {failure}");
            failure.exit_code()
        }
    }
}
