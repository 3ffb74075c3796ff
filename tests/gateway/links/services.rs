//! Programs that know nothing of links run across one as on one LAN.

use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::peers::tool;
use crate::support::lab::{Lab, lab_test, skip};
use crate::support::sites::{SiteGateway, Sites, link_to, list, number, sum};

/// How far a sender of video catches up with its own pace.
const LATE: Duration = Duration::from_millis(5);

/// A program that says so when it is ready; killed when dropped.
struct Program {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Program {
    fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("start a program");
        let output = BufReader::new(child.stdout.take().expect("stdout is piped"));
        Program { child, output }
    }

    fn says(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("read from a program");
        line.trim().to_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two sites that mirror one group both ways.
fn two<'a>(lab: &'a Lab, group: &str) -> (Sites<'a>, [SiteGateway<'a>; 2]) {
    let sites = Sites::build(lab, &[(&["ga"], &["ha"]), (&["gb"], &["hb"])]);
    let b = sites.gateway("gb", 2, "");
    let a = sites.gateway("ga", 1, &link_to(2, group));
    a.ready(1);
    b.ready(1);
    (sites, [a, b])
}

lab_test! {
    fn zeroconf_finds_a_service_across_a_link(lab) {
        let Some(python) = tool("python/bin/python") else { return };
        let (_sites, [a, _b]) = two(lab, "224.0.0.251:5353");
        let offering = r#"
import socket, sys
from zeroconf import ServiceInfo, Zeroconf
here = Zeroconf(interfaces=["10.51.0.2"])
info = ServiceInfo("_ipp._tcp.local.", "printer._ipp._tcp.local.", addresses=[socket.inet_aton("10.51.0.2")], port=631, server="printer.local.")
here.register_service(info)
print("registered", flush=True)
sys.stdin.read()
"#;
        let finding = r#"
from zeroconf import Zeroconf
here = Zeroconf(interfaces=["10.50.0.2"])
info = here.get_service_info("_ipp._tcp.local.", "printer._ipp._tcp.local.", timeout=8000)
print(info and (info.port, info.parsed_addresses()), flush=True)
"#;
        let mut offers = Program::start(lab.command("hb", &python).args(["-c", offering]));
        assert_eq!(offers.says(), "registered");
        let mut finds = Program::start(lab.command("ha", &python).args(["-c", finding]));
        assert_eq!(finds.says(), "(631, ['10.51.0.2'])", "{:#}", a.status()["mirrors"]);
    }
}

lab_test! {
    fn ssdp_searches_are_answered_across_a_link(lab) {
        let (sites, _gateways) = two(lab, "239.255.255.250:1900");
        let device = sites.receiver("hb", "239.255.255.250:1900");
        let point = sites.sender("ha", "239.255.255.250:1900");
        point.send(b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: ssdp:all\r\n\r\n");
        let search = device.recv();
        assert!(search.payload.starts_with(b"M-SEARCH"));
        let answer = b"HTTP/1.1 200 OK\r\nLOCATION: http://10.51.0.2/device.xml\r\nST: upnp:rootdevice\r\n\r\n";
        lab.on("hb", || UdpSocket::bind("0.0.0.0:0").unwrap()).send_to(answer, search.source).unwrap();
        assert_eq!(point.answer().0, answer);
    }
}

lab_test! {
    fn coap_group_requests_are_answered_across_a_link(lab) {
        let Some(python) = tool("python/bin/python") else { return };
        let (_sites, _gateways) = two(lab, "224.0.1.187:5683");
        // The server is made of aiocoap's own messages; its transport wants IPv6 for everything.
        let serving = r#"
import socket, struct
from aiocoap import Code, Message, Type
here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
here.bind(("224.0.1.187", 5683))
here.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("224.0.1.187") + socket.inet_aton("10.51.0.2"))
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print("serving", flush=True)
while True:
    bytes, asker = here.recvfrom(2000)
    asked = Message.decode(bytes)
    answer = Message(code=Code.CONTENT, payload=b"</lamp>;rt=" + asked.opt.uri_path[-1].encode())
    answer.mid, answer.token, answer.mtype = 7, asked.token, Type.NON
    out.sendto(answer.encode(), asker)
"#;
        let asking = r#"
import socket
from aiocoap import Code, Message, Type
here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
here.settimeout(8)
here.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.50.0.2"))
ask = Message(code=Code.GET)
ask.opt.uri_path = (".well-known", "core")
ask.mid, ask.token, ask.mtype = 1, b"tk", Type.NON
here.sendto(ask.encode(), ("224.0.1.187", 5683))
answer = Message.decode(here.recv(2000))
print(answer.code.dotted, answer.token, answer.payload, flush=True)
"#;
        let mut server = Program::start(lab.command("hb", &python).args(["-c", serving]));
        assert_eq!(server.says(), "serving");
        let mut client = Program::start(lab.command("ha", &python).args(["-c", asking]));
        assert_eq!(client.says(), "2.05 b'tk' b'</lamp>;rt=core'");
    }
}

