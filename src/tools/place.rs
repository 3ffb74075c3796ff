//! The interface that a command works on, and why that one.

use crate::lan::interface::{Interface, Interfaces};
use crate::model::group::Group;
use crate::model::selector::InterfaceSelector;
use crate::tools::failure::Failure;

/// An interface and who chose it.
#[derive(Clone, Debug)]
pub struct Place {
    /// The interface.
    pub interface: Interface,
    /// Who chose it, as `--interface` or `the routing table`.
    pub chosen_by: &'static str,
}

impl Place {
    /// The interfaces for `group`: the one that `selector` means, all of them, or the one that the routing table names.
    /// Never empty.
    ///
    /// # Errors
    /// [`Failure::Running`] where there is none, with those that there are.
    pub fn find(group: &Group, selector: Option<&InterfaceSelector>) -> Result<Vec<Place>, Failure> {
        let interfaces =
            Interfaces::now().map_err(|error| Failure::doing("listing the interfaces", &error))?;
        let by_flag =
            |interface: &Interface| Place { interface: interface.clone(), chosen_by: "--interface" };
        let (found, missing): (Vec<Place>, String) = match selector {
            Some(InterfaceSelector::All) => {
                (interfaces.for_all().map(by_flag).collect(), "none is up and able to multicast".to_owned())
            }
            Some(selector) => (
                interfaces.find(selector).map(by_flag).into_iter().collect(),
                format!("there is no {selector}: take --interface with one that there is"),
            ),
            None => {
                let routed = interfaces
                    .routed(group)
                    .map(|interface| Place { interface: interface.clone(), chosen_by: "the routing table" });
                let missing = "the routing table names none: say which with --interface";
                (routed.into_iter().collect(), missing.to_owned())
            }
        };
        if found.is_empty() {
            let listed: Vec<_> = interfaces.iter().map(describe).collect();
            return Err(Failure::Running(format!(
                "choosing an interface for {group}: {missing}; there are: {}",
                listed.join(", ")
            )));
        }
        Ok(found)
    }

    /// What would keep datagrams away without a word from the kernel, and how to mend it.
    #[must_use]
    pub fn doubt(&self) -> Option<String> {
        let Interface { name, up, running, multicast, loopback, .. } = &self.interface;
        if !up {
            Some(format!("{name} is down, so nothing passes: `ip link set {name} up`"))
        } else if !running {
            Some(format!("{name} has no carrier, so nothing passes: look at its cable or its other end"))
        } else if !multicast && !loopback {
            Some(format!("{name} is set not to multicast: `ip link set {name} multicast on`"))
        } else {
            None
        }
    }
}

fn describe(interface: &Interface) -> String {
    let address = interface.addresses.first().map_or_else(String::new, |address| format!(" ({address})"));
    format!("{}{address}", interface.name)
}
