//! Who somebody is, by what they show: the configuration's principals and the keys of its JWTs, ready to be asked.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use thiserror::Error;

use crate::model::config::Config;
use crate::model::grant::Grant;
use crate::model::jwks::{KeySet, KeysError, LARGEST_KEYS};
use crate::model::jwt::{JwtError, JwtRules};
use crate::model::moment::Moment;
use crate::model::principal::{Credential, Principal, Principals};
use crate::model::token::TokenDigest;

/// Whoever may come in, as of one configuration.
#[derive(Debug)]
pub struct Access {
    principals: Principals,
    jwt: Option<(JwtRules, KeySet)>,
}

/// Who somebody is. Holding one is the proof; it is asked again when the configuration changes and when it expires.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Who.
    pub principal: Arc<Principal>,
    /// By what they are known.
    pub credential: Credential,
    /// Until when.
    pub expires: Option<Moment>,
}

/// The keys of JWTs can't be had.
#[derive(Debug, Error)]
#[error("reading the keys of [jwt], {}: {reason}", .file.display())]
pub struct AccessError {
    file: PathBuf,
    reason: String,
}

/// Why a token says nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UnknownToken {
    /// Neither a token of a principal nor a JWT, or one that has expired.
    #[error("it is no token of a principal, or has expired")]
    Token,
    /// A JWT that is none of ours.
    #[error("it is a JWT, and {0}")]
    Jwt(#[from] JwtError),
    /// A good JWT of somebody who is not in the configuration.
    #[error("it is a good JWT, and no principal has its subject")]
    NoPrincipal,
}

impl Access {
    /// From a configuration, with the file of keys that it names.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn load(config: &Config) -> Result<Access, AccessError> {
        let keys = |rules: &JwtRules| {
            let failed = |reason: String| AccessError { file: rules.keys.clone(), reason };
            let text = read_keys(&rules.keys).map_err(|error| failed(error.to_string()))?;
            let keys =
                text.and_then(|text| KeySet::parse(&text)).map_err(|error| failed(error.to_string()))?;
            Ok((rules.clone(), keys))
        };
        let jwt = config.jwt.as_ref().map(keys).transpose()?;
        Ok(Access { principals: config.principals.clone(), jwt })
    }

    /// Whether anybody is known by something; otherwise tokens mean nothing, and whatever is shown is not looked at.
    #[must_use]
    pub fn knows_anybody(&self) -> bool {
        !self.principals.listed().is_empty()
    }

    /// How many keys JWTs may be signed with.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.jwt.as_ref().map_or(0, |(_, keys)| keys.count())
    }

    /// Who shows nothing; `None` where something is wanted.
    #[must_use]
    pub fn anonymous(&self) -> Option<Identity> {
        let principal = Arc::clone(self.principals.anonymous()?);
        Some(Identity { principal, credential: Credential::Nothing, expires: None })
    }

    /// Whose token it is, at `now` in seconds since 1970.
    ///
    /// # Errors
    /// [`UnknownToken`].
    pub fn by_token(&self, token: &str, now: u64) -> Result<Identity, UnknownToken> {
        let digest = TokenDigest::of(token.as_bytes());
        if let Some((principal, expires)) = self.principals.by_token(&digest, now) {
            let credential = Credential::Token(digest);
            return Ok(Identity { principal: Arc::clone(principal), credential, expires });
        }
        let Some((rules, keys)) = self.jwt.as_ref().filter(|_| token.matches('.').count() == 2) else {
            return Err(UnknownToken::Token);
        };
        let verified = rules.verify(keys, token, now)?;
        let principal = self.principals.by_subjects(&verified.subjects).ok_or(UnknownToken::NoPrincipal)?;
        let credential = Credential::Jwt { subjects: verified.subjects, key: verified.key };
        Ok(Identity { principal: Arc::clone(principal), credential, expires: Some(verified.expires) })
    }

    /// Who has shown a client certificate with a name that `is_in` it.
    #[must_use]
    pub fn by_certificate(&self, is_in: impl Fn(&str) -> bool) -> Option<Identity> {
        let (principal, name) = self.principals.by_certificate(is_in)?;
        let credential = Credential::Certificate(name.into());
        Some(Identity { principal: Arc::clone(principal), credential, expires: None })
    }

    /// Who somebody is now who was known under another configuration; `None` who is known no more.
    #[must_use]
    pub fn again(&self, before: &Identity, now: u64) -> Option<Identity> {
        let (principal, expires) = match &before.credential {
            Credential::Nothing => (self.principals.anonymous()?, None),
            Credential::Token(digest) => self.principals.by_token(digest, now)?,
            Credential::Certificate(name) => {
                (self.principals.by_certificate(|known| *known == **name)?.0, None)
            }
            Credential::Jwt { subjects, key } => {
                self.jwt.as_ref().filter(|(_, keys)| keys.has(key))?;
                (self.principals.by_subjects(subjects)?, before.expires)
            }
        };
        Some(Identity { principal: Arc::clone(principal), credential: before.credential.clone(), expires })
    }
}

impl Identity {
    /// What they may.
    #[must_use]
    pub fn grant(&self) -> &Grant {
        &self.principal.grant
    }

    /// Whether it has expired at `now`, in seconds since 1970.
    #[must_use]
    pub fn is_expired(&self, now: u64) -> bool {
        self.expires.is_some_and(|expires| now >= expires.0)
    }
}

/// Seconds since 1970.
#[must_use]
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The text of a file that is small enough; the inner error is of a file that is too large.
fn read_keys(path: &Path) -> std::io::Result<Result<String, KeysError>> {
    let mut text = String::new();
    File::open(path)?.take(LARGEST_KEYS as u64 + 1).read_to_string(&mut text)?;
    let too_large = KeysError::Malformed(format!("it has more than {LARGEST_KEYS} bytes"));
    Ok(if text.len() > LARGEST_KEYS { Err(too_large) } else { Ok(text) })
}
