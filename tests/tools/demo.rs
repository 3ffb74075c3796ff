//! `demo`, where not everything is as it should be.

use super::{demo, drop_sent_to, fetch, run};
use crate::support::lab::{lab_test, skip};

lab_test! {
    fn the_demo_speaks_ipv6_where_it_can(lab) {
        lab.sh("ip -n gw -6 route add local ff15::77:1/128 dev lo");
        let (running, port, _lines) = demo(lab, "demo --listen 127.0.0.1:0");
        let readings = fetch(lab, port, "/streams/sensors6", 600);
        assert!(readings.contains(r#"{"sensor":"#), "{readings}");
        running.interrupt().assert_code(0);
    }
}

lab_test! {
    fn the_demo_takes_another_port_unless_one_was_asked_for(lab) {
        let _taken = lab.on("gw", || std::net::TcpListener::bind("127.0.0.1:8080")).expect("bind");
        let refused = run(lab, "gw", "demo --listen 127.0.0.1:8080").assert_code(3);
        assert!(refused.stderr.contains("port 8080 is already in use"), "{refused:?}");
        let (running, port, _lines) = demo(lab, "demo");
        assert!(port != 8080);
        let said = running.interrupt().assert_code(0);
        assert!(said.stderr.contains("port 8080 is taken: taking a free one"), "{said:?}");
    }
}

lab_test! {
    fn the_demo_explains_what_is_missing(lab) {
        lab.sh("ip -n cli link set lo down");
        let said = run(lab, "cli", "demo --listen 127.0.0.1:0").assert_code(1);
        assert!(said.stderr.contains("lo is down: `ip link set lo up`"), "{said:?}");
        if skip("nft", "nftables") {
            return;
        }
        drop_sent_to(lab, "gw", "input", "224.0.0.0/4");
        let said = run(lab, "gw", "demo --listen 127.0.0.1:0").assert_code(1);
        assert!(said.stderr.contains("did not come back") && said.stderr.contains("nft list ruleset"), "{said:?}");
    }
}
