//! The Rust client (`wscast::client`) against the built gateway.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Runtime;
use wscast::client::{ClientError, Event, Gateway, Link, Loss, LossPlace, Options, SendError, Subscription};
use wscast::model::control::{ErrorCode, Join, LossCause, OpenSend, StreamState};

use crate::support::flow::{Flow, number_of};
use crate::support::gateway::TestGateway;
use crate::support::lab::{Lab, Multicast, PATIENCE, Receiver, lab_test};

const V4: &str = "239.1.2.3:5000";
const V6: &str = "[ff15::42]:5000";
const LAN0: [&str; 2] = ["--interface", "lan0"];

/// A program on `cli`. It runs only while it is waited for, so that tests can have it fall behind.
struct Program<'a> {
    lab: &'a Lab,
    runtime: Runtime,
}

impl<'a> Program<'a> {
    fn on(lab: &'a Lab) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Program { lab, runtime }
    }

    /// Runs the program until `future` is ready.
    fn run<T: Send>(&self, what: &str, future: impl Future<Output = T> + Send) -> T {
        let deadline = Duration::from_secs(20).max(PATIENCE);
        let limited = async { tokio::time::timeout(deadline, future).await };
        self.lab.on("cli", || self.runtime.block_on(limited)).unwrap_or_else(|_| panic!("no {what}"))
    }

    fn connect(&self, gateway: &TestGateway<'_>, options: Options) -> Gateway {
        let url = format!("ws://{}", gateway.address);
        let connecting = async { wscast::client::connect(&url, options).await };
        self.run("connection", connecting).unwrap_or_else(|error| panic!("{error}"))
    }

    fn connect_over(&self, relay: &Relay, options: Options) -> Gateway {
        let url = format!("ws://{}", relay.address);
        let connecting = async { wscast::client::connect(&url, options).await };
        self.run("connection", connecting).unwrap_or_else(|error| panic!("{error}"))
    }

    fn join(&self, client: &Gateway, group: &str) -> Subscription {
        self.try_join(client, Join::of(group.parse().unwrap())).unwrap_or_else(|error| panic!("{error}"))
    }

    fn try_join(&self, client: &Gateway, join: Join) -> Result<Subscription, ClientError> {
        self.run("answer to a join", client.join(join))
    }

    fn next(&self, subscription: &mut Subscription) -> Event {
        self.run("event", subscription.next()).expect("the subscription goes on")
    }

    /// The next datagram's payload; nothing was lost before it.
    fn hear(&self, subscription: &mut Subscription) -> Vec<u8> {
        loop {
            match self.next(subscription) {
                Event::Datagram(datagram) => return datagram.payload.to_vec(),
                Event::State { .. } => {}
                other => panic!("a datagram comes next, not {other:?}"),
            }
        }
    }
}

/// Something between the program and the gateway that can cut connections. Its threads end with them and with the test.
struct Relay {
    address: SocketAddr,
    under_way: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    fn to(lab: &Lab, gateway: &TestGateway<'_>) -> Self {
        let (to, under_way) = (gateway.address, Arc::<Mutex<Vec<TcpStream>>>::default());
        let keep = Arc::clone(&under_way);
        let address = lab.on("cli", || {
            let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
            let address = listener.local_addr().expect("an address");
            std::thread::spawn(move || {
                for client in listener.incoming().map_while(Result::ok) {
                    let server = TcpStream::connect(to).expect("connect to the gateway");
                    for (from, to) in [(&client, &server), (&server, &client)] {
                        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                        std::thread::spawn(move || {
                            let _ = std::io::copy(&mut from, &mut to);
                            let _ = to.shutdown(Shutdown::Both);
                        });
                    }
                    keep.lock().unwrap().push(client);
                }
            });
            address
        });
        Relay { address, under_way }
    }

    /// Ends what is under way without a goodbye; what comes next goes through.
    fn cut(&self) {
        for client in self.under_way.lock().unwrap().drain(..) {
            client.shutdown(Shutdown::Both).expect("shut down");
        }
    }
}

