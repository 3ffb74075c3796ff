//! `wscast token`: makes tokens and keys, signs JWTs, and says whose a token is.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::json;

use crate::cli::{SignArgs, TokenAction, TokenArgs};
use crate::model::config::{Config, Overrides};
use crate::model::grant::Grant;
use crate::model::jwt;
use crate::model::moment::Moment;
use crate::model::policy::ReceiveRule;
use crate::model::principal::Credential;
use crate::model::rule::Rule;
use crate::model::token::TokenDigest;
use crate::tools::check_config;
use crate::tools::failure::Failure;
use crate::web::access::{Access, unix_now};

/// Bytes of chance in a token.
const BYTES: usize = 32;
/// In front of each, so that people and scanners for secrets know one when they see it.
const PREFIX: &str = "wscast_";
/// Bytes of what may be shown as a token, and of a key's file.
const LARGEST: u64 = 64 << 10;
/// The lines around a private key in PEM (RFC 7468 section 10).
const PEM: [&str; 2] = ["-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"];

/// Does what the flags say.
///
/// # Errors
/// [`Failure::Usage`] for files that can't be read and keys that are none, [`Failure::Running`] for a token that is not
/// good.
pub fn run(arguments: &TokenArgs) -> Result<(), Failure> {
    match &arguments.action {
        TokenAction::New { expires } => new(*expires),
        TokenAction::Key { file } => key(file),
        TokenAction::Sign(arguments) => sign(arguments),
        TokenAction::Check { config } => check(config),
    }
}

fn new(expires: Option<Moment>) -> Result<(), Failure> {
    let mut bytes = [0; BYTES];
    chance(SystemRandom::new().fill(&mut bytes))?;
    let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
    let digest = TokenDigest::of(token.as_bytes());
    let line = match expires {
        Some(expires) => format!("tokens = [{{ digest = \"{digest}\", expires = \"{expires}\" }}]"),
        None => format!("tokens = [\"{digest}\"]"),
    };
    // What is secret alone on standard output, so that it can go into a file.
    println!("{token}");
    eprintln!("for [principals.NAME] in the configuration file:\n{line}");
    Ok(())
}

fn key(file: &Path) -> Result<(), Failure> {
    let pkcs8 = chance(Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()))?;
    let pair = chance(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()))?;
    let mut text = format!("{}\n", PEM[0]);
    for line in STANDARD.encode(pkcs8.as_ref()).as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text = text + PEM[1] + "\n";
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    written
        .and_then(|mut opened| opened.write_all(text.as_bytes()))
        .map_err(|error| Failure::Usage(format!("writing the key {}: {error}", file.display())))?;
    let public = pair.public_key().as_ref();
    let id = URL_SAFE_NO_PAD.encode(ring::digest::digest(&ring::digest::SHA256, public).as_ref());
    let jwk = json!({
        "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
        "kid": &id[..16], "x": URL_SAFE_NO_PAD.encode(public)
    });
    println!("{:#}", json!({ "keys": [jwk] }));
    Ok(())
}

fn sign(arguments: &SignArgs) -> Result<(), Failure> {
    let SignArgs { key, subject, claim, audience, issuer, good_for } = arguments;
    let usage = |words: String| Failure::Usage(format!("signing with {}: {words}", key.display()));
    let pkcs8 = read_key(key).map_err(usage)?;
    let now = unix_now();
    let subject = match &subject[..] {
        [one] => json!(one),
        several => json!(several),
    };
    let mut claims = serde_json::Map::new();
    claims.insert("iat".to_owned(), json!(now));
    claims.insert("exp".to_owned(), json!(now.saturating_add(good_for.as_secs())));
    claims.insert(claim.clone(), subject);
    for (name, value) in [("aud", audience), ("iss", issuer)] {
        if let Some(value) = value {
            claims.insert(name.to_owned(), json!(value));
        }
    }
    let token = jwt::sign(&claims, &pkcs8).map_err(|_| {
        usage("it is no key for Ed25519, P-256 or RSA: `wscast token key FILE` makes one".to_owned())
    })?;
    println!("{token}");
    Ok(())
}

fn check(path: &Path) -> Result<(), Failure> {
    let config: Config = check_config::read(Some(path), Overrides::default())?;
    let access = Access::load(&config).map_err(|error| Failure::Usage(error.to_string()))?;
    let mut token = String::new();
    io::stdin()
        .take(LARGEST)
        .read_to_string(&mut token)
        .map_err(|error| Failure::doing("reading a token from standard input", &error))?;
    let identity = access
        .by_token(token.trim(), unix_now())
        .map_err(|error| Failure::Running(format!("this token is not good: {error}")))?;
    let how = match &identity.credential {
        Credential::Jwt { subjects, .. } => format!("a JWT of {}", subjects.join(", ")),
        _ => "a static token".to_owned(),
    };
    let until = identity.expires.map_or_else(|| "for ever".to_owned(), |expires| format!("until {expires}"));
    println!("principal: {}\nknown by:  {how}, good {until}", identity.principal.name);
    print!("{}", describe(identity.grant()));
    Ok(())
}

/// What a grant allows, a line each.
fn describe(grant: &Grant) -> String {
    let list = |texts: &[String]| if texts.is_empty() { "nothing".to_owned() } else { texts.join(", ") };
    let number =
        |number: Option<u32>| number.map_or_else(|| "the gateway's".to_owned(), |number| number.to_string());
    let rules = |rules: &[Rule]| list(&rules.iter().map(ToString::to_string).collect::<Vec<_>>());
    let (receive, send) = grant.policy.rules();
    let receive = match receive {
        ReceiveRule::AnyButDenied => "everything but the deny list".to_owned(),
        ReceiveRule::Listed(listed) => rules(listed),
    };
    format!(
        "streams:   {}, and sends to {}\nreceives:  {receive}\nsends to:  {}\nTTL:       {}\n\
         sends:     {} a second\nstreams of a session: {}, sessions: {}\nstatus:    {}\n",
        list(grant.streams.patterns()),
        list(grant.send_streams.patterns()),
        rules(send),
        number(grant.max_ttl.map(u32::from)),
        number(grant.send_rate),
        number(grant.streams_per_session),
        grant.sessions.map_or_else(|| "any number".to_owned(), |most| most.to_string()),
        if grant.status { "yes" } else { "no" },
    )
}

/// The bytes between the lines of a PEM file.
fn read_key(path: &Path) -> Result<Vec<u8>, String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(LARGEST).read_to_string(&mut text).map_err(|error| error.to_string())?;
    let inner = text.split_once(PEM[0]).and_then(|(_, rest)| rest.split_once(PEM[1])).map(|(inner, _)| inner);
    let inner =
        inner.ok_or_else(|| format!("there is no {}: the key is wanted in PKCS#8, as PEM", PEM[0]))?;
    let digits: String = inner.split_whitespace().collect();
    STANDARD.decode(digits).map_err(|error| format!("between the lines of PEM is no base64: {error}"))
}

fn chance<T, E>(result: Result<T, E>) -> Result<T, Failure> {
    result.map_err(|_| Failure::Running("the system has no random numbers".to_owned()))
}
