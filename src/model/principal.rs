//! Who there is, and by what each is known.

use std::sync::Arc;

use subtle::ConditionallySelectable as _;

use super::grant::Grant;
use super::moment::Moment;
use super::token::TokenDigest;

/// The name of whoever shows nothing.
pub const ANONYMOUS: &str = "anonymous";

/// Somebody who may do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// As the configuration calls it; for operators.
    pub name: String,
    /// What it may.
    pub grant: Grant,
    /// Tokens that it is known by.
    pub tokens: Vec<StaticToken>,
    /// Subjects of JWTs that it is known by.
    pub subjects: Vec<String>,
    /// Names in client certificates that it is known by.
    pub certificates: Vec<String>,
}

/// A token that stands in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticToken {
    /// Its SHA-256.
    pub digest: TokenDigest,
    /// From when on it is no longer valid.
    pub expires: Option<Moment>,
}

/// By what somebody was known: enough to ask again after the configuration has changed, and no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// Nothing was shown.
    Nothing,
    /// A static token.
    Token(TokenDigest),
    /// A JWT.
    Jwt {
        /// Its subjects: of the configured claim, one or several.
        subjects: Arc<[String]>,
        /// The key that signed it, as [`KeySet`](super::jwks::KeySet) knows it.
        key: TokenDigest,
    },
    /// A client certificate.
    Certificate(Arc<str>),
}

/// All principals of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principals {
    listed: Vec<Arc<Principal>>,
    anonymous: Option<Arc<Principal>>,
}

impl Principals {
    /// `listed` in the order of the configuration; `anonymous` for whoever shows nothing, where that is served.
    #[must_use]
    pub fn new(listed: Vec<Principal>, anonymous: Option<Grant>) -> Principals {
        let anonymous = anonymous.map(|grant| {
            let name = ANONYMOUS.to_owned();
            let (tokens, subjects, certificates) = (Vec::new(), Vec::new(), Vec::new());
            Arc::new(Principal { name, grant, tokens, subjects, certificates })
        });
        Principals { listed: listed.into_iter().map(Arc::new).collect(), anonymous }
    }

    /// Those that are known by something.
    #[must_use]
    pub fn listed(&self) -> &[Arc<Principal>] {
        &self.listed
    }

    /// Who shows nothing; `None` where a token is wanted.
    #[must_use]
    pub fn anonymous(&self) -> Option<&Arc<Principal>> {
        self.anonymous.as_ref()
    }

    /// Whose token it is, and until when. `now` in seconds since 1970. Looks at all tokens, whichever matches.
    #[must_use]
    pub fn by_token(&self, digest: &TokenDigest, now: u64) -> Option<(&Arc<Principal>, Option<Moment>)> {
        let all = self.listed.iter().flat_map(|one| one.tokens.iter().map(move |token| (one, token)));
        let mut found = u32::MAX;
        for (place, (_, token)) in (0..).zip(all.clone()) {
            found.conditional_assign(&place, token.digest.matches(digest));
        }
        let (principal, token) = all.clone().nth(usize::try_from(found).ok()?)?;
        let valid = token.expires.is_none_or(|expires| now < expires.0);
        valid.then_some((principal, token.expires))
    }

    /// Who has one of the subjects of a JWT; the first that stands in the configuration.
    #[must_use]
    pub fn by_subjects(&self, subjects: &[String]) -> Option<&Arc<Principal>> {
        self.listed.iter().find(|one| one.subjects.iter().any(|subject| subjects.contains(subject)))
    }

    /// Who has a client certificate with a name that `is_in` it; and that name.
    #[must_use]
    pub fn by_certificate(&self, is_in: impl Fn(&str) -> bool) -> Option<(&Arc<Principal>, &str)> {
        let known = |one: &'_ Arc<Principal>| one.certificates.iter().position(|name| is_in(name));
        let (one, at) = self.listed.iter().find_map(|one| Some((one, known(one)?)))?;
        Some((one, one.certificates.get(at)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::policy::Policy;

    fn principal(name: &str, tokens: &[(&str, Option<u64>)]) -> Principal {
        let tokens = tokens.iter().map(|(secret, expires)| StaticToken {
            digest: TokenDigest::of(secret.as_bytes()),
            expires: expires.map(Moment),
        });
        Principal {
            name: name.to_owned(),
            grant: Grant::open(Policy::granted(vec![], vec![])),
            tokens: tokens.collect(),
            subjects: vec![format!("{name}-subject"), "both".to_owned()],
            certificates: vec![format!("{name}.example.org")],
        }
    }

    #[test]
    fn principals_are_known_by_what_they_show() {
        let listed = vec![
            principal("a", &[("one", None), ("two", Some(100))]),
            principal("b", &[]),
            principal("c", &[("three", None)]),
        ];
        let principals = Principals::new(listed, None);
        let name = |secret: &str, now| {
            principals
                .by_token(&TokenDigest::of(secret.as_bytes()), now)
                .map(|(found, _)| found.name.as_str())
        };
        assert_eq!((name("one", 0), name("three", 0), name("four", 0)), (Some("a"), Some("c"), None));
        assert_eq!((name("two", 99), name("two", 100)), (Some("a"), None));
        let by =
            |subject: &str| principals.by_subjects(&[subject.to_owned()]).map(|found| found.name.as_str());
        let named = |wanted: &'static str| {
            let found = principals.by_certificate(|name| name == wanted);
            found.map(|(found, name)| (found.name.as_str(), name))
        };
        assert_eq!((by("b-subject"), by("both"), by("b")), (Some("b"), Some("a"), None));
        assert_eq!(named("c.example.org"), Some(("c", "c.example.org")));
        assert_eq!((named("c"), principals.anonymous()), (None, None));
    }
}
