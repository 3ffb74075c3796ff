//! The lab keeps what it promises: its topology, its switches, its bad wires, and nothing left behind.

#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use support::lab::{
    Lab, Multicast, PATIENCE, Receiver, available, lab_script, lab_test, scripts, skip, wait_for,
};

/// A command-line argument by which a process of one test is found among all others.
const MARKER: &str = "WSCAST_LAB_MARKER";

fn group(text: &str) -> SocketAddr {
    text.parse().expect("an address and port")
}

lab_test! {
    fn topology_is_as_documented(lab) {
        for (host, interface, addresses) in [
            ("srca", "eth0", "10.1.0.2/24 fd01::2/64"),
            ("srcc", "eth0", "10.1.0.3/24 fd01::3/64"),
            ("gw", "lan0", "10.1.0.1/24 fd01::1/64"),
            ("srcb", "eth0", "10.2.0.2/24 fd02::2/64"),
            ("gw", "lan1", "10.2.0.1/24 fd02::1/64"),
            ("gw", "mgmt0", "10.9.0.1/24 fd09::1/64"),
            ("cli", "eth0", "10.9.0.2/24 fd09::2/64"),
        ] {
            let shown = lab.sh(&format!("ip -n {host} -br addr show dev {interface}"));
            let shown = shown.split_whitespace().skip(1).collect::<Vec<_>>().join(" ");
            assert!(shown.starts_with(&format!("UP {addresses} fe80::")), "{host} {interface}: {shown}");
        }
        for (host, others) in [
            ("gw", "10.1.0.2 10.1.0.3 10.2.0.2 10.9.0.2 fd01::2 fd01::3 fd02::2 fd09::2 127.0.0.1 ::1"),
            ("srca", "10.1.0.3 fd01::3"),
        ] {
            for other in others.split(' ') {
                lab.sh(&format!("ip netns exec {host} ping -qc1 -W5 {other}"));
            }
        }
        let routes = lab.sh("ip -n gw route; ip -n gw -6 route");
        assert!(!routes.contains("default") && !routes.contains("224.") && !routes.contains("ff00::"));
        assert_eq!(lab.sh("ip -n gw -br link").lines().count(), 4, "lo, lan0, lan1 and mgmt0");
    }
}

lab_test! {
    fn multicast_stays_on_its_lan(lab) {
        for address in ["239.1.1.1:7000", "[ff15::1]:7000", "[ff02::1:1]:7000"] {
            let group = group(address);
            let (near, far) =
                lab.on("gw", || (Receiver::join("lan0", group), Receiver::join("lan1", group)));
            lab.await_member("gw-lan0", group.ip());
            lab.await_member("gw-lan1", group.ip());
            lab.on("srca", || Multicast::sender("eth0", group, 1)).send(b"lana");
            assert_eq!(near.recv().payload, b"lana");
            // It would have arrived before this.
            lab.on("srcb", || Multicast::sender("eth0", group, 1)).send(b"lanb");
            assert_eq!(far.recv().payload, b"lanb");
            lab.on("srcc", || Multicast::sender("eth0", group, 1)).send(b"lana again");
            let received = near.recv();
            assert_eq!(received.payload, b"lana again");
            let own: IpAddr = if group.is_ipv4() { "10.1.0.3" } else { "fd01::3" }.parse().expect("an address");
            if !address.starts_with("[ff02") {
                assert_eq!(received.source.ip(), own);
            }
        }
    }
}

lab_test! {
    fn a_source_is_told_from_another_on_one_lan(lab) {
        let group = group("232.1.1.1:7000");
        let only_srcc =
            lab.on("gw", || Receiver::join_source("lan0", group, "10.1.0.3".parse().expect("an address")));
        lab.await_member("gw-lan0", group.ip());
        lab.on("srca", || Multicast::from("eth0", "10.1.0.2:0".parse().expect("an address"), group, 1))
            .send(b"srca");
        lab.on("srcc", || Multicast::sender("eth0", group, 1)).send(b"srcc");
        assert_eq!(only_srcc.recv().payload, b"srcc");
    }
}

