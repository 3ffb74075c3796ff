//! What stands in URLs and flags: any text is what it says or a mistake in one line, and what was understood reads back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wscast::model::group::Group;
use wscast::model::limits::{LimitSetting, Limits};
use wscast::model::policy::Spec;
use wscast::model::request;
use wscast::model::selector::InterfaceSelector;

fuzz_target!(|text: &str| {
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    };
    if let Err(error) = request::parse(path, query) {
        assert!(!error.message.contains(char::is_control));
    }
    if let Ok(group) = text.parse::<Group>() {
        assert_eq!(group.to_string().parse(), Ok(group));
    }
    if let Ok(spec) = text.parse::<Spec>() {
        assert_eq!(spec.to_string().parse(), Ok(spec));
    }
    if let Ok(selector) = text.parse::<InterfaceSelector>() {
        assert_eq!(selector.to_string().parse(), Ok(selector));
    }
    if let Ok(setting) = text.parse::<LimitSetting>() {
        Limits::default().apply(&setting);
    }
});
