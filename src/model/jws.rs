//! Signatures of JWTs (RFC 7518, RFC 8037): what `jsonwebtoken` wants of a cryptographic library, from `ring`.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{Error, Signer, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents, UnparsedPublicKey,
};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| match of_family(*algorithm, key.family()) {
        true => Ok(Box::new(RingSigner { algorithm: *algorithm, key: key.clone() })),
        false => Err(ErrorKind::InvalidAlgorithm.into()),
    },
    verifier_factory: |algorithm, key| match of_family(*algorithm, key.family()) {
        true => Ok(Box::new(RingVerifier { algorithm: *algorithm, key: key.clone() })),
        false => Err(ErrorKind::InvalidAlgorithm.into()),
    },
    // For making JWKs out of other keys: nothing here does.
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes `jsonwebtoken` use what stands here. A program around us that has chosen something else keeps it.
pub(super) fn install() {
    let _ = PROVIDER.install_default();
}

/// Whether it is one of the four algorithms, and the key one for it: a public key is never taken for a shared secret.
fn of_family(algorithm: Algorithm, family: AlgorithmFamily) -> bool {
    matches!(
        (algorithm, family),
        (Algorithm::EdDSA, AlgorithmFamily::Ed)
            | (Algorithm::ES256, AlgorithmFamily::Ec)
            | (Algorithm::RS256, AlgorithmFamily::Rsa)
            | (Algorithm::HS256, AlgorithmFamily::Hmac)
    )
}

struct RingVerifier {
    algorithm: Algorithm,
    key: DecodingKey,
}

struct RingSigner {
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        let verified = match (self.algorithm, self.key.kind()) {
            (Algorithm::EdDSA, DecodingKeyKind::SecretOrDer(key)) => {
                UnparsedPublicKey::new(&ED25519, key).verify(message, signature)
            }
            (Algorithm::ES256, DecodingKeyKind::SecretOrDer(key)) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(message, signature)
            }
            (Algorithm::HS256, DecodingKeyKind::SecretOrDer(key)) => {
                hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key), message, signature)
            }
            (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
            _ => return Err(Error::new()),
        };
        verified.map_err(|_| Error::new())
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Signer<Vec<u8>> for RingSigner {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, Error> {
        let (key, random) = (self.key.as_bytes(), SystemRandom::new());
        Ok(match self.algorithm {
            Algorithm::EdDSA => {
                let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key).map_err(|_| Error::new())?;
                key.sign(message).as_ref().to_vec()
            }
            Algorithm::ES256 => {
                let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key, &random);
                let key = key.map_err(|_| Error::new())?;
                key.sign(&random, message).map_err(|_| Error::new())?.as_ref().to_vec()
            }
            Algorithm::HS256 => {
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
            }
            Algorithm::RS256 => {
                let key = RsaKeyPair::from_pkcs8(key).map_err(|_| Error::new())?;
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map_err(|_| Error::new())?;
                signature
            }
            _ => return Err(Error::new()),
        })
    }
}

impl JwtSigner for RingSigner {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// Which of the algorithms this program speaks; `None` for any other.
pub(super) fn spoken(algorithm: Algorithm) -> Option<Algorithm> {
    use Algorithm::{ES256, EdDSA, HS256, RS256};
    [EdDSA, ES256, RS256, HS256].into_iter().find(|known| *known == algorithm)
}

/// A signing key and the algorithm that goes with it.
pub(super) fn signing_key(pkcs8: &[u8]) -> Result<(Algorithm, EncodingKey)> {
    if Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).is_ok() {
        return Ok((Algorithm::EdDSA, EncodingKey::from_ed_der(pkcs8)));
    }
    if EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &SystemRandom::new()).is_ok() {
        return Ok((Algorithm::ES256, EncodingKey::from_ec_der(pkcs8)));
    }
    if RsaKeyPair::from_pkcs8(pkcs8).is_ok() {
        return Ok((Algorithm::RS256, EncodingKey::from_rsa_der(pkcs8)));
    }
    Err(ErrorKind::InvalidKeyFormat.into())
}
