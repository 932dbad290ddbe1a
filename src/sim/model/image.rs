//! An image of the root filesystem: a few chunks, each with the path of the closure that is in it.
//!
//! `actions::image` writes it to the disk.

use crate::sim::model::contents::{CLOSURE, MODE, MODE_RIGHT};
use crate::sim::model::disk::{CHUNKS, Fs, Key, Value};
use landfall_states::image::Image;
use landfall_states::names::{Digest, StorePath};
use landfall_states::plan::SystemSource;

/// An image of a system, of few chunks: more of them make no other scenario.
pub fn made_up_image(system: &StorePath) -> SystemSource {
    SystemSource::Image(Box::new(Image {
        file: "/iso/root.image".into(),
        digest: Digest::of(system.as_str().as_bytes()),
        system: system.clone(),
        filesystem_bytes: 1 << 30,
        plain_bytes: 1 << 29,
        boot_bytes: 1 << 20,
        chunks: CHUNKS,
    }))
}

/// What a medium gives that does not give what it was given.
pub(crate) const WRONG: &str = "wrong bytes";

/// What writing a chunk writes: which image it is of, and the path of the closure that lies in it.
pub(crate) fn chunk(number: u64, making: u32, digest: &str) -> Vec<(Key, Option<Value>)> {
    let mut writes = vec![(Key::Chunk(number), Some(Value::Text(making, digest.into())))];
    let path = usize::try_from(number)
        .ok()
        .and_then(|number| CLOSURE.get(number));
    writes.extend(path.map(|path| {
        let text = if digest == WRONG { WRONG } else { path };
        (Key::File(Fs::Root, path), Some(Value::Text(making, text.into())))
    }));
    // The image holds its files with owner and permissions.
    if path == CLOSURE.last() {
        let mode = Value::Text(making, MODE_RIGHT.into());
        writes.push((Key::File(Fs::Root, MODE), Some(mode)));
    }
    writes
}
