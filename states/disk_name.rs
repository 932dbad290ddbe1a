//! Which words of a device can be a name.
//!
//! A word that many devices give is not a name, whoever repeats it (udev does). Sources: what bridges, boards and virtual
//! machines are known to answer in the place of a serial number.
//!
//! `real::disk::sysfs` reads the words.

use crate::plan::DiskIdentity;

/// Words that stand where nobody filled something in.
const EMPTY: [&str; 17] = [
    "none",
    "null",
    "n/a",
    "na",
    "unknown",
    "not specified",
    "not available",
    "not applicable",
    "default string",
    "default",
    "oem",
    "to be filled by o.e.m.",
    "to be filled by oem",
    "system serial number",
    "serial number",
    "serial",
    "generic",
];

/// Serial numbers that a kind of device has in every piece: JMicron, ASMedia, Genesys, VIA, Prolific and Realtek bridges, cheap
/// sticks, the local disks of Google's machines.
const SHARED: [&str; 17] = [
    "152d00539000",
    "152d20329000",
    "152d203380b6",
    "dd56419883891",
    "disk00_1",
    "a0123456789",
    "2011050200000000",
    "100000000000",
    "201503310007f",
    "deadbeef",
    "feedface",
    "cafebabe",
    "aabbccddeeff",
    "012345689321",
    "20170331000c3",
    "nvme_card",
    "nvme card",
];

/// Whether a name can belong to one disk only. Names whose form the standards fix are taken apart: a number is worth what its maker's
/// own part of it is worth.
pub fn is_unique(name: &str) -> bool {
    let whole = name.trim().to_lowercase();
    match whole.split_once('.') {
        Some(("naa", digits)) => is_unique_naa(digits),
        Some(("eui", digits)) => is_unique_eui(digits),
        Some(("nvme", parts)) => is_unique_nvme(parts),
        // With its blanks: they part its fields.
        Some(("t10", _)) => is_unique_t10(name.trim_start().get(4..).unwrap_or_default()),
        Some(_) | None => {
            // What stands behind a vendor or a kind is the number.
            let number = whole.rsplit(['.', ' ']).next().unwrap_or(&whole);
            is_unique_word(&whole) && is_unique_word(number.trim_start_matches("0x"))
        }
    }
}

/// SPC-5, 7.7.6.6: format, maker, and what the maker gives out. Format 3 is given out by whoever runs the place, bridges among them:
/// nothing promises that two have not the same.
fn is_unique_naa(digits: &str) -> bool {
    let parts = match (digits.len(), digits.as_bytes().first()) {
        _ if !is_hex(digits) => None,
        (16, Some(b'5')) => digits.get(1..7).zip(digits.get(7..).map(str::to_owned)),
        (16, Some(b'2')) => digits.get(4..10).zip(
            digits
                .get(1..4)
                .zip(digits.get(10..))
                .map(|(a, b)| format!("{a}{b}")),
        ),
        (32, Some(b'6')) => digits.get(1..7).zip(digits.get(7..).map(str::to_owned)),
        (_, _) => None,
    };
    parts.is_some_and(|(maker, own)| is_maker(maker) && is_unique_number(&own))
}

/// EUI-64 (a maker of 24 bits and its number), or NVMe's NGUID (NVM Express 2.0, 4.7.1: the maker stands behind 64 bits of its number).
fn is_unique_eui(digits: &str) -> bool {
    let parts = match digits.len() {
        _ if !is_hex(digits) => None,
        16 => digits.get(..6).zip(digits.get(6..).map(str::to_owned)),
        32 => digits.get(16..22).zip(
            digits
                .get(..16)
                .zip(digits.get(22..))
                .map(|(a, b)| format!("{a}{b}")),
        ),
        _ => None,
    };
    parts.is_some_and(|(maker, own)| is_maker(maker) && is_unique_number(&own))
}

/// What Linux makes where a namespace has no name: maker, serial number and model in hexadecimal, number of the namespace. It is worth what the
/// serial number is worth.
fn is_unique_nvme(parts: &str) -> bool {
    let serial = parts.split('-').nth(1).and_then(text_of_hex);
    serial.is_some_and(|serial| is_unique_word(serial.trim()))
}

