//! `/status`: what udpxy's page of that name says, in the same tables, for scripts that read it.

use std::fmt::Write as _;

use crate::model::status::Status;

/// The page.
#[must_use]
pub fn page(status: &Status) -> String {
    let listen = status.gateway.listen.first().map_or("", String::as_str);
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><title>udpxy status</title></head>\n<body>\n\
         <h1>udpxy status:</h1>\n<table>\n<tr><th>Server Process ID</th><th>Accepting clients on</th>\
         <th>Multicast address</th><th>Active clients</th></tr>\n\
         <tr><td>{id}</td><td>{listen}</td><td>{interfaces}</td><td>{clients}</td></tr>\n</table>\n",
        id = std::process::id(),
        interfaces = escaped(&interfaces(status)),
        clients = status.sessions.len(),
    );
    if !status.sessions.is_empty() {
        text.push_str(
            "<h3>Active clients:</h3>\n<table class=\"proctabl\">\n\
             <tr><th>Process ID</th><th>Source</th><th>Destination</th><th>Throughput</th></tr>\n",
        );
        for session in &status.sessions {
            let groups: Vec<&str> = session.subscriptions.iter().map(|books| books.group.as_str()).collect();
            let rate =
                if session.seconds > 0.0 { session.bytes as f64 / session.seconds / 1024.0 } else { 0.0 };
            let _ = writeln!(
                text,
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{rate:.2} Kb/sec</td></tr>",
                session.number,
                escaped(&groups.join(" ")),
                escaped(&session.peer),
            );
        }
        text.push_str("</table>\n");
    }
    let _ = writeln!(
        text,
        "<h3>Available HTTP requests:</h3>\n<table>\n<tr><th>Request template</th><th>Function</th></tr>\n\
         <tr><td>/udp/GROUP:PORT/</td><td>Relay multicast traffic</td></tr>\n\
         <tr><td>/rtp/GROUP:PORT/</td><td>The same, RTP taken off</td></tr>\n\
         <tr><td>/status/</td><td>This page</td></tr>\n</table>\n\
         <p>wscast {}</p>\n</body>\n</html>",
        status.gateway.version
    );
    text
}

fn interfaces(status: &Status) -> String {
    let mut names: Vec<&str> = status.streams.iter().map(|stream| stream.interface.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() { "0.0.0.0".to_owned() } else { names.join(" ") }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
