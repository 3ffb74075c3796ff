//! What the flags and the environment say of trust, for the URL that is connected to: whom to trust, and who to be.

use crate::cli::TrustArgs;
use crate::client::{ClientError, Identity, TokenFile, Trust};
use crate::model::token::Token;
use crate::tools::counters::say;
use crate::tools::failure::Failure;

/// The variable of the environment that may have the token: what `ps` does not show, as it would an argument.
const TOKEN: &str = "WSCAST_TOKEN";
/// How to show a token that a gateway wants.
pub const SHOW: &str = "show one with --token-file FILE, or in WSCAST_TOKEN";

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

/// The token to show at `url`: the first line of the file that is named, else what the environment has. Says where it is
/// in danger: in a file that others may read, and on a way that others may.
///
/// # Errors
/// [`Failure::Usage`] for a file without a token, and for a token that can't be one.
pub fn token(url: &str, arguments: &TrustArgs) -> Result<Option<Token>, Failure> {
    let usage = |words: String| Failure::Usage(format!("connecting to {url}: {words}"));
    let token = match &arguments.token_file {
        Some(file) => {
            let read = TokenFile::read(file).map_err(|error| usage(error.to_string()))?;
            if let Some(warning) = read.warning(file) {
                say(format_args!("wscast: {warning}"));
            }
            read.token
        }
        None => match std::env::var(TOKEN) {
            Ok(text) if text.is_empty() => return Ok(None),
            Ok(text) if text.bytes().all(|byte| byte.is_ascii_graphic()) => Token(text),
            Err(std::env::VarError::NotPresent) => return Ok(None),
            Ok(_) | Err(_) => {
                return Err(usage(format!("{TOKEN} has to be the token and nothing else: no spaces")));
            }
        },
    };
    if !is_private(url) {
        say(format_args!(
            "wscast: the token goes to {url} as it is: whoever reads the network on the way has it: use TLS (wss://, https://)"
        ));
    }
    Ok(Some(token))
}

/// The words of an error of the connection, with the fix where it is a token that is missing or wrong.
#[must_use]
pub fn explain(error: &ClientError) -> String {
    let about_tokens = matches!(
        error,
        ClientError::Refused { status: 401, .. } | ClientError::Closed { code: 4401 | 4408, .. }
    );
    if about_tokens { format!("{error}: {SHOW}") } else { error.to_string() }
}

/// Whether nobody on the way can read what is said to `url`.
fn is_private(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let authority = rest.split('/').next().unwrap_or("");
    let host = match authority.strip_prefix('[') {
        Some(six) => six.split(']').next().unwrap_or(""),
        None => authority.split(':').next().unwrap_or(""),
    };
    let here = host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    matches!(scheme, "wss" | "https") || here || host == "localhost"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_on_this_machine_or_goes_by_tls_is_private() {
        for (url, private) in [
            ("wss://gateway.lan:8443/v1", true),
            ("https://gateway.lan", true),
            ("ws://127.0.0.1:8080/udp/239.1.2.3:5000", true),
            ("ws://[::1]:8080", true),
            ("http://localhost:8080/", true),
            ("ws://10.9.0.1:8080", false),
            ("ws://[2001:db8::1]:8080", false),
            ("http://127.0.0.1.example", false),
        ] {
            assert_eq!(is_private(url), private, "{url}");
        }
    }
}