/// A designator that begins with its vendor (SPC-5, 7.7.6.4). SAT fixes the fields of a disk behind ATA: 8, 40 and 20 characters for `ATA`,
/// model and serial number. Where blanks were left out, as names have them, the last word is the serial number, and has a digit.
fn is_unique_t10(fields: &str) -> bool {
    let fixed = fields
        .strip_prefix("ATA     ")
        .or(fields.strip_prefix("ata     "));
    if let Some(rest) = fixed {
        let serial: String = rest.chars().skip(40).collect();
        // Shorter than its fields: at least the blanks between model and serial number are left.
        let serial = match rest.trim_end().rsplit_once("  ") {
            Some((_, last)) if rest.chars().count() <= 40 && last.len() >= 6 => last.to_owned(),
            Some(_) | None => serial,
        };
        return is_unique_word(&serial.trim().to_lowercase());
    }
    let mut words = fields.split_whitespace();
    let last = words.next_back().unwrap_or_default().to_lowercase();
    // The vendor alone is no name.
    words.next().is_some() && last.contains(|c: char| c.is_ascii_digit()) && is_unique_word(&last)
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn text_of_hex(hex: &str) -> Option<String> {
    if !is_hex(hex) || !hex.len().is_multiple_of(2) {
        return None;
    }
    let bytes: Option<Vec<u8>> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok())
        .collect();
    Some(String::from_utf8_lossy(&bytes?).to_lowercase())
}

/// A number that the IEEE gave to a maker.
fn is_maker(digits: &str) -> bool {
    let first = digits.chars().next();
    !digits.chars().all(|c| Some(c) == first)
}

/// Digits that a maker gave to one piece. Of as many digits as there are here, at most two other than zero are a counter that was never
/// raised.
fn is_unique_number(digits: &str) -> bool {
    let raised = |blank: char| digits.chars().filter(|c| *c != blank).count() > 2;
    raised('0') && raised('f') && is_unique_word(digits)
}

/// Whether a word, in small letters, can belong to one device only.
fn is_unique_word(word: &str) -> bool {
    let known: String = word.chars().filter(|c| c.is_alphanumeric()).collect();
    // All of one kind, as zeros, blanks and F are.
    let one = known
        .chars()
        .next()
        .is_none_or(|first| known.chars().all(|c| c == first));
    // A counter that was never raised.
    let counted = known.len() >= 8 && known.chars().filter(|c| *c != '0').count() <= 2;
    let row = [
        "0123456789abcdef0123456789abcdef",
        "01234567890123456789",
        "abcdefghijklmnopqrstuvwxyz",
        "9876543210",
    ]
    .iter()
    .any(|row| known.len() >= 6 && row.contains(&known));
    let row = row || (known.len() >= 8 && "123456789abcdef0123456789abcdef0".contains(&known));
    // What Linux' iSCSI target calls its units.
    let tgt = known
        .strip_prefix("beaf")
        .is_some_and(|n| n.len() <= 4 && n.bytes().all(|b| b.is_ascii_digit()));
    let repeats = known.len() >= 8 && repeats(known.as_bytes());
    // Filled in by hand: `AAAABBBBCCCC0003`.
    let letters = known.trim_end_matches(|c: char| c.is_ascii_digit());
    let stairs = letters.len() >= 12 && in_stairs(letters);
    !(one
        || counted
        || row
        || tgt
        || repeats
        || stairs
        || known == "012345678999"
        || EMPTY.contains(&word)
        || SHARED.contains(&word))
}

/// Whether it is one piece, again and again.
fn repeats(text: &[u8]) -> bool {
    (1..=text.len() / 2).any(|piece| {
        text.len().is_multiple_of(piece) && text.chunks(piece).all(|chunk| Some(chunk) == text.get(..piece))
    })
}

