//! The text of a schedule, and the story that it tells.

#![no_main]

#[path = "../laws.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|data: &[u8]| laws::law("schedule")(data));
