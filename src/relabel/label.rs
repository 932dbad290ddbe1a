//! What can bear a label, and how long it may be. Law: pure; a label that is not refused here can be written to its bearer, and
//! the link that udev makes of it has the very same name.
//!
//! Absent: whether somebody else has the label (`plan`), and writing it (`apply`).

use landfall_states::names::BadValue;
use serde::Serialize;
use std::fmt;

/// What bears a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Bearer {
    /// A FAT filesystem. Its label is in the boot sector and in the root directory.
    #[serde(rename = "fat")]
    Fat,
    /// ext2, ext3 or ext4.
    #[serde(rename = "ext")]
    Ext,
    /// XFS.
    #[serde(rename = "xfs")]
    Xfs,
    /// Btrfs.
    #[serde(rename = "btrfs")]
    Btrfs,
    /// Swap.
    #[serde(rename = "swap")]
    Swap,
    /// The header of a LUKS2 container. One of LUKS1 has no label.
    #[serde(rename = "luks2")]
    Luks2,
    /// An entry of a GPT: the name of a partition.
    #[serde(rename = "partition")]
    Partition,
}

impl Bearer {
    /// By the type that `blkid` finds, and the version that it says beside it.
    pub fn of(kind: &str, version: Option<&str>) -> Option<Bearer> {
        match kind {
            "vfat" => Some(Bearer::Fat),
            "ext2" | "ext3" | "ext4" => Some(Bearer::Ext),
            "xfs" => Some(Bearer::Xfs),
            "btrfs" => Some(Bearer::Btrfs),
            "swap" => Some(Bearer::Swap),
            "crypto_LUKS" if version == Some("2") => Some(Bearer::Luks2),
            _ => None,
        }
    }

    /// Bytes of the longest label; of a partition's name, units of UTF-16, which are as many for the characters that are
    /// allowed here.
    pub fn length_max(self) -> usize {
        match self {
            Bearer::Fat => 11,
            Bearer::Ext => 16,
            Bearer::Xfs => 12,
            Bearer::Btrfs => 255,
            // 16 bytes with a NUL behind it (mkswap(8)).
            Bearer::Swap => 15,
            // 48 bytes with a NUL behind it (LUKS2 on-disk format, section 2.1).
            Bearer::Luks2 => 47,
            // UEFI 2.10, section 5.3.3.
            Bearer::Partition => 36,
        }
    }

    /// The folder of `/dev/disk` that its links are in.
    pub fn folder(self) -> &'static str {
        match self {
            Bearer::Partition => "by-partlabel",
            Bearer::Fat | Bearer::Ext | Bearer::Xfs | Bearer::Btrfs | Bearer::Swap | Bearer::Luks2 => {
                "by-label"
            }
        }
    }

    /// The link to what has this label.
    pub fn link(self, label: &str) -> String {
        format!("/dev/disk/{}/{label}", self.folder())
    }

    fn what(self) -> &'static str {
        match self {
            Bearer::Fat => "FAT label",
            Bearer::Ext => "ext4 label",
            Bearer::Xfs => "XFS label",
            Bearer::Btrfs => "Btrfs label",
            Bearer::Swap => "swap label",
            Bearer::Luks2 => "label of a LUKS2 header",
            Bearer::Partition => "partition name",
        }
    }

    fn rule(self) -> &'static str {
        match self {
            Bearer::Fat => {
                "1 to 11 characters of A-Z 0-9 _ - (FAT keeps upper case only, and its tools refuse a dot)"
            }
            Bearer::Ext => "1 to 16 characters of A-Z a-z 0-9 . _ -, not . or ..",
            Bearer::Xfs => "1 to 12 characters of A-Z a-z 0-9 . _ -, not . or ..",
            Bearer::Btrfs => "1 to 255 characters of A-Z a-z 0-9 . _ -, not . or ..",
            Bearer::Swap => "1 to 15 characters of A-Z a-z 0-9 . _ -, not . or ..",
            Bearer::Luks2 => "1 to 47 characters of A-Z a-z 0-9 . _ -, not . or ..",
            Bearer::Partition => "1 to 36 characters of A-Z a-z 0-9 . _ -, not . or ..",
        }
    }

    /// Whether this bearer can have this label, and udev makes a link of the same name (`blkid_encode_string` leaves these
    /// characters as they are).
    ///
    /// # Errors
    /// It cannot, with the rule.
    pub fn check(self, label: &str) -> Result<(), BadValue> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let obeys = (1..=self.length_max()).contains(&label.len())
            && label.bytes().all(plain)
            && !matches!(label, "." | "..")
            && !(self == Bearer::Fat && label.bytes().any(|b| b.is_ascii_lowercase() || b == b'.'));
        if obeys {
            return Ok(());
        }
        Err(BadValue {
            what: self.what(),
            value: label.to_owned(),
            allowed: self.rule(),
        })
    }

    /// A label of this kind for a host, such as `root-web` or `ESP-WEB`; cut where it would be too long.
    pub fn derived(self, part: &str, host: &str) -> String {
        let whole = format!("{part}-{host}");
        let cut: String = whole.chars().take(self.length_max()).collect();
        let cut = cut.trim_end_matches('-');
        if self == Bearer::Fat {
            cut.to_ascii_uppercase().replace('.', "-")
        } else {
            cut.to_owned()
        }
    }
}

