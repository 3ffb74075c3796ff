//! The keys that JWTs may be signed with: a JWK set (RFC 7517).

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use thiserror::Error;

use super::jws;
use super::token::TokenDigest;

/// Bytes of a file of keys.
pub const LARGEST_KEYS: usize = 256 << 10;
/// Keys of one set.
pub const MOST_KEYS: usize = 64;
/// Bytes of a shared secret, at least (RFC 7518 section 3.2).
const SHORTEST_SECRET: usize = 32;

/// Keys that can verify; at least one.
#[derive(Clone)]
pub struct KeySet {
    keys: Vec<Key>,
}

/// A key, and what it is for.
#[derive(Clone)]
pub(super) struct Key {
    /// `kid`.
    id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
    /// What this key is known by; says nothing of a shared secret.
    pub(super) digest: TokenDigest,
}

/// A file that has no keys for us.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeysError {
    /// Not a JWK set.
    #[error("this is no JWK set (RFC 7517), as {{\"keys\":[{{\"kty\":\"OKP\",...}}]}}: {0}")]
    Malformed(String),
    /// Nothing that can be used, or too much of it.
    #[error(
        "none of its {0} keys is for signatures with EdDSA (OKP, Ed25519), ES256 (EC, P-256), RS256 (RSA) or HS256 (oct)"
    )]
    NoneUsable(usize),
    /// More than can be tried.
    #[error("it has {0} keys, and {MOST_KEYS} are the most")]
    TooMany(usize),
    /// A secret that can be guessed.
    #[error(
        "its secret (oct) has {0} bytes, and HS256 wants {SHORTEST_SECRET} at least (RFC 7518 section 3.2)"
    )]
    ShortSecret(usize),
}

impl KeySet {
    /// Reads the text of a JWK set. Keys for other purposes and other algorithms are passed over.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn parse(text: &str) -> Result<KeySet, KeysError> {
        jws::install();
        let set: JwkSet =
            serde_json::from_str(text).map_err(|error| KeysError::Malformed(error.to_string()))?;
        if set.keys.len() > MOST_KEYS {
            return Err(KeysError::TooMany(set.keys.len()));
        }
        let keys =
            set.keys.iter().filter_map(|jwk| Key::read(jwk).transpose()).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(KeysError::NoneUsable(set.keys.len())) } else { Ok(KeySet { keys }) }
    }

    /// How many keys it has.
    #[must_use]
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    /// Whether a key is still one of them.
    #[must_use]
    pub fn has(&self, key: &TokenDigest) -> bool {
        self.keys.iter().any(|known| known.digest == *key)
    }

    /// The keys that may have made a signature: of that algorithm, and of that name where both have one.
    pub(super) fn candidates(&self, algorithm: Algorithm, id: Option<&str>) -> impl Iterator<Item = &Key> {
        self.keys.iter().filter(move |key| {
            let named = key.id.as_deref().zip(id).is_none_or(|(known, wanted)| known == wanted);
            key.algorithm == algorithm && named
        })
    }
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "KeySet({} keys)", self.keys.len())
    }
}

impl Key {
    /// `None` for a key that is of no use here.
    fn read(jwk: &Jwk) -> Result<Option<Key>, KeysError> {
        let (algorithm, wanted) = match &jwk.algorithm {
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
                (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
            }
            AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
                (Algorithm::ES256, KeyAlgorithm::ES256)
            }
            AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
            AlgorithmParameters::OctetKey(_) => (Algorithm::HS256, KeyAlgorithm::HS256),
            _ => return Ok(None),
        };
        let signs = jwk.common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature);
        let said = jwk.common.key_algorithm.as_ref().is_none_or(|said| *said == wanted);
        if !signs || !said {
            return Ok(None);
        }
        let malformed = |error: jsonwebtoken::errors::Error| KeysError::Malformed(error.to_string());
        let decoding = DecodingKey::from_jwk(jwk).map_err(malformed)?;
        let bytes = match decoding.kind() {
            jsonwebtoken::DecodingKeyKind::SecretOrDer(bytes) => bytes.clone(),
            jsonwebtoken::DecodingKeyKind::RsaModulusExponent { n, e } => [&n[..], e].concat(),
        };
        if algorithm == Algorithm::HS256 && bytes.len() < SHORTEST_SECRET {
            return Err(KeysError::ShortSecret(bytes.len()));
        }
        let digest = TokenDigest::of(&bytes);
        Ok(Some(Key { id: jwk.common.key_id.clone(), algorithm, decoding, digest }))
    }
}
