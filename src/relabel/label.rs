//! What can have a label, and how long the label can be.
//!
//! Pure. A label that is not refused here can be written, and udev's link for it has exactly the same name.
//! Existing labels can have any character: a name that uses one is read as udev, fstab(5) and Nix write it.
//!
//! `plan` checks other devices, `apply` writes.

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
    fn length_max(self) -> usize {
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

    /// The link to what has this label, as udev names it.
    pub fn link(self, label: &str) -> String {
        format!("/dev/disk/{}/{}", self.folder(), encoded(label))
    }

    /// How `LABEL=` is written for it.
    fn tag(self) -> &'static str {
        match self {
            Bearer::Partition => "PARTLABEL=",
            Bearer::Fat | Bearer::Ext | Bearer::Xfs | Bearer::Btrfs | Bearer::Swap | Bearer::Luks2 => {
                "LABEL="
            }
        }
    }

    /// Whether a name, such as a device of an fstab, looks for this label.
    pub fn is_sought(self, label: &str, name: &str) -> bool {
        sought(name).is_some_and(|(bearer, found)| bearer.folder() == self.folder() && is_same(&found, label))
    }

    /// The forms in which a name for this label can stand in bytes that are searched: the link as udev names it, with the backslashes of
    /// a language that takes two for one, as it is read by a person; and the same as a tag.
    pub fn forms(self, label: &str) -> Vec<String> {
        let (plain, link) = (format!("/dev/disk/{}/{label}", self.folder()), self.link(label));
        let octal = |text: &str| text.replace(' ', "\\040");
        let tag = format!("{}{label}", self.tag());
        let encoded_tag = format!("{}{}", self.tag(), encoded(label));
        let doubled = |text: &str| text.replace('\\', "\\\\");
        let mut forms = vec![
            doubled(&link),
            doubled(&encoded_tag),
            octal(&plain),
            octal(&tag),
            link,
            encoded_tag,
            plain,
            tag,
        ];
        forms.sort();
        forms.dedup();
        forms
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
                "it must be 1 to 11 characters of A-Z 0-9 _ - (FAT keeps upper case only, and its tools refuse a dot)"
            }
            Bearer::Ext => "it must be 1 to 16 characters of A-Z a-z 0-9 . _ -, not . or ..",
            Bearer::Xfs => "it must be 1 to 12 characters of A-Z a-z 0-9 . _ -, not . or ..",
            Bearer::Btrfs => "it must be 1 to 255 characters of A-Z a-z 0-9 . _ -, not . or ..",
            Bearer::Swap => "it must be 1 to 15 characters of A-Z a-z 0-9 . _ -, not . or ..",
            Bearer::Luks2 => "it must be 1 to 47 characters of A-Z a-z 0-9 . _ -, not . or ..",
            Bearer::Partition => "it must be 1 to 36 characters of A-Z a-z 0-9 . _ -, not . or ..",
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

/// A label as udev has it in the name of a link (`blkid_encode_string` of libblkid).
fn encoded(label: &str) -> String {
    let mut out = String::with_capacity(label.len());
    for c in label.chars() {
        if c.is_ascii_alphanumeric() || "#+-.:=@_".contains(c) || !c.is_ascii() {
            out.push(c);
        } else {
            out.push_str(&format!("\\x{:02x}", u32::from(c)));
        }
    }
    out
}

/// Without the escapes of udev (`\x20`) and of fstab(5) (`\040`), also where a backslash stands for one behind another.
pub(super) fn decoded(name: &str) -> String {
    let name = name.replace("\\\\", "\\");
    let (raw, mut bytes, mut at) = (name.as_bytes(), Vec::with_capacity(name.len()), 0);
    let number = |from: usize, to: usize, radix: u32| {
        let digits = name.get(from..to)?;
        let is_plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
        is_plain.then(|| u8::from_str_radix(digits, radix).ok())?
    };
    while let Some(byte) = raw.get(at) {
        let (value, length) = match (byte, raw.get(at + 1)) {
            (b'\\', Some(b'x')) => (number(at + 2, at + 4, 16), 4),
            (b'\\', Some(b'0'..=b'3')) => (number(at + 1, at + 4, 8), 4),
            _ => (None, 1),
        };
        match value {
            Some(value) => {
                bytes.push(value);
                at += length;
            }
            None => {
                bytes.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether two labels are one; `blkid` prints the bytes of what is no ASCII as `M-C` and `^A`.
pub(super) fn is_same(label: &str, printed: &str) -> bool {
    let visible = |byte: u8| match byte {
        0..=31 | 127 => format!("^{}", char::from(byte ^ 0x40)),
        _ => char::from(byte).to_string(),
    };
    let shown = label.bytes().map(|byte| match byte {
        128.. => format!("M-{}", visible(byte & 0x7f)),
        _ => visible(byte),
    });
    label == printed || shown.collect::<String>() == printed
}

/// The label that a name in a configuration looks for, and in which of the two folders of links.
pub(super) fn sought(name: &str) -> Option<(Bearer, String)> {
    let name = name.replace('"', "");
    [Bearer::Ext, Bearer::Partition].into_iter().find_map(|bearer| {
        let folder = format!("/dev/disk/{}/", bearer.folder());
        let label = name
            .strip_prefix(bearer.tag())
            .or_else(|| name.strip_prefix(&folder))?;
        Some((bearer, decoded(label)))
    })
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

    /// As `blkid -p -o udev` of util-linux 2.38.1 prints it (`ID_FS_LABEL_ENC`).
    #[test]
    fn a_name_is_read_as_udev_writes_it() {
        for (label, link) in [
            ("my data", r"my\x20data"),
            ("Linux LUKS", r"Linux\x20LUKS"),
            (r"a\x20b", r"a\x5cx20b"),
            ("q'$", r"q\x27\x24"),
            ("#+:=@,%", r"#+:=@\x2c\x25"),
            ("a/b", r"a\x2fb"),
            ("é", "é"),
            ("data", "data"),
        ] {
            for bearer in [Bearer::Ext, Bearer::Partition] {
                assert_eq!(
                    bearer.link(label),
                    format!("/dev/disk/{}/{link}", bearer.folder())
                );
                for form in bearer.forms(label) {
                    assert!(bearer.is_sought(label, &form) || label.contains('\\'), "{form}");
                }
                assert!(bearer.is_sought(label, &bearer.link(label)), "{label}");
                assert!(!bearer.is_sought("my", &bearer.link(label)), "{label}");
                let other = if bearer == Bearer::Ext {
                    Bearer::Partition
                } else {
                    Bearer::Ext
                };
                assert!(!other.is_sought(label, &bearer.link(label)), "{label}");
            }
        }
        let ext = |name: &str| Bearer::Ext.is_sought("my data", name);
        assert!(ext(r"/dev/disk/by-label/my\040data") && ext(r#"LABEL="my data""#));
        assert!(ext(r"/dev/disk/by-label/my\\x20data"), "in a text of Nix");
        assert!(!ext("/dev/disk/by-label/my_data") && !ext("/dev/disk/by-uuid/my data"));
        // `blkid` has another way to print what is no ASCII.
        assert!(Bearer::Ext.is_sought("M-CM-)", "/dev/disk/by-label/é"));
        assert!(!Bearer::Ext.is_sought("M-CM-)", "/dev/disk/by-label/e"));
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
