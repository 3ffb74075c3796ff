//! `wscast completions` and `wscast man`: what shells and manuals know of the command line, made from the command line itself.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::cli::{Cli, CompletionsArgs, ManArgs};
use crate::tools::failure::Failure;

/// The name that everything is made for.
const PROGRAM: &str = "wscast";

/// Prints the completions.
///
/// # Errors
/// [`Failure::Running`] where nobody takes them.
pub fn completions(arguments: &CompletionsArgs) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), PROGRAM, &mut text);
    print(&text)
}

/// Prints one page, or writes all.
///
/// # Errors
/// [`Failure::Usage`] for a verb that there isn't, [`Failure::Running`] where a page can't be written.
pub fn man(arguments: &ManArgs) -> Result<(), Failure> {
    let program = program();
    if let Some(folder) = &arguments.all {
        return write_all(&program, folder);
    }
    let page = match &arguments.verb {
        None => program,
        Some(name) => verb(&program, name).ok_or_else(|| {
            let verbs: Vec<_> = verbs(&program).map(Command::get_name).collect();
            Failure::Usage(format!(
                "printing the page of {name}: there is no such verb; there are: {}",
                verbs.join(", ")
            ))
        })?,
    };
    print(&render(page)?)
}

/// The command line as manuals want it: with all that clap adds only when it parses.
fn program() -> Command {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    program
}

fn verbs(program: &Command) -> impl Iterator<Item = &Command> {
    program.get_subcommands().filter(|verb| !verb.is_hide_set())
}

/// The verb as a program of its own, `wscast-serve`, which is typed `wscast serve`.
fn verb(program: &Command, name: &str) -> Option<Command> {
    let verb = verbs(program).find(|verb| verb.get_name() == name)?;
    let version = program.get_version().unwrap_or_default().to_owned();
    Some(
        verb.clone().name(format!("{PROGRAM}-{name}")).bin_name(format!("{PROGRAM} {name}")).version(version),
    )
}

fn write_all(program: &Command, folder: &Path) -> Result<(), Failure> {
    let pages = verbs(program).filter_map(|each| verb(program, each.get_name()));
    for page in std::iter::once(program.clone()).chain(pages) {
        let path = folder.join(format!("{}.1", page.get_name()));
        let text = render(page)?;
        File::create(&path)
            .and_then(|mut file| file.write_all(&text))
            .map_err(|error| Failure::doing(&format!("writing {}", path.display()), &error))?;
    }
    Ok(())
}

fn render(page: Command) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    // Without a date, so that the same source makes the same bytes.
    let page = Man::new(page).date("").manual("User Commands");
    page.render(&mut text).map_err(|error| Failure::doing("making a manual page", &error))?;
    Ok(text)
}

fn print(text: &[u8]) -> Result<(), Failure> {
    match io::stdout().write_all(text).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::doing("writing to standard output", &error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_a_page_with_its_flags() {
        let program = program();
        for each in verbs(&program) {
            let page = render(verb(&program, each.get_name()).expect("it is there")).expect("a page");
            let page = String::from_utf8(page).expect("text");
            assert!(page.contains(&format!("wscast\\-{}", each.get_name().replace('-', "\\-"))), "{page}");
            for flag in each.get_arguments().filter_map(clap::Arg::get_long) {
                assert!(page.contains(&flag.replace('-', "\\-")), "--{flag} of {}:\n{page}", each.get_name());
            }
        }
    }
}
