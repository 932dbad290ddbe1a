//! What is wrong with a file, a directory or a mount point: variants of [`Kind`](super::Kind), serialised like the others.
//!
//! `text::place` has the words.

use crate::fault::FaultClass;
use crate::fault::kind::Os;
use serde::Serialize;

/// What is wrong with a file, a directory or a mount point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "values")]
pub enum PlaceFault {
    /// The name of a file or directory is not UTF-8.
    #[serde(rename = "name_not_text")]
    NameNotText {
        /// Which, as far as it can be written.
        #[serde(rename = "on")]
        on: String,
    },
    /// A file that was named cannot be used.
    #[serde(rename = "file_unusable")]
    FileUnusable {
        /// The file, and what named it.
        #[serde(rename = "on")]
        on: String,
        /// What the operating system said.
        #[serde(flatten)]
        os: Os,
    },
    /// Something else is where a file or directory ought to be.
    #[serde(rename = "file_type")]
    FileType {
        /// Where.
        #[serde(rename = "path")]
        path: String,
        /// What ought to be there.
        #[serde(rename = "expected")]
        expected: String,
    },
    /// A link on the target cannot be followed to a directory of the target.
    #[serde(rename = "link_unusable")]
    LinkUnusable {
        /// Where the link is.
        #[serde(rename = "path")]
        path: String,
        /// What it says.
        #[serde(rename = "to")]
        to: String,
        /// What the operating system said.
        #[serde(flatten)]
        os: Os,
    },
    /// A link on the target, where programs that work on it from outside would follow it into the running system.
    #[serde(rename = "link_leads_out")]
    LinkLeadsOut {
        /// Where the link is.
        #[serde(rename = "path")]
        path: String,
        /// What it says.
        #[serde(rename = "to")]
        to: String,
    },
    /// What is to be read is no regular file.
    #[serde(rename = "not_regular")]
    NotRegular {
        /// Which, and what named it.
        #[serde(rename = "on")]
        on: String,
        /// What it is.
        #[serde(rename = "found")]
        found: String,
    },
    /// A file is longer than such a file can be.
    #[serde(rename = "file_too_long")]
    FileTooLong {
        /// Which, and what named it.
        #[serde(rename = "on")]
        on: String,
        /// The most that it may have, in bytes.
        #[serde(rename = "max")]
        max: u64,
    },
    /// Something that landfall did not make uses a place or a name.
    #[serde(rename = "foreign_use")]
    ForeignUse {
        /// The place or name.
        #[serde(rename = "on")]
        on: String,
        /// What uses it.
        #[serde(rename = "by")]
        by: String,
    },
    /// A mount cannot be taken down: it stays busy.
    #[serde(rename = "stays_busy")]
    StaysBusy {
        /// The mount.
        #[serde(rename = "on")]
        on: String,
        /// Who holds it.
        #[serde(rename = "by")]
        by: String,
    },
    /// More mounts lie upon each other than landfall takes down.
    #[serde(rename = "mounts_stacked")]
    MountsStacked {
        /// Where.
        #[serde(rename = "on")]
        on: String,
        /// How many it takes down.
        #[serde(rename = "max")]
        max: u64,
    },
    /// The kernel refuses to mount a filesystem.
    #[serde(rename = "filesystem_refused")]
    FilesystemRefused {
        /// Which.
        #[serde(rename = "on")]
        on: String,
        /// What the operating system said.
        #[serde(flatten)]
        os: Os,
    },
    /// The kernel made a mounted filesystem read-only.
    #[serde(rename = "turned_read_only")]
    TurnedReadOnly {
        /// Which.
        #[serde(rename = "on")]
        on: String,
    },
    /// A file was placed on the target, and looking shows that it is not right.
    #[serde(rename = "not_placed")]
    NotPlaced {
        /// Which.
        #[serde(rename = "path")]
        path: String,
        /// What is wrong, one each.
        #[serde(rename = "flaws")]
        flaws: Vec<String>,
    },
    /// A file that an earlier run is said to have kept is not one.
    #[serde(rename = "record_unusable")]
    RecordUnusable {
        /// Which.
        #[serde(rename = "file")]
        file: String,
        /// What is wrong with it.
        #[serde(rename = "reason")]
        reason: String,
    },
}

impl PlaceFault {
    /// What may be done about it.
    pub(super) fn class(&self) -> FaultClass {
        match self {
            PlaceFault::NameNotText { .. }
            | PlaceFault::FileUnusable { .. }
            | PlaceFault::LinkUnusable { .. }
            | PlaceFault::LinkLeadsOut { .. }
            | PlaceFault::NotRegular { .. }
            | PlaceFault::FileTooLong { .. }
            | PlaceFault::ForeignUse { .. }
            | PlaceFault::RecordUnusable { .. } => FaultClass::NeedsChange,
            PlaceFault::FileType { .. }
            | PlaceFault::MountsStacked { .. }
            | PlaceFault::FilesystemRefused { .. } => FaultClass::Permanent,
            PlaceFault::StaysBusy { .. } | PlaceFault::NotPlaced { .. } => FaultClass::Transient,
            PlaceFault::TurnedReadOnly { .. } => FaultClass::Hardware,
        }
    }
}
