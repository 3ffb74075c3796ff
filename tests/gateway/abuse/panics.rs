//! A mistake of the gateway's own, provoked: it ends one session and is told.

use super::{GROUP, honest::Honest};
use crate::support::gateway::TestGateway;
use crate::support::lab::lab_test;
use crate::support::raw::{BINARY, Raw, TEXT, frame};

lab_test! {
    fn a_panic_ends_one_session_and_is_counted(lab) {
        let arguments = [
            "--listen", "10.9.0.1:0", "--no-auth", "--allow-receive", "239.0.0.0/8", "--allow-send", "239.1.2.9:5000",
            "--interface", "lan0", "--limit", "connection-rate-per-address=off",
        ];
        let gateway = TestGateway::start_in(lab, &arguments, &[("WSCAST_TEST_PANIC", "1")]);
        let honest = Honest::begin(lab, &gateway, GROUP);
        let mut v1 = Raw::begin(
            gateway.connect(),
            crate::support::raw::handshake(gateway.address, "/v1", &["Sec-WebSocket-Protocol: wscast.v1"]).as_bytes(),
        );
        let mut raw = Raw::open(gateway.connect(), gateway.address, "/udp/239.1.2.9:5000");
        // What the session had put together for its group goes with it, and not out with another's.
        raw.send(&[frame(BINARY, b"before"), frame(TEXT, b"wscast: panic")].concat());
        let reason = "internal: a mistake of the gateway, which it has logged";
        assert_eq!(raw.closed(), (1011, reason.to_owned()));
        v1.send(&frame(TEXT, b"wscast: panic"));
        assert_eq!(v1.closed(), (1011, reason.to_owned()));
        let status = gateway.status_with("two panics", |status| status["gateway"]["panics"] == 2);
        for closed in status["closed"].as_array().expect("a list") {
            assert_eq!((&closed["code"], &closed["closed_by"]), (&1011.into(), &"gateway".into()), "{closed:#}");
        }
        assert!(gateway.logged("ends this session").contains("provoked by a message"));
        assert_eq!(honest.finish().lost, 0, "nobody else notices");
        let mut again = Raw::open(gateway.connect(), gateway.address, "/udp/239.1.2.9:5000");
        again.send(&frame(BINARY, b"after"));
        gateway.status_with("one datagram of the new session", |status| {
            status["sessions"].as_array().is_some_and(|sessions| {
                sessions.iter().any(|session| session["sender"]["sent"] == 1)
            })
        });
    }
}