lab_test! {
    fn two_streams_and_a_sender_share_a_connection(lab) {
        let gateway = TestGateway::start(lab, &[&LAN0[..], &["--allow-send", V4]].concat());
        let program = Program::on(lab);
        let client = program.connect(&gateway, Options::default());
        let mut four = program.join(&client, V4);
        let mut six = program.join(&client, V6);
        let silent = |event| matches!(event, Event::State { state: StreamState::Silent, interface } if &*interface == "lan0");
        assert!(silent(program.next(&mut four)) && silent(program.next(&mut six)));
        gateway.await_joined("gw-lan0", V4);
        gateway.await_joined("gw-lan0", V6);

        let sources = [V4, V6].map(|group| lab.on("srca", || Multicast::sender("eth0", group.parse().unwrap(), 3)));
        for number in 0..3u8 {
            for (source, subscription) in sources.iter().zip([&mut four, &mut six]) {
                source.send(&[number]);
                let datagram = program.run("datagram", subscription.next_datagram()).expect("a datagram");
                assert_eq!((&datagram.payload[..], datagram.sequence, datagram.ttl), (&[number][..], number.into(), Some(3)));
                assert_eq!(datagram.source.port(), source.source().port());
                assert_eq!(datagram.source.is_ipv4(), subscription.group().is_some_and(|group| group.is_ipv4()));
                assert!(datagram.arrived().is_some_and(|at| at.elapsed().is_ok_and(|age| age < PATIENCE)));
                assert!(&*datagram.interface == "lan0" && !datagram.truncated && !datagram.from_client);
            }
        }

        let group: SocketAddr = V4.parse().unwrap();
        let responder = lab.on("srca", || Receiver::join("eth0", group));
        lab.await_member("srca-eth0", group.ip());
        let open = OpenSend { replies: true, ..OpenSend::to(V4.parse().unwrap()) };
        let mut sender = program.run("sender", client.sender(open)).unwrap();
        let mut replies = sender.replies().expect("the first call has them");
        assert!(sender.replies().is_none());
        program.run("room", sender.send("who is there?")).unwrap();
        // The program runs only while it waits for something: its own datagram is not echoed to it.
        sources[0].send(b"go on");
        assert_eq!(program.hear(&mut four), b"go on");
        let mut heard = responder.recv();
        if heard.payload == b"go on" {
            heard = responder.recv();
        }
        assert_eq!(heard.payload, b"who is there?");
        assert_eq!(sender.source().expect("it is open").0, heard.source);
        let own = lab.on("srca", || UdpSocket::bind("0.0.0.0:0").expect("a UDP socket"));
        own.send_to(b"I am", heard.source).expect("send an answer");
        let reply = program.run("reply", replies.next()).expect("a reply");
        assert_eq!((&reply.payload[..], reply.source.port()), (&b"I am"[..], own.local_addr().unwrap().port()));
        let most = program.run("refusal", sender.send(vec![0; 1453])).expect_err("too large");
        assert_eq!(most, SendError::TooLarge { length: 1453, most: 1452 });
        assert_eq!((four.losses(), six.losses(), sender.refused()), <_>::default());

        drop((four, six));
        program.run("goodbye", client.close());
        let closed = &gateway.closed(1)[0];
        assert_eq!(closed["code"], 1000, "{closed:#}");
        assert!(program.run("end", replies.next()).is_none());
    }
}

lab_test! {
    fn more_joins_than_the_rate_allows_take_a_little_longer(lab) {
        let gateway = TestGateway::start(lab, &LAN0);
        let program = Program::on(lab);
        let client = program.connect(&gateway, Options::default());
        let groups: Vec<String> = (1..=16).map(|last| format!("239.1.5.{last}:5000")).collect();
        let mut subscriptions: Vec<_> = groups.iter().map(|group| program.join(&client, group)).collect();
        for (number, (group, subscription)) in groups.iter().zip(&mut subscriptions).enumerate() {
            gateway.await_joined("gw-lan0", group);
            lab.on("srca", || Multicast::sender("eth0", group.parse().unwrap(), 1)).send(&[number as u8]);
            assert_eq!(program.hear(subscription), [number as u8]);
        }
        let error = program.try_join(&client, Join::of(V4.parse().unwrap())).expect_err("the seventeenth");
        assert!(matches!(error, ClientError::Denied { code: ErrorCode::TooManyStreams, .. }), "{error}");
    }
}

