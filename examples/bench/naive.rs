//! The obvious relay, as it is written in an afternoon: tokio-tungstenite as it comes, a broadcast channel, one send for
//! each client and message.

use futures_util::SinkExt;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::floor::join;
use crate::{Outcome, RelayArguments};

/// Datagrams that a client may be behind.
const BEHIND: usize = 1024;

/// Relays until it is killed.
pub(crate) fn run(arguments: &RelayArguments) -> Outcome<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let group = join(arguments)?;
        group.set_nonblocking(true)?;
        let group = UdpSocket::from_std(group)?;
        let listener = TcpListener::bind(arguments.listen).await?;
        let (sender, _) = broadcast::channel::<Bytes>(BEHIND);
        let accepting = sender.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut receiver = accepting.subscribe();
                tokio::spawn(async move {
                    let _ = stream.set_nodelay(true);
                    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
                    loop {
                        match receiver.recv().await {
                            Ok(bytes) => {
                                if socket.send(Message::Binary(bytes)).await.is_err() {
                                    return;
                                }
                            }
                            Err(RecvError::Lagged(_)) => {}
                            Err(RecvError::Closed) => return,
                        }
                    }
                });
            }
        });
        let mut datagram = vec![0; 65536];
        loop {
            let length = group.recv(&mut datagram).await?;
            let _ = sender.send(Bytes::copy_from_slice(&datagram[..length]));
        }
    })
}
