//! `[principals.NAME]` and `[jwt]`: who may come in, and what each may do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use toml::Spanned;

use super::{File, List, Value};
use crate::model::config::{ConfigError, NamedStream};
use crate::model::grant::Grant;
use crate::model::jwt::{JwtRules, LEEWAY, LONGEST_LEEWAY};
use crate::model::moment::Moment;
use crate::model::name::{Names, check_name, check_pattern};
use crate::model::policy::{Policy, Spec};
use crate::model::prefix::AddressPrefix;
use crate::model::principal::{ANONYMOUS, Principal, StaticToken};
use crate::model::quantity::parse_duration;
use crate::model::rule::Rule;
use crate::model::selector::InterfaceSelector;
use crate::model::setting::parse_max_ttl;
use crate::model::text::is_digits;
use crate::model::token::TokenDigest;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawPrincipal {
    tokens: Option<Vec<Spanned<RawToken>>>,
    subjects: Option<Vec<Spanned<String>>>,
    certificates: Option<Vec<Spanned<String>>>,
    receive: Option<Vec<Spanned<RawRule>>>,
    send: Option<Vec<Spanned<RawRule>>>,
    streams: Option<List>,
    send_streams: Option<List>,
    max_ttl: Option<Value>,
    send_rate: Option<Value>,
    streams_per_session: Option<Value>,
    sessions: Option<Value>,
    status: Option<bool>,
    link: Option<bool>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawJwt {
    keys: PathBuf,
    issuer: Option<String>,
    audience: Option<String>,
    claim: Option<String>,
    leeway: Option<Value>,
}

/// `"sha256:..."`, or a table with the day on which it ends.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTokenTable {
    digest: String,
    expires: Option<String>,
}

/// `"239.0.0.0/8"`, or a table with interfaces and sources.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRuleTable {
    groups: String,
    #[serde(default)]
    interfaces: Vec<String>,
    #[serde(default)]
    sources: Vec<String>,
}

pub(super) struct RawToken(RawTokenTable);
pub(super) struct RawRule(RawRuleTable);

impl<'de> Deserialize<'de> for RawToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawToken, D::Error> {
        let short = |digest: &str| RawTokenTable { digest: digest.to_owned(), expires: None };
        deserializer.deserialize_any(TextOrTable("a digest", short)).map(RawToken)
    }
}

impl<'de> Deserialize<'de> for RawRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawRule, D::Error> {
        let short = |groups: &str| RawRuleTable {
            groups: groups.to_owned(),
            interfaces: Vec::new(),
            sources: Vec::new(),
        };
        deserializer.deserialize_any(TextOrTable("groups", short)).map(RawRule)
    }
}

