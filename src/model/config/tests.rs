use super::*;

fn file(text: &str) -> Result<Config, ConfigError> {
    Config::build(Some(("wscast.toml", text)), Overrides::default())
}

fn group(text: &str) -> Group {
    text.parse().expect("a group")
}

fn specs(texts: &[&str]) -> Vec<Spec> {
    texts.iter().map(|text| text.parse().expect("a spec")).collect()
}

#[test]
fn defaults_are_safe() {
    let config = Config::build(None, Overrides::default()).expect("valid");
    assert_eq!(config.listen, [Listener::plain("127.0.0.1:8080".parse().expect("an address"))]);
    assert_eq!(config.policy, Policy::new(ReceiveRule::AnyButDenied, vec![]));
    assert!(!config.no_auth && !config.policy.sends_at_all() && config.allow_origin.is_empty());
    assert_eq!((config.threads.get(), config.hold, config.max_ttl), (1, None, 32));
    assert_eq!((config.receive_buffer, config.linger), (4 << 20, Duration::from_secs(2)));
    assert_eq!(file("").expect("valid"), config);
}

#[test]
fn a_file_sets_everything() {
    let config = file(
        r#"
        listen = ["127.0.0.1:0", "[::1]:0"]
        interface = "lan0"
        allow-receive = ["239.1.0.0/16", "[ff15::]/16:5000-5999"]
        allow-send = ["239.1.2.3:5000"]
        allow-host = ["Gateway.lan"]
        allow-origin = ["https://example.org"]
        no-auth = true
        threads = 2
        hold = "5ms"
        log-format = "json"
        log-level = "debug"
        control = "/run/wscast/control"
        receive-buffer = "8MiB"
        max-ttl = 4
        linger = "500ms"
        [limits]
        streams = 3
        [streams.camera]
        group = "232.1.2.3:5000"
        sources = ["10.0.0.5"]
        interface = "10.0.0.1"
        [streams.mdns]
        group = "224.0.0.251:5353"
        exclude = ["10.0.0.9"]
        "#,
    )
    .expect("valid");
    assert_eq!((config.listen.len(), config.threads.get(), config.max_ttl), (2, 2, 4));
    assert_eq!(config.interface, Some(InterfaceSelector::Name("lan0".to_owned())));
    assert_eq!((config.allow_host, config.no_auth), (vec!["gateway.lan".to_owned()], true));
    assert_eq!((config.hold, config.linger), (Some(Duration::from_millis(5)), Duration::from_millis(500)));
    assert_eq!((config.receive_buffer, config.log_format), (8 << 20, LogFormat::Json));
    assert_eq!((config.log_level, config.control), (LogLevel::Debug, Some("/run/wscast/control".into())));
    assert_eq!(config.limits.streams, Some(3));
    assert_eq!(config.streams["camera"].filter.sources().len(), 1);
    assert!(matches!(config.streams["mdns"].filter, SourceFilter::Exclude(_)));
    for allowed in ["239.1.9.9:1", "[ff15::1]:5000", "232.1.2.3:5000", "224.0.0.251:5353"] {
        assert_eq!(config.policy.may_receive(&group(allowed)), Ok(()), "{allowed}");
    }
    assert!(config.policy.may_receive(&group("239.2.0.1:1")).is_err());
    assert!(config.policy.may_send(&group("224.0.0.251:5353")).is_err());
}

#[test]
fn flags_stand_above_the_file() {
    let text = "allow-receive = [\"239.1.0.0/16\"]\nallow-send = [\"239.1.2.3\"]\nthreads = 2\n\
        hold = \"5ms\"\nno-auth = true\n[limits]\nstreams = 3\njoin-rate = 9";
    let overrides = Overrides {
        allow_receive: specs(&["239.2.0.0/16"]),
        threads: NonZeroUsize::new(3),
        no_auth: Some(false),
        limits: vec!["streams=4".parse().expect("a limit")],
        ..Overrides::default()
    };
    let config = Config::build(Some(("f", text)), overrides).expect("valid");
    let rule = ReceiveRule::listed(specs(&["239.2.0.0/16"]));
    assert_eq!(config.policy, Policy::new(rule, specs(&["239.1.2.3"])));
    assert_eq!(
        (config.threads.get(), config.hold, config.no_auth),
        (3, Some(Duration::from_millis(5)), false)
    );
    assert_eq!((config.limits.streams, config.limits.join_rate), (Some(4), Some(9)));
}

#[test]
fn other_machines_need_explicit_words() {
    let outside = "listen = [\"127.0.0.1:1\", \"0.0.0.0:8080\"]\n";
    for (more, add) in [
        ("", "add --allow-receive 239.0.0.0/8 --no-auth\n"),
        ("no-auth = true", "add --allow-receive 239.0.0.0/8\n"),
        ("allow-receive = [\"239.0.0.0/8\"]", "add --no-auth\n"),
        ("[streams.a]\ngroup = \"239.1.2.3:5\"", "add --no-auth\n"),
    ] {
        let error = file(&format!("{outside}{more}")).expect_err("exposed").to_string();
        assert!(error.contains("listening on 0.0.0.0:8080") && error.contains(add), "{error}");
    }
    let named = "no-auth = true\n[streams.a]\ngroup = \"239.1.2.3:5\"";
    let config = file(&format!("{outside}{named}")).expect("valid");
    assert_eq!(config.policy.may_receive(&group("239.1.2.3:5")), Ok(()));
    assert!(config.policy.may_receive(&group("239.1.2.3:6")).is_err());
    assert!(file("listen = [\"[::ffff:127.0.0.1]:1\", \"127.1.2.3:1\", \"[::1]:1\"]").is_ok());
    assert_eq!(file("listen = []"), Err(ConfigError::NowhereToListen));
}

#[test]
fn a_program_s_values_are_checked_too() {
    let long = Overrides { hold: Some(Duration::from_secs(1)), ..Overrides::default() };
    assert!(matches!(Config::build(None, long), Err(ConfigError::Setting(_))));
    let star = Overrides { allow_origin: vec!["*".to_owned()], ..Overrides::default() };
    assert!(matches!(Config::build(None, star), Err(ConfigError::Setting(_))));
    let small = vec!["message-size=1KiB".parse().expect("a limit")];
    let small = Overrides { limits: small, ..Overrides::default() };
    assert!(matches!(Config::build(None, small), Err(ConfigError::Limit(_))));
}

#[test]
fn what_nobody_can_reach_is_not_announced() {
    assert_eq!(file("announce = true"), Err(ConfigError::NothingToAnnounce));
    let open = "announce = true\nno-auth = true\nallow-receive = [\"239.0.0.0/8\"]\nlisten = [\"127.0.0.1:1\", \"0.0.0.0:1\"]";
    assert!(file(open).expect("valid").announce);
}
