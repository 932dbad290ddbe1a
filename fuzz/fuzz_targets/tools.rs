//! What lsblk, blkid, Git and the kernel's tables may say.

#![no_main]

#[path = "../laws.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|data: &[u8]| laws::law("tools")(data));
