//! A gateway inside another program: `cargo run --example embed`, then
//! `curl -N http://127.0.0.1:PORT/udp/239.1.2.3:5000` with the port that it prints.

use std::error::Error;

use wscast::client::{Options, connect};
use wscast::gateway::Gateway;
use wscast::model::config::{Config, Overrides};
use wscast::model::control::{Join, OpenSend};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // What `--listen 127.0.0.1:0 --interface lo --allow-send 239.1.2.3:5000` says; a configuration file's text can stand
    // in place of `None`.
    let config = Config::build(
        None,
        Overrides {
            listen: vec!["127.0.0.1:0".parse()?],
            interface: Some("lo".parse()?),
            allow_send: vec!["239.1.2.3:5000".parse()?],
            ..Overrides::default()
        },
    )?;
    // Its shards have threads of their own: this program's tasks and the gateway's don't wait for each other.
    let gateway = Gateway::start(config).await?;
    let address = gateway.addresses()[0];
    println!("http://{address}/");

    // The program is a client of its own gateway like any other.
    let client = connect(&format!("ws://{address}"), Options::default()).await?;
    let mut subscription = client.join(Join { echo: true, ..Join::of("239.1.2.3:5000".parse()?) }).await?;
    let sender = client.sender(OpenSend::to("239.1.2.3:5000".parse()?)).await?;
    sender.send("hello from inside").await?;
    if let Some(datagram) = subscription.next_datagram().await {
        println!("{}: {}", datagram.source, String::from_utf8_lossy(&datagram.payload));
    }
    println!("serving until Ctrl-C");
    tokio::signal::ctrl_c().await?;

    client.close().await;
    gateway.shutdown().await;
    Ok(())
}
