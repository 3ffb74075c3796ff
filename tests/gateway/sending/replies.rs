//! Unicast answers to what a client sent come back to that client and to nobody else.

use std::net::{SocketAddr, UdpSocket};

use super::{V6, session_of};
use crate::support::gateway::{TestGateway, assert_session_balances};
use crate::support::lab::{Lab, Multicast, Receiver, lab_test};

const SSDP: &str = "239.255.255.250:1900";
const COAP: &str = "224.0.1.187:5683";

lab_test! {
    fn ssdp_answers_come_back_to_the_client_that_searched(lab) {
        let search = b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: ssdp:all\r\n\r\n";
        asks_and_is_answered(lab, SSDP, search, b"HTTP/1.1 200 OK\r\nST: upnp:rootdevice\r\nEXT:\r\n\r\n");
    }
}

lab_test! {
    fn coap_group_answers_come_back_to_the_client_that_asked(lab) {
        // Non-confirmable GET /.well-known/core, and a 2.05 with the same token (RFC 7252, RFC 7390).
        let get = b"\x51\x01\x12\x34\x42\xbb.well-known\x04core";
        asks_and_is_answered(lab, COAP, get, b"\x51\x45\x56\x78\x42\xff</light>;rt=\"light\"");
    }
}

lab_test! {
    fn answers_come_back_over_ipv6_too(lab) {
        asks_and_is_answered(lab, V6, b"who is there?", b"I am");
    }
}

/// Three clients of `group`, one of which asks while it wants answers and one of which asks without.
fn asks_and_is_answered(lab: &Lab, group: &str, question: &[u8], answer: &[u8]) {
    let gateway = TestGateway::start(
        lab,
        &["--interface", "lan0", "--allow-send", group, "--allow-receive", group, "--limit", "all=off"],
    );
    let address: SocketAddr = group.parse().expect("a group");
    let responder = lab.on("srca", || Receiver::join("eth0", address));
    lab.await_member("srca-eth0", address.ip());
    let own = lab.on("srca", || {
        UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).expect("a UDP socket")
    });
    let mut asking = gateway.open(&format!("/udp/{group}?replies=1"));
    let mut other = gateway.open(&format!("/udp/{group}?replies=1"));
    let mut deaf = gateway.open(&format!("/udp/{group}"));
    gateway.await_joined("gw-lan0", group);

    asking.send(question);
    let heard = responder.recv();
    assert_eq!(heard.payload, question);
    for number in 0..3u8 {
        own.send_to(&[answer, &[number]].concat(), heard.source).expect("send an answer");
        assert_eq!(asking.recv(), [answer, &[number]].concat());
    }
    // An answer without a byte is one too.
    own.send_to(b"", heard.source).expect("send an answer");
    assert_eq!(asking.recv(), b"");

    deaf.send(b"no answer, please");
    let heard = responder.recv();
    own.send_to(answer, heard.source).expect("send an answer");
    // A client that has sent something of its own is no more to hear another's answers.
    other.send(b"another question");
    own.send_to(b"another answer", responder.recv().source).expect("send an answer");
    assert_eq!(other.recv(), question, "through the network, like everybody's");
    let mut rest = [other.recv(), other.recv()];
    rest.sort();
    assert_eq!(rest, [&b"another answer"[..], b"no answer, please"]);

    lab.on("srca", || Multicast::sender("eth0", address, 1)).send(b"last");
    assert_eq!(asking.recv_until(b"last"), [&b"no answer, please"[..], b"another question", b"last"]);
    assert_eq!(other.recv_until(b"last"), [b"last"]);
    assert_eq!(deaf.recv_until(b"last"), [question, b"another question", b"last"]);

    let status = gateway.status();
    for (client, replies) in [(&mut asking, 4), (&mut other, 1), (&mut deaf, 0)] {
        let session = session_of(&status, client);
        assert_eq!(
            (&session["sender"]["replies"], &session["sender"]["replies_lost"]),
            (&replies.into(), &0.into())
        );
        assert_eq!(assert_session_balances(&session), (4, 3, 0), "{session:#}");
        assert_eq!(session["subscriptions"][0]["withheld"]["echo"], 1, "{session:#}");
    }
}
