//! What two linked gateways say to each other in text, beside their records (docs/protocol.md, section 8).
//!
//! The gateway that was connected to says `hello` first, as to everybody; then the other says `link`, and gets `linked` or
//! `error`. `stopped` may come from both at any time.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Direction, LARGEST_RATE, MOST_GROUPS, Mirrored};
use crate::model::group::Group;
use crate::model::selector::InterfaceSelector;
use crate::model::text::quote;

/// The longest text of a link, in bytes.
pub const LONGEST_TEXT: usize = 32 << 10;
/// The longest name of a link, in bytes.
const LONGEST_NAME: usize = 64;

/// One text message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LinkMessage {
    /// The first message of the gateway that connects.
    Link(Call),
    /// Answers `link`.
    Linked(Answer),
    /// Answers `link` where there will be none.
    Error(Refusal),
    /// A group has been stopped for a while, or goes on.
    Stopped(Stopped),
}

/// `link`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The run of the gateway that connects, as in `hello`: 16 hexadecimal digits.
    pub gateway: String,
    /// What its people call the link.
    pub name: String,
    /// Names the link through all its connections: 16 hexadecimal digits, random.
    pub session: String,
    /// The sequence of the last record that came here, 0 before the first: where the other side goes on.
    pub after: u64,
    /// The sequence of the oldest record held here: what lies before it will not come.
    pub first: u64,
    /// What is to be mirrored; a record's channel is the place in this list. The same in each connection of a session.
    pub groups: Vec<Channel>,
}

/// One mirrored group, as the gateway that is connected to sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// The group's address.
    pub group: IpAddr,
    /// The group's port.
    pub port: u16,
    /// Where; absent for the gateway's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Which way, seen from the gateway that connects.
    pub direction: Direction,
    /// TTL of what is sent to the group.
    pub ttl: u8,
    /// Bits of payload a second in each direction.
    pub rate: u64,
}

/// `linked`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Whether the session was known here, so that sequences go on.
    pub resumed: bool,
    /// As in [`Call::after`], for the other direction.
    pub after: u64,
    /// As in [`Call::first`], for the other direction.
    pub first: u64,
    /// For each channel, where it is; in the order of the call.
    pub groups: Vec<Opened>,
}

/// What became of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Opened {
    /// It is mirrored.
    Mirrored {
        /// Where, by name.
        interface: String,
    },
    /// It is not.
    Refused {
        /// Why, and what to change.
        error: String,
    },
}

/// `error`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A stable word.
    pub code: String,
    /// What is wrong and what to change.
    pub message: String,
    /// Whether it may be different at another time.
    pub retry: bool,
}

/// `stopped`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// Which.
    pub channel: u32,
    /// For how long; 0 when it goes on.
    pub seconds: u32,
}

impl LinkMessage {
    /// The text.
    #[must_use]
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("texts, numbers and lists of them are always JSON")
    }

    /// Reads one.
    ///
    /// # Errors
    /// In words.
    pub fn decode(text: &str) -> Result<LinkMessage, String> {
        if text.len() > LONGEST_TEXT {
            return Err(format!("a text of {} bytes, at most {LONGEST_TEXT}", text.len()));
        }
        serde_json::from_str(text).map_err(|error| error.to_string())
    }
}

impl Channel {
    /// As the other side is to see it.
    #[must_use]
    pub fn of(mirrored: &Mirrored) -> Channel {
        Channel {
            group: mirrored.remote_group.address(),
            port: mirrored.remote_group.port(),
            interface: mirrored.remote_interface.as_ref().map(ToString::to_string),
            direction: mirrored.direction,
            ttl: mirrored.ttl,
            rate: mirrored.rate,
        }
    }

    /// What it means here.
    ///
    /// # Errors
    /// In words, with what to write.
    pub fn understood(&self) -> Result<(Group, Option<InterfaceSelector>), String> {
        let group = Group::new(self.group, self.port).map_err(|error| error.to_string())?;
        if group.needs_source() {
            return Err(format!("{group} is source-specific: mirror it to another group"));
        }
        if self.ttl == 0 || !(1000..=LARGEST_RATE).contains(&self.rate) {
            return Err("a ttl is 1 to 255 and a rate 1000 to 10000000000 bits a second".to_owned());
        }
        let interface = self.interface.as_ref().map(|text| text.parse::<InterfaceSelector>()).transpose();
        match interface.map_err(|error| error.to_string())? {
            Some(InterfaceSelector::All) => {
                Err("a group is mirrored on one interface, not on all".to_owned())
            }
            interface => Ok((group, interface)),
        }
    }
}

impl Call {
    /// Checks the bounds, and reads gateway and session.
    ///
    /// # Errors
    /// In words.
    pub fn understood(&self) -> Result<(u64, u64), String> {
        let number = |text: &str| {
            u64::from_str_radix(text, 16).map_err(|_| format!("{} is not 16 hexadecimal digits", quote(text)))
        };
        if !(1..=MOST_GROUPS).contains(&self.groups.len()) {
            return Err(format!("a link mirrors 1 to {MOST_GROUPS} groups, not {}", self.groups.len()));
        }
        if self.name.len() > LONGEST_NAME || self.name.chars().any(char::is_control) {
            return Err(format!("a link's name has at most {LONGEST_NAME} bytes and no control characters"));
        }
        Ok((number(&self.gateway)?, number(&self.session)?))
    }
}