/// How many frames the switch has sent out of a port.
fn sent_out_of(lab: &Lab, port: &str) -> u64 {
    let path = format!("/sys/class/net/{port}/statistics/tx_packets");
    lab.sh(&format!("ip netns exec sw cat {path}")).trim().parse().expect("a count")
}

lab_test! {
    fn switch_forwards_to_members_only(lab) {
        for address in ["239.1.1.2:7000", "[ff15::2]:7000"] {
            let group = group(address);
            let (sender, receiver) = (
                lab.on("srca", || Multicast::sender("eth0", group, 1)),
                lab.on("gw", || Receiver::join("lan0", group)),
            );
            lab.await_member("gw-lan0", group.ip());
            assert!(!lab.is_member("srcc-eth0", group.ip()));
            let before = (sent_out_of(lab, "gw-lan0"), sent_out_of(lab, "srcc-eth0"));
            // Many, against which a few queries and reports do not count.
            for _ in 0..200 {
                sender.send(b"x");
                receiver.recv();
            }
            let after = (sent_out_of(lab, "gw-lan0"), sent_out_of(lab, "srcc-eth0"));
            assert!(after.0 - before.0 >= 200, "a member's port carries the group");
            assert!(after.1 - before.1 < 100, "no other port does: {}", after.1 - before.1);
            drop(receiver);
            wait_for("the leave to reach the switch", PATIENCE, || {
                (!lab.is_member("gw-lan0", group.ip())).then_some(())
            });
        }
    }
}

/// Sends 1000 numbered datagrams from srca, paced by their arrival where they arrive, and returns the
/// numbers in the order in which gw got them. The last ones are sent over a wire that is good again.
fn transfer(lab: &Lab, knobs: &str) -> Vec<u32> {
    let group = group("239.1.1.3:7000");
    let receiver = lab.on("gw", || Receiver::join("lan0", group));
    let sender = lab.on("srca", || Multicast::sender("eth0", group, 1));
    lab.await_member("gw-lan0", group.ip());
    lab.impair("gw", "lan0", knobs);
    let mut got = Vec::new();
    for number in 0..1000_u32 {
        sender.send(&[&number.to_be_bytes()[..], &[0; 200]].concat());
        // What is neither lost nor late is there at once: delivery within this machine is one call.
        while let Some(received) = receiver.take() {
            got.push(received.payload);
        }
    }
    wait_for("the queues of the wire to drain", PATIENCE, || {
        let queues = lab.sh("tc -n sw -s qdisc show dev gw-lan0");
        queues
            .lines()
            .filter(|line| line.contains("backlog"))
            .all(|line| line.contains(" 0b 0p "))
            .then_some(())
    });
    lab.impair("gw", "lan0", "clear");
    sender.send(b"end");
    got.extend(receiver.recv_until(b"end").into_iter().map(|received| received.payload));
    got.iter().map(|payload| u32::from_be_bytes(payload[..4].try_into().expect("a number"))).collect()
}

lab_test! {
    fn loses_exactly_every_tenth(lab) {
        if skip("nft", "nftables") || skip("tc", "iproute2") {
            return;
        }
        let kept: Vec<u32> = (0..1000).filter(|number| number % 10 != 9).collect();
        assert_eq!(transfer(lab, "loss=every:10"), kept);
        assert_eq!(transfer(lab, "clear").len(), 1000);
    }
}

lab_test! {
    fn loses_repeats_and_reorders_at_random(lab) {
        if skip("nft", "nftables") || skip("tc", "iproute2") {
            return;
        }
        let lossy = transfer(lab, "loss=10%").len();
        assert!((820..980).contains(&lossy), "{lossy} of 1000 arrived");

        let mut doubled = transfer(lab, "dup=5%");
        assert!((1010..1120).contains(&doubled.len()), "{} arrived", doubled.len());
        doubled.dedup();
        assert_eq!(doubled, (0..1000).collect::<Vec<_>>(), "repeated at once, nothing lost");

        let mut late = transfer(lab, "reorder=5%");
        assert!(!late.is_sorted(), "some came late");
        late.sort_unstable();
        assert_eq!(late, (0..1000).collect::<Vec<_>>(), "and nothing was lost");

        let slow = transfer(lab, "rate=1mbit");
        assert!(slow.len() < 900 && slow.is_sorted(), "{} got through the bottleneck", slow.len());

        let complaint = lab.try_sh(&format!("{}/impair gw lan0 loss=much", scripts().display()));
        assert!(complaint.expect_err("not a percentage").contains("not a percentage: much"));
    }
}

