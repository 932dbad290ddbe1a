//! An image of a root filesystem, or its block 0, of any bytes.

#![no_main]

#[path = "../laws.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|data: &[u8]| laws::law("image")(data));