lab_test! {
    fn what_the_gateway_refuses_is_an_error_and_the_rest_goes_on(lab) {
        let gateway = TestGateway::start(lab, &LAN0);
        let program = Program::on(lab);
        let client = program.connect(&gateway, Options::default());
        let denied = |error| matches!(error, ClientError::Denied { code, retry: false, .. } if code == ErrorCode::NotAllowed);
        let error = program.try_join(&client, Join::of("238.1.2.3:5000".parse().unwrap())).expect_err("not allowed");
        assert!(error.to_string().contains("allow-receive"), "{error}");
        assert!(denied(error));
        let sender = program.run("answer", client.sender(OpenSend::to(V4.parse().unwrap())));
        assert!(denied(sender.expect_err("not allowed")));

        // The same twice is one stream for the gateway, and two subscriptions here.
        let mut one = program.join(&client, V4);
        let mut two = program.join(&client, V4);
        gateway.await_joined("gw-lan0", V4);
        let source = lab.on("srca", || Multicast::sender("eth0", V4.parse().unwrap(), 1));
        source.send(b"a");
        assert_eq!((program.hear(&mut one), program.hear(&mut two)), (b"a".to_vec(), b"a".to_vec()));
        assert_eq!(gateway.stream(V4)["subscribers"], 1);
        drop(one);
        source.send(b"b");
        assert_eq!(program.hear(&mut two), b"b");
        drop(two);
        // What was left is asked for again by the next join, on the same connection.
        let mut three = program.join(&client, V4);
        source.send(b"c");
        assert_eq!(program.hear(&mut three), b"c");
        drop(client);
        assert_eq!(program.run("end", async {
            while !matches!(three.next().await, Some(Event::Ended(ClientError::Gone))) {}
            three.next().await
        }), None);
    }
}

lab_test! {
    fn a_stalled_reader_loses_the_oldest_and_knows_how_many(lab) {
        let gateway = TestGateway::start(lab, &LAN0);
        let program = Program::on(lab);
        let client = program.connect(&gateway, Options { queue_events: 8, ..Options::default() });
        let mut stalled = program.join(&client, V4);
        let mut witness = program.join(&client, V4);
        gateway.await_joined("gw-lan0", V4);
        let source = lab.on("srca", || Multicast::sender("eth0", V4.parse().unwrap(), 1));
        for number in 0..100u8 {
            source.send(&[number]);
            assert_eq!(program.hear(&mut witness), [number]);
        }
        let lost = stalled.losses().queue;
        assert!((92..=93).contains(&lost), "{lost}: at most a change of state is among the 8");
        let first = program.next(&mut stalled);
        assert_eq!(first, Event::Lost(Loss { place: LossPlace::Queue, datagrams: Some(lost), time: None }));
        for number in lost as u8..100 {
            assert_eq!(program.hear(&mut stalled), [number]);
        }
        assert_eq!(witness.losses().queue, 0);
    }
}

