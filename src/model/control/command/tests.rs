use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::model::control::LARGEST_ID;

fn group() -> impl Strategy<Value = Group> {
    let four = (0xe000_0000_u32..=0xe7ff_ffff).prop_map(|bits| IpAddr::from(Ipv4Addr::from_bits(bits)));
    let six = any::<u128>().prop_map(|bits| IpAddr::from(Ipv6Addr::from_bits(bits >> 16 | 0xff15 << 112)));
    (prop_oneof![four, six], 1_u16..).prop_map(|(address, port)| Group::new(address, port).expect("valid"))
}

fn filter(six: bool) -> impl Strategy<Value = SourceFilter> {
    let address = move |bits: u32| match six {
        false => IpAddr::from(Ipv4Addr::from_bits(bits)),
        true => Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(bits)).into(),
    };
    let list = move || prop::collection::vec((0x0100_0000_u32..=0xdfff_ffff).prop_map(address), 0..9);
    prop_oneof![
        list().prop_map(|list| SourceFilter::include(list).unwrap_or_default()),
        list().prop_map(|list| SourceFilter::exclude(list).expect("unicast of one version")),
    ]
}

fn interface() -> impl Strategy<Value = Option<InterfaceSelector>> {
    let text = prop_oneof!["[a-z][a-z0-9.@-]{0,14}", "[1-9][0-9]{0,8}", Just("10.0.0.1".to_owned())];
    prop::option::of(text.prop_filter_map("all", |text| {
        text.parse().ok().filter(|interface| *interface != InterfaceSelector::All)
    }))
}

fn join() -> impl Strategy<Value = Join> {
    let overflow = prop_oneof![Just(Overflow::Skip), Just(Overflow::Latest), Just(Overflow::Close)];
    let replay = prop_oneof![
        Just(Replay::None),
        (1_u32..).prop_map(Replay::Datagrams),
        (1_u64..).prop_map(|age| Replay::Age(Duration::from_nanos(age))),
    ];
    let latency = prop::option::of((0_u64..=50_000_000).prop_map(Duration::from_nanos));
    let resume = prop::option::of(
        (".{0,20}", any::<u32>(), any::<u32>()).prop_map(|(gateway, stream, after)| Resume {
            gateway,
            stream,
            after,
        }),
    );
    let rest = (interface(), any::<bool>(), overflow, replay, latency, resume);
    (group(), rest)
        .prop_flat_map(|(group, rest)| (Just(group), filter(!group.is_ipv4()), Just(rest)))
        .prop_map(|(group, filter, (interface, echo, overflow, replay, latency, resume))| Join {
            group,
            filter,
            interface,
            echo,
            overflow,
            replay,
            latency,
            resume,
        })
}

fn action() -> impl Strategy<Value = Action> {
    let open =
        (group(), interface(), prop::option::of(1_u8..), prop::option::of(any::<bool>()), any::<bool>());
    let open = open.prop_map(|(group, interface, ttl, loopback, replies)| {
        Action::OpenSend(OpenSend { group, interface, ttl, loopback, replies })
    });
    let named = (prop::option::of(1_u8..), prop::option::of(any::<bool>()), any::<bool>());
    let named = ("[A-Za-z0-9_-]{1,64}", interface(), named).prop_map(
        |(name, interface, (ttl, loopback, replies))| {
            Action::OpenSendNamed(OpenSendNamed { name, interface, ttl, loopback, replies })
        },
    );
    prop_oneof![
        join().prop_map(|join| Action::Join(Box::new(join))),
        any::<u32>().prop_map(|stream| Action::Leave { stream }),
        open,
        named,
        any::<u32>().prop_map(|sender| Action::CloseSend { sender }),
        ".{0,40}".prop_map(|token| Action::Auth { token: Token(token) }),
        Just(Action::Ping),
        (any::<u32>(), 1_u32..).prop_map(|(stream, datagrams)| Action::Credit { stream, datagrams }),
        prop::option::of((250_u64..=60_000).prop_map(Duration::from_millis))
            .prop_map(|interval| Action::Watch { interval }),
    ]
}

proptest! {
    #[test]
    fn round_trips(id in prop::option::of(0..=LARGEST_ID), action in action()) {
        let command = Command { id, action };
        prop_assert_eq!(Command::decode(&command.encode()), Ok(command));
    }

    #[test]
    fn any_text_is_answered_in_one_line(text in r#"\PC{0,30}|[{}\[\]",:a-z0-9 ]{0,60}"#) {
        if let Err(error) = Command::decode(&text) {
            prop_assert!(!error.message.contains(char::is_control), "{}", error);
        }
    }

    /// One field after another gets a value that is none of its own.
    #[test]
    fn any_value_in_any_field_is_taken_or_answered(
        action in action(),
        at in any::<prop::sample::Index>(),
        value in prop_oneof![
            Just("null"), Just("-1"), Just("1.5"), Just("1e400"), Just("{}"), Just("[[]]"), Just("\"\\u0000\""),
            Just("[\"::ffff:1.2.3.4\"]"), Just("\"239.1.2.3%lo\""), Just("18446744073709551616"), Just("true"),
        ],
    ) {
        let text = Command { id: Some(7), action }.encode();
        let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).expect("an object");
        let name = fields.keys().nth(at.index(fields.len())).expect("a field");
        let parts = fields.iter().map(|(field, old)| {
            let value = if field == name { value.to_owned() } else { old.to_string() };
            format!("{field:?}:{value}")
        });
        let text = format!("{{{}}}", parts.collect::<Vec<_>>().join(","));
        if let Err(error) = Command::decode(&text) {
            let code = error.code;
            prop_assert!(matches!(code, ErrorCode::BadField | ErrorCode::UnknownType | ErrorCode::BadJson), "{}", code);
            prop_assert!(!error.message.contains(char::is_control), "{}", error);
            prop_assert!(error.id == Some(7) || name == "id" || code == ErrorCode::BadJson, "{}", text);
        }
    }
}

#[test]
fn a_message_may_have_4_kib_and_no_more() {
    let text = |length: usize| format!("{:<length$}", r#"{"type":"ping"}"#);
    assert!(Command::decode(&text(4096)).is_ok());
    let error = Command::decode(&text(4097)).expect_err("too long");
    assert_eq!((error.code, error.id), (ErrorCode::TooLong, None));
    assert!(error.message.contains("has 4097 bytes: send 4096"), "{error}");
}

#[test]
fn a_token_is_not_told() {
    let text = r#"{"type":"auth","token":"a-secret"}"#;
    assert!(!format!("{:?}", Command::decode(text)).contains("secret"));
}
