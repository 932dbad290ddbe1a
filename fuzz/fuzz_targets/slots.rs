//! A partition of any bytes that should be an ESP.

#![no_main]

#[path = "../laws.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(init: {
    // What fatfs panics over is caught where it is called; the fuzzer's own hook would end the process before that.
    drop(std::panic::take_hook());
}, |data: &[u8]| laws::law("slots")(data));
