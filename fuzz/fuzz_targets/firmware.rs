//! What firmware, Nix and a receipt may say. Law: any bytes are borne.

#![no_main]

use landfall::real::disk::efi::{parse_device_path, parse_load_option, parse_numbers};
use landfall::real::land::{read_receipt, timings};
use landfall::real::loader::{Entry, default_pattern, is_pe};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = parse_load_option(data);
    let _ = parse_numbers(data);
    let _ = parse_device_path(data);
    is_pe(data);
    let text = String::from_utf8_lossy(data);
    Entry::parse("nixos-generation-1.conf", &text).id();
    default_pattern(&text);
    read_receipt(&text);
    timings(&text);
});
