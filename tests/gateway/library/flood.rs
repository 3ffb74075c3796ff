//! More than a tab can take: what it could not is told, to the datagram.

use std::process::{Child, Stdio};

use serde_json::{Value, json};

use super::{GROUP, Library, Place, start};
use crate::support::lab::{Lab, Multicast, PATIENCE, lab_test, wait_for};

lab_test! {
    fn what_a_stalled_tab_misses_is_told(lab) {
        // Little enough room that a tab that computes for a while falls behind.
        let flags = ["--limit", "lag-datagrams=2000,lag-age=500ms"];
        let Some((gateway, mut library)) = start(lab, Place::Page, &flags) else { return };
        library.call("count", &json!([GROUP, { "queue": 100_000 }]));
        gateway.await_joined("gw-lan0", GROUP);
        let mut flow = flow(lab, 10_000, 40_000);
        wait_for("datagrams in the page", PATIENCE, || {
            (library.call("books", &json!([]))["received"].as_u64()? > 0).then_some(())
        });
        library.call("stall", &json!([2000]));
        flow.wait().unwrap();
        let books = settled(lab, &mut library, 40_000);
        assert!(books["lost"]["client"].as_u64().is_some_and(|lost| lost > 0), "a stall without a loss: {books}");
        println!("stalled for 2 s at 10,000 datagrams/s: {books}");
    }
}

lab_test! {
    fn what_a_slow_consumer_misses_is_told(lab) {
        let Some((gateway, mut library)) = start(lab, Place::Page, &[]) else { return };
        library.call("join", &json!([GROUP, { "queue": 5 }]));
        gateway.await_joined("gw-lan0", GROUP);
        // Nobody reads this one, so all but the last five are dropped; the first subscription's reader shares its stream.
        library.browser.evaluate(&format!("globalThis.idle = kept.gateway.join({GROUP:?}, {{ queue: 5 }}); null"));
        let source = lab.on("srca", || Multicast::sender("eth0", GROUP.parse().unwrap(), 1));
        for number in 0..100 {
            source.send(format!("{number}").as_bytes());
        }
        wait_for("100 datagrams", PATIENCE, || (library.browser.evaluate("idle.received") == 100).then_some(()));
        assert_eq!(library.browser.evaluate("idle.take().map(({ text }) => text)"), json!(["95", "96", "97", "98", "99"]));
        assert_eq!(library.browser.evaluate("idle.lost.queue"), 95);
        let told = library.call("events", &json!(["lost"]));
        let told: u64 = told.as_array().unwrap().iter().filter_map(|event| event["datagrams"].as_u64()).sum();
        assert!(told >= 95, "{told}");
    }
}

lab_test! {
    // Ten seconds on two cores: beside the long tests.
    #[ignore = "a long test"]
    fn twenty_thousand_datagrams_a_second_in_one_tab(lab) {
        const RATE: u64 = 20_000;
        const COUNT: u64 = 10 * RATE;
        let Some((gateway, mut library)) = start(lab, Place::Page, &[]) else { return };
        library.call("count", &json!([GROUP]));
        gateway.await_joined("gw-lan0", GROUP);
        let mut flow = flow(lab, RATE, COUNT);
        flow.wait().unwrap();
        let books = settled(lab, &mut library, COUNT);
        // Read these figures with --nocapture; how fast a machine is, is no condition.
        println!("{RATE} datagrams/s of 100 bytes for 10 s in one tab: {books}");
        println!("subscription: {:#}", gateway.status()["sessions"]);
    }
}

/// `count` numbered datagrams of 100 bytes from `srca`.
fn flow(lab: &Lab, rate: u64, count: u64) -> Child {
    // Numbers in decimal, so that a page needs no more than parseInt; padded to 100 bytes.
    let mut command = lab.command("srca", "python3");
    command
        .args(["-c", include_str!("flow.py"), GROUP, &rate.to_string(), &count.to_string()])
        .stdin(Stdio::null())
        .spawn()
        .expect("start the flow")
}

/// The page's books once the last datagram is read: what came and what was told as lost are all that was sent.
fn settled(lab: &Lab, library: &mut Library, count: u64) -> Value {
    let source = lab.on("srca", || Multicast::sender("eth0", GROUP.parse().unwrap(), 1));
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let mut last = count;
    let books = wait_for("the last datagram in the page", 2 * PATIENCE, || {
        // One more each time: what is lost behind the last one is told with the next.
        source.send(format!("{last:<100}").as_bytes());
        last += 1;
        let books = library.call("books", &json!([]));
        (books["last"].as_u64()? >= count).then_some(books)
    });
    let lost: u64 = books["lost"].as_object().expect("losses by cause").values().map(number).sum();
    assert_eq!(number(&books["backwards"]), 0, "{books}");
    assert_eq!(books["gaps"]["count"], 0, "{books}");
    assert_eq!(number(&books["first"]), 0, "{books}");
    assert_eq!(number(&books["holes"]), lost, "holes that nobody told, or the other way: {books}");
    assert_eq!(number(&books["received"]) + lost, number(&books["last"]) + 1, "{books}");
    books
}
