//! Text and secrets of others, as they are shown and taken.

#![no_main]

#[path = "../laws.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|data: &[u8]| laws::law("foreign")(data));
