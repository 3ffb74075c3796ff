//! `/metrics`: what Prometheus scrapes agrees with the books, and the dashboard and the alerts find what they ask for.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::flow::Flow;
use crate::support::gateway::{Answer, TestGateway};
use crate::support::lab::{Lab, PATIENCE, lab_test, skip, wait_for};

lab_test! {
    fn counters_are_the_books_and_outlive_their_streams_and_sessions(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--linger", "0"]);
        let mut flow = Flow::start(lab, &gateway, "239.1.2.3:5000");
        let witness = gateway.open("/udp/239.1.2.3:5000");
        flow.witness(witness);
        flow.send(100, 200);
        assert_eq!(gateway.fetch("/no/such/thing").status, 404);
        let stream = gateway.stream("239.1.2.3:5000");
        let shards = stream["copies"].as_array().map_or(1, Vec::len) as f64;
        // The copies of other shards may come a moment later.
        let page = wait_for("all copies to be counted", PATIENCE, || {
            let page = Scrape::of(&gateway);
            (page.value("wscast_received_datagrams_total") >= 100.0 * shards).then_some(page)
        });
        for (series, value) in [
            ("wscast_received_datagrams_total", 100.0 * shards),
            ("wscast_received_bytes_total", 20_000.0 * shards),
            ("wscast_kernel_dropped_datagrams_total", 0.0),
            ("wscast_streams", 1.0),
            ("wscast_streams_in_state{state=\"receiving\"}", 1.0),
            ("wscast_sessions{kind=\"websocket\"}", 2.0),
            ("wscast_sessions{kind=\"http\"}", 0.0),
            ("wscast_client_published_datagrams_total{kind=\"websocket\"}", 200.0),
            ("wscast_client_written_datagrams_total{kind=\"websocket\"}", 200.0),
            ("wscast_client_lost_datagrams_total{cause=\"lag-age\"}", 0.0),
            ("wscast_handshakes_total{outcome=\"refused\",kind=\"\",code=\"404\"}", 1.0),
            ("wscast_stream_received_datagrams_total{group=\"239.1.2.3:5000\",interface=\"lan0\",filter=\"\",shard=\"0\"}", 100.0),
            ("wscast_interface_up{interface=\"lan0\"}", 1.0),
            ("wscast_limit{limit=\"streams\"}", 64.0),
            ("wscast_connections_in_handshake", 0.0),
            ("wscast_draining", 0.0),
            ("wscast_reloads_total{outcome=\"accepted\"}", 0.0),
            ("wscast_config_last_reload_successful", 1.0),
        ] {
            assert_eq!(page.value(series), value, "{series}");
        }
        // A frame of 200 bytes has a header of 4.
        assert!(page.value("wscast_client_written_bytes_total{kind=\"websocket\"}") >= 200.0 * 204.0);
        let flushes = page.value("wscast_flush_datagrams_count");
        assert!((1.0..=100.0 * shards).contains(&flushes), "{flushes}");
        assert_eq!(page.value("wscast_added_latency_seconds_count"), flushes, "each flush has its latency");
        assert_eq!(page.value("wscast_flush_subscribers_bucket{le=\"2\"}"), flushes, "two subscribers at most");
        assert!(page.value("wscast_added_latency_seconds_sum") > 0.0);
        assert!(page.value("process_resident_memory_bytes") < page.value("wscast_memory_bound_bytes"));
        assert!(page.value("wscast_shard_cpu_seconds_total{shard=\"0\"}") > 0.0);

        drop(flow);
        gateway.closed(2);
        gateway.status_with("no stream", |status| status["streams"].as_array().is_some_and(Vec::is_empty));
        let after = Scrape::of(&gateway);
        for (series, value) in [
            ("wscast_received_datagrams_total", 100.0 * shards),
            ("wscast_client_written_datagrams_total{kind=\"websocket\"}", 200.0),
            ("wscast_handshakes_total{outcome=\"opened\",kind=\"websocket\",code=\"\"}", 2.0),
            ("wscast_streams", 0.0),
            ("wscast_sessions{kind=\"websocket\"}", 0.0),
        ] {
            assert_eq!(after.value(series), value, "{series}");
        }
        assert!(!after.text.contains("wscast_stream_received"), "streams that have ended have no series");
        for (series, value) in page.counters() {
            if !series.starts_with("wscast_stream_") {
                assert!(after.value(series) >= value, "{series} went down");
            }
        }
    }
}

