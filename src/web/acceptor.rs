//! What stands at a listener: who may come in, for whom a proxy comes, the TLS handshake, and which shard serves.
//!
//! Handshakes are done here, on the thread that accepts: what they cost delays no datagram.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::model::listener::{ListenAddress, Listener};
use crate::model::prefix::AddressPrefix;
use crate::model::proxy_header::{self, LONGEST_LINE, Proxied, START, Version};
use crate::web::admission::Admitted;
use crate::web::arrival::{Arrival, Detached, Ends};
use crate::web::facts::{Facts, ShardCommand};
use crate::web::heart::Heart;
use crate::web::listening::Listening;
use crate::web::refusal::Refusal;
use crate::web::socket::Carrier;
use crate::web::tls::Tls;

/// Refusals under way at once; a connection beyond is dropped without a word.
const REFUSALS: usize = 64;
/// How long a refused connection may take to read why.
const REFUSAL_TIME: Duration = Duration::from_secs(1);
/// The first byte of a TLS handshake (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;
/// A fatal alert, `internal_error` (RFC 8446 section 6), which is what TLS has for a refusal before its handshake.
const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

/// The way to one shard, and how many connections it has.
pub type ShardDoor = (mpsc::Sender<ShardCommand>, Arc<AtomicUsize>);

/// What all listeners have in common.
pub struct Acceptor {
    /// What the gateway as a whole knows.
    pub facts: Arc<Facts>,
    /// All shards.
    pub shards: Vec<ShardDoor>,
    /// What listeners that do speak TLS with.
    pub tls: Option<Arc<Tls>>,
    /// Who may say for whom it connects.
    pub trusted: Vec<AddressPrefix>,
    /// From the connection to the end of the TLS handshake, a proxy's header included.
    pub greeting: Duration,
    /// A permit for each refusal that is being said.
    pub refusals: Arc<Semaphore>,
}

/// A connection that is yet to be greeted.
struct Guest {
    carrier: Carrier,
    peer: SocketAddr,
    admitted: Admitted,
    trusted: bool,
}

