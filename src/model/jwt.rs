//! JWTs (RFC 7519) that say who somebody is.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{EncodingKey, Header, Validation};
use serde_json::{Map, Value};
use thiserror::Error;

use super::jwks::KeySet;
use super::jws;
use super::moment::Moment;
use super::text::quote;
use super::token::TokenDigest;

/// Bytes of a JWT.
pub const LONGEST_JWT: usize = 8 << 10;
/// Subjects of one JWT; more are passed over.
pub const MOST_SUBJECTS: usize = 64;
/// How much the clocks of whoever signs and of this machine may differ, by default.
pub const LEEWAY: Duration = Duration::from_secs(30);
/// The most that they may be allowed to differ.
pub const LONGEST_LEEWAY: Duration = Duration::from_secs(300);

/// What the configuration wants of a JWT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtRules {
    /// The file with the keys, a JWK set.
    pub keys: PathBuf,
    /// `iss` must be this.
    pub issuer: Option<String>,
    /// `aud` must have this; without one, a JWT that names an audience is refused (RFC 7519 section 4.1.3).
    pub audience: Option<String>,
    /// The claim with the subject, a text or a list of texts; `a.b` is `b` in `a`, where there is no `a.b`.
    pub claim: String,
    /// How much clocks may differ, at most [`LONGEST_LEEWAY`].
    pub leeway: Duration,
}

/// A JWT whose signature, times, issuer and audience are right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What the claim says, at least one.
    pub subjects: Arc<[String]>,
    /// `exp`, and as much later as clocks may differ.
    pub expires: Moment,
    /// The key that signed it.
    pub key: TokenDigest,
}

/// Why a JWT is none of ours. Nothing of it is repeated.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JwtError {
    /// Not three parts of base64 and JSON.
    #[error("it is no JWT (RFC 7519)")]
    Malformed,
    /// `alg` is none of the four, `none` included.
    #[error("its algorithm is none of EdDSA, ES256, RS256 and HS256")]
    Algorithm,
    /// No key made this signature.
    #[error("no key of the set made its signature")]
    Signature,
    /// `exp`, `iss` or `aud` is missing.
    #[error("it has no {0}")]
    Missing(String),
    /// After `exp`.
    #[error("it expired at {0}")]
    Expired(Moment),
    /// Before `nbf`.
    #[error("it is not valid before {0}")]
    NotYet(Moment),
    /// `iss` is another.
    #[error("its issuer is another")]
    Issuer,
    /// `aud` is another.
    #[error("it is meant for another audience")]
    Audience,
    /// The claim is not there, or neither a text nor a list of texts.
    #[error("its claim {} is no text and no list of texts", quote(.0))]
    Claim(String),
}

impl JwtRules {
    /// Verifies `token` at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// [`JwtError`].
    pub fn verify(&self, keys: &KeySet, token: &str, now: u64) -> Result<Verified, JwtError> {
        if token.len() > LONGEST_JWT {
            return Err(JwtError::Malformed);
        }
        // `alg` may be one that the parser does not know.
        let header = jsonwebtoken::decode_header(token).map_err(|error| match error.kind() {
            ErrorKind::InvalidAlgorithmName | ErrorKind::InvalidAlgorithm => JwtError::Algorithm,
            _ => JwtError::Malformed,
        })?;
        let algorithm = jws::spoken(header.alg).ok_or(JwtError::Algorithm)?;
        let mut validation = Validation::new(algorithm);
        // Time is passed in.
        validation.validate_exp = false;
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        if let Some(audience) = &self.audience {
            validation.set_audience(&[audience]);
            validation.required_spec_claims.insert("aud".to_owned());
        }
        let mut failed = JwtError::Signature;
        for key in keys.candidates(algorithm, header.kid.as_deref()) {
            match jsonwebtoken::decode::<Map<String, Value>>(token, &key.decoding, &validation) {
                Ok(data) => return self.claims(&data.claims, key.digest, now),
                Err(error) => match error.kind() {
                    ErrorKind::InvalidSignature => {}
                    ErrorKind::MissingRequiredClaim(claim) => failed = JwtError::Missing(claim.clone()),
                    ErrorKind::InvalidIssuer => failed = JwtError::Issuer,
                    ErrorKind::InvalidAudience => failed = JwtError::Audience,
                    _ => failed = JwtError::Malformed,
                },
            }
        }
        Err(failed)
    }

    fn claims(&self, claims: &Map<String, Value>, key: TokenDigest, now: u64) -> Result<Verified, JwtError> {
        let time = |name: &str| claims.get(name).map(|value| seconds(value).ok_or(JwtError::Malformed));
        let expires = time("exp").ok_or_else(|| JwtError::Missing("exp".to_owned()))??;
        let leeway = self.leeway.as_secs();
        let ends = expires.saturating_add(leeway);
        if now >= ends {
            return Err(JwtError::Expired(Moment(expires)));
        }
        if let Some(begins) = time("nbf").transpose()?
            && now.saturating_add(leeway) < begins
        {
            return Err(JwtError::NotYet(Moment(begins)));
        }
        let subjects = find(claims, &self.claim).and_then(texts);
        let subjects = subjects.ok_or_else(|| JwtError::Claim(self.claim.clone()))?;
        Ok(Verified { subjects, expires: Moment(ends), key })
    }
}

