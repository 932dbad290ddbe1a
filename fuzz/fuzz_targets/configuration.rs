//! Any text as a configuration. Law: it is refused or understood, never a panic; and what RON understands, JSON understands
//! alike.

#![no_main]

use landfall::config::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(config) = ron::from_str::<Config>(text) {
        let json = serde_json::to_string(&config).expect("a configuration can be shown");
        let again: Config = serde_json::from_str(&json).expect("what was shown can be read");
        assert_eq!(again, config);
    }
    let _: Result<Config, _> = serde_json::from_str(text);
});
