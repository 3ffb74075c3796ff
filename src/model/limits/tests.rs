use proptest::prelude::*;

use super::*;

fn with(settings: &[&str]) -> Limits {
    let mut limits = Limits::default();
    for setting in settings {
        limits.set(setting).unwrap_or_else(|error| panic!("{error}"));
    }
    limits
}

#[test]
fn sets_by_name() {
    assert_eq!(with(&["connections=2"]).connections, Some(2));
    assert_eq!(with(&["join-rate=20/s"]).join_rate, Some(20));
    assert_eq!(with(&["join-rate=20"]).join_rate, Some(20));
    assert_eq!(with(&["send-size=1500B"]).send_size, 1500);
    assert_eq!(with(&["lag-bytes=1MiB"]).lag_bytes, 1 << 20);
    assert_eq!(with(&["lag-age=500ms"]).lag_age, Duration::from_millis(500));
    assert_eq!(with(&["stall=off"]).stall, None);
    assert_eq!(with(&["memory=75%"]).memory, MemoryMark::Share(75));
    assert_eq!(with(&["memory=64MiB"]).memory, MemoryMark::Bytes(64 << 20));
    assert_eq!(with(&["memory=off"]).memory, MemoryMark::Off);
    for (text, bits) in
        [("2Mbit/s", 2_000_000), ("500kbit/s", 500_000), ("64000", 64_000), ("8000bit/s", 8000)]
    {
        assert_eq!(with(&[&format!("send-bandwidth={text}")]).send_bandwidth, Some(bits));
    }
    assert_eq!(with(&["send-bandwidth=off"]).send_bandwidth, None);
}

#[test]
fn every_name_has_its_place() {
    for name in NAMES {
        let error = Limits::default().set_value(name, "nonsense").expect_err(name).to_string();
        assert!(error.contains(&format!("limit {name}=\"nonsense\" is not possible: write ")), "{error}");
    }
    assert_eq!(Limits::default().check(), Ok(()));
}

#[test]
fn all_off_lifts_counts_and_rates_only() {
    let limits = with(&["all=off"]);
    let kept = Limits::default();
    assert!(limits.is_unlimited() && !kept.is_unlimited());
    assert!(with(&["streams=off"]).is_unlimited() && !with(&["stall=off"]).is_unlimited());
    assert_eq!((limits.connections, limits.join_rate, limits.send_bandwidth), (None, None, None));
    assert_eq!((limits.fragments, limits.control_frames), (None, None));
    assert_eq!((limits.stall, limits.lag_age), (kept.stall, kept.lag_age));
    assert_eq!((limits.message_size, limits.send_size), (kept.message_size, kept.send_size));
    assert_eq!(with(&["all=off", "streams=3"]).streams, Some(3));
}

#[test]
fn refuses_with_the_fix() {
    for (text, words) in [
        ("connections", "write NAME=VALUE"),
        ("conections=5", "there is no limit \"conections\": known are connections,"),
        ("all=5", "write all=off"),
        ("connections=0", "at least 1, or off"),
        ("connections=-1", "at least 1, or off"),
        ("join-rate=5/min", "at least 1/s"),
        ("send-size=65508", "write 0B to 65507B"),
        ("send-size=off", "write 0B to 65507B"),
        ("message-size=1023", "write 1KiB to 16MiB"),
        ("lag-bytes=255KiB", "write 256KiB to"),
        ("lag-datagrams=15", "write 16 to"),
        ("lag-age=9ms", "write 0.01 to"),
        ("replay-age=61s", "to 60 s"),
        ("stall=0", "or off"),
        ("send-bandwidth=1MB/s", "as 1Mbit/s"),
        ("send-bandwidth=18446744073709551615Gbit/s", "as 1Mbit/s"),
    ] {
        let error = Limits::default().set(text).expect_err(text).to_string();
        assert!(error.contains(words), "{text}: {error}");
        assert!(text.parse::<LimitSetting>().is_err());
    }
    let error = with(&["message-size=1024"]).check().expect_err("too small").to_string();
    assert!(error.contains("message-size (1024) is less than send-size (1452)"), "{error}");
}

proptest! {
    #[test]
    fn never_panics(name in 0..NAMES.len(), value in ".{0,30}") {
        let setting = format!("{}={value}", NAMES[name]);
        if let Ok(setting) = setting.parse::<LimitSetting>() {
            Limits::default().apply(&setting);
        }
    }
}
