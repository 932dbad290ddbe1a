//! Parses `lsblk --json`.
//!
//! It is a second opinion: what it shows can only make a disk less suitable, never more. sysfs has the better answer to
//! everything else.
//!
//! `scan` runs it.

use serde::Deserialize;

/// The arguments that give what is parsed here.
pub const ARGS: [&str; 5] = [
    "--json",
    "--bytes",
    "--all",
    "--output",
    "NAME,TYPE,FSTYPE,LABEL,PTTYPE,MODEL,SERIAL",
];
/// Deepest tree of devices that is followed.
const DEPTH_MAX: u32 = 32;

/// One line of lsblk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Kernel name.
    pub name: String,
    /// The names above it, the whole disk first.
    pub above: Vec<String>,
    /// `disk`, `part`, `lvm`, `crypt`, `raid1`, `loop`, `rom`, …
    pub kind: String,
    /// The signature that udev or blkid found.
    pub fstype: Option<String>,
    /// The filesystem's label.
    pub label: Option<String>,
    /// The model.
    pub model: Option<String>,
    /// The kind of partition table.
    pub pttype: Option<String>,
}

#[derive(Deserialize)]
struct Output {
    blockdevices: Vec<Device>,
}

#[derive(Deserialize)]
struct Device {
    name: String,
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    fstype: Option<String>,
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    pttype: Option<String>,
    #[serde(default)]
    children: Vec<Device>,
}

/// Parses; every device once per place it appears at.
///
/// # Errors
/// The text is none that `lsblk` prints.
pub fn parse(text: &str) -> Result<Vec<Row>, String> {
    // lsblk prints nothing at all when there is no device.
    if text.trim().is_empty() {
        return Ok(vec![]);
    }
    let output: Output = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let mut rows = Vec::new();
    let mut open: Vec<(Device, Vec<String>, u32)> = output
        .blockdevices
        .into_iter()
        .rev()
        .map(|d| (d, vec![], 0))
        .collect();
    while let Some((device, above, depth)) = open.pop() {
        let Device {
            name,
            kind,
            fstype,
            label,
            model,
            pttype,
            children,
        } = device;
        if depth < DEPTH_MAX {
            let mut below = above.clone();
            below.push(name.clone());
            open.extend(children.into_iter().rev().map(|c| (c, below.clone(), depth + 1)));
        }
        let said = |s: Option<String>| s.map(|s| s.trim().to_owned()).filter(|s| !s.is_empty());
        rows.push(Row {
            name,
            above,
            kind: kind.unwrap_or_default(),
            fstype: said(fstype),
            label: said(label),
            model: said(model),
            pttype: said(pttype),
        });
    }
    Ok(rows)
}

/// What a signature says of membership in something larger, in words.
pub fn membership(fstype: &str) -> Option<&'static str> {
    match fstype {
        "LVM2_member" | "LVM1_member" => Some("an LVM physical volume"),
        "linux_raid_member" => Some("a member of a Linux RAID (md)"),
        "zfs_member" => Some("a member of a ZFS pool"),
        "bcache" => Some("a bcache device"),
        "bcachefs" => Some("a member of a bcachefs"),
        "ceph_bluestore" => Some("a Ceph device"),
        "drbd" => Some("a DRBD device"),
        "DM_snapshot_cow" | "DM_verity_hash" | "DM_integrity" => Some("part of a device-mapper stack"),
        "stratis" => Some("a Stratis device"),
        "VMFS_volume_member" | "VMFS" => Some("a VMFS extent"),
        "mpath_member" => Some("a path of a multipath device"),
        other if other.ends_with("_raid_member") => Some("a member of a firmware RAID"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    /// util-linux 2.38.1, shortened: a disk with a volume group and one without anything.
    const REAL: &str = r#"{
   "blockdevices": [
      {"name":"sda","type":"disk","fstype":null,"label":null,"pttype":"gpt","model":"QEMU HARDDISK   ","serial":"LF0001",
         "children": [
            {"name":"sda1","type":"part","fstype":"vfat","label":"ESP","pttype":"gpt","model":null,"serial":null},
            {"name":"sda2","type":"part","fstype":"LVM2_member","label":null,"pttype":"gpt","model":null,"serial":null,
               "children": [
                  {"name":"vg-root","type":"lvm","fstype":"ext4","label":"root","pttype":null,"model":null,"serial":null}
               ]
            }
         ]
      },{"name":"zram0","type":"disk","fstype":null,"label":null,"pttype":null,"model":null,"serial":null}
   ]
}"#;

    #[test]
    fn real_output() {
        let rows = parse(REAL).unwrap();
        assert_eq!(
            rows.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(),
            ["sda", "sda1", "sda2", "vg-root", "zram0"]
        );
        assert_eq!(rows[3].above, ["sda", "sda2"]);
        assert_eq!(rows[0].model.as_deref(), Some("QEMU HARDDISK"));
        assert!(membership(rows[2].fstype.as_deref().unwrap()).is_some());
        assert!(membership("ext4").is_none() && membership("isw_raid_member").is_some());
        assert!(parse("").unwrap().is_empty());
        assert!(parse("{}").is_err() && parse("lsblk: error").is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let shown = format!("{:?}", parse(&text));
            prop_assert!(!shown.is_empty());
        }

        #[test]
        fn no_damage_panics(at in 0_usize..600, put in ".") {
            let mut text = REAL.to_owned();
            let at = at % text.len();
            text.replace_range(at..at + 1, &put);
            let shown = format!("{:?}", parse(&text));
            prop_assert!(!shown.is_empty());
        }
    }
}
