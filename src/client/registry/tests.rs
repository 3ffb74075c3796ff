use super::*;
use crate::client::queue::Losses;
use crate::model::control::Join;
use crate::model::record::RecordHeader;

const JOINED: &str =
    r#"{"type":"joined","id":1,"stream":7,"interface":"lan0","state":"receiving","next_sequence":10}"#;

struct Bench {
    registry: Registry,
    queue: Arc<Queue>,
    answered: oneshot::Receiver<Result<(), ClientError>>,
    now: Instant,
}

impl Bench {
    /// With one join under way, of key 1.
    fn new() -> Bench {
        let mut registry = Registry::default();
        registry.connected(welcome("a"));
        let (answer, answered) = oneshot::channel();
        let queue = Arc::new(Queue::new(100, 1 << 20));
        let join = Join::of("239.1.2.3:5000".parse().expect("a group"));
        let wanted = Box::new(WantedStream::Group(join));
        registry.take(Request::Join { key: 1, wanted, queue: Arc::clone(&queue), answer });
        Bench { registry, queue, answered, now: Instant::now() }
    }

    fn joined() -> Bench {
        let mut bench = Bench::new();
        bench.hear(JOINED);
        assert_eq!(bench.answered.try_recv(), Ok(Ok(())));
        bench.said();
        bench.told();
        bench
    }

    fn hear(&mut self, notice: &str) {
        self.registry.notice(Notice::decode(notice).expect("a notice"), self.now);
    }

    fn record(&mut self, stream: u32, sequence: u32) {
        let header = RecordHeader {
            origin: Origin::Stream(stream),
            sequence,
            source: ([10, 0, 0, 5], 5000).into(),
            ttl: Some(1),
            arrival: 1,
            truncated: false,
            from_client: false,
        };
        let mut message = Vec::new();
        header.put(b"x", &mut message);
        self.registry.records(&message.into()).expect("a record");
    }

    /// What was said to the gateway since the last call.
    fn said(&mut self) -> Vec<String> {
        self.registry.say.drain(..).map(|command| command.encode()).collect()
    }

    /// What the subscription was told since the last call, in short.
    fn told(&self) -> Vec<String> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let mut told = Vec::new();
        while let std::task::Poll::Ready(Some(event)) = self.queue.poll(&mut context) {
            told.push(match event {
                Event::Datagram(datagram) => datagram.sequence.to_string(),
                Event::Lost(loss) => format!("{:?} {:?}", loss.place, loss.datagrams),
                Event::State { state, .. } => state.to_string(),
                Event::Away => "away".to_owned(),
                Event::Ended(reason) => format!("ended: {reason}"),
            });
        }
        told
    }

    /// The connection breaks, and another to gateway `name` stands.
    fn reconnect(&mut self, name: &str) {
        self.registry.disconnected(self.now);
        self.registry.connected(welcome(name));
    }
}

fn welcome(gateway: &str) -> Welcome {
    Welcome { gateway: gateway.to_owned(), version: "0".to_owned(), most: 1452 }
}

