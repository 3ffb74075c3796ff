//! `record` and `replay`, with tshark as the judge of both.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::{Running, run};
use crate::support::lab::{Lab, Multicast, PATIENCE, Receiver, lab_test, skip, wait_for};

lab_test! {
    fn what_is_recorded_opens_in_wireshark_and_comes_back_as_it_was(lab) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("groups.pcapng");
        let groups = ["239.1.2.3:5000", "[ff15::42]:5001"];
        let words = format!("record {} --count 40 -o {} --interface lan0", groups.join(" "), file.display());
        let recorder = Running::start(lab, "gw", &words);
        let senders = groups.map(|group| {
            let group = group.parse().unwrap();
            lab.await_member("gw-lan0", std::net::SocketAddr::ip(&group));
            lab.on("srca", || Multicast::sender("eth0", group, 3))
        });
        let payload = |number: usize| vec![number as u8; number * 37 % 1400];
        for number in 0..40 {
            senders[number % 2].send(&payload(number));
        }
        let said = recorder.output().assert_code(0);
        assert!(said.stderr.contains("recorded 40 datagrams"), "{said:?}");
        if !skip("tshark", "tshark") {
            let seen = tshark(&file, "frame.interface_name ip.src ipv6.src ip.ttl ipv6.hlim udp.dstport udp.length");
            let mut expected: Vec<String> = (0..40)
                .map(|number| {
                    let length = payload(number).len() + 8;
                    match number % 2 {
                        0 => format!("lan0\t10.1.0.2\t\t3\t\t5000\t{length}"),
                        _ => format!("lan0\t\tfd01::2\t\t3\t5001\t{length}"),
                    }
                })
                .collect();
            // Two sockets are read one after the other.
            let mut sorted = seen.clone();
            expected.sort();
            sorted.sort();
            assert_eq!(sorted, expected);
            let checked = tshark_with(&file, &["-o", "udp.check_checksum:TRUE"], "udp.checksum.status");
            assert!(checked.iter().all(|status| status == "1"), "tshark finds every checksum good: {checked:?}");
            assert!(tshark(&file, "frame.time_epoch").iter().any(|time| !time.ends_with("000")), "nanoseconds");
        }

        // From another host than the one that it was recorded from.
        let receivers = groups.map(|group| lab.on("gw", || Receiver::join("lan0", group.parse().unwrap())));
        for group in groups {
            lab.await_member("gw-lan0", group.parse::<std::net::SocketAddr>().unwrap().ip());
        }
        let said = run(lab, "srcc", &format!("replay {} --interface eth0", file.display())).assert_code(0);
        assert!(said.stderr.contains("sent 40 datagrams") && !said.stderr.contains("not sent"), "{said:?}");
        for number in 0..40 {
            let received = receivers[number % 2].recv();
            assert_eq!(received.payload, payload(number), "{number}");
            assert_eq!(received.source.ip().to_string(), ["10.1.0.3", "fd01::3"][number % 2]);
        }
    }
}

