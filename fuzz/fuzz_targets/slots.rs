//! A partition of any bytes that should be an ESP. Law: reading the slots ends, within its bounds, and never panics.

#![no_main]

use landfall::real::slots::{SLOT_BYTES, read};
use libfuzzer_sys::fuzz_target;
use std::io::Cursor;

fuzz_target!(|data: &[u8]| {
    for thorough in [false, true] {
        let size = data.len() as u64;
        let slots = read(&mut Cursor::new(data), 0, size, thorough).expect("memory has no errors");
        for slot in slots.bytes.iter().flatten() {
            assert!(slot.len() <= SLOT_BYTES);
        }
    }
});
