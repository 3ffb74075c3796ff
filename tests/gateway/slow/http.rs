//! The same over plain HTTP, where payloads follow each other without frames.

use super::{GROUP, SMALL_LOG, VIDEO, count, path, pending, slow_session};
use crate::support::flow::{Flow, SlowClient, missing, number_of};
use crate::support::gateway::{TestGateway, assert_session_balances};
use crate::support::lab::lab_test;

lab_test! {
    fn a_slow_plain_http_client_skips_whole_payloads_and_counts_them(lab) {
        let gateway = TestGateway::start(lab, &[&SMALL_LOG[..], &["--limit", "stall=off"]].concat());
        let mut flow = Flow::start(lab, &gateway, GROUP);
        let mut slow = SlowClient::fetch(lab, &gateway, &path());
        flow.send(2000, VIDEO);
        let session = slow_session(&gateway, slow.port());
        let (published, _, lost) = assert_session_balances(&session);
        assert!(published == 2000 && lost > 500 && lost == count(&session, "lost", "bytes"), "{session:#}");
        let last = flow.send(1, VIDEO).start;
        let numbers = numbers_until(&mut slow, last);
        let session = slow_session(&gateway, slow.port());
        let (_, written, lost) = assert_session_balances(&session);
        assert_eq!((numbers.len() as u64, missing(&numbers), pending(&session)), (written, lost, 0), "{session:#}");
    }
}

lab_test! {
    fn a_plain_http_client_that_takes_nothing_is_cut_off(lab) {
        let gateway = TestGateway::start(lab, &[&SMALL_LOG[..], &["--limit", "stall=1s"]].concat());
        let mut flow = Flow::start(lab, &gateway, GROUP);
        let mut slow = SlowClient::fetch(lab, &gateway, &path());
        flow.send(1000, VIDEO);
        let closed = &gateway.closed(1)[0];
        assert_eq!((&closed["code"], &closed["closed_by"]), (&4508.into(), &"gateway".into()), "{closed:#}");
        assert_eq!((&closed["kind"], &closed["reason"]), (&"http".into(), &"slow_consumer: nothing taken".into()));
        let (published, written, lost) = assert_session_balances(closed);
        assert_eq!((published, pending(closed), written + lost), (1000, 0, 1000), "{closed:#}");
        assert!(count(closed, "lost", "closed") > 0, "{closed:#}");
        // What the kernel had taken still comes, then nothing.
        assert!(slow.bytes_to_the_end().len() < 1000 * VIDEO);
        flow.send(10, VIDEO);
        gateway.status_with("one subscriber left", |status| status["streams"][0]["subscribers"] == 1);
    }
}

lab_test! {
    fn plain_http_keeps_to_its_overflow(lab) {
        let gateway = TestGateway::start(lab, &SMALL_LOG);
        let mut flow = Flow::start(lab, &gateway, GROUP);
        let mut latest = SlowClient::fetch(lab, &gateway, &(path() + "?overflow=latest"));
        let mut close = SlowClient::fetch(lab, &gateway, &(path() + "?overflow=close"));
        flow.send(1500, VIDEO);
        let last = flow.send(1, VIDEO).start;
        let numbers = numbers_until(&mut latest, last);
        let session = slow_session(&gateway, latest.port());
        let (published, written, lost) = assert_session_balances(&session);
        assert_eq!((published, written, lost), (1501, numbers.len() as u64, 0), "{session:#}");
        assert_eq!(count(&session, "withheld", "latest"), missing(&numbers), "{session:#}");
        assert!(missing(&numbers) > 0, "{session:#}");

        let bytes = close.bytes_to_the_end();
        let closed = &gateway.closed(1)[0];
        let (_, written, lost) = assert_session_balances(closed);
        assert_eq!((&closed["code"], written * VIDEO as u64), (&4508.into(), bytes.len() as u64), "{closed:#}");
        assert!(lost > 0, "{closed:#}");
    }
}

/// Numbers of the payloads up to and with `last`.
fn numbers_until(client: &mut SlowClient, last: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.last() != Some(&last) {
        numbers.push(number_of(&client.take(VIDEO)));
    }
    numbers
}