impl Acceptor {
    /// Permits for refusals.
    #[must_use]
    pub fn refusals() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(REFUSALS))
    }

    /// Accepts for as long as it is polled. Greetings that are under way end with it.
    pub async fn run(self: Arc<Self>, listening: Listening, mut heart: Heart) {
        const SHORTEST: Duration = Duration::from_millis(10);
        const LONGEST: Duration = Duration::from_secs(1);
        let mut pause = SHORTEST;
        let mut greetings = JoinSet::new();
        let listener = Arc::new(listening.listener.clone());
        loop {
            let accepted = tokio::select! {
                accepted = listening.accept() => accepted,
                Some(_) = greetings.join_next() => continue,
                () = heart.beat() => continue,
            };
            match accepted {
                Ok((carrier, peer)) => {
                    pause = SHORTEST;
                    let Some(guest) = self.admit(&listener, carrier, peer) else { continue };
                    if listener.tls || listener.proxy_protocol {
                        greetings.spawn(Arc::clone(&self).greet_in_time(Arc::clone(&listener), guest));
                    } else {
                        self.hand_over(Arrival::plain(guest.trusted), guest).await;
                    }
                }
                // Out of descriptors, mostly: the connection stays in the backlog, so trying at once would spin.
                Err(error) => {
                    warn!(%error, "accepting a connection: trying again in {pause:?}");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST);
                }
            }
        }
    }

    fn admit(&self, listener: &Listener, carrier: Carrier, peer: SocketAddr) -> Option<Guest> {
        let unix = matches!(carrier, Carrier::Unix(_));
        let trusted = self.trusts(peer.ip());
        let admitted = if listener.proxy_protocol && !(trusted || unix) {
            Err(Refusal::not_allowed("this listener is for proxies alone (--trusted-proxy)"))
        } else if trusted || listener.proxy_protocol {
            self.facts.admission.admit_proxy(peer.ip(), Instant::now())
        } else {
            self.facts.admission.admit(peer.ip(), Instant::now())
        };
        match admitted {
            Ok(admitted) => Some(Guest { carrier, peer, admitted, trusted }),
            Err(refusal) => {
                debug!(%peer, %refusal, "connection refused");
                self.refuse(listener, carrier, &refusal);
                None
            }
        }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|prefix| prefix.contains(address))
    }

    async fn greet_in_time(self: Arc<Self>, listener: Arc<Listener>, guest: Guest) {
        let (peer, cut) = (guest.peer, guest.admitted.cut());
        tokio::select! {
            greeted = tokio::time::timeout(self.greeting, self.greet(&listener, guest)) => match greeted {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%peer, %error, "connection ended while it was greeted"),
                Err(_) => debug!(%peer, "connection ended: it took too long to say who it is (--limit tls-time)"),
            },
            // It gave way to others.
            () = cut.notified() => {}
        }
    }

    async fn greet(&self, listener: &Listener, mut guest: Guest) -> io::Result<()> {
        let mut arrival = Arrival::plain(guest.trusted);
        if listener.proxy_protocol {
            let told = match &mut guest.carrier {
                Carrier::Tcp(stream) => read_header(stream).await,
                Carrier::Unix(stream) => read_header(stream).await,
            }?;
            // What the proxy says here stands above what requests say.
            arrival.trusted = false;
            if let Proxied::Client { from, to } = told {
                arrival.ends = Some(Ends { peer: from, local: to });
                if let Err(refusal) = guest.admitted.serve_for(from.ip(), Instant::now()) {
                    debug!(peer = %from, proxy = %guest.peer, %refusal, "connection refused");
                    self.refuse(listener, guest.carrier, &refusal);
                    return Ok(());
                }
            }
        }
        if listener.tls
            && let Some(tls) = &self.tls
        {
            let Carrier::Tcp(stream) = guest.carrier else { return Err(io::ErrorKind::Unsupported.into()) };
            if !begins_with_tls(&stream).await? {
                let reason = "this port speaks TLS: write https:// or wss:// in front of its address";
                self.say(Carrier::Tcp(stream), Refusal::malformed(reason).bytes());
                return Ok(());
            }
            let (stream, layer, certificate) = tls.accept(stream).await?;
            (arrival.layer, arrival.certificate, arrival.secure) = (Some(layer), certificate, true);
            guest.carrier = Carrier::Tcp(stream);
        }
        self.hand_over(arrival, guest).await;
        Ok(())
    }

    /// To the shard with the fewest connections.
    async fn hand_over(&self, mut arrival: Arrival, guest: Guest) {
        let Guest { carrier, peer, mut admitted, .. } = guest;
        let least = self.shards.iter().min_by_key(|(_, connections)| connections.load(Ordering::Relaxed));
        let Some((commands, connections)) = least else { return };
        admitted.served_by(Arc::clone(connections));
        let local = match &carrier {
            Carrier::Tcp(stream) => stream.local_addr(),
            Carrier::Unix(_) => Ok(ListenAddress::nobody()),
        };
        match local.and_then(|local| Ok((local, Detached::from(carrier)?))) {
            Ok((local, detached)) => {
                arrival.ends.get_or_insert(Ends { peer, local });
                let _ = commands.send(ShardCommand::Serve(detached, Box::new(arrival), admitted)).await;
            }
            Err(error) => debug!(%peer, %error, "a connection was gone before it was served"),
        }
    }

    /// Counts a refusal, and says why where that can be understood.
    fn refuse(&self, listener: &Listener, carrier: Carrier, refusal: &Refusal) {
        let status = refusal.status().as_u16();
        let mut turned_away = self.facts.turned_away.lock().unwrap_or_else(PoisonError::into_inner);
        *turned_away.entry(status).or_default() += 1;
        drop(turned_away);
        self.say(carrier, if listener.tls { ALERT.to_vec() } else { refusal.bytes() });
    }

    /// Says something and ends in order; a reset would take the words back.
    fn say(&self, carrier: Carrier, words: Vec<u8>) {
        let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() else { return };
        tokio::spawn(async move {
            let goodbye = async {
                match carrier {
                    Carrier::Tcp(stream) => say_goodbye(stream, &words).await,
                    Carrier::Unix(stream) => say_goodbye(stream, &words).await,
                }
            };
            let _ = tokio::time::timeout(REFUSAL_TIME, goodbye).await;
            drop(permit);
        });
    }
}

async fn say_goodbye(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, words: &[u8]) -> io::Result<()> {
    stream.write_all(words).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(|_| ())
}

/// Looks at the first byte and leaves it there.
async fn begins_with_tls(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    match stream.peek(&mut first).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(first[0] == HANDSHAKE),
    }
}

/// Reads a proxy's header and not a byte behind it.
async fn read_header(stream: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Proxied> {
    let wrong = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    let mut start = [0; START];
    stream.read_exact(&mut start).await?;
    match proxy_header::version(&start).map_err(wrong)? {
        Version::Line => {
            let mut line = start.to_vec();
            while !line.ends_with(b"\r\n") && line.len() < LONGEST_LINE {
                line.push(stream.read_u8().await?);
            }
            proxy_header::parse_line(&line).map_err(wrong)
        }
        Version::Binary => {
            let mut head = [0; 4];
            stream.read_exact(&mut head).await?;
            let mut tail = vec![0; proxy_header::tail(head).map_err(wrong)?];
            stream.read_exact(&mut tail).await?;
            proxy_header::parse_binary(head, &tail).map_err(wrong)
        }
    }
}
