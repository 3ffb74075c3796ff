//! `wscast demo`: a gateway and sources of its own on the loopback interface, for whoever sees wscast for the first time.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::cli::DemoArgs;
use crate::gateway::{Gateway, StartError};
use crate::lan::interface::Interface;
use crate::lan::transmit::Transmitter;
use crate::model::config::{Config, LogLevel, NamedStream, Overrides};
use crate::model::group::Group;
use crate::model::listener::{ListenAddress, Listener};
use crate::model::policy::Spec;
use crate::model::selector::InterfaceSelector;
use crate::model::source::SourceFilter;
use crate::model::transport::Transport;
use crate::tools::counters::say;
use crate::tools::demo_picture::Picture;
use crate::tools::demo_source::DemoSource;
use crate::tools::failure::Failure;
use crate::tools::serve::{block_on, serve};
use crate::tools::{log, loopback};
use crate::web::listening::ListenError;

/// A stream of the demo.
struct DemoStream {
    name: &'static str,
    group: Group,
    /// For people.
    about: &'static str,
    /// Who speaks there; nobody but the people in the chat.
    speaker: Option<Speaker>,
}

/// What a stream of the demo hears from the demo.
enum Speaker {
    /// Lines, one each so often.
    Lines(DemoSource, Duration),
    /// The moving picture.
    Picture,
}

/// Runs until SIGINT or SIGTERM.
///
/// # Errors
/// [`Failure::Usage`] for a listener that other machines reach; [`Failure::Running`] where multicast on the loopback
/// interface is impossible, with the reason; [`Failure::Bind`].
pub fn run(arguments: &DemoArgs) -> Result<(), Failure> {
    if let Some(listen) = arguments.listen.filter(|listen| !listen.ip().is_loopback()) {
        return Err(Failure::Usage(format!(
            "listening on {listen}: the demo is for this machine only: give 127.0.0.1:PORT, or look at it from elsewhere \
             through `ssh -L {port}:127.0.0.1:{port}`; for other machines: wscast serve --help",
            port = listen.port()
        )));
    }
    block_on(demo(arguments))
}

async fn demo(arguments: &DemoArgs) -> Result<(), Failure> {
    let interface = loopback::interface()?;
    loopback::probe(probe_group(), &interface)
        .await
        .map_err(|reason| Failure::Running(format!("trying multicast on {}: {reason}", interface.name)))?;
    let mut streams = streams();
    let six = sensors6();
    let without_six = loopback::probe(six.group, &interface).await.err();
    if without_six.is_none() {
        streams.push(six);
    }
    let config = config(arguments, &interface, &streams)?;
    log::start(config.log_format, LogLevel::Warn);
    let transmitters = streams
        .iter()
        .map(|stream| Transmitter::open(stream.group, &interface, loopback::OPTIONS))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Failure::Running(error.to_string()))?;
    let asked = arguments.listen.is_some();
    serve(start(config, asked), None, move |gateway| {
        if let Some(address) = gateway.addresses().first() {
            let text = welcome(*address, &interface, &streams, without_six.as_deref());
            // A script that reads the first line may have closed the pipe behind it.
            let _ = io::stdout().write_all(text.as_bytes());
            let _ = io::stdout().flush();
        }
        for (stream, transmitter) in streams.into_iter().zip(transmitters) {
            match stream.speaker {
                Some(Speaker::Lines(source, interval)) => {
                    tokio::spawn(source.run(transmitter, interval));
                }
                Some(Speaker::Picture) => {
                    tokio::spawn(Picture::new().run(transmitter));
                }
                None => {}
            }
        }
        Ok(())
    })
    .await
}

/// Starts the gateway; where the usual port is taken and none was asked for, on a free one.
async fn start(mut config: Config, asked: bool) -> Result<Gateway, StartError> {
    match Gateway::start(config.clone()).await {
        Err(StartError::Bind(ListenError { address: ListenAddress::Tcp(address), .. })) if !asked => {
            say(format_args!("port {} is taken: taking a free one", address.port()));
            config.listen = vec![Listener::plain(SocketAddr::new(address.ip(), 0).into())];
            Gateway::start(config).await
        }
        other => other,
    }
}

fn config(arguments: &DemoArgs, interface: &Interface, streams: &[DemoStream]) -> Result<Config, Failure> {
    // The chat is the group that pages may send to.
    let silent = streams.iter().filter(|stream| stream.speaker.is_none());
    let overrides = Overrides {
        listen: arguments.listen.map(ListenAddress::Tcp).into_iter().collect(),
        interface: Some(InterfaceSelector::Name(interface.name.clone())),
        allow_send: silent.map(|stream| Spec::exactly(stream.group)).collect(),
        log_format: arguments.log_format,
        player: arguments.player.clone(),
        ..Overrides::default()
    };
    let mut config = Config::build(None, overrides).map_err(|error| Failure::Usage(error.to_string()))?;
    for stream in streams {
        config.policy.name_group(stream.group);
        let named = NamedStream {
            group: stream.group,
            filter: SourceFilter::Any,
            interface: None,
            transport: Transport::Udp,
        };
        config.streams.insert(stream.name.to_owned(), named);
    }
    Ok(config)
}

