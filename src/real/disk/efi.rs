//! What the firmware says: BootCurrent, BootOrder, Boot####.
//!
//! Load options are parsed by the specification, never searched for text. Bytes that break it are an error for that one entry
//! and affect no other. Sources: UEFI 2.10, sections 3.1.3 (load options) and 10.3 (device paths), and Linux's efivarfs (four
//! bytes of attributes before the data).
//!
//! `boot::firmware` writes variables, and `select` decides.

use camino::Utf8Path;
use std::io;
use uuid::Uuid;

/// The vendor GUID of the global variables, as in file names of efivarfs.
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Most firmware variables that are looked at.
const VARIABLES_MAX: usize = 4096;
/// Most entries of BootOrder that are followed.
const ORDER_MAX: usize = 256;

/// A hard drive media node: a partition, named by what is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HardDrive {
    /// Partition number.
    pub number: u32,
    /// First sector.
    pub first_lba: u64,
    /// Length in sectors.
    pub sectors: u64,
    /// What names the disk or the partition.
    pub signature: Signature,
}

/// See [`HardDrive`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// Nothing.
    None,
    /// The 32-bit signature of the disk's MBR.
    Mbr(u32),
    /// The PARTUUID.
    Gpt(Uuid),
}

/// A load option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadOption {
    /// Whether the firmware may boot it by itself.
    pub active: bool,
    /// Its name for people.
    pub description: String,
    /// The partitions in its device path.
    pub partitions: Vec<HardDrive>,
    /// The loader's path from the partition's top, with `/`.
    pub file: Option<String>,
}

impl LoadOption {
    /// Whether it starts another system's loader, as seen from the loader's folder. The fallback's folder is anybody's.
    pub fn is_of_other_system(&self) -> bool {
        let Some(file) = &self.file else { return false };
        let mut parts = file.split('/').filter(|part| !part.is_empty());
        match (parts.next(), parts.next()) {
            (Some(efi), Some(folder)) if efi.eq_ignore_ascii_case("EFI") => !is_own_folder(folder),
            (Some(_) | None, _) => false,
        }
    }
}

/// Whether a folder in `EFI` can be that of a system like this one, or is anybody's.
pub fn is_own_folder(name: &str) -> bool {
    [
        "BOOT",
        "SYSTEMD",
        "NIXOS",
        "NIXOS-BOOT",
        "LINUX",
        "LANDFALL",
        "MEMTEST86",
        "TOOLS",
    ]
    .iter()
    .any(|own| name.eq_ignore_ascii_case(own))
}

/// Whether a folder in `EFI` is one that NixOS' boot loaders or landfall make, and no other system.
pub fn is_nixos_folder(name: &str) -> bool {
    ["NIXOS", "NIXOS-BOOT", "LANDFALL"]
        .iter()
        .any(|own| name.eq_ignore_ascii_case(own))
}

/// What of a device path counts here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DevicePath {
    /// Its hard drive nodes.
    pub partitions: Vec<HardDrive>,
    /// Its file path nodes, joined, with `/`.
    pub file: Option<String>,
}

/// What is known of the firmware's wishes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Firmware {
    /// The entry that this boot came from, if the firmware says it.
    pub current: Option<LoadOption>,
    /// The other active entries in the order in which they are tried.
    pub order: Vec<LoadOption>,
    /// Entries that could not be understood, one line each.
    pub strange: Vec<String>,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}
fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// A variable's data without efivarfs' four bytes of attributes.
fn data(raw: &[u8]) -> Result<&[u8], String> {
    raw.get(4..)
        .ok_or_else(|| format!("{} bytes, but an efivarfs file has at least 4", raw.len()))
}

/// A list of 16-bit numbers: BootOrder, or BootCurrent with exactly one.
///
/// # Errors
/// The bytes are no such list.
pub fn parse_numbers(raw: &[u8]) -> Result<Vec<u16>, String> {
    let data = data(raw)?;
    if data.len() % 2 != 0 {
        return Err(format!("{} bytes are not a list of 16-bit numbers", data.len()));
    }
    Ok(data
        .chunks_exact(2)
        .map(|c| u16::from_le_bytes([c[0], c[1]]))
        .take(ORDER_MAX)
        .collect())
}

