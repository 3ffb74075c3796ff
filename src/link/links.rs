//! The links of a gateway as the rest of it sees them: a thread of their own, and the way to it.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::thread;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, LocalSet};
use tracing::error;

use crate::link::exchange::{Exchange, Rules};
use crate::link::{answering, calling};
use crate::model::link::LinkConfig;
use crate::model::status::LinksStatus;

/// Commands that wait for the links.
const COMMANDS: usize = 64;

/// A connection, of whatever kind.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// The links' thread; ends with [`Links::stop`], or when the last [`Door`] is gone.
pub struct Links {
    door: Door,
    thread: thread::JoinHandle<()>,
}

/// The way to the links.
#[derive(Clone)]
pub struct Door {
    commands: mpsc::Sender<Command>,
}

enum Command {
    Serve(Box<dyn Io>, SocketAddr, oneshot::Sender<()>),
    Status(oneshot::Sender<LinksStatus>),
    Adopt(Box<Rules>),
    Stop(oneshot::Sender<()>),
}

impl std::fmt::Debug for Door {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Door")
    }
}

impl Links {
    /// Starts the thread of the gateway whose run is `gateway`, with the links of its configuration.
    ///
    /// # Errors
    /// Where there is no thread or runtime to be had.
    pub fn start(gateway: u64, rules: Rules, links: Vec<LinkConfig>) -> io::Result<Links> {
        let (commands, received) = mpsc::channel(COMMANDS);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name("links".to_owned()).spawn(move || {
            let local = LocalSet::new();
            local.block_on(&runtime, run(gateway, rules, links, received));
        })?;
        Ok(Links { door: Door { commands }, thread })
    }

    /// The way to them.
    #[must_use]
    pub fn door(&self) -> Door {
        self.door.clone()
    }

    /// Closes all links, says goodbye on the LANs and ends the thread.
    pub async fn stop(self) {
        let (answer, stopped) = oneshot::channel();
        if self.door.commands.send(Command::Stop(answer)).await.is_ok() {
            let _ = stopped.await;
        }
        if self.thread.join().is_err() {
            error!("the thread of the links ended in a panic");
        }
    }
}

impl Door {
    /// Hands over a connection that another gateway opened, upgraded to a WebSocket, and waits until it has ended.
    pub async fn serve(&self, io: Box<dyn Io>, peer: SocketAddr) {
        let (done, ended) = oneshot::channel();
        if self.commands.send(Command::Serve(io, peer, done)).await.is_ok() {
            // Dropped when the links are: over too.
            let _ = ended.await;
        }
    }

    /// From now on other rules hold for the links that others open.
    pub async fn adopt(&self, rules: Rules) {
        // Where nobody takes them, the links have ended.
        let _ = self.commands.send(Command::Adopt(Box::new(rules))).await;
    }

    /// What they tell; `None` where they have ended.
    pub async fn status(&self) -> Option<LinksStatus> {
        let (ask, answer) = oneshot::channel();
        self.commands.send(Command::Status(ask)).await.ok()?;
        answer.await.ok()
    }
}

async fn run(gateway: u64, rules: Rules, links: Vec<LinkConfig>, mut commands: mpsc::Receiver<Command>) {
    let exchange = Exchange::new(gateway, rules);
    let mut tasks = JoinSet::new();
    tasks.spawn_local(Rc::clone(&exchange).keep_time());
    tasks.spawn_local(Rc::clone(&exchange).follow_interfaces());
    let mut connections = JoinSet::new();
    for config in links {
        let link = exchange.open(&config);
        connections.spawn_local(calling::keep_up(Rc::clone(&exchange), link, config));
    }
    let stopped = loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Serve(io, peer, done)) => {
                    let exchange = Rc::clone(&exchange);
                    connections.spawn_local(async move {
                        answering::serve(exchange, io, peer).await;
                        // Nobody waits when the gateway is stopping.
                        let _ = done.send(());
                    });
                }
                Some(Command::Adopt(rules)) => exchange.adopt(*rules),
                Some(Command::Status(answer)) => drop(answer.send(exchange.status())),
                Some(Command::Stop(answer)) => break Some(answer),
                None => break None,
            },
            Some(_) = connections.join_next() => {}
        }
    };
    exchange.close_all();
    let goodbyes = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(std::time::Duration::from_secs(1), goodbyes).await;
    if let Some(answer) = stopped {
        let _ = answer.send(());
    }
}