lab_test! {
    fn commands_and_closures_live_on_their_host(lab) {
        let output = lab.command("cli", "ls").arg("/sys/class/net").output().expect("run ls");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "eth0\nlo\n");
        let listener = lab.on("gw", || std::net::TcpListener::bind("[fd09::1]:8080")).expect("bind");
        lab.on("cli", || std::net::TcpStream::connect("[fd09::1]:8080")).expect("cli reaches gw");
        listener.accept().expect("gw hears cli");
        assert!(lab.try_sh("echo spoken; exit 3").expect_err("a failure").contains("spoken"));
    }
}

lab_test! {
    fn shows_itself(lab) {
        let group = group("239.1.1.4:7000");
        let _receiver = lab.on("gw", || Receiver::join("lan1", group));
        lab.await_member("gw-lan1", group.ip());
        let shown = lab.sh(&format!("{}/lab show", scripts().display()));
        for expected in ["as it is now", "UP 10.2.0.1/24 fd02::1/64", "239.1.1.4 is wanted on gw-lan1"] {
            assert!(shown.contains(expected), "{expected:?} is missing from\n{shown}");
        }
    }
}

lab_test! {
    /// Not a test: what `a_killed_test_leaves_nothing` kills.
    fn holds_its_lab_until_killed(lab) {
        if let Ok(marker) = std::env::var(MARKER) {
            let _ = lab.command("gw", "sh").args(["-c", "while :; do sleep 60; done", &marker]).status();
        }
    }
}

/// Whether a lab can be had, for the tests that are not inside one; says so if not.
fn without_labs(test: &str) -> bool {
    available().is_err_and(|reason| {
        support::lab::skipped(test, reason);
        true
    })
}

