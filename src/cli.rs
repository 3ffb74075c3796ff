//! The command line: what can be typed, and nothing of what it does.

// The doc comments here are the help text: a terminal shows no links.
#![allow(rustdoc::bare_urls, rustdoc::broken_intra_doc_links)]

mod capture;
mod doctor;
mod link;
mod listening;
mod manual;
mod token;
mod tools;
mod trust;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand};

pub use self::capture::{RecordArgs, ReplayArgs, Speed};
pub use self::doctor::DoctorArgs;
pub use self::listening::ListeningArgs;
pub use self::manual::{CompletionsArgs, ManArgs};
pub use self::token::{SignArgs, TokenAction, TokenArgs};
pub use self::trust::TrustArgs;
use crate::model::config::{IoUring, LogFormat, LogLevel, Overrides};
use crate::model::limits::LimitSetting;
use crate::model::listener::ListenAddress;
use crate::model::policy::Spec;
use crate::model::selector::InterfaceSelector;
use crate::model::setting::{
    parse_hold, parse_host, parse_linger, parse_listen, parse_max_ttl, parse_origin, parse_receive_buffer,
    parse_threads,
};
pub use tools::{ListenArgs, SendArgs, SendTarget};

pub use link::LinkArgs;

/// A gateway between IP multicast and WebSocket: the groups of the local network at a URL, and back.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "wscast",
    version,
    max_term_width = 100,
    after_help = "Try it on one machine, without any network: wscast demo"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The program's verbs.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the gateway
    Serve(Box<ServeArgs>),
    /// Make a running gateway read its configuration again, and say what came of it
    Reload(ReloadArgs),
    /// Read a configuration file, say what is wrong with it, and start nothing
    CheckConfig {
        /// The configuration file (TOML)
        file: PathBuf,
    },
    /// Run a gateway and a source of its own on this machine, to look at in a browser
    Demo(DemoArgs),
    /// Show what arrives for a multicast group, or at a gateway's URL
    Listen(ListenArgs),
    /// Send datagrams to a multicast group
    Send(SendArgs),
    /// Make tokens and keys, sign JWTs, and say whose a token is
    Token(TokenArgs),
    /// Find out why multicast does not arrive, and how to mend it
    Doctor(DoctorArgs),
    /// Mirror groups between this machine's network and that of a gateway, without a gateway here
    Link(LinkArgs),
    /// Record multicast groups into a capture file that Wireshark reads
    Record(RecordArgs),
    /// Send the datagrams of a capture file, at the times they had
    Replay(ReplayArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
    /// Print a manual page
    Man(ManArgs),
}

/// Flags of `wscast serve`. Each can be given in the environment too; lists have commas between their entries
/// there.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  wscast serve
      Every group outside the network's own control protocols, for programs and pages on this machine.
  wscast serve --listen 0.0.0.0:8080 --allow-receive 239.0.0.0/8 --no-auth
      The same for the local network, 239.0.0.0/8 only; whoever can connect may receive.
  wscast serve --interface eth0 --allow-send 239.1.2.3:5000
      Join on eth0; clients may also send to one group.")]
pub struct ServeArgs {
    /// Configuration file (TOML); flags stand above it
    #[arg(long, value_name = "FILE", env = "WSCAST_CONFIG")]
    pub config: Option<PathBuf>,

    /// Where to listen, repeatable: ADDR:PORT, where port 0 picks a free one, or unix:/PATH [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR:PORT", env = "WSCAST_LISTEN", value_delimiter = ',')]
    pub listen: Vec<ListenAddress>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub listening: ListeningArgs,

    /// Interface to join and send on, by name, address or index [default: what the routing table names]
    #[arg(long, value_name = "NAME|ADDRESS|INDEX", env = "WSCAST_INTERFACE")]
    pub interface: Option<InterfaceSelector>,

    /// Groups that clients may receive, as 239.0.0.0/8 or 239.1.2.3:5000; repeatable
    #[arg(long, value_name = "SPEC", env = "WSCAST_ALLOW_RECEIVE", value_delimiter = ',')]
    pub allow_receive: Vec<Spec>,

    /// Groups that clients may send to; repeatable [default: none]
    #[arg(long, value_name = "SPEC", env = "WSCAST_ALLOW_SEND", value_delimiter = ',')]
    pub allow_send: Vec<Spec>,

