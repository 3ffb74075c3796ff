//! Flags of `wscast token`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::model::moment::Moment;
use crate::model::quantity::parse_duration;

/// Flags of `wscast token`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  wscast token new
  wscast token key signing.pem > jwks.json
  wscast token sign signing.pem --subject alice --audience wscast --for 8h
  wscast token check wscast.toml < token

docs/access.md says what to do with them.")]
pub struct TokenArgs {
    /// What to do
    #[command(subcommand)]
    pub action: TokenAction,
}

/// What `wscast token` does.
#[derive(Clone, Debug, Subcommand)]
pub enum TokenAction {
    /// Make a token: it is printed once, with the line for the configuration that knows it by
    New {
        /// The day or moment on which it ends, as 2027-01-31 or 2027-01-31T12:00:00Z
        #[arg(long, value_name = "MOMENT")]
        expires: Option<Moment>,
    },
    /// Make a key that signs JWTs (Ed25519), and print the JWK set with its public side
    Key {
        /// File for the private key, PKCS#8 in PEM; it must not exist
        file: PathBuf,
    },
    /// Sign a JWT with a private key (Ed25519, P-256 or RSA), and print it
    Sign(SignArgs),
    /// Say whose token standard input has, and what they may; exit code 1 where it is not good
    Check {
        /// The gateway's configuration file (TOML)
        config: PathBuf,
    },
}

/// Flags of `wscast token sign`.
#[derive(Clone, Debug, Args)]
pub struct SignArgs {
    /// File with the private key, PKCS#8 in PEM
    pub key: PathBuf,

    /// Who it is for: the value of the claim; repeatable
    #[arg(long, value_name = "TEXT", required = true)]
    pub subject: Vec<String>,

    /// The claim that has the subject, as the gateway's [jwt] names it
    #[arg(long, value_name = "NAME", default_value = "sub")]
    pub claim: String,

    /// aud
    #[arg(long, value_name = "TEXT")]
    pub audience: Option<String>,

    /// iss
    #[arg(long, value_name = "TEXT")]
    pub issuer: Option<String>,

    /// How long it is good, as 8h
    #[arg(long = "for", value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    pub good_for: Duration,
}
