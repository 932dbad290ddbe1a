//! Decides whether a disk clearly belongs to another system.
//!
//! If it does, neither the firmware's entries nor its ESP count in favour of the disk; a person has to choose it. Pure.
//!
//! `scan` collects the objections.

use super::contents::Contents;
use super::efi;
use uuid::{Uuid, uuid};

/// Windows: reserved, recovery, dynamic disks.
const TYPES_WINDOWS: [Uuid; 4] = [
    uuid!("e3c9e316-0b5c-4db8-817d-f92df00215ae"),
    uuid!("de94bba4-06d1-4d40-a16a-bfd50179d6ac"),
    uuid!("5808c8aa-7e8f-42e0-85d2-e1e90434cfb3"),
    uuid!("af9b60a0-1431-4f62-bc68-3311714a69ad"),
];
/// Apple: HFS+, APFS, Core Storage.
const TYPES_APPLE: [Uuid; 3] = [
    uuid!("48465300-0000-11aa-aa11-00306543ecac"),
    uuid!("7c3457ef-0000-11aa-aa11-00306543ecac"),
    uuid!("53746f72-6167-11aa-aa11-00306543ecac"),
];
/// Whose disk it is, where that is plainly another system.
pub fn on(contents: &Contents) -> Option<String> {
    let kinds = || {
        contents
            .signatures
            .iter()
            .flat_map(|(_, found)| found)
            .map(|s| s.kind.as_ref())
    };
    let types = || {
        contents
            .on_disk
            .table()
            .map(|t| t.entries.as_slice())
            .unwrap_or_default()
    };
    let folder = contents.folders.iter().find(|name| !efi::is_own_folder(name));
    if let Some(folder) = folder {
        return Some(format!("with another system's loader (EFI/{folder})"));
    }
    let windows = types().iter().any(|e| TYPES_WINDOWS.contains(&e.type_guid))
        || kinds().any(|kind| ["ntfs", "BitLocker", "ReFS", "Windows dynamic disk"].contains(&kind));
    let apple = types().iter().any(|e| TYPES_APPLE.contains(&e.type_guid))
        || kinds().any(|kind| ["apfs", "hfsplus", "Apple partition map"].contains(&kind));
    let bsd = kinds().any(|kind| ["ufs", "BSD disklabel", "zfs_member"].contains(&kind));
    match (windows, apple, bsd) {
        (true, _, _) => Some("with Windows on it".into()),
        (_, true, _) => Some("with macOS on it".into()),
        (_, _, true) => Some("with another system on it".into()),
        (false, false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::contents::seen;
    use super::*;
    use crate::real::table::gpt;
    use landfall_states::plan::{DiskIdentity, GptEntry, GptTable, TYPE_ESP};
    use std::io::Cursor;

    fn on_disk(kind: Uuid, folder: &str, bytes: &[u8]) -> Option<String> {
        let mut disk = Cursor::new(vec![0; 8 << 20]);
        let entry = |number: u32, type_guid: Uuid, first_lba: u64| GptEntry {
            number,
            type_guid,
            partuuid: Uuid::from_u128(u128::from(number)),
            first_lba,
            last_lba: first_lba + 2047,
            name: String::new(),
        };
        let table = GptTable {
            disk_guid: Uuid::from_u128(1),
            sector_bytes: 512,
            entries: vec![entry(1, TYPE_ESP, 2048), entry(2, kind, 8192)],
        };
        let mut prepared = gpt::prepare(&mut disk, &table).unwrap();
        gpt::write(&mut disk, &mut prepared, |_| Ok(())).unwrap();
        disk.get_mut()[8192 * 512..8192 * 512 + bytes.len()].copy_from_slice(bytes);
        let size_bytes = disk.get_ref().len() as u64;
        let identity = DiskIdentity {
            wwn: None,
            serial: Some("LF0001".into()),
            path: None,
            size_bytes,
            sector_bytes: 512,
        };
        let mut contents = seen(&mut disk, &identity, None).unwrap();
        contents.folders = vec!["BOOT".into(), folder.into()];
        on(&contents)
    }

    #[test]
    fn another_system_is_known_by_its_partitions_filesystems_and_loader() {
        let linux = uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4");
        assert_eq!(on_disk(linux, "systemd", b""), None, "the control");
        assert_eq!(on_disk(linux, "nixos", b"XFSB"), None);
        assert!(
            on_disk(linux, "Microsoft", b"")
                .unwrap()
                .contains("EFI/Microsoft")
        );
        assert!(on_disk(linux, "ubuntu", b"").unwrap().contains("EFI/ubuntu"));
        assert!(
            on_disk(TYPES_WINDOWS[0], "BOOT", b"")
                .unwrap()
                .contains("Windows")
        );
        assert!(
            on_disk(linux, "BOOT", b"\xEB\x52\x90NTFS    ")
                .unwrap()
                .contains("Windows")
        );
        assert!(on_disk(TYPES_APPLE[1], "BOOT", b"").unwrap().contains("macOS"));
    }
}
