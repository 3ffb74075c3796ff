//! A program's side of `wscast.v1`: many streams and senders over one connection that mends itself.
//!
//! ```no_run
//! use wscast::client::{Event, Options, connect};
//! use wscast::model::control::Join;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let gateway = connect("ws://127.0.0.1:8080", Options::default()).await?;
//! let mut subscription = gateway.join(Join::of("239.1.2.3:5000".parse()?)).await?;
//! while let Some(event) = subscription.next().await {
//!     match event {
//!         Event::Datagram(datagram) => println!("{} bytes from {}", datagram.payload.len(), datagram.source),
//!         Event::Lost(loss) => println!("{loss}"),
//!         other => println!("{other:?}"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`Gateway`] owns the task that talks to the gateway: dropped, it ends the connection, and with it every
//! [`Subscription`] and [`Sender`]. When the connection is lost, the task comes back with full jitter, joins and opens
//! again, and says in each subscription what is missing ([`Event::Lost`]); where nobody can know how much, it says that. A
//! program that reads too slowly loses the oldest datagrams of its own queue, counted; the gateway is not kept waiting.

mod backoff;
mod connection;
mod dial;
mod error;
mod queue;
mod registry;
mod sender;
mod subscription;
mod token_file;
mod trust;
mod wanted;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::model::control::{Join, JoinNamed, OpenSend, OpenSendNamed, Token};

pub use error::{ClientError, SendError};
pub use queue::{Datagram, Event, Loss, LossPlace, Losses};
pub use sender::{Replies, Sender};
pub use subscription::Subscription;
pub use token_file::{LARGEST_TOKEN_FILE, TokenFile, TokenFileError};
pub use trust::{Identity, Protected, Trust, TrustError};

use connection::Connection;
use dial::Address;
pub(crate) use dial::authorize;
use queue::Queue;
use registry::{Registry, Request};
use sender::SenderState;
use wanted::{WantedSender, WantedStream};

/// Datagrams from all senders that wait to be written to the connection; a sender waits for room.
const SENDING: usize = 256;

/// How to connect and what to hold.
#[derive(Clone, Debug)]
pub struct Options {
    /// Events that one subscription holds for its reader, at least 1; beyond, the oldest are lost.
    pub queue_events: usize,
    /// Bytes of payload that one subscription holds for its reader; beyond, the oldest are lost.
    pub queue_bytes: usize,
    /// The token, sent as `Authorization: Bearer`.
    pub token: Option<Token>,
    /// A gateway that says nothing for so long is taken for dead. It says something every 20 s.
    pub silence: Duration,
    /// Whom to trust at `wss://` addresses; `None` for the certificate authorities of the system.
    pub trust: Option<Trust>,
}

/// A connection to a gateway, mended when it breaks. Dropped, it ends.
#[derive(Debug)]
pub struct Gateway {
    requests: mpsc::UnboundedSender<Request>,
    datagrams: mpsc::Sender<(u64, bytes::Bytes)>,
    link: watch::Receiver<Link>,
    options: Options,
    keys: AtomicU64,
    task: JoinHandle<()>,
}

/// How the connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// It stands.
    Up {
        /// The random name of this run of the gateway.
        gateway: Arc<str>,
        /// The gateway's version.
        version: Arc<str>,
    },
    /// It is lost, and tried again.
    Away(ClientError),
    /// It has ended, and is not tried again.
    Over(ClientError),
}

impl Default for Options {
    fn default() -> Options {
        let silence = Duration::from_secs(45);
        Options { queue_events: 8192, queue_bytes: 8 << 20, token: None, silence, trust: None }
    }
}

/// Connects to the gateway at `url`, as `ws://HOST:PORT` or `wss://HOST:PORT`, and waits for its `hello`. Wants a tokio runtime with time and
/// I/O.
///
/// # Errors
/// Where the URL is none, nobody answers within 10 s, or the gateway refuses or does not speak `wscast.v1`. Only the first
/// connection fails like this: a later loss is mended.
pub async fn connect(url: &str, mut options: Options) -> Result<Gateway, ClientError> {
    let address = Address::parse(url)?;
    if !address.is_secure() {
        options.trust = None;
    } else if options.trust.is_none() {
        let reason = |error: TrustError| ClientError::Url { url: url.to_owned(), fix: error.to_string() };
        options.trust = Some(Trust::read(None, None).map_err(reason)?);
    }
    let (socket, welcome) = dial::dial(&address, &options).await?;
    let (requests, requested) = mpsc::unbounded_channel();
    let (datagrams, sending) = mpsc::channel(SENDING);
    let (told, link) = watch::channel(welcome.link());
    let connection = Connection::new(address, options.clone(), Registry::default(), requested, sending, told);
    let task = tokio::spawn(connection.run(socket, welcome));
    Ok(Gateway { requests, datagrams, link, options, keys: AtomicU64::new(1), task })
}

