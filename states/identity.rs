//! What a disk says about itself.
//!
//! Two disks are the same disk if these values are equal. The text that ids are computed from is written by hand and is
//! separate from what is shown.
//!
//! The values come from the program's folder `src/real/disk`.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a disk says of itself. Two disks are the same disk when these are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DiskIdentity {
    /// World Wide Name (`wwid` of the block device), if it has one.
    #[serde(rename = "wwn")]
    pub wwn: Option<String>,
    /// Serial number, if it has one.
    #[serde(rename = "serial")]
    pub serial: Option<String>,
    /// The bus address, used only when there is neither WWN nor serial number; or `lun C:T:L`, beside a name that several
    /// units of one device share.
    #[serde(rename = "path")]
    pub path: Option<String>,
    /// Size in bytes.
    #[serde(rename = "size_bytes")]
    pub size_bytes: u64,
    /// Logical sector size in bytes (512 or 4,096).
    #[serde(rename = "sector_bytes")]
    pub sector_bytes: u32,
}

impl DiskIdentity {
    /// The strongest name the disk has: WWN, else serial number, else bus address; behind it the unit, where several share it.
    pub fn name(&self) -> String {
        let unit = self.unit().map_or(String::new(), |unit| format!(", {unit}"));
        match (&self.wwn, &self.serial, &self.path) {
            (Some(wwn), _, _) => format!("wwn {wwn}{unit}"),
            (None, Some(serial), _) => format!("serial {serial}{unit}"),
            (None, None, Some(path)) => format!("path {path}"),
            (None, None, None) => "without a unique number".to_owned(),
        }
    }

    /// `lun C:T:L`, where the name belongs to a device of several units: a bridge, whose serial number is not the disk's, or
    /// a chip.
    pub fn unit(&self) -> Option<&str> {
        let named = self.wwn.is_some() || self.serial.is_some();
        self.path
            .as_deref()
            .filter(|path| named && path.starts_with("lun "))
    }

    /// Whether the disk can be told from another of its size.
    pub fn is_nameable(&self) -> bool {
        self.wwn.is_some() || self.serial.is_some() || self.path.is_some()
    }

    /// The text that ids are taken over. It looks like [`DiskIdentity::name`] and is apart from it: what is shown may be worded
    /// again, this may not.
    pub(crate) fn canonical(&self) -> String {
        let DiskIdentity {
            wwn,
            serial,
            path,
            size_bytes,
            sector_bytes,
        } = self;
        let unit = self.unit().map_or(String::new(), |unit| format!(" {unit}"));
        let name = match (wwn, serial, path) {
            (Some(wwn), _, _) => format!("wwn {wwn}{unit}"),
            (None, Some(serial), _) => format!("serial {serial}{unit}"),
            (None, None, Some(path)) => format!("path {path}"),
            (None, None, None) => "no identity".to_owned(),
        };
        format!("{name} size={size_bytes} sector={sector_bytes}")
    }
}

impl fmt::Display for DiskIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} bytes", self.name(), self.size_bytes)
    }
}