/// A `Boot####` variable.
///
/// # Errors
/// The bytes are no load option.
pub fn parse_load_option(raw: &[u8]) -> Result<LoadOption, String> {
    let data = data(raw)?;
    let (Some(attributes), Some(path_bytes)) = (u32_at(data, 0), u16_at(data, 4)) else {
        return Err("it ends inside its header".into());
    };
    let mut description = Vec::new();
    let mut at = 6;
    loop {
        match u16_at(data, at) {
            None => return Err("its description has no end".into()),
            Some(0) => break,
            Some(unit) => description.push(unit),
        }
        at += 2;
    }
    at += 2;
    let path = data
        .get(at..at + usize::from(path_bytes))
        .ok_or_else(|| format!("its device path of {path_bytes} bytes is incomplete"))?;
    let DevicePath { partitions, file } = parse_device_path(path)?;
    Ok(LoadOption {
        // LOAD_OPTION_ACTIVE
        active: attributes & 1 == 1,
        description: String::from_utf16_lossy(&description),
        partitions,
        file,
    })
}

/// A device path, node by node, to its end node.
///
/// # Errors
/// The bytes are no device path.
pub fn parse_device_path(path: &[u8]) -> Result<DevicePath, String> {
    let mut found = DevicePath::default();
    let mut at = 0;
    while at < path.len() {
        let (Some(kind), Some(length)) = (path.get(at..at + 2), u16_at(path, at + 2)) else {
            return Err("a node ends inside its header".into());
        };
        let length = usize::from(length);
        let node = path
            .get(at..at + length)
            .filter(|_| length >= 4)
            .ok_or_else(|| format!("a node of {length} bytes does not fit"))?;
        match kind {
            // End of the entire device path.
            [0x7F, 0xFF] => return Ok(found),
            [4, 1] => found
                .partitions
                .push(hard_drive(node).ok_or("a hard drive node is too short")?),
            [4, 4] => found.file.get_or_insert_default().push_str(&file_path(node)),
            _ => {}
        }
        at += length;
    }
    Err("its device path has no end node".into())
}

fn file_path(node: &[u8]) -> String {
    let units = node[4..]
        .chunks_exact(2)
        .map(|c| u16::from_le_bytes([c[0], c[1]]));
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    String::from_utf16_lossy(&units).replace('\\', "/")
}

fn hard_drive(node: &[u8]) -> Option<HardDrive> {
    let signature: [u8; 16] = node.get(24..40)?.try_into().ok()?;
    Some(HardDrive {
        number: u32_at(node, 4)?,
        first_lba: u64_at(node, 8)?,
        sectors: u64_at(node, 16)?,
        signature: match node.get(41)? {
            1 => Signature::Mbr(u32_at(&signature, 0)?),
            2 => Signature::Gpt(Uuid::from_bytes_le(signature)),
            _ => Signature::None,
        },
    })
}

/// The names of all variables below `dir`; a machine without them has none.
fn names(dir: &Utf8Path) -> io::Result<Vec<String>> {
    match dir.read_dir_utf8() {
        Ok(listing) => listing
            .take(VARIABLES_MAX)
            .map(|entry| Ok(entry?.file_name().to_owned()))
            .collect(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(vec![]),
        Err(e) => Err(e),
    }
}

/// The file of a variable of the firmware's. Some write the number in `Boot####` with small letters.
pub fn file_of<'a>(files: &'a [String], name: &str) -> Option<&'a str> {
    let wanted = format!("{name}-{GLOBAL}");
    let exact = files.iter().find(|file| **file == wanted);
    let found = exact.or_else(|| files.iter().find(|file| file.eq_ignore_ascii_case(&wanted)));
    found.map(String::as_str)
}