/// Reads a table, or a text as what is short for one.
struct TextOrTable<T>(&'static str, fn(&str) -> T);

impl<'de, T: Deserialize<'de>> Visitor<'de> for TextOrTable<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} as a string, or a table", self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        Ok((self.1)(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

type RawPrincipals = BTreeMap<Spanned<String>, RawPrincipal>;

impl File<'_> {
    /// Those that are known by something, and what whoever shows nothing may.
    pub(super) fn principals(
        &self,
        raw: &RawPrincipals,
        streams: &BTreeMap<String, NamedStream>,
    ) -> Result<(Vec<Principal>, Option<Grant>), ConfigError> {
        let (mut listed, mut anonymous) = (Vec::new(), None);
        // Two of the same would make one of them mean nothing.
        let mut taken = BTreeSet::new();
        for (name, raw) in raw {
            check_name(name.as_ref())
                .map_err(|error| self.error(name.span(), error.to_string().replace("stream", "principal")))?;
            let grant = self.grant(raw, streams)?;
            let principal = Principal {
                name: name.as_ref().clone(),
                grant,
                tokens: self.tokens(raw.tokens.as_deref().unwrap_or_default())?,
                subjects: texts(raw.subjects.as_deref()),
                certificates: texts(raw.certificates.as_deref()),
            };
            let shown = raw.tokens.iter().flatten().map(Spanned::span);
            let shown = shown.zip(principal.tokens.iter().map(|token| token.digest.to_string()));
            let more =
                raw.subjects.iter().flatten().map(|text| (text.span(), format!("subject {}", text.as_ref())));
            let named = raw
                .certificates
                .iter()
                .flatten()
                .map(|text| (text.span(), format!("certificate {}", text.as_ref())));
            let mut known = false;
            for (span, what) in shown.chain(more).chain(named) {
                known = true;
                if name.as_ref() == ANONYMOUS {
                    return Err(self.error(span, "anonymous is whoever shows nothing: choose another name"));
                }
                if !taken.insert(what) {
                    return Err(self.error(span, "this stands twice: it can mean one principal only"));
                }
            }
            match (name.as_ref().as_str(), known) {
                (ANONYMOUS, _) => anonymous = Some(principal.grant),
                (_, true) => listed.push(principal),
                (_, false) => {
                    let message = "nobody can be this principal: give it tokens (`wscast token new` makes one), \
                        subjects of JWTs, or certificates";
                    return Err(self.error(name.span(), message));
                }
            }
        }
        Ok((listed, anonymous))
    }

    /// What is wanted of JWTs; they and the principals that they mean need each other.
    pub(super) fn jwt(
        &self,
        raw: Option<&Spanned<RawJwt>>,
        principals: &RawPrincipals,
    ) -> Result<Option<JwtRules>, ConfigError> {
        let mut subjects = principals.values().flat_map(|one| one.subjects.iter().flatten());
        let Some(place) = raw else {
            let message = "subjects are those of JWTs: add [jwt] with keys = \"FILE\", a JWK set";
            return subjects.next().map_or(Ok(None), |subject| Err(self.error(subject.span(), message)));
        };
        if subjects.next().is_none() {
            let message = "JWTs let nobody in: give a principal subjects = [\"...\"], values of the claim";
            return Err(self.error(place.span(), message));
        }
        let raw = place.as_ref();
        let leeway = |text: &str| match parse_duration(text) {
            Ok(leeway) if leeway <= LONGEST_LEEWAY => Ok(leeway),
            _ => Err(format!("write 0 to {}s", LONGEST_LEEWAY.as_secs())),
        };
        Ok(Some(JwtRules {
            keys: raw.keys.clone(),
            issuer: raw.issuer.clone(),
            audience: raw.audience.clone(),
            claim: raw.claim.clone().unwrap_or_else(|| "sub".to_owned()),
            leeway: self.value(raw.leeway.as_ref(), leeway)?.unwrap_or(LEEWAY),
        }))
    }

    fn grant(
        &self,
        raw: &RawPrincipal,
        streams: &BTreeMap<String, NamedStream>,
    ) -> Result<Grant, ConfigError> {
        let names = |list: Option<&List>| -> Result<Names, ConfigError> {
            let known = |text: &str| {
                let pattern = check_pattern(text).map_err(|error| error.to_string())?;
                let means = Names::matching(vec![pattern.clone()]);
                match pattern.contains('*') || streams.keys().any(|name| means.contain(name)) {
                    true => Ok(pattern),
                    false => Err(format!("there is no [streams.{pattern}]")),
                }
            };
            Ok(Names::matching(self.list(list, known)?.unwrap_or_default()))
        };
        let count = |text: &str| {
            let number = Some(text).filter(|text| is_digits(text)).and_then(|text| text.parse::<u32>().ok());
            number.filter(|&number| number > 0).ok_or("write a number of at least 1")
        };
        let rate =
            |text: &str| count(text.strip_suffix("/s").unwrap_or(text)).map_err(|_| "write a rate, as 20/s");
        let receive = self.rules(raw.receive.as_deref().unwrap_or_default())?;
        let send = self.rules(raw.send.as_deref().unwrap_or_default())?;
        for (rule, place) in send.iter().zip(raw.send.iter().flatten()) {
            if !rule.sources.is_empty() || rule.interfaces.contains(&InterfaceSelector::All) {
                let message = "sources and the interface all are for receiving: leave them out";
                return Err(self.error(place.span(), message));
            }
        }
        Ok(Grant {
            policy: Policy::granted(receive, send),
            streams: names(raw.streams.as_ref())?,
            send_streams: names(raw.send_streams.as_ref())?,
            max_ttl: self.value(raw.max_ttl.as_ref(), parse_max_ttl)?,
            send_rate: self.value(raw.send_rate.as_ref(), rate)?,
            streams_per_session: self.value(raw.streams_per_session.as_ref(), count)?,
            sessions: self.value(raw.sessions.as_ref(), count)?,
            status: raw.status.unwrap_or(false),
            link: raw.link.unwrap_or(false),
        })
    }

    fn rules(&self, raw: &[Spanned<RawRule>]) -> Result<Vec<Rule>, ConfigError> {
        let rule = |place: &Spanned<RawRule>| {
            let RawRule(RawRuleTable { groups, interfaces, sources }) = place.as_ref();
            let wrong = |error: String| self.error(place.span(), error);
            Ok(Rule {
                groups: Spec::from_str(groups).map_err(|error| wrong(error.to_string()))?,
                interfaces: all(interfaces, InterfaceSelector::from_str).map_err(wrong)?,
                sources: all(sources, AddressPrefix::from_str).map_err(wrong)?,
            })
        };
        raw.iter().map(rule).collect()
    }

    fn tokens(&self, raw: &[Spanned<RawToken>]) -> Result<Vec<StaticToken>, ConfigError> {
        let token = |place: &Spanned<RawToken>| {
            let RawToken(RawTokenTable { digest, expires }) = place.as_ref();
            // The line itself is not shown: it may be a token that somebody has put here in clear.
            let digest =
                TokenDigest::from_str(digest).map_err(|error| self.error_unseen(place.span(), error))?;
            let expires = expires.as_deref().map(Moment::from_str).transpose();
            Ok(StaticToken { digest, expires: expires.map_err(|error| self.error(place.span(), error))? })
        };
        raw.iter().map(token).collect()
    }
}