lab_test! {
    fn clients_of_v1_are_measured_too(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let mut client = crate::support::v1::V1Client::open(&gateway);
        let groups = ["239.1.2.3:5000", "239.1.2.4:5000"];
        for group in groups {
            client.join(group, &serde_json::json!({}));
            gateway.await_joined("gw-lan0", group);
        }
        let senders = groups.map(|group| {
            let group = group.parse().expect("a group");
            lab.on("srca", || crate::support::lab::Multicast::sender("eth0", group, 1))
        });
        for _ in 0..10 {
            senders.iter().for_each(|sender| sender.send(b"one of two"));
        }
        let all = wait_for("all to be written", PATIENCE, || {
            let page = Scrape::of(&gateway);
            (page.value("wscast_client_written_datagrams_total{kind=\"wscast.v1\"}") >= 20.0).then_some(page)
        });
        assert!(all.value("wscast_added_latency_seconds_count") >= 1.0, "{}", all.text);
        assert_eq!(all.value("wscast_sessions{kind=\"wscast.v1\"}"), 1.0);
    }
}

lab_test! {
    fn prometheus_has_no_complaint_and_the_dashboard_and_the_alerts_find_their_series(lab) {
        if skip("prometheus", "prometheus") || skip("promtool", "prometheus") {
            return;
        }
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--allow-send", "239.1.2.3:5000"]);
        let mut flow = Flow::start(lab, &gateway, "239.1.2.3:5000");
        gateway.open("/udp/239.1.2.3:5000").close();
        assert_eq!(gateway.fetch("/no/such/thing").status, 404);
        flow.send(50, 1316);

        let page = gateway.fetch("/metrics");
        assert_eq!(page.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        let lint = format!("promtool check metrics <<'PAGE'\n{}PAGE\n", page.body);
        assert_eq!(lab.sh(&lint), "", "promtool has no complaint");

        let prometheus = Prometheus::start(lab, &gateway);
        let queries = dashboard().into_iter().chain(alerts()).collect::<BTreeSet<_>>();
        assert!(queries.len() > 50, "{queries:#?}");
        let mut unanswered = queries;
        wait_for_all(&mut unanswered, |query| {
            flow.send(1, 1316);
            prometheus.series(query) > 0
        });
        let received = prometheus.query("wscast_received_datagrams_total");
        let value: f64 = received[0]["value"][1].as_str().and_then(|text| text.parse().ok()).expect("a number");
        assert!(value >= 50.0, "{received:#?}");
    }
}

/// Asks all of `queries` until each has been answered once.
fn wait_for_all(queries: &mut BTreeSet<String>, mut answered: impl FnMut(&str) -> bool) {
    let start = std::time::Instant::now();
    while !queries.is_empty() {
        queries.retain(|query| !answered(query));
        assert!(start.elapsed() < 3 * PATIENCE, "without series: {queries:#?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// One page, taken apart.
struct Scrape {
    text: String,
}

impl Scrape {
    fn of(gateway: &TestGateway<'_>) -> Self {
        let answer = gateway.fetch("/metrics");
        assert_eq!(answer.status, 200, "{answer:?}");
        Scrape { text: answer.body }
    }

    fn value(&self, series: &str) -> f64 {
        let found = self.text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let value = found.and_then(|value| value.parse().ok());
        value.unwrap_or_else(|| panic!("no {series} in\n{}", self.text))
    }

    fn counters(&self) -> impl Iterator<Item = (&str, f64)> {
        let samples = self.text.lines().filter_map(|line| line.rsplit_once(' '));
        let counters = samples.filter(|(series, _)| {
            series.split('{').next().is_some_and(|name| name.ends_with("_total") && !name.starts_with('#'))
        });
        counters.map(|(series, value)| (series, value.parse().expect("a number")))
    }
}

/// Prometheus on `cli`, which scrapes the gateway as packaging/prometheus says; killed when dropped.
struct Prometheus<'a> {
    lab: &'a Lab,
    child: Child,
    _folder: tempfile::TempDir,
}

const PROMETHEUS: &str = "10.9.0.2:9090";

impl<'a> Prometheus<'a> {
    fn start(lab: &'a Lab, gateway: &TestGateway<'_>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let shipped = fs::read_to_string(packaging("prometheus/prometheus.yml")).expect("the configuration");
        let shipped = shipped.replace("localhost:8080", &gateway.address.to_string());
        let config = format!("global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\n{shipped}");
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, config).expect("write the configuration");
        fs::copy(packaging("prometheus/wscast.rules.yml"), folder.path().join("wscast.rules.yml"))
            .expect("copy");
        let mut command = lab.command("cli", "prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={PROMETHEUS}"))
            .args(["--log.level=warn"])
            .stdin(Stdio::null());
        let child = command.spawn().expect("start Prometheus");
        let prometheus = Prometheus { lab, child, _folder: folder };
        wait_for("Prometheus to scrape", 2 * PATIENCE, || {
            let up = prometheus.try_query("up{job=\"wscast\"} == 1")?;
            (!up.is_empty()).then_some(())
        });
        prometheus
    }

    fn query(&self, query: &str) -> Vec<Value> {
        self.try_query(query).unwrap_or_else(|| panic!("{query} is not answered"))
    }

    /// How many series answer `query`, those that are no number not counted.
    fn series(&self, query: &str) -> usize {
        self.query(query).iter().filter(|series| series["value"][1] != "NaN").count()
    }

    fn try_query(&self, query: &str) -> Option<Vec<Value>> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let request = format!("GET /api/v1/query?query={encoded} HTTP/1.0\r\nHost: {PROMETHEUS}\r\n\r\n");
        let address: std::net::SocketAddr = PROMETHEUS.parse().expect("an address");
        let mut stream = self.lab.on("cli", || std::net::TcpStream::connect(address)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).expect("set a deadline");
        let answer = Answer::to(&mut stream, &request);
        let body: Value = serde_json::from_str(&answer.body).ok()?;
        assert_eq!(body["status"], "success", "{query}: {body:#}");
        body["data"]["result"].as_array().cloned()
    }
}

