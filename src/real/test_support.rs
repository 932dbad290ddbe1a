//! What several of the tests beside it need: a runtime, a volume, a file that stands for a device.
//!
//! Compiled for tests only. What only one test needs is in that test.

use camino::Utf8PathBuf;
use landfall_states::checkpoint::Record;
use landfall_states::plan::Volume;
use uuid::Uuid;

/// A private key of ssh, as ssh-keygen made it for tests.
pub(crate) const SSH_KEY: &str = include_str!("../../tests/ssh-key.txt");

/// Runs a future to its end.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// A volume whose ids differ in every byte that a FAT keeps.
pub(crate) fn volume(label: &str) -> Volume {
    Volume {
        id: Uuid::from_u128(0xDEAD_BEEF << 96 | 0xA),
        provisional: Uuid::from_u128(0x0BAD_CAFE << 96 | 0xB),
        label: label.into(),
    }
}

/// A record as good as any.
pub(crate) fn record() -> Record {
    let text = include_bytes!("../../tests/golden/checkpoint-2/state-cloned.slot");
    Record::decode(text).unwrap()
}

/// A sparse file of so many bytes.
pub(crate) fn image(dir: &tempfile::TempDir, name: &str, bytes: u64) -> Utf8PathBuf {
    let path = Utf8PathBuf::from_path_buf(dir.path().join(name)).unwrap();
    fs_err::File::create(&path).unwrap().set_len(bytes).unwrap();
    path
}

/// Where the FATs of a FAT32 say what follows the first cluster of a directory, in bytes. Its short name is that of its entry.
pub fn fat_entries_of(esp: &[u8], name: &[u8; 11]) -> Vec<usize> {
    let number = |at: usize, bytes: usize| {
        esp[at..at + bytes]
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let entry = (0..esp.len() - 32)
        .step_by(32)
        .find(|at| esp[*at..].starts_with(name) && esp[at + 11] == 0x10)
        .expect("the directory");
    let cluster = number(entry + 20, 2) << 16 | number(entry + 26, 2);
    let (sector, reserved, fats, length) = (number(11, 2), number(14, 2), number(16, 1), number(36, 4));
    (0..fats)
        .map(|fat| (reserved + fat * length) * sector + 4 * cluster)
        .collect()
}
