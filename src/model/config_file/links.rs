//! `[[link]]` of the configuration file.

use std::path::PathBuf;

use toml::Spanned;

use super::{ConfigError, File, Value};
use crate::model::group::Group;
use crate::model::link::{Credentials, Direction, LinkConfig, Mirrored, parse_rate, parse_ttl};
use crate::model::selector::InterfaceSelector;

/// One link as TOML has it.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawLink {
    url: String,
    name: Option<String>,
    token_file: Option<PathBuf>,
    ca: Option<PathBuf>,
    client_cert: Option<PathBuf>,
    client_key: Option<PathBuf>,
    /// For all groups that say nothing else.
    direction: Option<Value>,
    interface: Option<Value>,
    remote_interface: Option<Value>,
    ttl: Option<Value>,
    rate: Option<Value>,
    #[serde(default)]
    group: Vec<Spanned<RawMirrored>>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawMirrored {
    group: Value,
    remote_group: Option<Value>,
    direction: Option<Value>,
    interface: Option<Value>,
    remote_interface: Option<Value>,
    ttl: Option<Value>,
    rate: Option<Value>,
}

impl File<'_> {
    pub(super) fn links(&self, raw: &[Spanned<RawLink>]) -> Result<Vec<LinkConfig>, ConfigError> {
        raw.iter().map(|raw| self.link(raw)).collect()
    }

    fn link(&self, raw: &Spanned<RawLink>) -> Result<LinkConfig, ConfigError> {
        let link = raw.as_ref();
        let groups =
            link.group.iter().map(|mirrored| self.mirrored(mirrored, link)).collect::<Result<_, _>>()?;
        let config = LinkConfig {
            name: link.name.clone().unwrap_or_else(|| LinkConfig::name_of(&link.url)),
            url: link.url.clone(),
            credentials: Credentials {
                token_file: link.token_file.clone(),
                token: None,
                ca: link.ca.clone(),
                client_cert: link.client_cert.clone(),
                client_key: link.client_key.clone(),
            },
            groups,
        };
        config.check().map_err(|error| self.error(raw.span(), error))?;
        Ok(config)
    }

    fn mirrored(&self, raw: &Spanned<RawMirrored>, link: &RawLink) -> Result<Mirrored, ConfigError> {
        let one = raw.as_ref();
        let group: Group = self.parse(&one.group, str::parse)?;
        let both = Mirrored::both(group);
        let either =
            |own: &Option<Value>, all: &Option<Value>| -> Result<Option<InterfaceSelector>, ConfigError> {
                let value = own.as_ref().or(all.as_ref());
                if let Some(value) = value.filter(|value| value.as_ref().0 == "all") {
                    return Err(self.error(
                        value.span(),
                        "a group is mirrored on one interface: name it, all is for receiving",
                    ));
                }
                self.value(value, str::parse)
            };
        let direction =
            self.value(one.direction.as_ref().or(link.direction.as_ref()), str::parse::<Direction>)?;
        let mirrored = Mirrored {
            group,
            interface: either(&one.interface, &link.interface)?,
            direction: direction.unwrap_or_default(),
            remote_group: self.value(one.remote_group.as_ref(), str::parse)?.unwrap_or(group),
            remote_interface: either(&one.remote_interface, &link.remote_interface)?,
            ttl: self.value(one.ttl.as_ref().or(link.ttl.as_ref()), parse_ttl)?.unwrap_or(both.ttl),
            rate: self.value(one.rate.as_ref().or(link.rate.as_ref()), parse_rate)?.unwrap_or(both.rate),
        };
        mirrored.check().map_err(|error| self.error(raw.span(), error))?;
        Ok(mirrored)
    }
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;

    #[test]
    fn links_have_defaults_for_their_groups() {
        let text = r#"
            accept-links = true
            [[link]]
            url = "wss://east.example:8443"
            interface = "lan0"
            rate = "20Mbit/s"
            [[link.group]]
            group = "239.1.2.3:5000"
            [[link.group]]
            group = "239.1.2.4:5000"
            remote-group = "239.9.9.9:6000"
            direction = "pull"
            interface = "lan1"
            remote-interface = "eth0"
            ttl = 4
            rate = "1Mbit/s"
        "#;
        let file = read("f", text).expect("valid");
        assert_eq!(file.accept_links, Some(true));
        let [link] = &file.links[..] else { panic!("one link") };
        assert_eq!((link.name.as_str(), link.groups.len()), ("east.example:8443", 2));
        assert_eq!(
            (link.groups[0].rate, link.groups[0].ttl, link.groups[0].direction),
            (20_000_000, 1, Direction::Both)
        );
        let second = &link.groups[1];
        assert_eq!(
            (second.remote_group.to_string(), second.direction, second.ttl),
            ("239.9.9.9:6000".to_owned(), Direction::Pull, 4)
        );
        assert_eq!(second.interface.as_ref().map(ToString::to_string).as_deref(), Some("lan1"));
    }

    #[test]
    fn mistakes_show_their_place() {
        let link = "[[link]]\nurl = \"ws://a:80\"\n";
        for (text, start, words) in [
            (link.to_owned(), "f:1:1: ", "1 to 64 groups, not 0"),
            (format!("{link}[[link.group]]\ngroup = \"239.1.2.3:5\"\nttl = 0"), "f:5:7: ", "write 1 to 255"),
            (
                format!("{link}[[link.group]]\ngroup = \"239.1.2.3:5\"\ndirection = \"in\""),
                "f:5:13: ",
                "write pull",
            ),
            (
                format!("{link}[[link.group]]\ngroup = \"239.1.2.3:5\"\ninterface = \"all\""),
                "f:5:13: ",
                "one interface",
            ),
            (
                "[[link]]\nurl = \"http://a\"\n[[link.group]]\ngroup = \"239.1.2.3:5\"".to_owned(),
                "f:1:1: ",
                "ws://HOST:PORT",
            ),
        ] {
            let error = read("f", &text).expect_err(&text).to_string();
            assert!(error.starts_with(start) && error.contains(words), "{text}\n{error}");
        }
    }
}