lab_test! {
    fn what_a_slow_connection_lost_at_the_gateway_is_told(lab) {
        let limits = ["--limit", "lag-datagrams=16", "--limit", "connections-per-address=off"];
        let gateway = TestGateway::start(lab, &[&LAN0[..], &limits].concat());
        let program = Program::on(lab);
        let client = program.connect(&gateway, Options::default());
        let mut subscription = program.join(&client, V4);
        let mut flow = Flow::start(lab, &gateway, V4);
        // Nothing runs the program now, so its connection fills up.
        let sent = flow.send(12_000, 1316);
        let last = flow.send(1, 1316).start;
        let (mut expected, mut told) = (sent.start, 0);
        while expected <= last {
            match program.next(&mut subscription) {
                Event::Datagram(datagram) => {
                    assert_eq!(number_of(&datagram.payload), expected, "every hole is told before what follows it");
                    expected += 1;
                }
                Event::Lost(Loss { place: LossPlace::Gateway(LossCause::Client), datagrams: Some(lost), .. }) => {
                    told += lost;
                    expected += lost;
                }
                Event::State { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(told > 0, "12,000 datagrams are more than the connection holds");
        let losses = subscription.losses();
        assert_eq!((losses.gateway, losses.queue, losses.unexplained, losses.unknown), (told, 0, 0, 0));
    }
}

lab_test! {
    fn a_restarted_gateway_is_found_again_and_the_gap_is_told(lab) {
        // One for both: a switch may forget the next because the last has left.
        let receiver = lab.on("srca", || Receiver::join("eth0", V4.parse().unwrap()));
        lab.await_member("srca-eth0", V4.parse::<SocketAddr>().unwrap().ip());
        for signal in ["TERM", "KILL"] {
            let arguments = [&LAN0[..], &["--allow-send", V4]].concat();
            let mut gateway = TestGateway::start(lab, &arguments);
            let program = Program::on(lab);
            let client = program.connect(&gateway, Options::default());
            let mut subscription = program.join(&client, V4);
            let sender = program.run("sender", client.sender(OpenSend::to(V4.parse().unwrap()))).unwrap();
            gateway.await_joined("gw-lan0", V4);
            let source = lab.on("srca", || Multicast::sender("eth0", V4.parse().unwrap(), 1));
            source.send(b"before");
            assert_eq!(program.hear(&mut subscription), b"before");
            let first = client.link().borrow().clone();
            gateway.signal(signal);
            program.run("loss of the connection", async {
                while subscription.next().await != Some(Event::Away) {}
            });
            gateway.wait();
            assert_eq!(program.run("refusal", sender.send("lost")), Err(SendError::Away));
            assert!(matches!(&*client.link().borrow(), Link::Away(_)));

            let gateway = TestGateway::start_at(lab, gateway.address, &arguments);
            let gap = program.next(&mut subscription);
            let Event::Lost(Loss { place: LossPlace::Outage, datagrams: None, time: Some(_) }) = gap else {
                panic!("a gap of unknown size comes next, not {gap:?}");
            };
            assert!(matches!(program.next(&mut subscription), Event::State { .. }));
            assert!(matches!(&*client.link().borrow(), Link::Up { .. }) && *client.link().borrow() != first);
            gateway.await_joined("gw-lan0", V4);
            source.send(b"after");
            assert_eq!(program.hear(&mut subscription), b"after");
            assert_eq!(subscription.losses().unknown, 1);

            program.run("room", async {
                while sender.source().is_none() {
                    tokio::task::yield_now().await;
                }
                sender.send("again").await
            }).unwrap();
            source.send(b"last");
            assert_eq!(program.hear(&mut subscription), b"last");
            let mut missing = vec![b"again".to_vec(), b"last".to_vec()];
            while !missing.is_empty() {
                let heard = receiver.recv().payload;
                missing.retain(|payload| *payload != heard);
            }
        }
    }
}

lab_test! {
    fn a_short_break_is_resumed_without_a_loss(lab) {
        let gateway = TestGateway::start(lab, &[&LAN0[..], &["--allow-host", "127.0.0.1"]].concat());
        let program = Program::on(lab);
        let relay = Relay::to(lab, &gateway);
        // Keeps the stream's log when nobody else does.
        let keeper = program.connect(&gateway, Options::default());
        let _kept = program.join(&keeper, V4);
        let client = program.connect_over(&relay, Options::default());
        let mut subscription = program.join(&client, V4);
        gateway.await_joined("gw-lan0", V4);
        let source = lab.on("srca", || Multicast::sender("eth0", V4.parse().unwrap(), 1));
        source.send(b"before");
        assert_eq!(program.hear(&mut subscription), b"before");
        relay.cut();
        program.run("loss of the connection", async {
            while subscription.next().await != Some(Event::Away) {}
        });
        source.send(b"meanwhile");
        source.send(b"still");
        assert_eq!(program.hear(&mut subscription), b"meanwhile");
        assert_eq!(program.hear(&mut subscription), b"still");
        source.send(b"after");
        assert_eq!(program.hear(&mut subscription), b"after");
        assert_eq!(subscription.losses(), <_>::default());
    }
}

lab_test! {
    fn a_gateway_that_says_nothing_is_taken_for_dead(lab) {
        let gateway = TestGateway::start(lab, &[&LAN0[..], &["--allow-host", "127.0.0.1"]].concat());
        let program = Program::on(lab);
        let relay = Relay::to(lab, &gateway);
        let silence = Duration::from_millis(300);
        let client = program.connect_over(&relay, Options { silence, ..Options::default() });
        let mut subscription = program.join(&client, V4);
        let mut link = client.link();
        program.run("loss of the connection", async {
            while subscription.next().await != Some(Event::Away) {}
        });
        let lost = link.borrow_and_update().clone();
        assert!(matches!(&lost, Link::Away(ClientError::Silent { .. })), "{lost:?}");
        program.run("reconnection", async { link.wait_for(|link| matches!(link, Link::Up { .. })).await.map(drop) })
            .unwrap();
    }
}

lab_test! {
    fn who_is_no_gateway_is_told_apart(lab) {
        let program = Program::on(lab);
        let connect = |url: String| program.run("answer", async move {
            wscast::client::connect(&url, Options::default()).await.expect_err("nobody is there")
        });
        let nobody = connect("ws://10.9.0.1:9".to_owned());
        assert!(matches!(&nobody, ClientError::Unreachable { .. }) && !nobody.is_final(), "{nobody}");
        assert!(nobody.to_string().contains("is a gateway running there?"), "{nobody}");
        let wrong = connect("ws://10.9.0.1:9/udp/239.1.2.3:5000".to_owned());
        assert!(wrong.to_string().contains("write ws://10.9.0.1:9 alone"), "{wrong}");
        let gateway = TestGateway::start(lab, &["--limit", "connections-per-address=1"]);
        let first = program.connect(&gateway, Options::default());
        let refused = connect(format!("ws://{}", gateway.address));
        assert!(matches!(&refused, ClientError::Refused { status: 429, retry_after: Some(_), .. }), "{refused}");
        program.run("goodbye", first.close());
    }
}
