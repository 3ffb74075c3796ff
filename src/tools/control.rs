//! The control socket: where `wscast reload` asks a running gateway, and is told what came of it.
//!
//! One line each way: `reload`, and a [`Verdict`] as JSON. Only the gateway's own user and root are answered.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tracing::{debug, warn};

use crate::gateway::reload::Reloaded;

/// What is asked for.
const RELOAD: &str = "reload";
/// Bytes of a request, and how long it may take.
const REQUEST: (u64, Duration) = (64, Duration::from_secs(2));
/// Bytes of an answer: names of settings, or an error with the line of the file that it is in.
const ANSWER: u64 = 64 << 10;
/// How long an answer may take: longer than a gateway gives its shards.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two tries to accept where the system refuses.
const PAUSE: Duration = Duration::from_secs(1);

/// What came of a reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Verdict {
    /// The configuration is in force.
    TakenOver(Reloaded),
    /// Nothing has changed.
    Refused {
        /// Why.
        reason: String,
    },
}

/// A gateway's side; the socket's file is removed when it is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    listener: UnixListener,
}

/// Somebody who asked for a reload and waits for the answer.
#[derive(Debug)]
pub struct AskedToReload(UnixStream);

impl ControlSocket {
    /// Listens at `path`. What a gateway that was killed has left there gives way; one that answers does not.
    ///
    /// # Errors
    /// What the system says, or that another gateway is there.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let stale = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
        if stale {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another gateway answers there"));
            }
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        let socket = ControlSocket { path: path.to_owned(), listener };
        std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
        Ok(socket)
    }

    /// Waits for somebody who may ask, and does. Cancelled without loss but for who is half heard.
    pub async fn asked(&self) -> AskedToReload {
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "accepting at the control socket");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            match tokio::time::timeout(REQUEST.1, hear(stream)).await {
                Ok(Ok(asked)) => return asked,
                Ok(Err(error)) => debug!(%error, "at the control socket"),
                Err(_) => debug!("nothing was asked for at the control socket"),
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Whoever removed it has done so.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl AskedToReload {
    /// Tells what came of it.
    pub async fn answer(mut self, verdict: &Verdict) {
        let mut line = serde_json::to_string(verdict).unwrap_or_else(|error| error.to_string());
        line.push('\n');
        // Whoever asked may have gone.
        let _ = tokio::time::timeout(REQUEST.1, self.0.write_all(line.as_bytes())).await;
    }
}

async fn hear(stream: UnixStream) -> io::Result<AskedToReload> {
    let (asking, own) = (stream.peer_cred()?.uid(), std::os::unix::fs::MetadataExt::uid(&own_process()?));
    if asking != own && asking != 0 {
        return Err(io::Error::other(format!("user {asking} may not ask")));
    }
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    (&mut reader).take(REQUEST.0).read_line(&mut line).await?;
    if line.trim_end() != RELOAD {
        return Err(io::Error::other(format!("there is no request {line:?}")));
    }
    Ok(AskedToReload(reader.into_inner()))
}

/// Its owner is the user that this process runs as.
fn own_process() -> io::Result<std::fs::Metadata> {
    std::fs::metadata("/proc/self")
}

/// Asks the gateway at `path` to reload.
///
/// # Errors
/// What the system says, and a gateway that says nothing.
pub async fn ask_to_reload(path: &Path) -> io::Result<Verdict> {
    let ask = async {
        let mut stream = UnixStream::connect(path).await?;
        stream.write_all(format!("{RELOAD}\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.take(ANSWER).read_to_string(&mut answer).await?;
        if answer.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it ended without an answer: it runs as another user, or is stopping",
            ));
        }
        serde_json::from_str(&answer).map_err(io::Error::other)
    };
    let late =
        |_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", PATIENCE.as_secs()));
    tokio::time::timeout(PATIENCE, ask).await.map_err(late)?
}