impl fmt::Display for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bearer::Fat => "FAT",
            Bearer::Ext => "ext4",
            Bearer::Xfs => "XFS",
            Bearer::Btrfs => "Btrfs",
            Bearer::Swap => "swap",
            Bearer::Luks2 => "LUKS2 header",
            Bearer::Partition => "partition name",
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may end where it stands
mod tests {
    use super::*;

    const ALL: [Bearer; 7] = [
        Bearer::Fat,
        Bearer::Ext,
        Bearer::Xfs,
        Bearer::Btrfs,
        Bearer::Swap,
        Bearer::Luks2,
        Bearer::Partition,
    ];

    #[test]
    fn a_label_has_the_length_of_its_bearer() {
        for bearer in ALL {
            let max = bearer.length_max();
            assert!(bearer.check(&"A".repeat(max)).is_ok(), "{bearer}");
            for bad in [
                "A".repeat(max + 1),
                String::new(),
                "a b".into(),
                ".".into(),
                "..".into(),
                "é".into(),
                "a/b".into(),
            ] {
                let why = bearer.check(&bad).unwrap_err().to_string();
                assert!(why.contains(&max.to_string()), "{why}");
            }
        }
        assert!(Bearer::Fat.check("esp").is_err() && Bearer::Ext.check("esp").is_ok());
    }

    #[test]
    fn a_host_gives_a_label_that_its_bearer_can_have() {
        for host in [
            "web",
            "a",
            "with-a-rather-long-name-of-its-own",
            "MixedCase",
            "a.b",
            "abcdefg..",
        ] {
            for bearer in ALL {
                bearer.check(&bearer.derived("root", host)).unwrap();
            }
        }
        assert_eq!(Bearer::Fat.derived("esp", "web"), "ESP-WEB");
        assert_eq!(
            Bearer::Fat.derived("esp", "a.b"),
            "ESP-A-B",
            "fatlabel refuses a dot"
        );
        assert_eq!(Bearer::Ext.derived("root", "web"), "root-web");
        assert_eq!(
            Bearer::Xfs.derived("root", "abcdef-x"),
            "root-abcdef",
            "no dash at its end"
        );
    }

    #[test]
    fn what_has_no_label_is_no_bearer() {
        assert_eq!(Bearer::of("crypto_LUKS", Some("1")), None);
        assert_eq!(Bearer::of("crypto_LUKS", Some("2")), Some(Bearer::Luks2));
        for other in [
            "LVM2_member",
            "zfs_member",
            "linux_raid_member",
            "swsuspend",
            "ntfs",
        ] {
            assert_eq!(Bearer::of(other, None), None);
        }
    }
}
