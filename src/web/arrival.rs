//! A connection on its way from the thread that accepted it to the shard that serves it.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpStream, UnixStream};

use crate::model::limits::Limits;
use crate::web::connection::prepare;
use crate::web::socket::Carrier;
use crate::web::tls::{ClientCertificate, Layer};

/// A socket of no runtime.
#[derive(Debug)]
pub enum Detached {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// A unix stream socket.
    Unix(std::os::unix::net::UnixStream),
}

/// Who is connected with whom.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// The client, as far as is known.
    pub peer: SocketAddr,
    /// Where it connected to.
    pub local: SocketAddr,
}

/// What is known of a connection.
#[derive(Debug)]
pub struct Arrival {
    /// Set before it is handed over.
    pub ends: Option<Ends>,
    /// Its TLS, after the handshake.
    pub layer: Option<Layer>,
    /// Whether it was encrypted when it came to us.
    pub secure: bool,
    /// Whether its requests may say for whom they are.
    pub trusted: bool,
    /// Who the client says that it is, by TLS.
    pub certificate: Option<ClientCertificate>,
}

impl Arrival {
    /// Without TLS.
    #[must_use]
    pub fn plain(trusted: bool) -> Self {
        Arrival { ends: None, layer: None, secure: false, trusted, certificate: None }
    }
}

impl Detached {
    /// Takes a socket away from the runtime of this thread.
    ///
    /// # Errors
    /// As the kernel gives them.
    pub fn from(carrier: Carrier) -> io::Result<Self> {
        Ok(match carrier {
            Carrier::Tcp(stream) => Detached::Tcp(stream.into_std()?),
            Carrier::Unix(stream) => Detached::Unix(stream.into_std()?),
        })
    }

    /// Gives it to the runtime of this thread, bounded.
    ///
    /// # Errors
    /// As the kernel gives them, mostly that the connection is gone.
    pub fn attach(self, limits: &Limits) -> io::Result<Carrier> {
        Ok(match self {
            Detached::Tcp(stream) => {
                prepare(&stream, limits)?;
                Carrier::Tcp(TcpStream::from_std(stream)?)
            }
            Detached::Unix(stream) => {
                stream.set_nonblocking(true)?;
                socket2::SockRef::from(&stream).set_send_buffer_size(limits.socket_buffer)?;
                Carrier::Unix(UnixStream::from_std(stream)?)
            }
        })
    }
}