/// Runs `lab` with arguments and returns what came of it.
fn lab_output(arguments: &[&str]) -> Output {
    lab_script().args(arguments).stdin(Stdio::null()).output().expect("run the script")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The processes of the machine that have `marker` among their arguments.
fn marked(marker: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        // A process may end while it is looked at.
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if arguments.split(|&byte| byte == 0).any(|argument| argument == marker.as_bytes()) {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    found
}

/// Whether any process runs in, or has mounted, one of the network namespaces with these inode numbers.
fn is_held(namespaces: &[String]) -> bool {
    let held = |text: &str| namespaces.iter().any(|inode| text.contains(&format!("net:[{inode}]")));
    fs::read_dir("/proc").expect("/proc").flatten().any(|entry| {
        let link = fs::read_link(entry.path().join("ns/net")).unwrap_or_default();
        let mounts = fs::read_to_string(entry.path().join("mountinfo")).unwrap_or_default();
        held(&link.to_string_lossy()) || held(&mounts)
    })
}

/// The network namespaces of the lab that the process `inside` runs in, by their inode numbers.
fn namespaces_of(inside: &str) -> Vec<String> {
    let mut inodes = mounted_namespaces(inside);
    // Those that the machine itself has mounted, as Docker does, show through.
    let machine = mounted_namespaces("self");
    inodes.retain(|inode| !machine.contains(inode));
    assert!(inodes.len() >= 6, "{inodes:?} in a lab on a machine with {machine:?}");
    inodes
}

/// The network namespaces that a process sees mounted.
fn mounted_namespaces(process: &str) -> Vec<String> {
    let mounts = fs::read_to_string(format!("/proc/{process}/mountinfo")).expect("a process's mounts");
    let inodes = mounts.lines().filter_map(|line| line.split_once("net:[")?.1.split_once(']'));
    inodes.map(|(inode, _)| inode.to_owned()).collect()
}

/// Kills `child`, the starter of a lab in which a process has `marker`, and waits for nothing to be left.
fn leaves_nothing(mut child: std::process::Child, marker: &str, is_inside: impl Fn(&str) -> bool) {
    let inside = wait_for("the lab's command to run", PATIENCE, || {
        marked(marker).into_iter().find(|process| is_inside(process))
    });
    let namespaces = namespaces_of(&inside);
    assert!(is_held(&namespaces));
    child.kill().expect("kill the starter");
    let status = child.wait().expect("the starter ends");
    assert_eq!(status.signal(), Some(9));
    wait_for("every process of the lab to end", PATIENCE, || marked(marker).is_empty().then_some(()));
    wait_for("every namespace of the lab to go", PATIENCE, || (!is_held(&namespaces)).then_some(()));
}

/// The program that a process runs.
fn program(process: &str) -> String {
    fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default().trim().to_owned()
}

#[test]
fn a_killed_lab_leaves_nothing() {
    if without_labs("a_killed_lab_leaves_nothing") {
        return;
    }
    // Seconds that no other test, or other run of this one, sleeps.
    let marker = format!("86400.{}", std::process::id());
    let child = lab_script()
        .args(["run", "--on", "cli", "sleep", &marker])
        .stdin(Stdio::null())
        .spawn()
        .expect("start a lab");
    leaves_nothing(child, &marker, |process| program(process) == "sleep");
}

#[test]
fn a_killed_test_leaves_nothing() {
    if without_labs("a_killed_test_leaves_nothing") {
        return;
    }
    let marker = format!("wscast-lab-marker-{}", std::process::id());
    let child = Command::new(std::env::current_exe().expect("this test binary has a path"))
        .args(["--exact", "holds_its_lab_until_killed"])
        .env(MARKER, &marker)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("run this test binary");
    leaves_nothing(child, &marker, |process| program(process) == "sh");
}

#[test]
fn ten_labs_do_not_clash() {
    if without_labs("ten_labs_do_not_clash") {
        return;
    }
    let start = Instant::now();
    let script = "ip netns exec srcb ping -qc1 -W5 10.2.0.1 && ip -n gw -o link show dev lan0 && exit 7";
    let labs: Vec<_> = (0..10)
        .map(|_| {
            lab_script()
                .args(["run", "sh", "-c", script])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("start a lab")
        })
        .collect();
    for lab in labs {
        let output = lab.wait_with_output().expect("the lab ends");
        assert_eq!(output.status.code(), Some(7), "{}", said(&output));
    }
    println!("ten labs, in parallel: {:?}", start.elapsed());
}

#[test]
fn a_kept_lab_is_listed_entered_and_ended() {
    if without_labs("a_kept_lab_is_listed_entered_and_ended") {
        return;
    }
    let state = tempfile::tempdir().expect("a folder");
    let lab = |arguments: &[&str]| {
        let output = Command::new(scripts().join("lab"))
            .args(arguments)
            .env("XDG_RUNTIME_DIR", state.path())
            .stdin(Stdio::null())
            .output()
            .expect("run the script");
        (output.status.code(), said(&output))
    };
    assert_eq!(lab(&["up", "kept"]), (Some(0), "lab kept is up\n".to_owned()));
    assert_eq!(lab(&["up", "kept"]).0, Some(125), "a second one of the same name");
    assert_eq!(lab(&["list"]), (Some(0), "kept\n".to_owned()));
    let entered = lab(&["in", "kept", "gw", "sh", "-c", "ls /sys/class/net; exit 3"]);
    assert_eq!(entered, (Some(3), "lan0\nlan1\nlo\nmgmt0\n".to_owned()));
    assert!(lab(&["show", "kept"]).1.contains("as it is now"));
    assert_eq!(lab(&["down", "kept"]), (Some(0), "lab kept is down\n".to_owned()));
    assert_eq!(lab(&["list"]), (Some(0), String::new()));
    assert_eq!(lab(&["in", "kept", "gw", "true"]).0, Some(125));
}

#[test]
fn explains_itself() {
    let bare = lab_output(&[]);
    assert_eq!(bare.status.code(), Some(2));
    assert!(said(&bare).contains("lab run CMD..."));
    let plan = Command::new(scripts().join("lab"))
        .arg("show")
        .env("XDG_RUNTIME_DIR", "/nonexistent")
        .output()
        .expect("run the script");
    assert!(
        said(&plan).contains("the plan (no lab is up)") && said(&plan).contains("10.1.0.3/24 fd01::3/64")
    );
}

/// A shell that runs `script` where making user namespaces is forbidden, as it is on some machines.
fn where_forbidden(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-euc"]);
    command.arg(format!("echo 0 >/proc/sys/user/max_user_namespaces; {script}")).arg(scripts().join("lab"));
    command
}

/// Whether that cannot be shown, because it is so anyway; says so.
fn cannot_forbid(test: &str) -> bool {
    if without_labs(test) {
        return true;
    }
    let forbidden = !where_forbidden("true").output().is_ok_and(|output| output.status.success());
    if forbidden {
        support::lab::skipped(test, "user namespaces are forbidden already");
    }
    forbidden
}

/// Makes the rest of a command line an ordinary user's, who cannot do without user namespaces.
const UNPRIVILEGED: &str = "setpriv --bounding-set=-all --inh-caps=-all";

#[test]
fn names_the_setting_that_forbids_it() {
    if cannot_forbid("names_the_setting_that_forbids_it") {
        return;
    }
    let output = where_forbidden(&format!("{UNPRIVILEGED} \"$0\" run true")).output().expect("run unshare");
    assert_eq!(output.status.code(), Some(125), "{}", said(&output));
    assert!(said(&output).contains("sysctl -w user.max_user_namespaces="), "{}", said(&output));
}

#[test]
fn root_needs_no_user_namespace() {
    if cannot_forbid("root_needs_no_user_namespace") {
        return;
    }
    let output = where_forbidden("\"$0\" run --on gw ping -qc1 -W5 10.1.0.2").output().expect("run unshare");
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn tests_are_skipped_aloud_or_fail() {
    if cannot_forbid("tests_are_skipped_aloud_or_fail") {
        return;
    }
    for (may_skip, expected) in [(true, Some(0)), (false, Some(101))] {
        let test = "topology_is_as_documented";
        let mut command = where_forbidden(&format!("exec {UNPRIVILEGED} \"$1\" --exact {test}"));
        command.arg(std::env::current_exe().expect("this test binary has a path"));
        command.env_remove("WSCAST_NO_SKIPS");
        if !may_skip {
            command.env("WSCAST_NO_SKIPS", "1");
        }
        let output = command.output().expect("run unshare");
        assert_eq!(output.status.code(), expected, "{}", said(&output));
        let reason = format!("SKIPPED {test}: user.max_user_namespaces is 0");
        assert!(said(&output).contains(&reason), "{}", said(&output));
    }
}

#[test]
fn works_for_an_ordinary_user() {
    let ordinary = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let can_be = |status: std::process::ExitStatus| status.success();
    if without_labs("works_for_an_ordinary_user")
        || !rustix::process::geteuid().is_root()
        || !Command::new("setpriv").args(ordinary).arg("true").status().is_ok_and(can_be)
    {
        // Whoever is not root, or only of a user namespace, has seen it in the other tests.
        return;
    }
    // Copies, since that user may not be allowed into the folders of these.
    let folder = tempfile::tempdir().expect("a folder");
    let copy = |from: &std::path::Path, name: &str| {
        let to = folder.path().join(name);
        fs::copy(from, &to).expect("copy");
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).expect("chmod");
        to
    };
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    for script in ["lab", "topology.sh", "impair"] {
        copy(&scripts().join(script), script);
    }
    let tests = copy(&std::env::current_exe().expect("this test binary has a path"), "tests");
    let output = Command::new("setpriv")
        .args(ordinary)
        .arg(tests)
        .args(["--exact", "multicast_stays_on_its_lan", "loses_exactly_every_tenth"])
        .env("WSCAST_LAB_SCRIPTS", folder.path())
        .env("WSCAST_NO_SKIPS", "1")
        .current_dir("/")
        .output()
        .expect("run setpriv");
    assert!(output.status.success() && said(&output).contains("2 passed"), "{}", said(&output));
}