fn streams() -> Vec<DemoStream> {
    let milliseconds = Duration::from_millis;
    vec![
        DemoStream {
            name: "picture",
            group: group(5, 5005),
            about: "a moving test picture with sound, as MPEG-TS: the page plays it",
            speaker: Some(Speaker::Picture),
        },
        DemoStream {
            name: "sensors",
            group: group(1, 5001),
            about: "readings of three sensors as JSON, 5 a second",
            speaker: Some(Speaker::Lines(DemoSource::sensors(), milliseconds(200))),
        },
        DemoStream {
            name: "ticker",
            group: group(2, 5002),
            about: "prices that nobody pays, 10 lines a second",
            speaker: Some(Speaker::Lines(DemoSource::ticker(), milliseconds(100))),
        },
        DemoStream {
            name: "counter",
            group: group(3, 5003),
            about: "numbered datagrams, 100 a second: a lost one shows",
            speaker: Some(Speaker::Lines(DemoSource::Counter, milliseconds(10))),
        },
        DemoStream {
            name: "chat",
            group: group(4, 5004),
            about: "what people send, from the page for one; silent until then",
            speaker: None,
        },
    ]
}

fn sensors6() -> DemoStream {
    let address = Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0x77, 1);
    DemoStream {
        name: "sensors6",
        group: Group::new(address.into(), 5001).expect("ff15::77:1 is multicast and 5001 a port"),
        about: "the sensors over IPv6",
        speaker: Some(Speaker::Lines(DemoSource::sensors(), Duration::from_millis(200))),
    }
}

/// 239.255.0.0/16 is for use within one site (RFC 2365).
fn group(last: u8, port: u16) -> Group {
    Group::new(Ipv4Addr::new(239, 255, 77, last).into(), port)
        .expect("239/8 is multicast and the port is not 0")
}

/// Where nobody else listens.
fn probe_group() -> Group {
    group(77, 5077)
}

fn welcome(
    address: SocketAddr,
    interface: &Interface,
    streams: &[DemoStream],
    without_six: Option<&str>,
) -> String {
    let name = &interface.name;
    let mut text = format!("\n  Open this page:  http://{address}/\n\nStreams, as multicast on {name}:\n");
    for stream in streams {
        let DemoStream { name, group, about, .. } = stream;
        let _ = write!(
            text,
            "  {name:<9} {group:<20} {about}\n  {:<9} curl -N http://{address}/streams/{name}\n  {:<9} websocat -b \
             ws://{address}/streams/{name}\n",
            "", ""
        );
    }
    if let Some(reason) = without_six {
        let _ = write!(text, "\nThe IPv6 stream is left out: {reason}\n");
    }
    let _ = write!(
        text,
        "\nTry in another terminal:\n  \
         wscast listen 239.255.77.3:5003 --interface {name} --quiet      the group itself, every number counted\n  \
         wscast listen ws://{address}/streams/counter --quiet    the same through the gateway\n  \
         echo hello | wscast send 239.255.77.4:5004 --interface {name} --line    and see it on the page\n\n\
         Ctrl-C stops it.\n"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback_interface() -> Interface {
        Interface {
            name: "lo".to_owned(),
            index: 1,
            addresses: vec![Ipv4Addr::LOCALHOST.into()],
            up: true,
            running: true,
            multicast: false,
            loopback: true,
        }
    }

    #[test]
    fn only_the_chat_can_be_sent_to() {
        let streams = streams();
        let arguments = DemoArgs { listen: None, player: None, log_format: None };
        let config = config(&arguments, &loopback_interface(), &streams).expect("a configuration");
        for stream in &streams {
            assert_eq!(config.policy.may_receive(&stream.group), Ok(()));
            assert_eq!(config.policy.may_send(&stream.group).is_ok(), stream.name == "chat");
        }
        assert_eq!(config.streams.len(), 5);
        assert_eq!(config.interface, Some(InterfaceSelector::Name("lo".to_owned())));
    }

    #[test]
    fn the_welcome_names_everything() {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 4711));
        let text = welcome(address, &loopback_interface(), &streams(), Some("no route"));
        for words in [
            "http://127.0.0.1:4711/\n",
            "curl -N http://127.0.0.1:4711/streams/sensors\n",
            "websocat -b ws://127.0.0.1:4711/streams/chat\n",
            "The IPv6 stream is left out: no route\n",
        ] {
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn other_machines_are_not_invited() {
        let listen = Some(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080)));
        let failure = run(&DemoArgs { listen, player: None, log_format: None }).expect_err("refused");
        assert!(matches!(failure, Failure::Usage(_)) && failure.to_string().contains("ssh -L 8080"));
    }
}