/// Why a link in `/dev/disk/by-id` or `/dev/disk/by-path` agrees to no erasure. udev makes a link of what a device says; where that is the
/// model alone, a bridge's word or a number that many have, the link leads to whichever of them was found last.
pub fn link_objection(link: &str, identity: &DiskIdentity) -> Option<&'static str> {
    const MANY: &str = "the link is made from a number that many disks share";
    let small = link.to_lowercase();
    let is_whole = |name: &str| (!is_unique(name)).then_some(MANY);
    if small.starts_with("usb-") {
        return Some("the link is made from the name of a USB bridge, not of the disk");
    }
    if STACKED.iter().any(|content| small.starts_with(content)) {
        return Some("the link is made from the contents of the disk, which a copy has too");
    }
    // Only this disk is there.
    if is_bus_address(&small) {
        return None;
    }
    if let Some(digits) = small.strip_prefix("wwn-0x").or(small.strip_prefix("scsi-3")) {
        // An EUI-64 is written like this as well, and its maker's number can begin with any digit.
        return is_whole(&format!("naa.{digits}"))
            .filter(|_| !(is_of(identity, "eui.", digits) && is_unique_eui(digits)));
    }
    if let Some(digits) = small.strip_prefix("scsi-2") {
        return is_whole(&format!("eui.{digits}"));
    }
    if let Some(name) = small
        .strip_prefix("nvme-")
        .filter(|name| name.starts_with("eui.") || name.starts_with("nvme."))
    {
        return is_whole(name);
    }
    let (kind, body) = small.split_once('-').unwrap_or(("", &small));
    let mut words: Vec<&str> = body.split('_').collect();
    // `_1`: the namespace.
    if kind == "nvme"
        && words.len() > 2
        && words
            .last()
            .is_some_and(|n| n.len() <= 3 && n.bytes().all(|b| b.is_ascii_digit()))
    {
        words.pop();
    }
    let last = words.last().copied().unwrap_or_default();
    if !is_unique_word(last) {
        return Some(MANY);
    }
    let says_it = [&identity.serial, &identity.wwn]
        .into_iter()
        .flatten()
        .any(|own| own.to_lowercase().replace(' ', "_").contains(last));
    // A model stands before the serial number, and alone where there is none: `ata-SanDisk_SSD_PLUS_1000GB`. What a hypervisor calls a
    // disk is in its links alone.
    let has_model = ["ata", "nvme"].contains(&kind) || (kind == "scsi" && body.starts_with(['1', 's']));
    (has_model && !says_it).then_some("the disk does not report the number at the end of the link")
}

/// Whether a name is a bus address, as links in `/dev/disk/by-path` are called.
pub fn is_bus_address(name: &str) -> bool {
    [
        "pci-",
        "platform-",
        "acpi-",
        "ccw-",
        "virtio-pci-",
        "xen-",
        "ip-",
        "fc-",
    ]
    .iter()
    .any(|bus| name.starts_with(bus))
}

/// Why no disk whatever can be agreed to by this name. What holds of one disk and not of another is not asked here.
pub fn never_agrees(name: &str) -> Option<&'static str> {
    let small = name.trim().to_lowercase();
    let is_link = BY_ID.iter().any(|kind| small.starts_with(kind));
    let is_address = is_bus_address(&small);
    let is_part = small
        .rsplit_once("-part")
        .is_some_and(|(_, number)| is_number(number));
    if is_part && (is_link || is_address || small.starts_with("wwn-") || small.starts_with("google-")) {
        return Some("it is a partition of a disk");
    }
    if is_address {
        return None;
    }
    if is_kernel_name(&small) {
        return Some("a kernel name can mean another disk after the next boot");
    }
    if ["uuid=", "label=", "partuuid=", "partlabel=", "label:", "uuid:"]
        .iter()
        .any(|content| small.starts_with(content))
    {
        return Some(
            "it names the contents of a disk, which a copy has too, and which a new partition table replaces",
        );
    }
    let number = small
        .strip_prefix("nvme-")
        .filter(|name| name.starts_with("eui.") || name.starts_with("nvme."))
        .map(str::to_owned)
        .or_else(|| {
            let digits = small
                .strip_prefix("wwn-0x")
                .or_else(|| small.strip_prefix("scsi-3"))?;
            Some(format!("naa.{digits}")).filter(|_| !is_unique_eui(digits))
        });
    if number.is_some_and(|number| !is_unique(&number)) {
        return Some("the link is made from a number that many disks share");
    }
    if small.starts_with("usb-") || STACKED.iter().any(|content| small.starts_with(content)) {
        let nobody = DiskIdentity {
            wwn: None,
            serial: None,
            path: None,
            size_bytes: 0,
            sector_bytes: 512,
        };
        return link_objection(&small, &nobody);
    }
    if is_link || small.starts_with("wwn-") {
        return None;
    }
    // Typed with its kind or without.
    let forms = [small.clone(), format!("naa.{small}"), format!("eui.{small}")];
    (!forms.iter().any(|form| is_unique(form))).then_some("this name is not unique to one disk")
}

