//! The floor with TLS: a bare tokio-rustls loop that encrypts what the gateway would and sends it. Whatever is there is
//! framed, and each client is written to once.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::WebSocketStream;
use wscast::model::frame::{self, Opcode};

use crate::floor::join;
use crate::{Outcome, RelayArguments};

/// Datagrams taken before the clients are written to.
const BATCH: usize = 64;

type Clients = Rc<RefCell<Vec<WebSocketStream<TlsStream<TcpStream>>>>>;

/// Relays until it is killed.
pub(crate) fn run(arguments: &RelayArguments) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, relay(arguments))
}

async fn relay(arguments: &RelayArguments) -> Outcome<()> {
    let group = join(arguments)?;
    group.set_nonblocking(true)?;
    let group = UdpSocket::from_std(group)?;
    let listener = TcpListener::bind(arguments.listen).await?;
    let acceptor = acceptor(arguments)?;
    let joining = Clients::default();
    tokio::task::spawn_local(accept(listener, acceptor, Rc::clone(&joining)));
    let mut clients = Vec::new();
    let (mut datagram, mut frames) = (vec![0; 65536], Vec::new());
    loop {
        group.readable().await?;
        for _ in 0..BATCH {
            let Ok(length) = group.try_recv(&mut datagram) else { break };
            frame::put(&mut frames, Opcode::Binary, &datagram[..length]);
        }
        clients.append(&mut joining.borrow_mut());
        let mut staying = Vec::with_capacity(clients.len());
        for mut client in clients.drain(..) {
            let stream: &mut TlsStream<TcpStream> = client.get_mut();
            if stream.write_all(&frames).await.is_ok() && stream.flush().await.is_ok() {
                staying.push(client);
            }
        }
        clients = staying;
        frames.clear();
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, joining: Clients) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let Ok(stream) = acceptor.accept(stream).await else { continue };
        if let Ok(client) = tokio_tungstenite::accept_async(stream).await {
            joining.borrow_mut().push(client);
        }
    }
}

fn acceptor(arguments: &RelayArguments) -> Outcome<TlsAcceptor> {
    let made = rcgen::generate_simple_self_signed([arguments.listen.ip().to_string()])?;
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