    /// Name that this gateway is reached by, besides its addresses and localhost; repeatable
    #[arg(
        long,
        value_name = "NAME",
        env = "WSCAST_ALLOW_HOST",
        value_delimiter = ',',
        value_parser = parse_host
    )]
    pub allow_host: Vec<String>,

    /// Origin of pages that may connect, as https://example.org; repeatable [default: our own page]
    #[arg(
        long,
        value_name = "ORIGIN",
        env = "WSCAST_ALLOW_ORIGIN",
        value_delimiter = ',',
        value_parser = parse_origin
    )]
    pub allow_origin: Vec<String>,

    /// Let everybody in who can connect; wanted in so many words for listeners that other machines reach
    #[arg(
        long,
        value_name = "BOOL",
        env = "WSCAST_NO_AUTH",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_possible_values = true,
        value_parser = BoolishValueParser::new()
    )]
    pub no_auth: Option<bool>,

    /// Threads that share the clients, 1 to 64 [default: 1]
    #[arg(long, value_name = "N", env = "WSCAST_THREADS", value_parser = parse_threads)]
    pub threads: Option<NonZeroUsize>,

    /// Hold datagrams up to this long, to send several in one write: less work, more delay; 0 to 50ms
    /// [default: as long as the last write to all clients took, at most 5ms]
    #[arg(long, value_name = "DURATION", env = "WSCAST_HOLD", value_parser = parse_hold)]
    pub hold: Option<Duration>,

    /// Batch the writes to many clients through io_uring [default: auto, where the kernel allows it]
    #[arg(long, value_name = "auto|on|off", env = "WSCAST_IO_URING")]
    pub io_uring: Option<IoUring>,

    /// Set a limit, as streams=100 or join-rate=20/s; all=off lifts every count and rate; repeatable
    #[arg(long, value_name = "NAME=VALUE|off", env = "WSCAST_LIMIT", value_delimiter = ',')]
    pub limit: Vec<LimitSetting>,

    /// How log lines look [default: text]
    #[arg(long, value_name = "text|json", env = "WSCAST_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,

    /// What is logged, unless RUST_LOG says it [default: info]
    #[arg(long, value_name = "error|warn|info|debug|trace", env = "WSCAST_LOG_LEVEL")]
    pub log_level: Option<LogLevel>,

    /// Receive buffer to ask the kernel for, for each stream [default: 4MiB]
    #[arg(long, value_name = "SIZE", env = "WSCAST_RECEIVE_BUFFER", value_parser = parse_receive_buffer)]
    pub receive_buffer: Option<usize>,

    /// The largest TTL that clients may send with, 1 to 255 [default: 32]
    #[arg(long, value_name = "TTL", env = "WSCAST_MAX_TTL", value_parser = parse_max_ttl)]
    pub max_ttl: Option<u8>,

    /// Listen to announcements of sessions (SAP) on this interface, or all, for playlists; repeatable [default: nowhere]
    #[arg(long, value_name = "INTERFACE", env = "WSCAST_ANNOUNCEMENTS", value_delimiter = ',')]
    pub announcements: Vec<InterfaceSelector>,

    /// How long a stream stays joined after its last client, up to 60s [default: 2s]
    #[arg(long, value_name = "DURATION", env = "WSCAST_LINGER", value_parser = parse_linger)]
    pub linger: Option<Duration>,

    /// The player mpegts.js for the page, as its npm package has it: dist/mpegts.js
    #[arg(long, value_name = "FILE", env = "WSCAST_PLAYER")]
    pub player: Option<PathBuf>,

    /// Links.
    #[command(flatten)]
    pub links: link::AcceptArgs,

    /// Unix socket at which `wscast reload` asks for a reload and is told what came of it [default: none]
    #[arg(long, value_name = "PATH", env = "WSCAST_CONTROL")]
    pub control: Option<PathBuf>,
}

impl ServeArgs {
    /// What the flags and the environment say, `config` apart.
    pub fn overrides(self) -> Overrides {
        Overrides {
            tls: self.listening.tls(),
            trusted_proxy: self.listening.trusted_proxy,
            proxy_protocol: self.listening.proxy_protocol,
            listen: self.listen,
            interface: self.interface,
            allow_receive: self.allow_receive,
            allow_send: self.allow_send,
            allow_host: self.allow_host,
            allow_origin: self.allow_origin,
            no_auth: self.no_auth,
            threads: self.threads,
            hold: self.hold,
            io_uring: self.io_uring,
            limits: self.limit,
            log_format: self.log_format,
            log_level: self.log_level,
            receive_buffer: self.receive_buffer,
            max_ttl: self.max_ttl,
            announcements: self.announcements,
            linger: self.linger,
            player: self.player,
            accept_links: self.links.accept_links,
            announce: self.links.announce,
            control: self.control,
        }
    }
}

/// Flags of `wscast reload`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  wscast reload --config /etc/wscast.toml
      Checks the file, then asks the gateway at the control socket that it names.
  wscast reload --control /run/wscast/control