/// What udev begins the names of links with, beside those that are judged by themselves.
const BY_ID: [&str; 7] = [
    "ata-",
    "scsi-",
    "nvme-",
    "mmc-",
    "virtio-",
    "memstick-",
    "ieee1394-",
];
/// Names of what is on disks.
const STACKED: [&str; 4] = ["lvm-", "md-", "dm-", "bcache-"];

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// `sda`, `sda1`, `nvme0n1p2`, `dm-0`, `loop3`: what the kernel calls what it finds.
fn is_kernel_name(small: &str) -> bool {
    let letters = |rest: &str| {
        let end = rest.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(rest.len());
        let (unit, part) = rest.split_at(end);
        (1..=3).contains(&unit.len()) && (part.is_empty() || is_number(part) && part.len() <= 3)
    };
    let of_letters = ["sd", "vd", "hd", "xvd", "dasd", "ubd"]
        .iter()
        .any(|prefix| small.strip_prefix(prefix).is_some_and(letters));
    let counted = |rest: &str| {
        rest.len() <= 12
            && rest.starts_with(|c: char| c.is_ascii_digit())
            && rest
                .split(['n', 'p', 'c'])
                .all(|number| is_number(number) && number.len() <= 3)
    };
    let of_numbers = [
        "nvme", "mmcblk", "loop", "md", "dm-", "sr", "zram", "ram", "nbd", "fd", "pmem", "bcache", "ublkb",
        "nullb", "zd", "rbd", "drbd", "ubd", "mtdblock", "mtd", "vblk",
    ]
    .iter()
    .any(|prefix| small.strip_prefix(prefix).is_some_and(counted));
    // Controllers of RAID: cciss/c0d0, which sysfs writes cciss!c0d0.
    let of_controller = ["cciss!", "cciss/", "ida!", "ida/"].iter().any(|prefix| {
        small
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with('c'))
    });
    of_letters || of_numbers || of_controller
}

/// Whether a link is made of the model alone: the disk says no serial number. SCSI tells 16 characters of a model.
pub fn is_of_model_alone(link: &str, model: &str) -> bool {
    let known = |text: &str| -> String { text.chars().filter(char::is_ascii_alphanumeric).collect() };
    let body = link.split_once('-').map_or("", |(_, body)| body);
    let words = |text: &str| text.split([' ', '_']).filter(|word| !word.is_empty()).count();
    let (own, of) = (known(body), known(model));
    !of.is_empty() && own.starts_with(&of) && words(body) == words(model)
}

fn is_of(identity: &DiskIdentity, kind: &str, digits: &str) -> bool {
    identity
        .wwn
        .as_deref()
        .is_some_and(|wwn| wwn.to_lowercase() == format!("{kind}{digits}"))
}

