//! What is told of links: the picture on the page, and the metrics.

use serde_json::json;

use crate::peers::browser::Browser as _;
use crate::peers::chromium::Chromium;
use crate::support::lab::{Lab, PATIENCE, lab_test, skip, wait_for};
use crate::support::sites::{SiteGateway, Sites, link_to, list, number, sum};

const GROUP: &str = "239.1.2.3:5000";

/// Host `cli` beside the gateways, on the network between the sites.
fn cli_at_the_wan(lab: &Lab) {
    lab.sh("ip -n wan link add cli type veth peer name wan0 netns cli
         ip -n wan link set cli master wan up
         ip -n cli link set wan0 up
         ip -n cli addr add 10.99.0.100/24 dev wan0");
}

/// The page of `gateway` in a browser.
fn page(lab: &Lab, gateway: &SiteGateway<'_>) -> Chromium {
    Chromium::open(lab, &format!("http://{}/", gateway.inner().address))
}

lab_test! {
    fn the_page_shows_sites_links_rates_and_losses(lab) {
        if skip("chromium", "chromium") {
            return;
        }
        let sites = Sites::build(lab, &[(&["ga"], &["ha"]), (&["gb"], &["hb"]), (&["gc"], &["hc"])]);
        cli_at_the_wan(lab);
        let b = sites.gateway("gb", 2, "");
        let c = sites.gateway("gc", 3, "");
        // The third site's gateway is not there.
        let a = sites.gateway("ga", 1, &(link_to(2, GROUP) + &link_to(3, GROUP) + &link_to(9, GROUP)));
        a.ready(2);
        b.ready(1);
        c.ready(1);
        let mut page = page(lab, &a);
        page.text("#map-sites li:nth-child(3) .card");
        let (here, there) = (sites.sender("ha", GROUP), sites.sender("hb", GROUP));
        wait_for("lines that move both ways", 2 * PATIENCE, || {
            for _ in 0..20 {
                here.send(&[7; 1000]);
                there.send(&[7; 500]);
            }
            let moving = "[...document.querySelectorAll('#map-lines path')].map((one) => one.getAttribute('class')).join()";
            let moving = page.evaluate(moving);
            let moving = moving.as_str().unwrap_or("");
            (moving.contains("out moves") && moving.contains("back moves") && moving.contains("away")).then_some(())
        });
        assert_eq!(page.text("#map-lans .name"), "lan0");
        assert!(page.text("#map-lans .card").contains("10.50.0.1"));
        assert!(page.text("#map-here").contains("one mirrored group"));
        assert!(page.text("#topology-words").starts_with("2 of 3 links up."));
        // The text alternative says what the picture shows.
        let card = |place: usize| format!("document.querySelector('#map-sites li:nth-child({place}) .card').ariaLabel");
        page.wait("both links and the one that is away, in words", &format!(
            "{}.startsWith('Link to-2, ws://10.99.0.2:8080, up for') && {}.includes('bit/s') && {}.includes('to-9, ws://10.99.0.9:8080, away')",
            card(1), card(1), card(3)
        ));
        // By keyboard: the figures of a link, and of a LAN.
        page.evaluate("document.querySelector('#map-sites li:nth-child(1) .card').focus()");
        page.key("Enter");
        assert_eq!(page.text("#map-detail-title"), "to-2");
        assert!(page.text("#map-groups tbody tr").contains("both ways"));
        assert!(page.text("#map-facts").contains("Round trip"));
        page.evaluate("document.querySelector('#map-lans .card').focus()");
        page.key("Enter");
        let row = page.text("#map-mirrors tbody tr");
        assert!(row.contains(GROUP) && row.contains("speaking") && row.contains("none"), "{row}");
        for (width, scheme) in [(1280, "light"), (1280, "dark"), (768, "light"), (390, "dark"), (320, "light")] {
            let feature = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
            page.call("Emulation.setEmulatedMedia", &feature);
            let size = json!({ "width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600 });
            page.call("Emulation.setDeviceMetricsOverride", &size);
            let wide = page.evaluate("document.documentElement.scrollWidth").as_u64().expect("a width");
            assert!(wide <= width, "{wide} pixels on a screen of {width}");
            // Every line ends at its card: nothing is left of an earlier width.
            page.wait("lines of this width", "document.querySelector('#map-lines').viewBox.baseVal.width === document.querySelector('#map').getBoundingClientRect().width");
        }
        // A link that goes.
        drop(c);
        page.wait("the second link away", &format!("{}.includes(', away for')", card(2)));
        page.wait("one of three", "document.querySelector('#topology-words').textContent.startsWith('one of 3 links up.') || document.querySelector('#topology-words').textContent.startsWith('1 of 3 links up.')");
    }
}

lab_test! {
    fn a_page_without_links_has_no_picture_of_them(lab) {
        if skip("chromium", "chromium") {
            return;
        }
        let gateway = crate::support::gateway::TestGateway::start(lab, &["--interface", "lan0"]);
        let mut page = Chromium::open(lab, &format!("http://{}/", gateway.address));
        page.wait("the first status", "document.body?.classList.contains('ready')");
        assert!(!page.visible("#topology"));
    }
}

lab_test! {
    fn metrics_of_links_are_their_books(lab) {
        let sites = Sites::build(lab, &[(&["ga"], &["ha"]), (&["gb"], &["hb"])]);
        let b = sites.gateway("gb", 2, "");
        let a = sites.gateway("ga", 1, &link_to(2, GROUP));
        a.ready(1);
        b.ready(1);
        let far = sites.receiver("hb", GROUP);
        let sender = sites.sender("ha", GROUP);
        for turn in 0..50_u8 {
            sender.send(&[turn; 100]);
        }
        for _ in 0..50 {
            far.recv();
        }
        let books = a.status_with("all 50 heard", |status| number(&list(status, "links")[0]["sent"]) == 50);
        let mirror = &list(&books, "mirrors")[0];
        let [at_a, at_b] = [&a, &b].map(metrics);
        let out = r#"link="to-2",opened="out""#;
        let of = format!(r#"group="{GROUP}",interface="lan0""#);
        for (page, series, value) in [
            (&at_a, format!(r#"wscast_link_state{{{out},state="up"}}"#), 1),
            (&at_a, format!(r#"wscast_link_state{{{out},state="away"}}"#), 0),
            (&at_a, format!("wscast_link_sent_datagrams_total{{{out}}}"), 50),
            (&at_a, format!("wscast_link_sent_bytes_total{{{out}}}"), 5000),
            (&at_a, format!("wscast_link_lost_datagrams_total{{{out}}}"), 0),
            (&at_a, format!("wscast_link_connections_total{{{out}}}"), 1),
            (&at_b, r#"wscast_link_received_datagrams_total{link="to-2",opened="in"}"#.to_owned(), 50),
            (&at_a, format!(r#"wscast_mirror_state{{{of},state="speaking"}}"#), 1),
            (&at_a, format!("wscast_mirror_heard_datagrams_total{{{of}}}"), number(&mirror["heard"])),
            (&at_a, format!("wscast_mirror_injected_datagrams_total{{{of}}}"), 50),
            (&at_b, format!("wscast_mirror_emitted_datagrams_total{{{of}}}"), 50),
            (&at_a, format!(r#"wscast_mirror_discarded_datagrams_total{{{of},cause="duplicate"}}"#), 0),
        ] {
            let found = page.lines().find_map(|line| line.strip_prefix(&series)?.strip_prefix(' '));
            assert_eq!(found, Some(value.to_string().as_str()), "{series} in\n{page}");
        }
        assert_eq!(sum(&mirror["discarded"]), 0);
        if !skip("promtool", "prometheus") {
            assert_eq!(lab.sh(&format!("promtool check metrics <<'PAGE'\n{at_a}PAGE\n")), "");
        }
    }
}

/// The page that Prometheus scrapes.
fn metrics(gateway: &SiteGateway<'_>) -> String {
    let address = gateway.inner().address;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let answer = gateway.ask(&request);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}
