//! What is announced on the LAN (SAP, SDP): any bytes are a session that can be shown and joined, or nothing.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use wscast::model::announcement::{Announcements, SESSIONS};
use wscast::model::request::{self, Route};

fuzz_target!(|bytes: &[u8]| {
    let mut heard = Announcements::default();
    // As it is; and as what an announcement says.
    heard.hear(bytes, "lan0", Duration::ZERO);
    let said = [&[0x20, 0, 1, 2, 10, 0, 0, 5][..], b"application/sdp\0", bytes].concat();
    heard.hear(&said, "lan0", Duration::from_secs(1));
    assert!(heard.iter().count() <= SESSIONS);
    for (interface, announced) in heard.iter() {
        assert!(!announced.session.name.contains(char::is_control));
        for stream in &announced.session.streams {
            let path = stream.path(interface);
            let (place, query) = path.split_once('?').expect("an interface");
            assert!(matches!(request::parse(place, Some(query)), Ok(Route::Stream(_))), "{path}");
        }
    }
    heard.expire(Duration::from_secs(4000), u64::MAX);
});