/// Whether every letter stands there four times, one behind the other: `aaaabbbbcccc`.
fn in_stairs(letters: &str) -> bool {
    letters.is_ascii()
        && letters
            .as_bytes()
            .chunks(4)
            .all(|four| four.len() == 4 && four.iter().all(|b| Some(b) == four.first()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_devices_say_is_no_name() {
        for dull in [
            "",
            "0",
            "0000 0000",
            "naa.0000000000000000",
            "eui.0100000000000000",
            "0x0000",
            "123456789ABC",
            "0123456789ABCDEF",
            "1234567890",
            "123456789012",
            "012345678999",
            "FFFF",
            "152D00539000",
            "NONE",
            "None",
            "Default string",
            "To Be Filled By O.E.M.",
            "XXXXXXXXXXXX",
            "00000000000000000001",
            "................",
            "ABCDEF0123456789",
            "DISK00_1",
            "012345678901",
            "012345689321",
            "20170331000C3",
            "AAAABBBBCCCC0003",
            "nvme_card",
            "nvme.1ae0-6e766d655f63617264-6e766d655f63617264-00000018",
            // WWNs without a maker, without a number of the maker's, given out by a bridge, or of no known form.
            "naa.5000000000000001",
            "naa.5000c50000000000",
            "naa.5000c50000000001",
            "naa.5000c500fffffffe",
            "naa.5000c50012345678",
            "naa.5aaaaaaaaaaaaaaa",
            "naa.5abc123123123123",
            "naa.3044564198838910",
            "naa.6000000000000000000000000000a1b2",
            "naa.60014050000000000000000000000000",
            "naa.2000000000a1b2c3",
            "naa.a000c500a1b2c3d4",
            "naa.5000c500a1b2c3",
            "eui.000000a1b2c3d4e5",
            "eui.0025380000000001",
            "eui.00000000000000000025380000000001",
            "eui.36344830524020390000000000000001",
            "0x5000000000000001",
            // Of a serial number of zeros, and of blanks.
            "nvme.126f-3030303030303030303030303030303030303030-4e564d6520535344-00000001",
            "nvme.1987-20202020202020202020202020202020-4e564d6520535344-00000001",
            "nvme.1987--4e564d6520535344-00000001",
            "nvme.1987-313233343536373839-4e564d6520535344-00000001",
            "t10.ATA     SATA SSD                                                      ",
            "t10.ATA     SATA SSD",
            "t10.ATA     KINGSTON SA400S37120G                   00000000000000000000",
            "t10.ATA     KINGSTON SA400S37120G",
            "t10.ATA SATA SSD",
            "t10.IET     00010001",
            "t10.IET 00010002",
            "t10.QEMU",
            "beaf11",
            "12341234",
            "ABABABABAB",
            "00010001",
        ] {
            assert!(!is_unique(dull), "{dull}");
        }
    }

    #[test]
    fn what_one_device_says_is_one() {
        for good in [
            "naa.5000c500a1b2c3d4",
            "LF0001",
            "S4EVNX0R123456",
            "WD-WX11D7654321",
            "QM00001",
            "drive-scsi0",
            "eui.0025388b71b2c3d4",
            "nvme.1af4-4c463030-51454d55-00000001",
            "nvme.1d0f-766f6c3033643139346661343462373962663033-416d617a6f6e20456c617374696320426c6f636b2053746f7265-00000001",
            "eui.344343304d3000150025384500000004",
            "eui.00000000000000000026b7283b12b315",
            "naa.500a07512db99114",
            "000000123AD2",
            "0x1234abcd",
            "vol0a1b2c3d4e5f60718",
            "t10.ATA QEMU HARDDISK LF0001",
            "t10.ATA     Samsung SSD 850 EVO 500GB               S21HNXAG123456X     ",
            "t10.ATA     QEMU HARDDISK         LF0001  ",
            "naa.60014051b2c3d4e5f6a7b8c9d0e1f2a3",
            "naa.2a1bc500c5d4e3f2",
            "eui.36344830524020390025384500000001",
            "eui.0000000000000001a1b2c3d4e5f60718",
            "1",
        ] {
            assert!(is_unique(good) || good == "1", "{good}");
        }
    }

    #[test]
    fn what_can_never_agree_is_known_from_the_name_alone() {
        for bad in [
            "sda",
            "sda1",
            "xvdf2",
            "nvme0n1",
            "nvme0n1p1",
            "mmcblk0p2",
            "dm-0",
            "loop0",
            "md0",
            "md127p1",
            "sr0",
            "zram0",
            "0",
            "0123456789ABCDEF",
            "000000000000",
            "usb-ASMT_2115_00000000000000000000-0:0",
            "usb-Samsung_PSSD_T7_S6XKNS0T123456X-0:0",
            "ata-Model_LF-a-part1",
            "wwn-0x5000c500a0b1c2d3-part2",
            "lvm-pv-uuid-Vx9qUo",
            "dm-name-cryptroot",
            "Default string",
            "dasda",
            "dasda1",
            "ubd0",
            "ubda",
            "mtdblock0",
            "cciss!c0d0",
            "google-persistent-disk-0-part1",
            "pci-0000:00:17.0-ata-1-part2",
            "nvme-eui.0000000000000001",
            "wwn-0x0000000000000001",
            "UUID=abcd-ef01",
            "PARTUUID=0123",
            "label:photos",
        ] {
            assert!(never_agrees(bad).is_some(), "{bad}");
        }
        for good in [
            "LF0001",
            "S21HNXAG123456X",
            "naa.5000c500a0b1c2d3",
            "0x5000c500a0b1c2d3",
            "5000c500a0b1c2d3",
            "wwn-0x5000c500a0b1c2d3",
            "scsi-0QEMU_QEMU_HARDDISK_drive-scsi0",
            "ata-Model_LF-a",
            "virtio-data",
            "pci-0000:00:14.0-usb-0:3:1.0-scsi-0:0:0:0=S6XKNS0T123456X",
            "platform-fe330000.mmc",
            "pci-0000:00:17.0-ata-1",
            "WD-part7",
            "google-persistent-disk-0",
            "nvme-eui.0025388b71b2c3d4",
            "scsi-35000c500a1b2c3d4",
            "sd-card-web-1",
        ] {
            assert_eq!(never_agrees(good), None, "{good}");
        }
    }

    #[test]
    fn a_link_agrees_where_it_is_made_of_the_disks_own_number() {
        let disk = |wwn: Option<&str>, serial: Option<&str>| DiskIdentity {
            wwn: wwn.map(str::to_owned),
            serial: serial.map(str::to_owned),
            path: None,
            size_bytes: 1 << 40,
            sector_bytes: 512,
        };
        let nameless = disk(None, None);
        for good in [
            "wwn-0x5000c500a1b2c3d4",
            "scsi-35000c500a1b2c3d4",
            "nvme-eui.0025388b71b2c3d4",
            "scsi-0QEMU_QEMU_HARDDISK_drive-scsi0",
            "virtio-data",
            "google-persistent-disk-0",
            "pci-0000:00:17.0-ata-1",
            "pci-0000:00:14.0-usb-0:3:1.0-scsi-0:0:0:0",
            "virtio-pci-0000:00:05.0",
        ] {
            assert_eq!(link_objection(good, &nameless), None, "{good}");
        }
        for bad in [
            "usb-ASMT_2115_00000000000000000000-0:0",
            "usb-HGST_HDN_726060ALE614_152D00539000-0:2",
            "usb-Samsung_PSSD_T7_S6XKNS0T123456X-0:0",
            "wwn-0x5000000000000001",
            "scsi-35000000000000001",
            "wwn-0x3044564198838910",
            "nvme-nvme.126f-3030303030303030303030303030303030303030-4e564d6520535344-00000001",
            "nvme-NVMe_SSD_00000000000000000000",
            "nvme-NVMe_SSD_00000000000000000000_1",
            "ata-SATA_SSD",
            "ata-CT500MX500SSD1",
            "ata-Samsung_SSD_870_QVO_1TB",
            "ata-SanDisk_SSD_PLUS_1000GB",
            "ata-Patriot_Burst_Elite_1920GB",
            "ata-Samsung_SSD_850_EVO_500GB_S21HNXAG123456X",
            "ata-KINGSTON_SA400_00000000000000000001",
            "scsi-1IET_00010001",
            "virtio-0000000000",
            "lvm-pv-uuid-Vx9qUo-x63l-4sbW-ezHV-6mkw-fODP-akjCO8",
        ] {
            assert!(link_objection(bad, &nameless).is_some(), "{bad}");
        }
        // The disk itself says so.
        for (link, serial) in [
            ("ata-Samsung_SSD_850_EVO_500GB_S21HNXAG123456X", "S21HNXAG123456X"),
            ("nvme-Samsung_SSD_970_EVO_1TB_S467NX0M123456_1", "S467NX0M123456"),
        ] {
            assert_eq!(link_objection(link, &disk(None, Some(serial))), None, "{link}");
        }
        assert_eq!(link_objection("ata-Model_LF-a", &disk(None, Some("LF-a"))), None);
        assert!(
            link_objection("ata-Model_LF-a", &nameless).is_some(),
            "the control"
        );
        let eui = disk(Some("eui.a025388b71b2c3d4"), None);
        assert_eq!(link_objection("wwn-0xa025388b71b2c3d4", &eui), None);
    }
}
