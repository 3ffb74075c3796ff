//! What a link mirrors and what not: directions, other groups, caps, answers, refusals.

use std::io::Read as _;
use std::net::UdpSocket;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::support::lab::{Multicast, PATIENCE, lab_test};
use crate::support::sites::{Sites, link_to, list, number};

const GROUP: &str = "239.1.2.3:5000";
const OTHER: &str = "239.9.9.9:6000";
const V6: &str = "[ff15::42]:5000";

/// A program that is killed when dropped.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

lab_test! {
    fn groups_have_their_directions_names_and_ttls(lab) {
        let sites = Sites::build(lab, &[(&["ga"], &["ha"]), (&["gb"], &["hb"])]);
        let b = sites.gateway("gb", 2, "");
        let links = format!(
            "[[link]]\nurl = \"ws://10.99.0.2:8080\"\n\
             [[link.group]]\ngroup = \"{GROUP}\"\nremote-group = \"{OTHER}\"\ndirection = \"push\"\nttl = 7\n\
             [[link.group]]\ngroup = \"{V6}\"\ndirection = \"pull\"\n"
        );
        let a = sites.gateway("ga", 1, &links);
        a.ready(1);
        b.ready(1);
        let (pushed, pulled) = (sites.receiver("hb", OTHER), sites.receiver("ha", V6));
        sites.sender("ha", GROUP).send(b"from a");
        assert_eq!(pushed.recv().payload, b"from a");
        sites.sender("hb", V6).send(b"from b");
        assert_eq!(pulled.recv().payload, b"from b");
        // Not the other way: what follows over the other group comes, so this would have come before.
        let wrong = sites.receiver("ha", GROUP);
        sites.sender("hb", OTHER).send(b"against the direction");
        sites.sender("hb", V6).send(b"later");
        assert_eq!(pulled.recv().payload, b"later");
        assert_eq!(wrong.take(), None);
        assert_eq!(number(&b.mirror(OTHER)["arrived"]), 1);
        assert_eq!((number(&a.mirror(GROUP)["arrived"]), number(&a.mirror(GROUP)["injected"])), (0, 1));
    }
}

lab_test! {
    fn the_ttl_is_the_one_configured(lab) {
        let sites = Sites::build(lab, &[(&["ga"], &["ha"]), (&["gb"], &["hb"])]);
        let b = sites.gateway("gb", 2, "");
        let a = sites.gateway("ga", 1, &(link_to(2, GROUP) + "ttl = 7\n"));
        a.ready(1);
        b.ready(1);
        // Joined through the gateway, whose records tell the TTL.
        let mut dump = Program(
            lab.command("hb", env!("CARGO_BIN_EXE_wscast"))
                .args(["listen", GROUP, "--interface", "eth0", "--count", "1", "--json"])
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        );
        let _joined = sites.receiver("hb", GROUP);
        crate::support::lab::wait_for("the datagram", PATIENCE, || {
            sites.sender("ha", GROUP).send(b"x");
            std::thread::sleep(Duration::from_millis(20));
            dump.0.try_wait().unwrap()
        });
        let mut said = String::new();
        dump.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(said.contains("\"ttl\":7"), "{said}");
    }
}

lab_test! {
    fn a_cap_bounds_what_passes_and_counts_the_rest(lab) {
        let sites = Sites::build(lab, &[(&["ga"], &["ha"]), (&["gb"], &["hb"])]);
        let b = sites.gateway("gb", 2, "");
        let a = sites.gateway("ga", 1, &(link_to(2, GROUP) + "rate = \"8kbit/s\"\n"));
        a.ready(1);
        b.ready(1);
        let heard = sites.receiver("hb", GROUP);
        let sender = sites.sender("ha", GROUP);
        for _ in 0..200 {
            sender.send(&[7; 1000]);
        }
        // 512 kbit at once, then a kilobyte a second.
        let status = a.status_with("all of them", |status| number(&list(status, "mirrors")[0]["injected"]) == 200);
        let link = &list(&status, "links")[0];
        let (sent, over) = (number(&link["sent"]), number(&link["groups"][0]["over_rate"]));
        assert_eq!(sent + over, 200, "{link:#}");
        assert!((60..80).contains(&sent), "{link:#}");
        for _ in 0..sent {
            heard.recv();
        }
    }
}