/// Signs `claims` with a private key in PKCS#8, for tests and small sites. The algorithm is the key's own.
///
/// # Errors
/// For a key that is none of Ed25519, P-256 and RSA.
pub fn sign(claims: &Map<String, Value>, pkcs8: &[u8]) -> Result<String, jsonwebtoken::errors::Error> {
    jws::install();
    let (algorithm, key) = jws::signing_key(pkcs8)?;
    jsonwebtoken::encode(&Header::new(algorithm), claims, &key)
}

/// The same with a shared secret, HS256.
///
/// # Errors
/// None, with a secret.
pub fn sign_with_secret(
    claims: &Map<String, Value>,
    secret: &[u8],
) -> Result<String, jsonwebtoken::errors::Error> {
    jws::install();
    jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(secret))
}

/// A `NumericDate`: seconds, perhaps with a fraction, which is dropped.
fn seconds(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let seconds = value.as_f64().filter(|seconds| (0.0..1e15).contains(seconds))?;
        Some(seconds as u64)
    })
}

fn find<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let (outer, inner) = path.split_once('.')?;
    find(claims.get(outer)?.as_object()?, inner)
}

fn texts(value: &Value) -> Option<Arc<[String]>> {
    let texts: Vec<String> = match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(list) => list
            .iter()
            .take(MOST_SUBJECTS)
            .map(|one| one.as_str().map(str::to_owned))
            .collect::<Option<_>>()?,
        _ => return None,
    };
    (!texts.is_empty()).then(|| texts.into())
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn rules() -> JwtRules {
        let (issuer, audience) = (Some("https://sso.example.org".to_owned()), Some("wscast".to_owned()));
        JwtRules { keys: PathBuf::new(), issuer, audience, claim: "sub".to_owned(), leeway: LEEWAY }
    }

    fn claims(changes: &Value) -> Map<String, Value> {
        let mut claims = json!({
            "iss": "https://sso.example.org", "aud": ["other", "wscast"], "sub": "alice", "exp": NOW + 60
        });
        for (name, value) in changes.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        let claims = claims.as_object().expect("an object").clone();
        claims.into_iter().filter(|(_, value)| !value.is_null()).collect()
    }

    /// A private key and the set with its public side.
    fn ed25519() -> (Vec<u8>, Value) {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        let pair = Ed25519KeyPair::from_pkcs8(key.as_ref()).expect("the same");
        let x = BASE64.encode(pair.public_key().as_ref());
        (key.as_ref().to_vec(), json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "one"}))
    }

    fn p256() -> (Vec<u8>, Value) {
        let (random, kind) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let key = EcdsaKeyPair::generate_pkcs8(kind, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(kind, key.as_ref(), &random).expect("the same");
        let point = pair.public_key().as_ref();
        let (x, y) = (BASE64.encode(&point[1..33]), BASE64.encode(&point[33..]));
        (key.as_ref().to_vec(), json!({"kty": "EC", "crv": "P-256", "x": x, "y": y}))
    }

    fn set(keys: &[&Value]) -> KeySet {
        KeySet::parse(&json!({ "keys": keys }).to_string()).expect("a set")
    }

    #[test]
    fn what_was_signed_is_verified_and_nothing_else() {
        let ((ed, ed_jwk), (ec, ec_jwk), secret) = (ed25519(), p256(), [7; 32]);
        let oct = json!({"kty": "oct", "k": BASE64.encode(secret)});
        let keys = set(&[&ec_jwk, &ed_jwk, &oct]);
        let good = claims(&json!({}));
        for token in [sign(&good, &ed), sign(&good, &ec), sign_with_secret(&good, &secret)] {
            let token = token.expect("signed");
            let verified = rules().verify(&keys, &token, NOW).expect("good");
            assert_eq!(*verified.subjects, ["alice".to_owned()]);
            assert!(verified.expires == Moment(NOW + 90) && keys.has(&verified.key));
            let other = set(&[&ed25519().1, &p256().1]);
            assert_eq!(rules().verify(&other, &token, NOW), Err(JwtError::Signature));
            let mut bent = token.clone();
            bent.replace_range(
                token.len() - 10..token.len() - 9,
                if &token[token.len() - 10..token.len() - 9] == "A" { "B" } else { "A" },
            );
            assert_eq!(rules().verify(&keys, &bent, NOW), Err(JwtError::Signature));
        }
        // A public key is not a secret: what is "signed" with it by HS256 is refused.
        let public = BASE64.decode(ed_jwk["x"].as_str().expect("a text")).expect("base64");
        let confused = sign_with_secret(&good, &public).expect("signed");
        assert_eq!(rules().verify(&set(&[&ed_jwk]), &confused, NOW), Err(JwtError::Signature));
        let none = format!("{}.{}.", BASE64.encode(r#"{"alg":"none"}"#), BASE64.encode(r#"{"sub":"alice"}"#));
        assert!(matches!(rules().verify(&keys, &none, NOW), Err(JwtError::Algorithm | JwtError::Malformed)));
        let hs512 = format!("{}.e30.AA", BASE64.encode(r#"{"alg":"HS512"}"#));
        assert_eq!(rules().verify(&keys, &hs512, NOW), Err(JwtError::Algorithm));
        for text in ["", "..", "a.b.c", &"x".repeat(LONGEST_JWT + 1)] {
            assert_eq!(rules().verify(&keys, text, NOW), Err(JwtError::Malformed), "{text}");
        }
    }

    /// Made once with openssl: `genpkey -algorithm RSA`, `dgst -sha256 -sign`.
    #[test]
    fn rs256_of_another_program_is_verified() {
        let jwks: Value = serde_json::from_str(include_str!("jwt/rs256.json")).expect("JSON");
        let token = jwks["token"].as_str().expect("a text");
        let verified = rules().verify(&set(&[&jwks["key"]]), token, NOW).expect("good");
        assert_eq!(*verified.subjects, ["alice".to_owned()]);
    }

    #[test]
    fn claims_have_to_be_right() {
        let (key, jwk) = ed25519();
        let keys = set(&[&jwk]);
        let verify = |changes: Value, now: u64| {
            rules()
                .verify(&keys, &sign(&claims(&changes), &key).expect("signed"), now)
                .map(|good| good.subjects)
        };
        assert!(verify(json!({}), NOW + 89).is_ok());
        assert_eq!(verify(json!({}), NOW + 90), Err(JwtError::Expired(Moment(NOW + 60))));
        assert_eq!(verify(json!({"exp": null}), NOW), Err(JwtError::Missing("exp".to_owned())));
        assert_eq!(verify(json!({"iss": null}), NOW), Err(JwtError::Missing("iss".to_owned())));
        assert_eq!(verify(json!({"aud": null}), NOW), Err(JwtError::Missing("aud".to_owned())));
        assert_eq!(verify(json!({"iss": "https://evil.example"}), NOW), Err(JwtError::Issuer));
        assert_eq!(verify(json!({"aud": "other"}), NOW), Err(JwtError::Audience));
        assert_eq!(verify(json!({"nbf": NOW + 31}), NOW), Err(JwtError::NotYet(Moment(NOW + 31))));
        assert!(verify(json!({"nbf": NOW + 30}), NOW).is_ok());
        for exp in [json!("1900000000"), json!(-1), json!([])] {
            assert!(verify(json!({ "exp": exp }), NOW).is_err());
        }
        for sub in [json!(7), json!([]), json!(["a", 7]), json!({})] {
            let refused = verify(json!({ "sub": sub }), NOW);
            assert!(matches!(refused, Err(JwtError::Claim(_) | JwtError::Malformed)), "{refused:?}");
        }
        let unasked = JwtRules { issuer: None, audience: None, ..rules() };
        let token = sign(&claims(&json!({"iss": null})), &key).expect("signed");
        assert_eq!(
            unasked.verify(&keys, &token, NOW),
            Err(JwtError::Audience),
            "an audience that nobody asked for"
        );
        let nested = JwtRules { claim: "realm_access.roles".to_owned(), ..rules() };
        let token =
            sign(&claims(&json!({"realm_access": {"roles": ["viewer", "editor"]}})), &key).expect("signed");
        assert_eq!(nested.verify(&keys, &token, NOW).expect("good").subjects.len(), 2);
    }

    #[test]
    fn keys_are_told_apart_by_name_and_use() {
        let ((key, mut jwk), (_, other)) = (ed25519(), p256());
        let token = sign(&claims(&json!({})), &key).expect("signed");
        jwk["use"] = json!("enc");
        assert_eq!(rules().verify(&set(&[&jwk, &other]), &token, NOW), Err(JwtError::Signature));
        jwk["use"] = json!("sig");
        jwk["alg"] = json!("EdDSA");
        assert!(rules().verify(&set(&[&jwk, &other]), &token, NOW).is_ok());
        let unusable = json!({"keys": [{"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"}, {"kty": "new"}]});
        for (text, words) in [
            (unusable.to_string(), "none of its 2 keys"),
            ("{}".to_owned(), "no JWK set"),
            (r#"{"keys":[{"kty":"oct","k":"c2hvcnQ"}]}"#.to_owned(), "has 5 bytes"),
            (json!({"keys": vec![&other; 65]}).to_string(), "65 keys"),
        ] {
            let error = KeySet::parse(&text).expect_err(&text).to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
