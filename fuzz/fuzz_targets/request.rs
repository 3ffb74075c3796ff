//! A whole gateway in this process: any bytes on a connection are answered, or the connection ends. Whatever panics inside, in
//! whichever thread, is a crash here.
//!
//! To be run where there is no network but the loopback interface (`fuzz/run` sees to that): what is asked for is joined.
#![no_main]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use socket2::SockRef;
use wscast::gateway::Gateway;
use wscast::lan::interface::Interfaces;
use wscast::model::config::{Config, Overrides};

/// Longer than any of the gateway's deadlines below.
const PATIENCE: Duration = Duration::from_secs(20);
const CONFIGURATION: &str = r#"
listen = ["127.0.0.1:0"]
interface = "lo"
allow-receive = ["239.0.0.0/8", "[ff15::]/16"]
allow-send = ["239.1.2.3:5000"]
linger = "0s"
io-uring = "off"
[limits]
all = "off"
streams = 16
stall = "1s"
lag-bytes = "256KiB"
replay-bytes = "0B"
[streams.camera]
group = "239.1.2.3:5000"
"#;

fn gateway() -> SocketAddr {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    *ADDRESS.get_or_init(|| {
        let alone = Interfaces::now().is_ok_and(|all| all.iter().all(|interface| interface.name == "lo"));
        assert!(alone, "run it with fuzz/run, or under unshare --user --net with lo up");
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let config = Config::build(Some(("fuzz", CONFIGURATION)), Overrides::default()).expect("valid");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let gateway = Gateway::start(config).await.expect("it starts");
                tell.send(gateway.addresses()[0]).expect("somebody waits");
                std::future::pending::<()>().await;
            });
        });
        told.recv().expect("an address")
    })
}

fuzz_target!(|bytes: &[u8]| {
    let mut stream = TcpStream::connect(gateway()).expect("it accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    // So that no port has to wait after its connection.
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
    if stream.write_all(bytes).is_err() || stream.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let (end, mut buffer) = (Instant::now() + PATIENCE, [0; 4096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => assert!(Instant::now() < end, "it goes on answering somebody who has left"),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return,
            // The fuzzer's own clock ticks.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => panic!("the connection is not ended: {error}"),
        }
    }
});