fn all<T, E: fmt::Display>(texts: &[String], parse: impl Fn(&str) -> Result<T, E>) -> Result<Vec<T>, String> {
    texts.iter().map(|text| parse(text).map_err(|error| error.to_string())).collect()
}

fn texts(raw: Option<&[Spanned<String>]>) -> Vec<String> {
    raw.unwrap_or_default().iter().map(|text| text.as_ref().clone()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::config_file::read;

    const DIGEST: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn reads_who_may_what() {
        let text = format!(
            r#"
            [streams.news]
            group = "239.1.2.3:5000"
            [jwt]
            keys = "keys.json"
            audience = "wscast"
            leeway = "0"
            [principals.anonymous]
            streams = ["news"]
            [principals.wall]
            tokens = ["{DIGEST}", {{ digest = "sha256:{zeros}", expires = "2027-01-31" }}]
            subjects = ["alice"]
            certificates = ["wall.example.org"]
            receive = ["239.0.0.0/8", {{ groups = "232.0.0.0/8:5000", interfaces = ["lan0"], sources = ["10.0.0.0/8"] }}]
            send = ["239.1.2.3:5000"]
            streams = ["cam*"]
            max-ttl = 4
            send-rate = "20/s"
            streams-per-session = 2
            sessions = 3
            status = true
            "#,
            zeros = "0".repeat(64)
        );
        let settings = read("f", &text).unwrap_or_else(|error| panic!("{error}"));
        let [wall] = &settings.principals[..] else { panic!("{:?}", settings.principals) };
        assert_eq!((wall.name.as_str(), wall.tokens.len()), ("wall", 2));
        assert_eq!(wall.tokens[1].expires, Some(Moment(1_801_353_600)));
        let grant = &wall.grant;
        assert_eq!((grant.max_ttl, grant.send_rate, grant.streams_per_session), (Some(4), Some(20), Some(2)));
        assert_eq!((grant.sessions, grant.status), (Some(3), true));
        assert!(grant.streams.contain("cam-1") && !grant.streams.contain("news"));
        assert_eq!(grant.policy.may_receive(&"239.9.9.9:9".parse().expect("a group")), Ok(()));
        let anonymous = settings.anonymous.expect("a section");
        assert!(anonymous.streams.contain("news") && !anonymous.status);
        let jwt = settings.jwt.expect("a section");
        assert_eq!((jwt.claim.as_str(), jwt.leeway), ("sub", Duration::ZERO));
    }

    #[test]
    fn says_what_is_wrong_with_it() {
        for (text, words) in [
            ("[principals.a]".to_owned(), "nobody can be this principal"),
            ("[principals.\"a/b\"]".to_owned(), "can't name a principal"),
            (format!("[principals.anonymous]\ntokens = [\"{DIGEST}\"]"), "whoever shows nothing"),
            (format!("[principals.a]\ntokens = [\"{DIGEST}\", \"{DIGEST}\"]"), "stands twice"),
            (format!("[principals.a]\ntokens = [\"{DIGEST}\"]\nstreams = [\"news\"]"), "no [streams.news]"),
            (format!("[principals.a]\ntokens = [\"{DIGEST}\"]\nsubjects = [\"x\"]"), "add [jwt]"),
            (format!("[principals.a]\ntokens = [\"{DIGEST}\"]\nsend-rate = 0"), "as 20/s"),
            (
                format!("[principals.a]\ntokens = [\"{DIGEST}\"]\nreceive = [\"10.0.0.0/8\"]"),
                "beyond multicast",
            ),
            (
                format!(
                    "[principals.a]\ntokens = [\"{DIGEST}\"]\nsend = [{{ groups = \"239.0.0.0/8\", sources = [\"10.0.0.1\"] }}]"
                ),
                "are for receiving",
            ),
            (format!("[jwt]\nkeys = \"f\"\n[principals.a]\ntokens = [\"{DIGEST}\"]"), "let nobody in"),
            ("[streams.a]\ngroup = \"224.0.0.5:5000\"".to_owned(), "nothing opens it"),
        ] {
            let error = read("wscast.toml", &text).expect_err(&text).to_string();
            assert!(error.contains(words) && error.contains('^'), "{text}\n{error}");
        }
        let error =
            read("wscast.toml", "[principals.a]\ntokens = [\"hunter2\"]").expect_err("a token").to_string();
        assert!(error.contains("never write the token itself") && !error.contains("hunter2"), "{error}");
    }
}