lab_test! {
    fn sacn_lights_a_lamp_across_a_link(lab) {
        let Some(python) = tool("python/bin/python") else { return };
        let (_sites, _gateways) = two(lab, "239.255.0.1:5568");
        let lamp = r#"
import sacn, sys
here = sacn.sACNreceiver(bind_address="0.0.0.0")
here.start()
@here.listen_on("universe", universe=1)
def heard(packet):
    if packet.dmxData[:4] == (7, 8, 9, 10):
        print("lit", flush=True)
here.join_multicast(1)
print("listening", flush=True)
sys.stdin.read()
"#;
        let desk = r#"
import sacn, sys
here = sacn.sACNsender(bind_address="10.51.0.2")
here.start()
here.activate_output(1)
here[1].multicast = True
here[1].dmx_data = (7, 8, 9, 10)
sys.stdin.read()
"#;
        let mut lamp = Program::start(lab.command("ha", &python).args(["-c", lamp]));
        assert_eq!(lamp.says(), "listening");
        let _desk = Program::start(lab.command("hb", &python).args(["-c", desk]));
        assert_eq!(lamp.says(), "lit");
    }
}

lab_test! {
    fn iperf_loses_nothing_at_20_mbit_across_a_link(lab) {
        if skip("iperf", "iperf") { return; }
        let (_sites, [a, b]) = two(lab, "239.1.2.3:5001");
        // The kernel's default buffer holds 92 datagrams: as much as the machine grants.
        let mut server = Program::start(
            lab.command("ha", "iperf").args(["-s", "-u", "-B", "239.1.2.3%eth0", "-w", "4M", "-y", "C", "-t", "12"]).stderr(Stdio::null()),
        );
        a.status_with("a server that has joined", |_| lab.sh("ip -n ha maddr show dev eth0").contains("239.1.2.3"));
        let client = ["-c", "239.1.2.3", "-u", "-b", "20M", "-t", "4", "-l", "1316", "-T", "1", "-B", "10.51.0.2"];
        let output = lab.command("hb", "iperf").args(client).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let _ = server.child.stdin.take();
        let report = server.says();
        let fields: Vec<&str> = report.split(',').collect();
        let (bits, lost, all): (f64, u64, u64) = (fields[8].parse().unwrap(), fields[10].parse().unwrap(), fields[11].parse().unwrap());
        println!("iperf: {:.1} Mbit/s, {lost} of {all} lost; {report}", bits / 1e6);
        assert!(all > 7000, "{report}");
        assert_eq!(lost, 0, "of {all}: {report}\n{:#}", b.mirror("239.1.2.3:5001"));
        // iperf counts its last datagram, which ends the test, once more.
        check(&b, &a, "239.1.2.3:5001", None);
    }
}

lab_test! {
    fn video_at_20_mbit_loses_nothing_and_is_little_later(lab) {
        let group = "239.1.2.3:5000";
        let (sites, [a, b]) = two(lab, group);
        let (near, far) = (sites.receiver("ha", group), sites.receiver("hb", group));
        let start = Instant::now();
        let hear = |receiver: crate::support::lab::Receiver| {
            std::thread::spawn(move || {
                let mut times = Vec::new();
                while let Some(received) = receiver.recv_within(Duration::from_secs(2)) {
                    let sent = Duration::from_nanos(u64::from_be_bytes(*received.payload.first_chunk().unwrap()));
                    times.push(start.elapsed().saturating_sub(sent));
                }
                times
            })
        };
        let (near, far) = (hear(near), hear(far));
        let sender = sites.sender("ha", group);
        let mut payload = [7; 1316];
        // 1,900 datagrams a second for 4 s, as a video comes.
        let total = 7600_u32;
        let (step, mut due) = (Duration::from_secs(4) / total, Instant::now());
        for _ in 0..total {
            // A sender that was held up goes on at its rate: a camera does not send in one burst what it was late with.
            due = (due + step).max(Instant::now().checked_sub(LATE).unwrap_or(due));
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            payload[..8].copy_from_slice(&(start.elapsed().as_nanos() as u64).to_be_bytes());
            sender.send(&payload);
        }
        let [near, far] = [near, far].map(|times| {
            let mut times = times.join().unwrap();
            times.sort();
            times
        });
        let at = |times: &[Duration], part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1e3;
        println!(
            "ms from sending to receiving, p50 and p99: on the LAN {:.2} and {:.2}, across the link {:.2} and {:.2}",
            at(&near, 50), at(&near, 99), at(&far, 50), at(&far, 99)
        );
        let emitted = check(&a, &b, group, Some(total.into()));
        println!("{} sent, {emitted} across the link, {} heard there", total, far.len());
        assert_eq!((near.len(), far.len()), (total as usize, total as usize), "heard on the LAN, and across the link: {:#}", a.mirror(group));
    }
}

/// Waits until all that `from` read of the group has been sent to the LAN of `to`, and asserts that nothing was lost between, and that
/// what was `sent` was read or is counted as the kernel's loss; how many were sent anew.
fn check(from: &SiteGateway<'_>, to: &SiteGateway<'_>, group: &str, sent: Option<u64>) -> u64 {
    let injected = number(&from.mirror(group)["injected"]);
    to.status_with("all that was read, sent anew", |status| {
        number(&list(status, "mirrors")[0]["emitted"]) == injected
    });
    let (there, here) = (to.mirror(group), from.mirror(group));
    assert_eq!(
        (sum(&there["discarded"]), number(&list(&to.status(), "links")[0]["lost"])),
        (0, 0),
        "{there:#}"
    );
    let read = injected + number(&here["lost_kernel"]);
    assert!(sent.is_none_or(|sent| sent == read), "{sent:?} sent: {here:#}");
    injected
}
