//! What a gateway's answers mean.

use serde_json::Value;

use crate::tools::doctor::facts::Facts;
use crate::tools::doctor::finding::{Finding, Name, Severity};
use crate::tools::doctor::gateway::{Answer, GatewayFacts, Reached};

/// Reachability, who may ask, the streams asked about, and how the running ones are.
pub fn check(facts: &Facts, findings: &mut Vec<Finding>) {
    let Some(gateway) = &facts.gateway else { return };
    let url = &gateway.url;
    match &gateway.reached {
        Reached::Untried | Reached::Answers => {}
        Reached::Nobody(words) => {
            let finding = Finding::new(Name::GatewayUnreachable, url, words.clone());
            findings.push(
                finding
                    .mend("wscast serve --listen ADDR:PORT   # loopback alone is not reached from elsewhere")
                    .mend("ss -ltnp; nft list ruleset   # on its host"),
            );
        }
        Reached::NoTls(words) => {
            let finding = Finding::new(Name::GatewayTls, url, words.clone());
            findings.push(finding.mend("openssl s_client -connect HOST:PORT   # shows the certificate"));
        }
        Reached::NoHttp(words) => {
            findings
                .push(Finding::new(Name::NotAGateway, url, words.clone()).mend("ss -ltnp   # on its host"));
        }
    }
    if gateway.reached == Reached::Answers {
        answers(gateway, findings);
    }
}

fn answers(gateway: &GatewayFacts, findings: &mut Vec<Finding>) {
    let url = &gateway.url;
    if let Some(health) = gateway.health.as_ref().filter(|answer| answer.code != 200) {
        findings.push(refusal(url, health));
        return;
    }
    if let Some(ready) = gateway.ready.as_ref().filter(|answer| answer.code == 503) {
        let finding = Finding::new(Name::GatewayDraining, url, ready.reason.clone());
        findings.push(finding.mend("wait for its successor, or start it again"));
    }
    match &gateway.status {
        Some(Ok(status)) if status["gateway"]["id"].is_string() => streams(gateway, status, findings),
        Some(Err(answer)) if matches!(answer.code, 401 | 403) => findings.push(refusal(url, answer)),
        Some(Ok(_) | Err(_)) => {
            let seen = "it answers, and tells no gateway's status at /api/v1/status";
            findings.push(Finding::new(Name::NotAGateway, url, seen).mend("give the gateway's own address"));
        }
        None => {}
    }
    if let Some((origin, answer)) = gateway.origin.as_ref().filter(|(_, answer)| answer.code == 403) {
        let finding = Finding::new(Name::GatewayOriginRefused, origin, answer.reason.clone());
        findings.push(finding.mend(format!("--allow-origin {origin}")));
    }
    for (group, answer) in gateway.streams.iter().filter(|(_, answer)| answer.code >= 400) {
        let seen = format!("it answers {}: {}", answer.code, answer.reason);
        let finding = match answer.code {
            401 => Finding::new(Name::GatewayTokenRefused, url, seen).mend("--token-file FILE"),
            _ => {
                Finding::new(Name::GatewayRefusesGroup, group, seen).mend(format!("--allow-receive {group}"))
            }
        };
        if !findings.iter().any(|one| one.name == finding.name && one.about == finding.about) {
            findings.push(finding);
        }
    }
}

/// A refusal of everything.
fn refusal(url: &str, answer: &Answer) -> Finding {
    let seen = format!("it answers {}: {}", answer.code, answer.reason);
    match answer.code {
        401 => Finding::new(Name::GatewayTokenRefused, url, seen).mend("--token-file FILE"),
        403 if answer.reason.contains("Host") => {
            let host = url.split("://").last().unwrap_or(url).split('/').next().unwrap_or(url);
            let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
            Finding::new(Name::GatewayHostRefused, url, seen).mend(format!("--allow-host {name}"))
        }
        403 => {
            Finding::new(Name::GatewayTokenRefused, url, seen).mend("--token-file FILE   # of one who may")
        }
        _ => Finding::new(Name::NotAGateway, url, seen).mend("give the gateway's own address"),
    }
}

/// How the gateway's streams are: those asked about, or all.
fn streams(gateway: &GatewayFacts, status: &Value, findings: &mut Vec<Finding>) {
    let asked: Vec<&str> = gateway.streams.iter().map(|(group, _)| group.as_str()).collect();
    for stream in status["streams"].as_array().into_iter().flatten() {
        let group = stream["group"].as_str().unwrap_or("");
        if !asked.is_empty() && !asked.contains(&group) {
            continue;
        }
        let interface = stream["interface"].as_str().unwrap_or("its interface");
        match stream["state"].as_str() {
            Some("waiting-for-interface") => {
                let why = stream["waiting"].as_str().unwrap_or("it is away");
                let seen = format!("the gateway waits for {interface}: {why}");
                let finding = Finding::new(Name::GatewayStreamWaiting, group, seen);
                findings.push(finding.mend(format!("on its host: ip link set {interface} up")));
            }
            Some("silent") => {
                let seen = format!("the gateway has joined on {interface} and hears nothing");
                let finding = Finding::new(Name::GatewayStreamSilent, group, seen);
                findings.push(
                    finding.mend(format!("on its host: wscast doctor {group} --interface {interface}")),
                );
            }
            _ => {}
        }
        let copies =
            stream["copies"].as_array().into_iter().flatten().filter_map(|copy| copy["lost_kernel"].as_u64());
        let lost = copies.max().or_else(|| stream["lost"]["kernel"].as_u64()).unwrap_or(0);
        let received = stream["received"].as_u64().unwrap_or(0);
        if lost > 0 {
            let seen = format!(
                "its kernel dropped {lost} datagrams of {interface}, of {} that came",
                received + lost
            );
            let finding = Finding::new(Name::GatewayLosses, group, seen);
            let finding = if lost > received / 100 { finding } else { finding.at(Severity::Note) };
            let asked = stream["receive_buffer"]["asked"].as_u64().unwrap_or(4 << 20);
            findings.push(finding.mend(format!("on its host: sysctl -w net.core.rmem_max={asked}")));
        }
    }
}