lab_test! {
    fn what_tshark_captures_replays_and_tshark_sees_it_again(lab) {
        if skip("tshark", "tshark") {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let group = "239.1.2.3:5000";
        let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
        let member = lab.on("gw", || Receiver::join("lan0", group.parse().unwrap()));
        lab.await_member("gw-lan0", "239.1.2.3".parse().unwrap());
        let tshark_on = Tshark::start(lab, "srca", &first);
        // Twelve datagrams in bursts of three, with 20 ms between the bursts; and what is not for a group.
        let sender = lab.on("srca", || Multicast::sender("eth0", group.parse().unwrap(), 9));
        for number in 0..12_u8 {
            if number % 3 == 0 {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            sender.send(&[number; 200]);
        }
        lab.sh("ip netns exec srca ping -q -c 1 10.1.0.1");
        tshark_on.finish(14);
        for _ in 0..12 {
            member.recv();
        }

        let tshark_on = Tshark::start(lab, "srcc", &second);
        let said = run(lab, "srcc", &format!("replay {} --interface eth0", first.display())).assert_code(0);
        tshark_on.finish(12);
        assert!(said.stderr.contains("sent 12 datagrams") && said.stderr.contains("not UDP"), "{said:?}");
        let payloads = |file: &Path| tshark_with(file, &["-Y", "udp.port == 5000"], "ip.dst udp.dstport data.data");
        assert_eq!(payloads(&second), payloads(&first), "tshark agrees with the file that was sent");
        let ttls = tshark_with(&second, &["-Y", "udp.port == 5000"], "ip.ttl");
        assert!(ttls.iter().all(|ttl| ttl == "1"), "the capture's TTL of 9 is not ours: {ttls:?}");
        // As long as the capture, at least: nothing is sent before its time.
        let times: Vec<f64> =
            tshark_with(&second, &["-Y", "udp.port == 5000"], "frame.time_epoch").iter().map(|time| time.parse().unwrap()).collect();
        assert!(times[11] - times[0] > 0.058, "{times:?}");

        let elsewhere = format!("replay {} --interface eth0 --only 238.0.0.0/8", first.display());
        let said = run(lab, "srcc", &elsewhere).assert_code(1);
        assert!(said.stderr.contains("not sent: 12 not among those of --only"), "{said:?}");

        // pcap of old, another group, faster, and again and again.
        let old = folder.path().join("old.pcap");
        let convert = format!("tshark -r {} -F pcap -w {}", first.display(), old.display());
        lab.sh(&convert);
        let words = format!(
            "replay {} --interface eth0 --to 239.1.2.3:5000 --only 239.1.2.0/24 --speed max --repeat --count 30",
            old.display()
        );
        let said = run(lab, "srcc", &words).assert_code(0);
        assert!(said.stderr.contains("sent 30 datagrams"), "{said:?}");
        for number in (0..12_u8).cycle().take(12).chain((0..12).cycle().take(30)) {
            assert_eq!(member.recv().payload, [number; 200]);
        }
    }
}

lab_test! {
    fn nothing_is_sent_that_is_not_for_a_group_or_that_was_not_asked_for(lab) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mdns.pcapng");
        let group = "224.0.0.251:5353";
        let recorder = Running::start(lab, "gw", &format!("record {group} --count 1 -o {} --interface lan0", file.display()));
        let sender = lab.on("srca", || Multicast::sender("eth0", group.parse().unwrap(), 1));
        let mut recorder = Some(recorder);
        wait_for("one to be recorded", PATIENCE, || {
            sender.send(b"who is there");
            recorder.as_mut().is_some_and(Running::has_ended).then_some(())
        });
        recorder.take().unwrap().output().assert_code(0);
        let replay = |more: &str| run(lab, "srcc", &format!("replay {} --interface eth0 {more}", file.display()));
        for (more, words) in [
            ("", "not sent: 1 of groups for the network's own use (--only with address and port sends them)"),
            ("--only 224.0.0.0/4", "not sent: 1 of groups for the network's own use"),
        ] {
            let said = replay(more).assert_code(1);
            assert!(said.stderr.contains(words) && said.stderr.contains("nothing of it could be sent"), "{said:?}");
        }
        let said = replay("--only 224.0.0.251:5353").assert_code(0);
        assert!(said.stderr.contains("sent 1 datagram,"), "{said:?}");
        fs::write(&file, "GIF89a").unwrap();
        let said = replay("").assert_code(1);
        assert!(said.stderr.contains("it is no capture: pcapng or pcap is wanted"), "{said:?}");
        for (words, complaint) in [
            ("--interface all", "--interface all is for receiving"),
            ("--speed 0", "a speed is 0.001 to 1000, or max"),
            ("--to 10.0.0.1:5000", "not a multicast address"),
        ] {
            let said = run(lab, "srcc", &format!("replay {} {words}", file.display())).assert_code(2);
            assert!(said.stderr.contains(complaint), "{said:?}");
        }
    }
}

/// A capture that tshark makes of everything on a host's `eth0`.
struct Tshark(Child);

impl Tshark {
    /// Begins, and returns when it captures.
    fn start(lab: &Lab, host: &str, file: &Path) -> Self {
        let mut command = lab.command(host, "tshark");
        command.args(["-q", "-i", "eth0", "-f", "udp port 5000 or icmp", "-w"]).arg(file);
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("start tshark");
        let tshark = Tshark(child);
        wait_for("tshark to capture", PATIENCE, || {
            let opened = fs::metadata(file).is_ok_and(|file| file.len() > 0);
            opened.then_some(())
        });
        tshark
    }

    /// Waits until it has written so many packets, and ends it.
    fn finish(mut self, packets: usize) {
        let id = self.0.id().to_string();
        let file = String::from_utf8_lossy(&fs::read(format!("/proc/{id}/cmdline")).unwrap()).into_owned();
        let file = file.split('\0').skip_while(|word| *word != "-w").nth(1).unwrap().to_owned();
        wait_for("tshark to have seen everything", PATIENCE, || {
            (tshark(Path::new(&file), "frame.number").len() >= packets).then_some(())
        });
        let id = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Tshark {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What tshark reads in a file: a line for each packet, with tabs between the fields.
fn tshark(file: &Path, fields: &str) -> Vec<String> {
    tshark_with(file, &[], fields)
}

fn tshark_with(file: &Path, more: &[&str], fields: &str) -> Vec<String> {
    let mut command = Command::new("tshark");
    command.arg("-n").arg("-r").arg(file).args(more).args(["-T", "fields"]);
    for field in fields.split(' ') {
        command.args(["-e", field]);
    }
    let output = command.output().expect("run tshark");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}
