//! A disk whose two ends hold any bytes. Law: reading a table never panics, and a table that was read, written again and
//! read again is the same table.

#![no_main]

use landfall::real::gpt::{prepare, read, write};
use libfuzzer_sys::fuzz_target;
use std::io::Cursor;

const SECTOR: usize = 512;
/// Sectors of the disk.
const SECTORS: usize = 4_096;
/// Bytes that a copy takes at its end of the disk, the protective MBR included.
const END: usize = 34 * SECTOR;

fuzz_target!(|data: &[u8]| {
    let mut disk = vec![0; SECTORS * SECTOR];
    let (head, tail) = data.split_at(data.len().min(END));
    disk[..head.len()].copy_from_slice(head);
    let tail = &tail[..tail.len().min(END)];
    let at = disk.len() - tail.len();
    disk[at..].copy_from_slice(tail);
    let mut disk = Cursor::new(disk);
    let seen = read(&mut disk, SECTOR as u32).expect("memory has no errors");
    let Some(table) = seen.table() else { return };
    let mut fresh = Cursor::new(vec![0; SECTORS * SECTOR]);
    // A table of another disk's size does not fit; that is said, not written.
    let Ok(mut prepared) = prepare(&mut fresh, table) else { return };
    write(&mut fresh, &mut prepared, |_| Ok(())).expect("memory has no errors");
    let again = read(&mut fresh, SECTOR as u32).expect("memory has no errors");
    assert_eq!(again.primary.table(), Some(table));
    assert_eq!(again.backup.table(), Some(table));
    assert!(again.protective_mbr);
});
