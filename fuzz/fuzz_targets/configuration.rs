//! Any text as a configuration, in RON and in JSON.

#![no_main]

#[path = "../laws.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|data: &[u8]| laws::law("configuration")(data));
