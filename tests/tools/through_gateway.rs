//! `listen` and `send` through a gateway, over `wscast.v1`.

use super::{Running, run, run_with_input};
use crate::support::gateway::TestGateway;
use crate::support::lab::{Multicast, PATIENCE, lab_test, wait_for};

const GROUP: &str = "239.1.1.1:5000";
const ARGUMENTS: [&str; 6] = ["--interface", "lan0", "--allow-send", GROUP, "--limit", "all=off"];

lab_test! {
    fn what_is_sent_through_a_gateway_is_heard_through_it(lab) {
        let gateway = TestGateway::start(lab, &ARGUMENTS);
        let url = format!("ws://{}/udp/{GROUP}", gateway.address);
        let listener = Running::start(lab, "cli", &format!("listen {url} --json --count 20"));
        gateway.await_joined("gw-lan0", GROUP);
        gateway.status_with("a subscriber", |status| status["streams"][0]["subscribers"] == 1);
        let sent = run(lab, "cli", &format!("send {url} --number --count 20")).assert_code(0);
        assert!(sent.stderr.contains(&format!("sending to {GROUP} through {url}, from 10.1.0.1:")), "{sent:?}");
        assert!(sent.stderr.contains("sent 20 datagrams, 2000 bytes"), "{sent:?}");
        let heard = listener.output().assert_code(0);
        assert!(heard.stderr.contains(&format!("{url}: silent on lan0 there")), "{heard:?}");
        let first: serde_json::Value = serde_json::from_str(heard.text().lines().next().unwrap()).unwrap();
        assert_eq!((&first["sequence"], &first["ttl"], &first["interface"]), (&0.into(), &1.into(), &"lan0".into()));
        assert!(first["source"].as_str().unwrap().starts_with("10.1.0.1:"), "{first}");
        let summary = heard.summary();
        assert_eq!((&summary["received"], &summary["sequence"]["gaps"]), (&20.into(), &0.into()), "{summary}");
        assert_eq!((&summary["lost"]["gateway"], &summary["lost"]["unknown"]), (&0.into(), &0.into()), "{summary}");

        let refused = run(lab, "cli", &format!("listen ws://{}/udp/238.1.1.1:5000", gateway.address)).assert_code(1);
        assert!(refused.stderr.contains("not_allowed") && refused.stderr.contains("--allow-receive"), "{refused:?}");
        let refused = run_with_input(lab, "cli", &format!("send ws://{}/udp/239.1.1.2:5000 --line", gateway.address), b"x")
            .assert_code(1);
        assert!(refused.stderr.contains("not_allowed") && refused.stderr.contains("--allow-send"), "{refused:?}");
        for (words, said) in [
            (format!("send {url} --interface lan0"), "write ?interface="),
            (format!("send {url} --size 1453 --count 1"), "1453 bytes and this client may send 1452"),
            ("send http://a/udp/239.1.1.1:5000".to_owned(), "write ws://HOST:PORT/udp/GROUP:PORT or"),
        ] {
            let output = run(lab, "cli", &words);
            assert!(output.code != Some(0) && output.stderr.contains(said), "{words}: {output:?}");
        }
    }
}

lab_test! {
    fn what_the_gateway_refuses_to_send_is_told_at_the_end(lab) {
        let gateway = TestGateway::start(lab, &[&ARGUMENTS[..], &["--limit", "send-rate-per-session=5"]].concat());
        let url = format!("ws://{}/udp/{GROUP}", gateway.address);
        let said = run(lab, "cli", &format!("send {url} --count 100")).assert_code(1);
        assert!(said.stderr.contains("the gateway refused ") && said.stderr.contains("--limit send-rate"), "{said:?}");
    }
}

lab_test! {
    fn a_listener_outlives_its_gateway_unless_it_hears_as_players_do(lab) {
        let mut gateway = TestGateway::start(lab, &ARGUMENTS);
        let url = format!("ws://{}/udp/{GROUP}", gateway.address);
        let listener = Running::start(lab, "cli", &format!("listen {url} --count 2"));
        let player = Running::start(lab, "cli", &format!("listen {url} --no-v1 --count 2"));
        gateway.status_with("two listeners", |status| status["streams"][0]["subscribers"] == 2);
        gateway.await_joined("gw-lan0", GROUP);
        let source = lab.on("srca", || Multicast::sender("eth0", GROUP.parse().unwrap(), 1));
        source.send(b"before");
        gateway.status_with("what both heard", |status| {
            let sessions = status["sessions"].as_array().unwrap();
            sessions.iter().all(|session| session["subscriptions"][0]["written"] == 1)
        });
        gateway.signal("TERM");
        gateway.wait();
        let said = player.output().assert_code(1);
        assert!(said.text().ends_with(" 6 before\n") && said.stderr.contains("closed the stream: 1001"), "{said:?}");
        let gateway = TestGateway::start_at(lab, gateway.address, &ARGUMENTS);
        wait_for("the listener to come back", PATIENCE, || {
            (gateway.status()["streams"][0]["subscribers"] == 1).then_some(())
        });
        gateway.await_joined("gw-lan0", GROUP);
        source.send(b"after");
        let said = listener.output().assert_code(0);
        assert!(said.text().contains(" 6 before\n") && said.text().ends_with(" 5 after\n"), "{said:?}");
        assert!(said.stderr.contains("the connection is lost: trying again"), "{said:?}");
        assert!(said.stderr.contains("an unknown number of datagrams lost while the connection was away in "), "{said:?}");
        assert!(said.stderr.contains("and 1 gaps of unknown size"), "{said:?}");
    }
}