lab_test! {
    fn unicast_answers_find_their_way_back_over_two_links(lab) {
        let sites = Sites::build(lab, &[(&["ga"], &["ha"]), (&["gb"], &["hb"]), (&["gc"], &["hc", "hd"])]);
        let c = sites.gateway("gc", 3, "");
        let b = sites.gateway("gb", 2, &link_to(3, GROUP));
        let a = sites.gateway("ga", 1, &link_to(2, GROUP));
        a.ready(1);
        b.ready(2);
        c.ready(1);
        // Each answers whoever asks, unicast.
        let responders = ["hb", "hc", "hd"].map(|host| (host, sites.receiver(host, GROUP)));
        let asker = sites.sender("ha", GROUP);
        asker.send(b"who is there?");
        for (host, responder) in &responders {
            let asked = responder.recv();
            assert_eq!(asked.payload, b"who is there?");
            let socket = lab.on(host, || UdpSocket::bind("0.0.0.0:0").unwrap());
            socket.send_to(host.as_bytes(), asked.source).unwrap();
        }
        let mut answers: Vec<_> = (0..3).map(|_| asker.answer()).collect();
        answers.sort();
        let words: Vec<_> = answers.iter().map(|(words, _)| words.clone()).collect();
        assert_eq!(words, [&b"hb"[..], b"hc", b"hd"]);
        let mut ports: Vec<_> = answers.iter().map(|(_, source)| *source).collect();
        ports.dedup();
        assert_eq!(ports.len(), 3, "each far host is told apart: {ports:?}");
        assert!(ports.iter().all(|source| source.ip().to_string() == "10.50.0.1"), "{ports:?}");
        assert_eq!(number(&a.mirror(GROUP)["answers"]["delivered"]), 3);
        assert_eq!(number(&b.mirror(GROUP)["answers"]["forwarded"]), 2);
    }
}

lab_test! {
    fn a_link_is_accepted_only_where_it_is_said_and_within_the_policy(lab) {
        let sites = Sites::build(lab, &[(&["ga"], &["ha"]), (&["gb"], &["hb"])]);
        let b = sites.gateway("gb", 2, "");
        // Not on the other one's lists.
        let a = sites.gateway("ga", 1, &link_to(2, "224.5.5.5:5000"));
        let status = a.status_with("a link", |status| list(status, "links")[0]["state"] == "up");
        assert_eq!(list(&status, "links")[0]["groups"][0]["refused"], serde_json::Value::Null, "here it may");
        a.inner().logged("the other gateway does not mirror a group");
        b.inner().logged("a group that another gateway asks for is not mirrored");
        let refused = b.status();
        let words = list(&refused, "links")[0]["groups"][0]["refused"].as_str().unwrap_or("").to_owned();
        assert!(words.contains("--allow-receive"), "{words}");

        let closed = crate::support::gateway::TestGateway::start(lab, &[]);
        let answer = closed.ask(&format!(
            "GET /v1/link HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: wscast.v1\r\n\r\n",
            closed.address
        ));
        assert_eq!(answer.status, 403);
        assert!(answer.body.contains("--accept-links"), "{answer:?}");
    }
}

lab_test! {
    fn a_gateway_does_not_link_to_itself(lab) {
        let sites = Sites::build(lab, &[(&["ga"], &["ha"])]);
        let a = sites.gateway("ga", 1, &link_to(1, GROUP));
        let status = a.status_with("a refusal", |status| list(status, "links")[0]["state"] == "refused");
        let reason = list(&status, "links")[0]["reason"].as_str().unwrap_or("").to_owned();
        assert!(reason.contains("this is the gateway itself"), "{reason}");
    }
}

lab_test! {
    fn the_program_links_a_host_without_a_gateway(lab) {
        let sites = Sites::build(lab, &[(&["ga"], &["ha", "hx"]), (&["gb"], &["hb"])]);
        let b = sites.gateway("gb", 2, "");
        let program = Program(
            lab.command("ga", env!("CARGO_BIN_EXE_wscast"))
                .args(["link", "ws://10.99.0.2:8080", GROUP, "--interface", "lan0"])
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        );
        b.ready(1);
        let (here, there) = (sites.receiver("ha", GROUP), sites.receiver("hb", GROUP));
        let (from, back): (Multicast, Multicast) = (sites.sender("hx", GROUP), sites.sender("hb", GROUP));
        // The far end listens for a second too.
        crate::support::lab::wait_for("the way there", PATIENCE, || {
            from.send(b"there");
            there.recv_within(Duration::from_millis(100))
        });
        crate::support::lab::wait_for("the way back", PATIENCE, || {
            back.send(b"back");
            std::iter::from_fn(|| here.recv_within(Duration::from_millis(100))).find(|heard| heard.payload == b"back")
        });
        lab.sh(&format!("kill -TERM {}", program.0.id()));
        b.status_with("the goodbye", |status| list(status, "links")[0]["state"] == "away");
    }
}