The gateway reads the file that it was started with. Exit code 0: in force; 1: nobody answers, or it was refused and
nothing has changed; 2: the file given here is wrong.")]
pub struct ReloadArgs {
    /// The configuration file, to check before the gateway is asked, and to find its control socket
    #[arg(long, value_name = "FILE", env = "WSCAST_CONFIG")]
    pub config: Option<PathBuf>,

    /// The gateway's control socket [default: what the file names]
    #[arg(long, value_name = "PATH", env = "WSCAST_CONTROL")]
    pub control: Option<PathBuf>,

    /// Print the gateway's answer as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Flags of `wscast demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Address to listen on; port 0 picks a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_listen)]
    pub listen: Option<SocketAddr>,

    /// The player mpegts.js for the page, as its npm package has it: dist/mpegts.js
    #[arg(long, value_name = "FILE")]
    pub player: Option<PathBuf>,

    /// How log lines look [default: text]
    #[arg(long, value_name = "text|json")]
    pub log_format: Option<LogFormat>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(line.split(' ')).map(|cli| cli.command)
    }

    #[test]
    fn clap_finds_no_fault() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_flags_become_overrides() {
        let line = "wscast serve --listen 127.0.0.1:0 --listen [::1]:0 --interface eth0 \
            --allow-receive 239.0.0.0/8,232.0.0.0/8 --allow-send 239.1.2.3:5000 --allow-host Gateway.lan \
            --allow-origin https://example.org --no-auth --threads 2 --hold 5ms --limit streams=4 \
            --limit all=off --log-format json --receive-buffer 1MiB --max-ttl 4 --linger 0";
        let Ok(Command::Serve(serve)) = parse(line) else { panic!("serve") };
        assert_eq!(serve.config, None);
        let overrides = serve.overrides();
        assert_eq!((overrides.listen.len(), overrides.allow_receive.len()), (2, 2));
        assert_eq!((overrides.limits.len(), overrides.no_auth), (2, Some(true)));
        assert_eq!(overrides.allow_host, ["gateway.lan"]);
        assert_eq!((overrides.receive_buffer, overrides.linger), (Some(1 << 20), Some(Duration::ZERO)));
        let Ok(Command::Serve(serve)) = parse("wscast serve --no-auth=false") else { panic!("serve") };
        assert_eq!(serve.overrides(), Overrides { no_auth: Some(false), ..Overrides::default() });
    }

    #[test]
    fn every_serve_flag_has_its_variable() {
        let command = Cli::command();
        let serve = command.find_subcommand("serve").expect("it is there");
        for argument in serve.get_arguments().filter(|argument| argument.get_long() != Some("help")) {
            let long = argument.get_long().expect("serve takes flags only");
            let variable = format!("WSCAST_{}", long.to_uppercase().replace('-', "_"));
            assert_eq!(argument.get_env().and_then(|name| name.to_str()), Some(variable.as_str()));
        }
    }

    #[test]
    fn usage_errors_exit_with_2() {
        for line in [
            "wscast",
            "wscast serve --threads 0",
            "wscast serve --limit stream=4",
            "wscast serve --allow-send 10.0.0.0/8",
            "wscast listen",
            "wscast listen 239.1.2.3:5 --hex --raw",
            "wscast listen 239.1.2.3:5 --source 10.0.0.1 --exclude 10.0.0.2",
            "wscast listen 239.1.2.3:5 --count 0",
            "wscast send 10.0.0.1:5",
            "wscast send 239.1.2.3:5 --ttl 0",
            "wscast send 239.1.2.3:5 --rate 0",
            "wscast send 239.1.2.3:5 --rate nan",
            "wscast send 239.1.2.3:5 --size 65508",
            "wscast send 239.1.2.3:5 --rate 1 --interval 1s",
        ] {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn tools_read_their_flags() {
        let Ok(Command::Send(send)) = parse("wscast send [ff15::42]:5 - --rate 0.5 --size 1KiB --no-loop")
        else {
            panic!("send")
        };
        assert_eq!((send.ttl, send.rate, send.size, send.no_loop), (1, Some(0.5), Some(1024), true));
        assert_eq!(send.file, Some(PathBuf::from("-")));
        for (text, milliseconds) in [("5", 5000), ("0.5", 500), ("500ms", 500)] {
            let Ok(Command::Listen(listen)) = parse(&format!("wscast listen 239.1.2.3:5 --seconds {text}"))
            else {
                panic!("listen")
            };
            assert_eq!(listen.seconds, Some(Duration::from_millis(milliseconds)));
        }
        assert!(matches!(parse("wscast check-config a.toml"), Ok(Command::CheckConfig { .. })));
        assert!(matches!(parse("wscast demo --listen 127.0.0.1:0"), Ok(Command::Demo(_))));
    }
}
