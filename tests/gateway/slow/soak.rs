//! Whatever clients do, every ledger balances: they read at random speeds, join and leave, while datagrams of random
//! sizes flow.

use super::{GROUP, path, session};
use crate::support::flow::{SlowClient, number_of, numbered};
use crate::support::gateway::{TestGateway, assert_session_balances, assert_stream_balances};
use crate::support::lab::{Multicast, PATIENCE, lab_test, wait_for};

/// Turns in all; each sends some datagrams.
const TURNS: usize = 3000;
/// Clients at once, and in all: the status remembers 64 that ended.
const CLIENTS: (usize, usize) = (16, 60);

lab_test! {
    fn every_ledger_balances_whatever_clients_do(lab) {
        let limits = ["all=off", "stall=off", "lag-bytes=256KiB", "lag-datagrams=300", "lag-age=1s", "replay-bytes=1MiB"];
        let limits = limits.iter().flat_map(|limit| ["--limit", limit]);
        let gateway = TestGateway::start(lab, &["--interface", "lan0"].into_iter().chain(limits).collect::<Vec<_>>());
        let mut random = Random(0x5eed);
        let mut witness = gateway.open(&path());
        gateway.await_joined("gw-lan0", GROUP);
        let source = lab.on("srca", || Multicast::sender("eth0", GROUP.parse().unwrap(), 1));
        let (mut sent, mut joined, mut left) = (0, 0, 0);
        let mut clients: Vec<Client> = Vec::new();
        for _ in 0..TURNS {
            let count = random.below(8);
            for number in sent..sent + count {
                source.send(&payload(number, &mut random));
            }
            for number in sent..sent + count {
                let payload = witness.recv();
                assert!(payload.len() < 8 || number_of(&payload) == number, "the healthy client misses nothing");
            }
            sent += count;
            if joined < CLIENTS.1 && clients.len() < CLIENTS.0 && random.below(20) == 0 {
                joined += 1;
                let path = format!("{}?replay={}&overflow={}", path(), random.below(50), ["skip", "latest"][joined % 2]);
                let http = joined % 4 == 0;
                let connection = if http {
                    SlowClient::fetch(lab, &gateway, &path)
                } else {
                    SlowClient::open(lab, &gateway, &path)
                };
                // From one that hardly reads to one that keeps up.
                let speed = 1 << random.below(16);
                clients.push(Client { connection, http, speed, bytes: 0, frames: 0, last: None });
            }
            for client in &mut clients {
                let bytes = random.below(client.speed);
                client.read(bytes as usize);
            }
            if !clients.is_empty() && random.below(60) == 0 {
                let client = clients.swap_remove(random.below(clients.len() as u64) as usize);
                left += 1;
                if random.below(2) == 0 {
                    client.connection.reset();
                }
            }
        }
        for client in &mut clients {
            client.speed = 1 << 20;
            client.catch_up(&gateway);
        }
        drop(clients);
        assert!(joined > 30 && left > 10, "{joined} joined, {left} left");
        let (mut lost, mut withheld) = (0, 0);
        for closed in gateway.closed(joined) {
            let (published, written, missed) = assert_session_balances(&closed);
            lost += missed;
            withheld += published - written - missed;
        }
        assert!(lost > 0 && withheld > 0, "some were slow: {lost} lost, {withheld} withheld");
        let stream = gateway.stream(GROUP);
        assert_stream_balances(&stream);
        assert_eq!((&stream["published"], &stream["lost"]["kernel"]), (&sent.into(), &0.into()), "{stream:#}");
        assert_eq!(assert_session_balances(&gateway.status()["sessions"][0]), (sent, sent, 0));
    }
}

struct Client {
    connection: SlowClient,
    http: bool,
    /// Bytes that it reads in a turn at most.
    speed: u64,
    bytes: u64,
    frames: u64,
    last: Option<u64>,
}

impl Client {
    fn read(&mut self, most: usize) {
        self.connection.read_now(most);
        if self.http {
            self.bytes += self.connection.discard() as u64;
            return;
        }
        while let Some(frame) = self.connection.frame() {
            if frame.opcode == 2 {
                self.frames += 1;
                if frame.payload.len() >= 8 {
                    let number = number_of(&frame.payload);
                    assert!(
                        self.last.is_none_or(|last| last < number),
                        "in order: {:?}, {number}",
                        self.last
                    );
                    self.last = Some(number);
                }
            }
        }
    }

    /// Reads all there is: as much as the books say was written.
    fn catch_up(&mut self, gateway: &TestGateway<'_>) {
        wait_for("a client to have read all", PATIENCE, || {
            self.read(1 << 20);
            let session = session(&gateway.status(), self.connection.port());
            let (_, written, _) = assert_session_balances(&session);
            let done = if self.http { session["bytes"] == self.bytes } else { written == self.frames };
            (done && session["subscriptions"][0]["pending"] == 0).then_some(())
        });
    }
}

/// Any size from 0 to 9000; those that have room for it carry their number.
fn payload(number: u64, random: &mut Random) -> Vec<u8> {
    match random.below(9001) as usize {
        short @ 0..8 => vec![7; short],
        length => numbered(number, (length >> random.below(8)).max(8)),
    }
}

/// A small generator with a known start (xorshift64*), so that a failure comes again.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }
}
