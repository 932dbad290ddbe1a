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

/// Serial numbers that a kind of device has in every piece: JMicron, ASMedia, Genesys, VIA and Prolific bridges, cheap sticks.
const SHARED: [&str; 13] = [
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
        let row = [
            "0123456789abcdef0123456789abcdef",
            "12345678901234567890",
            "abcdefghijklmnopqrstuvwxyz",
        ]
        .iter()
        .any(|row| known.len() >= 6 && row.contains(&known));
        let row = row || (known.len() >= 8 && "123456789abcdef0123456789abcdef0".contains(&known));
        one || counted || row || known == "012345678999" || SHARED.contains(&text)
    };
    !(EMPTY.contains(&whole.as_str()) || EMPTY.contains(&body) || dull(&whole) || dull(body))
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
            "0x1234abcd",
            "vol0a1b2c3d4e5f60718",
            "t10.ATA QEMU HARDDISK LF0001",
            "1",
        ] {
            assert!(is_unique(good) || good == "1", "{good}");
        }
    }
}
