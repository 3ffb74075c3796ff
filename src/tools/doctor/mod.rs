//! `wscast doctor`: finds out why multicast does not arrive, and says what mends it.
//!
//! The facts are gathered once; the checks are pure functions over them; the report is written for people or programs.

pub mod checks;
pub mod facts;
pub mod finding;
pub mod gateway;
pub mod gather;
pub mod listening;
pub mod report;
pub mod self_test;

use std::io::{self, IsTerminal, Write};

use crate::cli::DoctorArgs;
use crate::model::config::Config;
use crate::model::group::Group;
use crate::model::source::{SourceFilter, parse_sources};
use crate::tools::check_config;
use crate::tools::doctor::facts::Asked;
use crate::tools::doctor::finding::Severity;
use crate::tools::doctor::gateway::GatewayAddress;
use crate::tools::doctor::report::Report;
use crate::tools::failure::Failure;
use crate::tools::lan_tap::LanTarget;
use crate::tools::serve::block_on;

/// Looks, listens and reports. Exit code 0 where nothing worse than a warning (a note, with `--strict`) was found, else 1.
///
/// # Errors
/// [`Failure::Usage`] for what is no group, URL or configuration; [`Failure::Running`] when something is wrong with the
/// network, or nothing can be looked at.
pub fn run(arguments: &DoctorArgs) -> Result<(), Failure> {
    let config = arguments.config.as_deref().map(|path| check_config::read(Some(path), Default::default()));
    let config = config.transpose()?;
    let asked = asked(arguments, config.as_ref())?;
    let gateway = arguments
        .gateway
        .as_deref()
        .map(|url| GatewayAddress::parse(url, arguments.origin.as_deref(), &arguments.trust));
    let gateway = gateway.transpose()?;
    block_on(examine(arguments, asked, gateway))
}

async fn examine(
    arguments: &DoctorArgs,
    asked: Asked,
    gateway: Option<GatewayAddress>,
) -> Result<(), Failure> {
    let targets = asked.targets.clone();
    let here = gather::gather(asked);
    let there = async {
        match &gateway {
            Some(gateway) => Some(gateway.ask(&targets).await),
            None => None,
        }
    };
    let (facts, there) = tokio::join!(here, there);
    let mut facts = facts?;
    facts.gateway = there;
    let report = Report::of(&facts, checks::all(&facts));
    let text = match arguments.json {
        true => report.json() + "\n",
        false => report.text(io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()),
    };
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(Failure::doing("writing to standard output", &error));
        }
        _ => {}
    }
    let bad = if arguments.strict { Severity::Warning } else { Severity::Fault };
    match report.count(bad) {
        0 => Ok(()),
        1 => Err(Failure::Running(format!("1 {}", report::words(bad, 1)))),
        many => Err(Failure::Running(format!("{many} {}", report::words(bad, many)))),
    }
}

/// The groups named, and those of the configuration's streams.
fn asked(arguments: &DoctorArgs, config: Option<&Config>) -> Result<Asked, Failure> {
    let mut targets = arguments.groups.iter().map(|text| target(text)).collect::<Result<Vec<_>, _>>()?;
    let named = config.iter().flat_map(|config| config.streams.values());
    targets.extend(named.map(|stream| LanTarget { group: stream.group, filter: stream.filter.clone() }));
    let interface =
        arguments.interface.clone().or_else(|| config.and_then(|config| config.interface.clone()));
    let receive_buffer = config.map_or(DEFAULT_RECEIVE_BUFFER, |config| config.receive_buffer);
    Ok(Asked { targets, interface, listen: arguments.listen, receive_buffer })
}

/// What a gateway asks for each stream, unless told otherwise.
const DEFAULT_RECEIVE_BUFFER: usize = 4 << 20;

/// Reads `[SOURCE[,SOURCE...]@]GROUP:PORT`. A source-specific group without its source is a finding, no mistake.
fn target(text: &str) -> Result<LanTarget, Failure> {
    let usage = |error: &dyn std::fmt::Display| Failure::Usage(format!("examining {text}: {error}"));
    let (sources, group) = match text.rsplit_once('@') {
        Some((sources, group)) => (Some(parse_sources(sources).map_err(|error| usage(&error))?), group),
        None => (None, text),
    };
    let group: Group = group.parse().map_err(|error| usage(&error))?;
    let filter = match sources {
        Some(sources) => SourceFilter::include(sources).map_err(|error| usage(&error))?,
        None => SourceFilter::Any,
    };
    if filter != SourceFilter::Any {
        filter.check_against(&group).map_err(|error| usage(&error))?;
    }
    Ok(LanTarget { group, filter })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_read_with_their_sources() {
        let one = target("10.0.0.5,10.0.0.6@232.1.2.3:5000").expect("valid");
        assert_eq!(one.filter.sources().len(), 2);
        assert_eq!(target("232.1.2.3:5000").expect("a finding, no mistake").filter, SourceFilter::Any);
        for (text, words) in [
            ("10.0.0.1:5000", "not a multicast address"),
            ("239.1.2.3", "has no port"),
            ("::1@239.1.2.3:5000", "IP versions differ"),
            ("a@239.1.2.3:5000", "is not an IP address"),
        ] {
            let error = target(text).expect_err(text).to_string();
            assert!(error.starts_with(&format!("examining {text}: ")) && error.contains(words), "{error}");
        }
    }
}
