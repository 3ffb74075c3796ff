//! `start=keyframe`: a late joiner begins at a picture, with the tables before it.

mod first_picture;

use std::io::Read as _;

use crate::support::gateway::{Answer, TestGateway, assert_session_balances};
use crate::support::lab::{Lab, Multicast, lab_test};
use crate::support::raw::handshake;

pub(crate) const GROUP: &str = "239.1.2.3:5000";
const MAP: u16 = 0x1000;
const VIDEO: u16 = 0x100;

/// A transport stream packet, filled up in its adaptation field; `random_access` as the sender says it.
fn packet(pid: u16, random_access: bool, payload: &[u8]) -> Vec<u8> {
    let room = 184 - payload.len();
    let mut packet = vec![0x47, 0x40 | (pid >> 8) as u8, pid as u8, 0x30, room as u8 - 1];
    packet.push(if random_access { 0x40 } else { 0 });
    packet.resize(4 + room, 0xff);
    packet.extend_from_slice(payload);
    packet
}

/// PAT and PMT: one program, H.264.
fn tables() -> Vec<u8> {
    let association = [0, 0, 0xb0, 13, 0, 1, 0xc1, 0, 0, 0, 1, 0xf0, 0, 0, 0, 0, 0];
    let map = [0, 2, 0xb0, 18, 0, 1, 0xc1, 0, 0, 0xe1, 0, 0xf0, 0, 0x1b, 0xe1, 0, 0xf0, 0, 0, 0, 0, 0];
    [packet(0, false, &association), packet(MAP, false, &map)].concat()
}

fn picture(number: u8, unit: u8, random_access: bool) -> Vec<u8> {
    packet(VIDEO, random_access, &[0, 0, 1, 0xe0, 0, 0, 0x80, 0, 0, 0, 0, 1, 9, 0xf0, 0, 0, 1, unit, number])
}

const KEY: u8 = 0x65;
const PLAIN: u8 = 0x41;

fn start(lab: &Lab) -> (TestGateway<'_>, Multicast) {
    let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
    let srca = lab.on("srca", || Multicast::sender("eth0", GROUP.parse().unwrap(), 1));
    (gateway, srca)
}

lab_test! {
    fn begins_with_the_tables_and_the_last_key_picture_held(lab) {
        let (gateway, srca) = start(lab);
        let mut first = gateway.open(&format!("/udp/{GROUP}"));
        gateway.await_joined("gw-lan0", GROUP);
        let said = |number| picture(number, 6, true);
        let sent = [
            picture(0, KEY, false), tables(), picture(1, PLAIN, false), picture(2, KEY, false), picture(3, PLAIN, false),
            said(4), picture(5, PLAIN, false), picture(6, PLAIN, false),
        ];
        sent.iter().for_each(|datagram| srca.send(datagram));
        // Everything has come that was sent.
        sent.iter().for_each(|datagram| assert_eq!(first.recv(), *datagram));
        let mut late = gateway.open(&format!("/udp/{GROUP}?start=keyframe"));
        assert_eq!(late.recv(), tables());
        sent[5..].iter().for_each(|datagram| assert_eq!(late.recv(), *datagram));
        let mut body = gateway.get(&format!("/udp/{GROUP}?start=keyframe"));
        assert!(body.head.contains("content-type: video/mp2t"), "{}", body.head);
        let expected = [&tables()[..], &sent[5..].concat()].concat();
        let mut bytes = vec![0; expected.len()];
        body.stream.read_exact(&mut bytes).expect("read the body");
        assert!(bytes == expected);
        // It goes on without a seam.
        let live = picture(8, PLAIN, false);
        srca.send(&live);
        assert_eq!((late.recv(), first.recv()), (live.clone(), live));
        late.close();
        let session = &gateway.closed(1)[0];
        assert_eq!(assert_session_balances(session), (4, 4, 0));
    }
}

