//! Passes RTP on to a group, and does to it what networks do: the same each time.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::lab::{Lab, Multicast};

/// What happens to packets, each in percent of them.
#[derive(Clone, Copy)]
pub(super) struct Harm {
    /// Passed on behind one to six that came later.
    pub reorder: u64,
    /// Passed on twice.
    pub duplicate: u64,
    /// Not passed on.
    pub lose: u64,
}

/// What the sender sent.
#[derive(Default)]
pub(super) struct Sent {
    /// Payloads, in its order.
    pub payloads: Vec<Vec<u8>>,
    /// Places of those that were not passed on.
    pub lost: BTreeSet<usize>,
    /// Media packets that were, twice those that came twice.
    pub passed_on: u64,
    /// Packets passed on a second time.
    pub duplicates: u64,
}

/// A relay on `srca`, with a port for media and those two and four behind it for FEC.
pub(super) struct Relay {
    /// Where the sender sends to, on loopback.
    pub port: u16,
    ended: Arc<AtomicBool>,
    thread: JoinHandle<Sent>,
}

/// From the media's port to those of the FEC.
const FEC: [u16; 2] = [2, 4];

impl Relay {
    pub(super) fn start(lab: &Lab, group: &str, harm: Harm) -> Self {
        let group: SocketAddr = group.parse().expect("a group");
        let ended = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&ended);
        let at = |port| UdpSocket::bind(("127.0.0.1", port)).expect("a socket of the relay");
        lab.on("srca", || {
            let media = at(0);
            media.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
            socket2::SockRef::from(&media).set_recv_buffer_size(4 << 20).expect("SO_RCVBUF");
            let port = media.local_addr().expect("an address").port();
            let to =
                |step: u16| Multicast::sender("eth0", SocketAddr::new(group.ip(), group.port() + step), 1);
            for step in FEC {
                let (fec, out) = (at(port + step), to(step));
                // Ends with the test's process.
                std::thread::spawn(move || {
                    let mut buffer = [0; 2048];
                    while let Ok(length) = fec.recv(&mut buffer) {
                        out.send(&buffer[..length]);
                    }
                });
            }
            let out = to(0);
            let thread = std::thread::spawn(move || pass_on(&media, &out, harm, &stop));
            Relay { port, ended, thread }
        })
    }

    /// The sender has ended: what it had sent.
    pub(super) fn finish(self) -> Sent {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.join().expect("the relay")
    }
}

fn pass_on(media: &UdpSocket, out: &Multicast, harm: Harm, ended: &AtomicBool) -> Sent {
    let (mut sent, mut buffer, mut random) = (Sent::default(), vec![0; 65536], 0x2545_f491_4f6c_dd1d_u64);
    // With the number of packets that are to go first.
    let mut behind: Vec<(u64, Vec<u8>)> = Vec::new();
    loop {
        let length = match media.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                continue;
            }
            Err(error) => panic!("the relay: {error}"),
        };
        let packet = &buffer[..length];
        let place = sent.payloads.len();
        sent.payloads.push(packet[12..].to_vec());
        // xorshift64
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // The stream begins with the first that comes.
        let dice = if place == 0 { 100 } else { random % 100 };
        let (lose, reorder) = (harm.lose, harm.lose + harm.reorder);
        if dice < lose {
            sent.lost.insert(place);
        } else if dice < reorder {
            behind.push((1 + random / 100 % 6, packet.to_vec()));
            continue;
        } else {
            sent.passed_on += 1;
            out.send(packet);
            if (reorder..reorder + harm.duplicate).contains(&dice) {
                sent.passed_on += 1;
                sent.duplicates += 1;
                out.send(packet);
            }
        }
        behind.retain_mut(|(count, packet)| {
            *count -= 1;
            if *count == 0 {
                sent.passed_on += 1;
                out.send(packet);
            }
            *count > 0
        });
    }
    for (_, packet) in behind {
        sent.passed_on += 1;
        out.send(&packet);
    }
    sent
}
