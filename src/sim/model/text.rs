//! Places on a simulated disk, as text for people. Rust's own text (Debug) never reaches them.
//!
//! Events are printed in the form of the log.

use crate::sim::model::disk::{Fs, Key, Region};
use std::fmt;

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Region::Esp => "the ESP",
            Region::Root => "the root partition",
            Region::Swap => "the swap partition",
            Region::Inner => "the inside of the container",
        })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Mbr => f.write_str("the protective MBR"),
            Key::Primary => f.write_str("the GPT at the start"),
            Key::Backup => f.write_str("the GPT at the end"),
            Key::Header(region) => write!(f, "the header of {region}"),
            Key::Copies => f.write_str("the copies of root's superblock"),
            Key::Body(region) => write!(f, "the body of {region}"),
            Key::Chunk(number) => write!(f, "chunk {number} of the image"),
            Key::Keyslot => f.write_str("the key slot"),
            Key::Directory => f.write_str("the root directory of the ESP"),
            Key::SlotFile(slot) => write!(f, "the file of slot {slot}"),
            Key::Sector(slot, sector) => write!(f, "sector {sector} of slot {slot}"),
            Key::File(Fs::Esp, name) => write!(f, "{name} on the ESP"),
            Key::File(Fs::Root, name) => write!(f, "{name} on root"),
        }
    }
}