lab_test! {
    fn waits_for_a_picture_where_none_is_held(lab) {
        let (gateway, srca) = start(lab);
        let live = std::thread::scope(|scope| {
            let late = scope.spawn(|| gateway.open(&format!("/udp/{GROUP}?start=keyframe")));
            gateway.await_joined("gw-lan0", GROUP);
            for datagram in [tables(), picture(1, PLAIN, false), picture(2, PLAIN, false), picture(3, KEY, false)] {
                srca.send(&datagram);
            }
            let mut late = late.join().expect("a client");
            [late.recv(), late.recv()]
        });
        assert_eq!(live, [tables(), picture(3, KEY, false)]);
    }
}

lab_test! {
    fn what_is_forbidden_while_it_waits_is_not_served(lab) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("wscast.toml");
        let write = |groups: &str| {
            let text = format!("no-auth = true\ninterface = \"lan0\"\nallow-receive = [\"{groups}\"]\n");
            std::fs::write(&file, text).expect("write the file");
        };
        write("239.0.0.0/8");
        let arguments = ["--config", file.to_str().expect("UTF-8"), "--listen", "10.9.0.1:0"];
        let gateway = TestGateway::start_with(lab, &arguments);
        let srca = lab.on("srca", || Multicast::sender("eth0", GROUP.parse().unwrap(), 1));
        let path = format!("/udp/{GROUP}?start=keyframe");
        let answers = std::thread::scope(|scope| {
            let body = scope.spawn(|| gateway.fetch(&path));
            let socket = scope.spawn(|| Answer::to(&mut gateway.connect(), &handshake(gateway.address, &path, &[])));
            gateway.await_joined("gw-lan0", GROUP);
            // Each on its own shard, as it may be.
            gateway.status_with("both to wait", |status| {
                let streams = status["streams"].as_array().expect("a list").iter();
                streams.filter_map(|stream| stream["subscribers"].as_u64()).sum::<u64>() == 2
            });
            write("239.9.0.0/16");
            gateway.signal("HUP");
            gateway.status_with("the other configuration", |status| status["gateway"]["configuration"]["generation"] == 2);
            for datagram in [tables(), picture(1, KEY, false)] {
                srca.send(&datagram);
            }
            [body, socket].map(|asked| asked.join().expect("an answer"))
        });
        for answer in answers {
            assert_eq!(answer.status, 403, "{answer:?}");
            assert!(answer.body.contains("239.1.2.3:5000"), "{answer:?}");
        }
    }
}

lab_test! {
    fn what_is_no_video_begins_now(lab) {
        let (gateway, srca) = start(lab);
        let mut first = gateway.open(&format!("/udp/{GROUP}"));
        gateway.await_joined("gw-lan0", GROUP);
        for _ in 0..20 {
            srca.send(b"a reading");
            assert_eq!(first.recv(), b"a reading");
        }
        let mut late = gateway.open(&format!("/udp/{GROUP}?start=keyframe"));
        srca.send(b"the next");
        assert_eq!(late.recv(), b"the next");
        let head = gateway.get(&format!("/udp/{GROUP}")).head;
        assert!(head.contains("content-type: application/octet-stream"), "{head}");
        for (query, words) in [("start=keyframe&replay=1", "replay="), ("start=keyframe&interface=all", "one interface")] {
            let answer = gateway.fetch(&format!("/udp/{GROUP}?{query}"));
            assert_eq!(answer.status, 400, "{answer:?}");
            assert!(answer.body.contains(words), "{answer:?}");
        }
    }
}

lab_test! {
    fn rtp_begins_at_a_picture_too(lab) {
        let (gateway, srca) = start(lab);
        let mut first = gateway.open(&format!("/rtp/{GROUP}"));
        gateway.await_joined("gw-lan0", GROUP);
        let sent = [tables(), picture(1, KEY, false), picture(2, PLAIN, false)];
        for (sequence, payload) in sent.iter().enumerate() {
            srca.send(&[&[0x80, 33, 0, sequence as u8, 0, 0, 0, 0, 0, 0, 0, 1], &payload[..]].concat());
            assert_eq!(first.recv(), *payload);
        }
        let mut late = gateway.open(&format!("/rtp/{GROUP}?start=keyframe"));
        sent.iter().for_each(|payload| assert_eq!(late.recv(), *payload));
    }
}
