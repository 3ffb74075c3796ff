use super::*;

const ADDRESSES: [&str; 4] = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"];

fn address(number: usize) -> IpAddr {
    ADDRESSES[number].parse().unwrap()
}

fn limits() -> Limits {
    Limits {
        connections: Some(3),
        connections_per_address: Some(2),
        connection_rate: None,
        handshakes: None,
        handshakes_per_address: None,
        connection_rate_per_address: None,
        ..Limits::default()
    }
}

/// Whether the connection has been told to end.
fn is_cut(admitted: &Admitted) -> bool {
    let cut = admitted.cut();
    let notified = std::pin::pin!(cut.notified());
    notified.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
}

#[test]
fn places_are_counted_and_given_back() {
    let now = Instant::now();
    let admission = Admission::new(&limits(), now);
    let first = admission.admit(address(0), now).unwrap();
    let _second = admission.admit(address(0), now).unwrap();
    assert_eq!(admission.admit(address(0), now).unwrap_err().status(), 429);
    let _third = admission.admit(address(1), now).unwrap();
    assert_eq!(admission.admit(address(2), now).unwrap_err().status(), 503);
    drop(first);
    assert!(admission.admit(address(2), now).is_ok());
}

#[test]
fn the_oldest_unfinished_handshake_gives_way() {
    let now = Instant::now();
    let bounds = Limits {
        connections: None,
        connections_per_address: None,
        handshakes: Some(4),
        handshakes_per_address: Some(2),
        ..limits()
    };
    let admission = Admission::new(&bounds, now);
    let admit = |number| admission.admit(address(number), now).unwrap();
    let mut of_one: Vec<_> = (0..3).map(|_| admit(0)).collect();
    assert_eq!(of_one.iter().map(is_cut).collect::<Vec<_>>(), [true, false, false], "its own oldest");
    of_one[1].handshake_done();
    let _others = [admit(0), admit(1), admit(2)];
    assert!(!is_cut(&of_one[1]) && !is_cut(&of_one[2]), "two of its own, and there is room");
    let last = admit(3);
    assert!(is_cut(&of_one[2]) && !is_cut(&last), "the oldest of all");
    assert!(!is_cut(&of_one[1]), "who has asked stays");
    assert_eq!(admission.status(), AdmissionStatus { connections: 7, handshakes: 4, gave_way: 2 });
    drop(of_one);
    drop(last);
    assert_eq!(admission.status().connections, 3);
}

#[test]
fn an_ipv6_household_is_one_address() {
    let now = Instant::now();
    let admission = Admission::new(&Limits { connections_per_address: Some(1), ..limits() }, now);
    let _first = admission.admit("2001:db8::1".parse().unwrap(), now).unwrap();
    assert!(admission.admit("2001:db8::2".parse().unwrap(), now).is_err());
    assert!(admission.admit("2001:db8:0:1::2".parse().unwrap(), now).is_ok());
}

#[test]
fn a_rate_lets_through_twice_itself_at_once() {
    let now = Instant::now();
    let bounds = Limits {
        connection_rate_per_address: Some(2),
        connections_per_address: None,
        connections: None,
        ..limits()
    };
    let admission = Admission::new(&bounds, now);
    assert_eq!((0..10).filter(|_| admission.admit(address(0), now).is_ok()).count(), 4);
    assert!(admission.admit(address(1), now).is_ok());
    admission.adopt(&Limits { connection_rate_per_address: None, ..bounds }, now);
    assert!((0..10).all(|_| admission.admit(address(0), now).is_ok()));
}

#[test]
fn a_flood_that_uses_up_the_common_rate_leaves_the_reserve_to_others() {
    let now = Instant::now();
    let bounds = Limits {
        connection_rate: Some(10),
        handshakes_per_address: Some(2),
        connections_per_address: None,
        connections: None,
        ..limits()
    };
    let admission = Admission::new(&bounds, now);
    let flood = (0..100).filter_map(|_| admission.admit(address(0), now).ok()).collect::<Vec<_>>();
    assert_eq!(flood.len(), 20, "twice the rate, and nothing of the reserve");
    for _ in 0..20 {
        admission.admit(address(1), now).unwrap().handshake_done();
    }
    assert_eq!(admission.admit(address(1), now).unwrap_err().status(), 503, "the reserve ends too");
}
