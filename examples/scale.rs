//! How many gateways an audience takes, reckoned from what `docs/performance.md` has measured:
//! `cargo run --example scale`, or `cargo run --example scale 1000000 25` for so many browsers and cards of so many Gbit/s.

use std::process::ExitCode;

/// Part of a core, and of a network card, that a gateway shall use at most: the rest is for bursts, for a neighbour that has gone, and
/// for what the lab's veth does not cost.
const HEADROOM: f64 = 0.5;
/// Bytes around each segment of TCP on Ethernet: preamble, header, checksum and gap (38), IPv4 (20), TCP with timestamps (32).
const SEGMENT: f64 = 90.0;
/// Bytes of payload in one segment.
const MSS: f64 = 1448.0;
/// Clients that one gateway is given at most, whatever they cost: those who come back together when it goes.
const CLIENTS: f64 = 20_000.0;

/// What one browser gets.
struct Load {
    name: &'static str,
    datagrams: f64,
    bytes: f64,
    /// The table, scenario and server of docs/performance.md whose cost per message this takes.
    measured: (&'static str, &'static str, &'static str),
}

const LOADS: [Load; 3] = [
    Load {
        name: "video, 5 Mbit/s",
        datagrams: 475.0,
        bytes: 1316.0,
        measured: ("rivals", "crowd", "gateway"),
    },
    Load {
        name: "prices, 1,000/s of 64 B",
        datagrams: 1000.0,
        bytes: 64.0,
        measured: ("rivals", "small", "gateway"),
    },
    Load {
        name: "a sensor, 1/s of 64 B",
        datagrams: 1.0,
        bytes: 64.0,
        measured: ("idle", "idle", "gateway"),
    },
];

/// A row of a table of docs/performance.md.
struct Measured {
    /// CPU seconds of a million messages.
    cpu: f64,
    /// KiB of an idle client.
    memory: f64,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: f64| arguments.next().map_or(Some(default), |text| text.parse().ok());
    let (Some(browsers), Some(card)) = (number(1e6), number(10.0)) else {
        eprintln!("usage: scale [BROWSERS [GBIT-PER-SECOND]]");
        return ExitCode::from(2);
    };
    println!(
        "{browsers} browsers, network cards of {card} Gbit/s, {:.0} % of everything used\n",
        HEADROOM * 100.0
    );
    println!(
        "| each gets | cores | Tbit/s | GiB | clients a core | clients a card | gateways | what bounds one | LAN side of each |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|---|--:|");
    for load in LOADS {
        let Some(measured) = row(load.measured) else {
            eprintln!("docs/performance.md has no row {:?}", load.measured);
            return ExitCode::FAILURE;
        };
        let frame = load.bytes + if load.bytes < 126.0 { 2.0 } else { 4.0 };
        // A client that gets little gets each datagram in a segment of its own.
        let segments = if load.datagrams < 100.0 { 1.0 } else { frame / MSS };
        let bits = load.datagrams * (frame + segments * SEGMENT) * 8.0;
        let a_core = HEADROOM / (load.datagrams * measured.cpu / 1e6);
        let a_card = HEADROOM * card * 1e9 / bits;
        let (gateway, bound) =
            [(a_core, "its core"), (a_card, "its card"), (CLIENTS, "coming back together")]
                .into_iter()
                .min_by(|one, other| one.0.total_cmp(&other.0))
                .unwrap_or((CLIENTS, ""));
        println!(
            "| {} | {:.0} | {:.3} | {:.1} | {:.0} | {:.0} | {:.0} | {bound} | {:.2} Mbit/s |",
            load.name,
            browsers / a_core,
            browsers * bits / 1e12,
            browsers * measured.memory / (1 << 20) as f64,
            a_core,
            a_card,
            (browsers / gateway).ceil(),
            load.datagrams * (load.bytes + 66.0) * 8.0 / 1e6,
        );
    }
    ExitCode::SUCCESS
}

/// Finds a row between the marks of its table.
fn row((table, scenario, server): (&str, &str, &str)) -> Option<Measured> {
    let text = include_str!("../docs/performance.md");
    let (_, from) = text.split_once(&format!("<!-- {table} -->"))?;
    let (table, _) = from.split_once("<!-- /")?;
    let line = table.lines().find(|line| line.starts_with(&format!("| {scenario} | {server} |")))?;
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    Some(Measured { cpu: cells.get(5)?.parse().ok()?, memory: cells.get(11)?.parse().ok()? })
}