#[test]
fn a_hole_is_told_once_by_whoever_knows() {
    let mut bench = Bench::joined();
    bench.record(7, 10);
    bench.hear(r#"{"type":"lost","stream":7,"datagrams":2,"where":"client","total":2}"#);
    bench.record(7, 13);
    // The kernel's losses have no numbers: they explain no hole.
    bench.hear(r#"{"type":"lost","stream":7,"datagrams":5,"where":"kernel","total":5}"#);
    bench.record(7, 15);
    // Its own datagrams are not lost.
    bench.hear(r#"{"type":"lost","stream":7,"datagrams":1,"where":"echo","total":1}"#);
    bench.record(7, 17);
    // Of nobody.
    bench.record(8, 99);
    let told = bench.told();
    let expected =
        ["10", "Gateway(Client) Some(2)", "13", "Gateway(Kernel) Some(5)", "Unexplained Some(1)", "15", "17"];
    assert_eq!(told, expected);
    assert_eq!(bench.queue.losses(), Losses { queue: 0, gateway: 7, unexplained: 1, unknown: 0 });
}

#[test]
fn sequences_wrap() {
    let mut bench = Bench::new();
    bench.hear(&JOINED.replace("10", "4294967295"));
    bench.record(7, u32::MAX);
    bench.record(7, 0);
    bench.record(7, 1);
    assert_eq!(bench.told(), ["receiving", "4294967295", "0", "1"]);
}

#[test]
fn a_replay_may_begin_before_what_joined_says() {
    let mut bench = Bench::joined();
    bench.record(7, 8);
    bench.record(7, 9);
    assert_eq!(bench.told(), ["8", "9"]);
}

#[test]
fn the_same_stream_is_resumed_and_repeats_nothing() {
    let mut bench = Bench::joined();
    bench.record(7, 10);
    bench.reconnect("a");
    assert_eq!(
        bench.said(),
        [
            r#"{"type":"join","id":1,"group":"239.1.2.3","port":5000,"resume":{"gateway":"a","stream":7,"after":10}}"#
        ]
    );
    bench.hear(&JOINED.replace(":10", ":13"));
    bench.hear(r#"{"type":"lost","stream":7,"datagrams":2,"where":"client","total":2}"#);
    bench.record(7, 10);
    bench.record(7, 13);
    assert_eq!(bench.told(), ["10", "away", "receiving", "Gateway(Client) Some(2)", "13"]);
}

#[test]
fn another_run_of_the_stream_leaves_a_gap_of_unknown_size() {
    let mut bench = Bench::joined();
    bench.reconnect("a");
    bench.hear(&JOINED.replace(":7", ":8").replace(":10", ":0"));
    // The gateway says the same; once is enough.
    bench.hear(r#"{"type":"lost","stream":8,"datagrams":null,"where":"unknown","total":0}"#);
    bench.record(8, 0);
    assert_eq!(bench.told(), ["away", "Outage None", "receiving", "0"]);
    // Another gateway would not understand the old numbers.
    bench.said();
    bench.reconnect("b");
    assert_eq!(bench.said(), [r#"{"type":"join","id":1,"group":"239.1.2.3","port":5000}"#]);
}

#[test]
fn too_fast_is_tried_again_and_a_refusal_is_not() {
    let mut bench = Bench::new();
    assert_eq!(bench.said().len(), 1);
    bench.hear(r#"{"type":"error","id":1,"code":"join_rate","message":"slower","retry":true}"#);
    assert!(bench.answered.try_recv().is_err(), "not answered yet");
    let due = bench.registry.due().expect("it is asked again");
    bench.registry.ask_again(due - Duration::from_nanos(1));
    assert!(bench.said().is_empty());
    bench.registry.ask_again(due);
    assert_eq!((bench.said().len(), bench.registry.due()), (1, None));
    bench.hear(r#"{"type":"error","id":1,"code":"not_allowed","message":"no","retry":false}"#);
    let denied = ClientError::Denied { code: ErrorCode::NotAllowed, message: "no".to_owned(), retry: false };
    assert_eq!(bench.answered.try_recv(), Ok(Err(denied)));
    assert!(bench.told().is_empty());
}

#[test]
fn who_has_left_before_the_answer_leaves_at_the_answer() {
    let mut bench = Bench::new();
    bench.registry.take(Request::Leave(1));
    bench.said();
    bench.hear(JOINED);
    assert_eq!(bench.said(), [r#"{"type":"leave","stream":7}"#]);
}

#[test]
fn what_the_gateway_ends_has_ended() {
    let mut bench = Bench::joined();
    bench.hear(r#"{"type":"left","stream":7}"#);
    assert_eq!(bench.told(), ["ended: the gateway ended it"]);
    let bench = Bench::joined();
    let queue = Arc::clone(&bench.queue);
    drop(bench.registry);
    let bench = Bench { registry: Registry::default(), queue, ..Bench::new() };
    assert_eq!(bench.told(), ["ended: the connection was closed here"]);
}
