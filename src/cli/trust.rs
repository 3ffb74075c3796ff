//! Flags of the verbs that connect to gateways over TLS.

use std::path::PathBuf;

use clap::Args;

/// Whom to trust at a gateway, and who to be there.
#[derive(Clone, Debug, Default, Args)]
pub struct TrustArgs {
    /// Trust the certificate authorities in this PEM file, for wss:// [default: those of the system]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// Certificate to show to a gateway that asks for one, PEM, for wss://
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub client_cert: Option<PathBuf>,

    /// The key of --client-cert, PEM
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    pub client_key: Option<PathBuf>,

    /// File whose first line is the token that the gateway wants; without it, WSCAST_TOKEN may have the token
    #[arg(long, value_name = "FILE", env = "WSCAST_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
}
