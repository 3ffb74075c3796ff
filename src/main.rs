//! The `wscast` program: parses, starts logging, runs the command, and turns its end into an exit code.

use std::process::ExitCode;

use clap::Parser;
use wscast::cli::{Cli, Command};
use wscast::tools::counters::say;
use wscast::tools::{
    check_config, demo, doctor, link, listen, manual, record, reload, replay, send, serve, token,
};

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(arguments) => serve::run(*arguments),
        Command::Reload(arguments) => reload::run(arguments),
        Command::CheckConfig { file } => check_config::run(&file),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Listen(arguments) => listen::run(&arguments),
        Command::Link(arguments) => link::run(arguments),
        Command::Send(arguments) => send::run(&arguments),
        Command::Token(arguments) => token::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Record(arguments) => record::run(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Completions(arguments) => manual::completions(&arguments),
        Command::Man(arguments) => manual::man(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(format_args!("wscast: {failure}"));
            failure.exit_code()
        }
    }
}