/// Reads the variables below `dir` (efivarfs). A machine without them has no wishes.
///
/// # Errors
/// The directory or a variable cannot be read.
pub fn read(dir: &Utf8Path) -> io::Result<Firmware> {
    let mut firmware = Firmware::default();
    let files = names(dir)?;
    // One variable that cannot be read says nothing of the others.
    let variable = |name: &str| -> Option<Result<Vec<u8>, String>> {
        let file = file_of(&files, name)?;
        match fs_err::read(dir.join(file)) {
            Ok(bytes) => Some(Ok(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => Some(Err(crate::os_error::said(&e))),
        }
    };
    let numbers = |name: &str, strange: &mut Vec<String>| -> Vec<u16> {
        match variable(name).map(|raw| raw.and_then(|raw| parse_numbers(&raw))) {
            None => vec![],
            Some(Ok(numbers)) => numbers,
            Some(Err(why)) => {
                strange.push(format!("{name}: {why}"));
                vec![]
            }
        }
    };
    let current = numbers("BootCurrent", &mut firmware.strange).first().copied();
    let order = numbers("BootOrder", &mut firmware.strange);
    for number in current
        .into_iter()
        .chain(order.into_iter().filter(|n| Some(*n) != current))
    {
        let name = format!("Boot{number:04X}");
        match variable(&name).map(|raw| raw.and_then(|raw| parse_load_option(&raw))) {
            None => {}
            Some(Err(why)) => firmware.strange.push(format!("{name}: {why}")),
            Some(Ok(option)) if Some(number) == current => firmware.current = Some(option),
            Some(Ok(option)) if option.active => firmware.order.push(option),
            Some(Ok(_)) => {}
        }
    }
    Ok(firmware)
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use camino::Utf8PathBuf;
    use proptest::prelude::*;

    /// A load option as firmware writes it: HD(1,GPT,…)/\EFI\systemd\systemd-bootx64.efi.
    pub(crate) fn load_option(description: &str, partuuid: Uuid) -> Vec<u8> {
        let mut path = vec![4, 1, 42, 0];
        path.extend(1_u32.to_le_bytes());
        path.extend(2048_u64.to_le_bytes());
        path.extend(2_097_152_u64.to_le_bytes());
        path.extend(partuuid.to_bytes_le());
        path.extend([2, 2]);
        let file: Vec<u8> = "\\EFI\\BOOT\\BOOTX64.EFI\0"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        path.extend([4, 4]);
        path.extend((file.len() as u16 + 4).to_le_bytes());
        path.extend(file);
        path.extend([0x7F, 0xFF, 4, 0]);
        let mut raw = vec![7, 0, 0, 0];
        raw.extend(1_u32.to_le_bytes());
        raw.extend((path.len() as u16).to_le_bytes());
        raw.extend(description.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
        raw.extend(path);
        raw
    }

    #[test]
    fn small_letters_are_found_and_one_that_cannot_be_read_is_strange() {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8PathBuf::from_path_buf(keep.path().to_owned()).unwrap();
        let put =
            |name: &str, bytes: &[u8]| fs_err::write(dir.join(format!("{name}-{GLOBAL}")), bytes).unwrap();
        put("BootOrder", &[7, 0, 0, 0, 0x0F, 0, 0x0E, 0, 0x0D, 0]);
        put("Boot000f", &load_option("Linux Boot Manager", Uuid::from_u128(5)));
        put("Boot000D", &load_option("Another", Uuid::from_u128(6)));
        // Reading a folder fails, as reading a variable does whose store is damaged.
        fs_err::create_dir(dir.join(format!("Boot000E-{GLOBAL}"))).unwrap();
        let firmware = read(&dir).unwrap();
        let found: Vec<&str> = firmware
            .order
            .iter()
            .map(|option| option.description.as_str())
            .collect();
        assert_eq!(found, ["Linux Boot Manager", "Another"]);
        assert!(
            firmware.strange.len() == 1 && firmware.strange[0].starts_with("Boot000E"),
            "{:?}",
            firmware.strange
        );
    }

    /// Boot0000 of a fresh OVMF, as in efivarfs: UiApp, a firmware volume file.
    const OVMF_UIAPP: &[u8] = b"\x07\0\0\0\x09\x01\0\0\x2c\0U\0i\0A\0p\0p\0\0\0\
        \x04\x07\x14\0\xc9\xbd\xb8\x7c\xeb\xf8\x34\x4f\xaa\xea\x3e\xe4\xaf\x65\x16\xa1\
        \x04\x06\x14\0\x21\xaa\x2c\x46\x14\x76\x03\x45\x83\x6e\x8a\xb6\xf4\x66\x23\x31\x7f\xff\x04\0";

    #[test]
    fn real_entries() {
        let ui = parse_load_option(OVMF_UIAPP).unwrap();
        assert_eq!(
            (ui.description.as_str(), ui.active, ui.partitions.len()),
            ("UiApp", true, 0)
        );
        let id = Uuid::from_u128(0x1122_3344_5566_7788_99aa_bbcc_ddee_ff00);
        let linux = parse_load_option(&load_option("Linux Boot Manager", id)).unwrap();
        assert_eq!(linux.description, "Linux Boot Manager");
        assert_eq!(linux.file.as_deref(), Some("/EFI/BOOT/BOOTX64.EFI"));
        assert_eq!(
            linux.partitions,
            [HardDrive {
                number: 1,
                first_lba: 2048,
                sectors: 2_097_152,
                signature: Signature::Gpt(id)
            }]
        );
    }

    #[test]
    fn broken_entries_say_what_is_wrong() {
        let whole = load_option("x", Uuid::nil());
        for (cut, word) in [
            (2, "efivarfs"),
            (7, "header"),
            (11, "description"),
            (30, "incomplete"),
        ] {
            let why = parse_load_option(&whole[..cut]).unwrap_err();
            assert!(why.contains(word), "{cut}: {why}");
        }
        assert!(parse_device_path(&[4, 1, 3, 0]).unwrap_err().contains("3 bytes"));
        assert!(
            parse_device_path(&[4, 1, 4, 0])
                .unwrap_err()
                .contains("too short")
        );
        assert!(parse_device_path(&[]).unwrap_err().contains("no end"));
        assert!(parse_numbers(&[0, 0, 0, 0, 1]).is_err());
    }

    #[test]
    fn a_directory_of_variables() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        assert_eq!(read(&path).unwrap(), Firmware::default());
        let put =
            |name: &str, bytes: &[u8]| fs_err::write(path.join(format!("{name}-{GLOBAL}")), bytes).unwrap();
        put("BootCurrent", &[6, 0, 0, 0, 3, 0]);
        put("BootOrder", &[7, 0, 0, 0, 3, 0, 1, 0, 0, 0, 9, 0, 4, 0]);
        put("Boot0000", OVMF_UIAPP);
        put("Boot0001", &load_option("disk", Uuid::from_u128(1)));
        put("Boot0003", &load_option("stick", Uuid::from_u128(3)));
        put("Boot0004", &[7, 0, 0, 0, 1]);
        let firmware = read(&path).unwrap();
        assert_eq!(firmware.current.unwrap().description, "stick");
        assert_eq!(
            firmware
                .order
                .iter()
                .map(|o| o.description.as_str())
                .collect::<Vec<_>>(),
            ["disk", "UiApp"]
        );
        assert_eq!(firmware.strange.len(), 1);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let told = (parse_load_option(&bytes), parse_numbers(&bytes), parse_device_path(&bytes));
            let shown = format!("{told:?}");
            prop_assert!(!shown.is_empty());
        }

        #[test]
        fn no_damage_panics(at in 0_usize..140, byte: u8, cut in 0_usize..140) {
            let mut raw = load_option("Linux Boot Manager", Uuid::from_u128(5));
            let end = raw.len();
            raw[at % end] = byte;
            raw.truncate(end - cut % end);
            let shown = format!("{:?}", parse_load_option(&raw));
            prop_assert!(!shown.is_empty());
        }
    }
}
