//! Configuration files: any text is a configuration, or a mistake that says where it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wscast::model::config::{Config, ConfigError, Overrides};

fuzz_target!(|text: &str| {
    match Config::build(Some(("fuzz.toml", text)), Overrides::default()) {
        Ok(config) => {
            assert!(!config.listen.is_empty());
            assert_eq!(config.limits.check(), Ok(()));
        }
        Err(ConfigError::InFile { line, column, .. }) => {
            assert!(line >= 1 && column >= 1 && line <= text.split('\n').count() + 1);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
