//! What the flags say of TLS, for the URL that is connected to.

use crate::cli::TrustArgs;
use crate::client::{Identity, Trust};
use crate::tools::failure::Failure;

/// Reads the files that `arguments` name; nothing where `url` wants no TLS.
///
/// # Errors
/// [`Failure::Usage`] for flags that are for other URLs and for files that can't be read.
pub fn trust(url: &str, arguments: &TrustArgs) -> Result<Option<Trust>, Failure> {
    if !url.starts_with("wss://") {
        return match arguments {
            TrustArgs { ca: None, client_cert: None, .. } => Ok(None),
            _ => Err(Failure::Usage(format!(
                "connecting to {url}: --ca and --client-cert are for wss:// URLs: write wss://, or leave them out"
            ))),
        };
    }
    let identity = arguments.client_cert.as_deref().zip(arguments.client_key.as_deref());
    let identity = identity.map(|(certificate, key)| Identity { certificate, key });
    let trust = Trust::read(arguments.ca.as_deref(), identity);
    trust.map(Some).map_err(|error| Failure::Usage(format!("connecting to {url}: {error}")))
}