/// Connects to the door that the gateway at `url` has for other gateways; the connection, and the gateway's run as its `hello`
/// says it.
///
/// # Errors
/// As [`connect`].
pub(crate) async fn connect_link(
    url: &str,
    options: &Options,
) -> Result<(dial::Socket, String), ClientError> {
    let (socket, welcome) = dial::dial_link(url, options).await?;
    Ok((socket, welcome.gateway))
}

impl Gateway {
    /// Hears a group; waits for the gateway's answer.
    ///
    /// # Errors
    /// [`ClientError::Denied`] where the gateway refuses, or what ended the connection. While the connection is away, it
    /// waits; joins that come too fast for the gateway are repeated a little later.
    pub async fn join(&self, join: Join) -> Result<Subscription, ClientError> {
        self.subscribe(WantedStream::Group(join)).await
    }

    /// Hears a stream that the gateway's configuration names; waits for the gateway's answer.
    ///
    /// # Errors
    /// As [`join`](Self::join); a name that is not there, or that this client may not see, is denied.
    pub async fn join_named(&self, join: JoinNamed) -> Result<Subscription, ClientError> {
        self.subscribe(WantedStream::Named(join)).await
    }

    async fn subscribe(&self, wanted: WantedStream) -> Result<Subscription, ClientError> {
        let queue = self.queue();
        let (answer, answered) = oneshot::channel();
        let key = self.key();
        let group = wanted.group();
        self.ask(Request::Join { key, wanted: Box::new(wanted), queue: Arc::clone(&queue), answer })?;
        // Made before the answer: who stops waiting leaves by dropping it.
        let subscription = Subscription::new(key, group, queue, self.requests.clone());
        answered.await.map_err(|_| self.reason())??;
        Ok(subscription)
    }

    /// Opens a sender to a group; waits for the gateway's answer.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub async fn sender(&self, open: OpenSend) -> Result<Sender, ClientError> {
        self.open(WantedSender::Group(open)).await
    }

    /// Opens a sender to a stream that the gateway's configuration names; waits for the gateway's answer.
    ///
    /// # Errors
    /// As [`join_named`](Self::join_named).
    pub async fn sender_named(&self, open: OpenSendNamed) -> Result<Sender, ClientError> {
        self.open(WantedSender::Named(open)).await
    }

    async fn open(&self, wanted: WantedSender) -> Result<Sender, ClientError> {
        let queue = self.queue();
        let state = Arc::new(SenderState::default());
        let (answer, answered) = oneshot::channel();
        let key = self.key();
        let group = wanted.group();
        let request = Request::Open {
            key,
            wanted: Box::new(wanted),
            queue: Arc::clone(&queue),
            state: Arc::clone(&state),
            answer,
        };
        self.ask(request)?;
        let sender = Sender::new(key, group, state, queue, self.requests.clone(), self.datagrams.clone());
        answered.await.map_err(|_| self.reason())??;
        Ok(sender)
    }

    /// How the connection is, to look at and to wait for changes of.
    #[must_use]
    pub fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    /// Says goodbye and waits a second at most for the gateway's answer.
    pub async fn close(self) {
        let (answer, answered) = oneshot::channel();
        if self.ask(Request::Goodbye(answer)).is_ok() {
            let _ = answered.await;
        }
    }

    fn queue(&self) -> Arc<Queue> {
        Arc::new(Queue::new(self.options.queue_events, self.options.queue_bytes))
    }

    fn key(&self) -> u64 {
        self.keys.fetch_add(1, Ordering::Relaxed)
    }

    fn ask(&self, request: Request) -> Result<(), ClientError> {
        self.requests.send(request).map_err(|_| self.reason())
    }

    /// Why there is no connection any more.
    fn reason(&self) -> ClientError {
        match &*self.link.borrow() {
            Link::Over(reason) => reason.clone(),
            Link::Up { .. } | Link::Away(_) => ClientError::Gone,
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}