impl Drop for Prometheus<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn packaging(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(path)
}

/// What the dashboard asks, with its variables as Grafana fills them in.
fn dashboard() -> Vec<String> {
    let text = fs::read_to_string(packaging("grafana/wscast.json")).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let expressions = targets.map(|target| target["expr"].as_str().expect("an expression"));
    expressions
        .map(|text| text.replace("$job", ".*").replace("$instance", ".*").replace("$__rate_interval", "5s"))
        .collect()
}

/// What the alerts compare with their thresholds, over a shorter time.
fn alerts() -> Vec<String> {
    let text = fs::read_to_string(packaging("prometheus/wscast.rules.yml")).expect("the alerts");
    let expressions = text.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    expressions
        .flat_map(|text| text.split(" or "))
        .map(|text| {
            let (compared, _) = text
                .rsplit_once(" > ")
                .or_else(|| text.rsplit_once(" < "))
                .unwrap_or_else(|| panic!("{text} compares nothing"));
            // What nobody was refused for has no series yet.
            compared.replace("[5m]", "[5s]").replace(",code=~\"429|503\"", "")
        })
        .collect()
}

#[test]
fn the_alerts_are_valid_and_go_off_when_they_should() {
    if skip("promtool", "prometheus") {
        return;
    }
    for arguments in [["check", "rules", "wscast.rules.yml"], ["test", "rules", "wscast.rules.test.yml"]] {
        let mut promtool = std::process::Command::new("promtool");
        let output =
            promtool.args(arguments).current_dir(packaging("prometheus")).output().expect("run promtool");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
