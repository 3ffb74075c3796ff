//! Hears a group through a gateway, and says one thing to it:
//! `cargo run --example client ws://127.0.0.1:8080 239.255.77.1:5001`, beside `wscast demo`.

use std::error::Error;

use wscast::client::{Event, Options, connect};
use wscast::model::control::{Join, OpenSend};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "ws://127.0.0.1:8080".to_owned());
    let group = arguments.next().unwrap_or_else(|| "239.255.77.1:5001".to_owned()).parse()?;

    let gateway = connect(&url, Options::default()).await?;
    match gateway.sender(OpenSend::to(group)).await {
        Ok(sender) => sender.send("hello").await?,
        Err(error) => eprintln!("not sending: {error}"),
    }

    let mut subscription = gateway.join(Join::of(group)).await?;
    while let Some(event) = subscription.next().await {
        match event {
            Event::Datagram(datagram) => {
                let text = String::from_utf8_lossy(&datagram.payload);
                println!("{} {} {}", datagram.sequence, datagram.source, text.trim_end().escape_debug());
            }
            Event::State { state, interface } => eprintln!("{state} on {interface}"),
            Event::Lost(loss) => eprintln!("{loss}"),
            Event::Away => eprintln!("the connection is lost: trying again"),
            Event::Ended(reason) => eprintln!("{reason}"),
        }
    }
    Ok(())
}
