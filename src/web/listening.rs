//! An open listener: a TCP port, or a unix socket whose file is removed when it is dropped.

use std::fs::{self, File, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;
use tokio::net::{TcpListener, UnixListener};

use crate::model::listener::{ListenAddress, Listener};
use crate::web::socket::Carrier;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// What nobody else may do with a unix socket's file before its own mode is set.
const OURS: u32 = 0o600;

/// An open listener.
#[derive(Debug)]
pub struct Listening {
    /// What is spoken there; a port 0 has become a real one.
    pub listener: Listener,
    socket: Waiting,
    /// Removed with it.
    _file: Option<SocketFile>,
}

#[derive(Debug)]
enum Waiting {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The file of a unix socket.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode: a later gateway's file of that name is not ours to remove.
    identity: (u64, u64),
}

/// Why a listener could not be had.
#[derive(Debug, Error)]
#[error("listening on {address}: {reason}")]
pub struct ListenError {
    /// Where.
    pub address: ListenAddress,
    /// What is wrong, and how to mend it.
    pub reason: String,
}

impl Listening {
    /// Opens a listener, inside a tokio runtime.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn open(mut listener: Listener) -> Result<Self, ListenError> {
        let socket = match &listener.at {
            ListenAddress::Tcp(address) => open_tcp(*address).map(|tcp| (Waiting::Tcp(tcp), None)),
            ListenAddress::Unix(path) => {
                open_unix(path, listener.mode).map(|(unix, file)| (Waiting::Unix(unix), Some(file)))
            }
        };
        let address = listener.at.clone();
        let (socket, _file) =
            socket.map_err(|error| ListenError { reason: reason(&address, &error), address })?;
        if let Waiting::Tcp(tcp) = &socket
            && let Ok(real) = tcp.local_addr()
        {
            listener.at = ListenAddress::Tcp(real);
        }
        Ok(Listening { listener, socket, _file })
    }

    /// The next connection, and who is at its other end.
    ///
    /// # Errors
    /// As the kernel gives them, mostly that there are no more descriptors.
    pub async fn accept(&self) -> io::Result<(Carrier, SocketAddr)> {
        match &self.socket {
            Waiting::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Carrier::Tcp(stream), peer))
            }
            Waiting::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Carrier::Unix(stream), ListenAddress::nobody()))
            }
        }
    }
}

fn open_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), None)?;
    // For a quick restart. Without SO_REUSEPORT: a second gateway on the port must fail, not share.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn open_unix(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
    let bind = || -> io::Result<Socket> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
        // Linux gives the file the mode of the socket's own inode: nobody slips in before the mode is set.
        let inode = File::from(OwnedFd::from(socket.try_clone()?));
        inode.set_permissions(Permissions::from_mode(OURS))?;
        socket.bind(&SockAddr::unix(path)?)?;
        Ok(socket)
    };
    let socket = match bind() {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path) => {
            fs::remove_file(path)?;
            bind()?
        }
        result => result?,
    };
    let metadata = fs::symlink_metadata(path)?;
    let file = SocketFile { path: path.to_owned(), identity: (metadata.dev(), metadata.ino()) };
    socket.listen(BACKLOG)?;
    let listener = UnixListener::from_std(socket.into())?;
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok((listener, file))
}

/// Whether a socket's file was left behind by somebody who is no more.
fn is_stale(path: &Path) -> bool {
    let socket = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    socket && StdUnixStream::connect(path).is_err_and(refused)
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn reason(address: &ListenAddress, error: &io::Error) -> String {
    match (address, error.kind()) {
        (ListenAddress::Tcp(address), io::ErrorKind::AddrInUse) => {
            let port = address.port();
            format!(
                "port {port} is already in use: see by whom with `ss -ltnp 'sport = :{port}'`, or choose another with \
                 --listen"
            )
        }
        (ListenAddress::Tcp(address), io::ErrorKind::AddrNotAvailable) => {
            format!("{} is not an address of this host: see `ip address`", address.ip())
        }
        (ListenAddress::Tcp(address), io::ErrorKind::PermissionDenied) => {
            format!("port {} needs CAP_NET_BIND_SERVICE: choose one above 1023 with --listen", address.port())
        }
        (ListenAddress::Unix(path), io::ErrorKind::AddrInUse) => format!(
            "somebody listens there already, or the file is no socket: see by whom with `ss -lxp`, or remove {}",
            path.display()
        ),
        (ListenAddress::Unix(path), io::ErrorKind::NotFound) => {
            let folder = path.parent().unwrap_or(path).display();
            format!("there is no folder {folder}: make it, or let systemd do so with RuntimeDirectory=")
        }
        _ => error.to_string(),
    }
}
