//! What is lost on the host itself.

use std::net::SocketAddr;
use std::process::Stdio;

use super::super::support::lab::{Lab, Multicast, PATIENCE, Receiver, lab_test, wait_for};
use super::super::{Said, run, wscast};
use super::Diagnosis;

/// Runs the doctor for `group` on lan0 of gw, and something else once it has joined.
fn while_it_listens(lab: &Lab, group: &str, seconds: u32, act: impl FnOnce()) -> Diagnosis {
    let words = format!("doctor --json {group} --interface lan0 --listen {seconds}");
    let doctor = wscast(lab, "gw", &words).stdout(Stdio::piped()).spawn().expect("start wscast");
    let address: SocketAddr = group.parse().expect("a group");
    wait_for("the doctor to join", PATIENCE, || {
        lab.sh("ip -n gw maddress show dev lan0").contains(&address.ip().to_string()).then_some(())
    });
    lab.await_member("gw-lan0", address.ip());
    act();
    Diagnosis::read(Said::of(&doctor.wait_with_output().expect("wscast ends")))
}

lab_test! {
    fn a_program_that_reads_too_slowly_is_found(lab) {
        let group: SocketAddr = "239.1.2.3:5000".parse().expect("a group");
        // Joined, bound, and never read.
        let _idle = lab.on("gw", || Receiver::join("lan0", group));
        let diagnosis = while_it_listens(lab, "239.1.2.3:5000", 2, || {
            run(lab, "srca", "send 239.1.2.3:5000 --interface eth0 --rate 20000 --count 8000 --size 1400").assert_code(0);
        });
        let diagnosis = diagnosis.assert(&["receive-overflow"], "warning");
        let seen = diagnosis.findings()[0]["seen"].as_str().expect("text");
        assert!(seen.contains(&format!("(pid {})", std::process::id())), "{seen}");
    }
}

lab_test! {
    fn fragments_and_frames_that_are_lost_are_found(lab) {
        let fragments = while_it_listens(lab, "239.1.2.3:5000", 3, || {
            // The first fragments of datagrams whose rest never comes; the kernel gives up on them after its time.
            lab.sh("ip netns exec gw sysctl -qw net.ipv4.ipfrag_time=1");
            lab.impair("gw", "lan0", "loss=every:2");
            run(lab, "srca", "send 239.1.2.3:5000 --interface eth0 --count 40 --rate 200 --size 4000").assert_code(0);
            lab.impair("gw", "lan0", "clear");
            lab.on("srca", || Multicast::sender("eth0", "239.1.2.3:5000".parse().expect("a group"), 1)).send(b"whole");
        });
        fragments.assert(&["fragments-lost"], "warning");
        // Frames that are longer than the interface takes are dropped by it.
        let frames = while_it_listens(lab, "239.1.2.4:5000", 2, || {
            lab.sh("ip -n gw link set lan0 mtu 1300");
            run(lab, "srca", "send 239.1.2.4:5000 --interface eth0 --count 100 --rate 500 --size 1400").assert_code(0);
            run(lab, "srca", "send 239.1.2.4:5000 --interface eth0 --count 5 --size 100").assert_code(0);
        });
        frames.assert(&["interface-drops"], "warning");
    }
}

lab_test! {
    fn a_carrier_that_comes_and_goes_is_found(lab) {
        let diagnosis = while_it_listens(lab, "239.1.2.3:5000", 2, || {
            lab.sh("ip -n sw link set gw-lan0 down; ip -n sw link set gw-lan0 up");
            lab.await_member("gw-lan0", "239.1.2.3".parse().expect("an address"));
            run(lab, "srca", "send 239.1.2.3:5000 --interface eth0").assert_code(0);
        });
        diagnosis.assert(&["carrier-flapping"], "warning");
    }
}
