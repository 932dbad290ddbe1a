//! Two checkpoint slots of any bytes.

#![no_main]

#[path = "../laws.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|data: &[u8]| laws::law("checkpoint")(data));
