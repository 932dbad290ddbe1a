//! Changes a running NixOS from UUIDs to labels.
//!
//! A label is set before anything looks for it, and nothing that the running generation looks for is removed, so the machine can boot
//! at any moment. Each step looks, acts and looks again: after an interruption, the same command finishes the work.
//!
//! | file | what it knows |
//! |---|---|
//! | `label` | what can have a label, and how long the label can be |
//! | `facts` | the devices and mounts of the machine: pure parsers |
//! | `plan`, `making`, `problem` | which device gets which label, how that is decided, and what prevents it: pure |
//! | `nix_file` | the edit of `hardware-configuration.nix`: pure |
//! | `table_name` | the name of a partition, in both copies of a table that is in use |
//! | `look` | reads the machine |
//! | `apply` | sets the labels, waits for the links, writes the file |
//! | `generations` | every generation that can be booted, and what it looks for |
//! | `next_boot` | whether the next boot looks for labels |
//!
//! The user builds the system (`nixos-rebuild`); `cli::relabel` makes the texts.

pub mod apply;
pub mod facts;
pub mod generations;
pub mod label;
pub mod look;
pub mod making;
pub mod next_boot;
pub mod nix_file;
pub mod plan;
pub mod problem;
pub mod table_name;

use crate::exit::Exit;
use crate::real::disk::usage::shell;
use camino::Utf8PathBuf;
use landfall_states::fault::{Fault, FaultClass};

/// Why a label or a file was not changed.
#[derive(Debug, thiserror::Error)]
pub enum RelabelError {
    /// The plan cannot be made.
    #[error("relabel: the plan has problems, and nothing was changed")]
    Problems(Vec<problem::Problem>),
    /// A file of the configuration cannot be read.
    #[error("{file}: {why}")]
    Unread {
        /// Which.
        file: Utf8PathBuf,
        /// Why.
        why: String,
    },
    /// There is no running NixOS to be seen.
    #[error("{file}: {why}; this command changes the NixOS on which it runs")]
    NoSystem {
        /// The fstab of the running generation.
        file: Utf8PathBuf,
        /// Why it cannot be read.
        why: String,
    },
    /// A file of the configuration is no Nix expression.
    #[error("{file}: {why}")]
    Nix {
        /// Which.
        file: Utf8PathBuf,
        /// Why.
        why: nix_file::NixError,
    },
    /// A file was changed by somebody else in the meantime.
    #[error("{0}: another program changed it in the meantime; landfall did not change it")]
    Changed(Utf8PathBuf),
    /// What the machine said cannot be understood.
    #[error("{what}: landfall does not understand it: {why}")]
    Unknown {
        /// What.
        what: String,
        /// Why.
        why: String,
    },
    /// The FAT was not unmounted, once.
    #[error("{0}: its FAT filesystem is marked as not cleanly unmounted; its label was not changed")]
    Dirty(Utf8PathBuf),
    /// Somebody has the device besides the mount.
    #[error(
        "{device}: it is still in use after {at} was unmounted (by a service with its own mounts?); its label was not changed"
    )]
    StillUsed {
        /// The device.
        device: Utf8PathBuf,
        /// Where it was mounted.
        at: Utf8PathBuf,
    },
    /// A device or a mount is not what the plan was made for.
    #[error("{0}: it changed after the plan was made")]
    Moved(Utf8PathBuf),
    /// A label does not read back.
    #[error("{device}: its label reads back as {found} instead of {wanted}")]
    ReadBack {
        /// The device.
        device: Utf8PathBuf,
        /// What was written.
        wanted: String,
        /// What is there.
        found: String,
    },
    /// The partition table.
    #[error("{disk}: {why}")]
    Table {
        /// The disk.
        disk: Utf8PathBuf,
        /// Why.
        why: table_name::TableError,
    },
    /// A link did not appear.
    #[error("{link}: it does not point to {device}: {found}")]
    Link {
        /// The link.
        link: String,
        /// Where it should lead.
        device: Utf8PathBuf,
        /// What it does.
        found: String,
    },
    /// A person or a signal stopped it.
    #[error("relabel: stopped between two steps")]
    Stopped,
    /// It failed, and what was undone for it could not be done again.
    #[error(
        "{at}: it could not be {} again: {then} (this followed: {first})",
        if .at.starts_with("/dev/") { "switched on" } else { "mounted" }
    )]
    NotPutBack {
        /// What failed first.
        first: Box<RelabelError>,
        /// What was taken out of use.
        at: String,
        /// Why it stays so.
        then: Box<RelabelError>,
    },
    /// A program, or the system.
    #[error("{}: {}", .0.what(), .0.why())]
    Fault(#[from] Fault),
}

impl RelabelError {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            RelabelError::Problems(_)
            | RelabelError::Unread { .. }
            | RelabelError::NoSystem { .. }
            | RelabelError::Nix { .. }
            | RelabelError::Changed(_)
            | RelabelError::Dirty(_)
            | RelabelError::StillUsed { .. }
            | RelabelError::Table { .. }
            | RelabelError::Link { .. } => Exit::NeedsChange,
            RelabelError::Unknown { .. } => Exit::Permanent,
            RelabelError::Moved(_) => Exit::Unsafe,
            RelabelError::ReadBack { .. } => Exit::Hardware,
            RelabelError::Stopped => Exit::Interrupted,
            RelabelError::NotPutBack { first, .. } => first.exit(),
            RelabelError::Fault(fault) => match fault.class {
                // Nothing is tried again here: what is busy stays so until somebody changes it.
                FaultClass::Transient => Exit::NeedsChange,
                class => class.into(),
            },
        }
    }

    /// What helps.
    pub fn remedy(&self) -> String {
        let again = "then run the command again (it continues)";
        match self {
            RelabelError::Problems(_) => "follow the line of each problem".into(),
            RelabelError::Unread { .. } => "name the file that lists the devices: --file FILE".into(),
            RelabelError::NoSystem { .. } => "run it on the host that you want to change to labels".into(),
            RelabelError::Nix { file, .. } => format!(
                "nix-instantiate --parse {} (it shows the error)",
                shell(file.as_str())
            ),
            RelabelError::Changed(_) => "run the command again, and check the plan".into(),
            RelabelError::Unknown { .. } => "report this as a defect of landfall, with the version of the program".into(),
            RelabelError::Dirty(device) => {
                format!(
                    "umount it, fsck.vfat -a {}, mount it, {again}",
                    shell(device.as_str())
                )
            }
            RelabelError::StillUsed { device, .. } => {
                let device = shell(device.as_str());
                format!("stop the processes that use it (grep -l {device} /proc/*/mountinfo), {again}")
            }
            RelabelError::Moved(_) => "run the command again, and check the plan".into(),
            RelabelError::ReadBack { .. } => {
                "read the kernel log (dmesg); the device may be failing".into()
            }
            RelabelError::Table { why, disk } => match why {
                table_name::TableError::Copy { .. } | table_name::TableError::Differ => {
                    format!(
                        "repair the partition table (sgdisk --verify {} shows the errors), {again}",
                        shell(disk.as_str())
                    )
                }
                table_name::TableError::NoRoom { .. } => {
                    "change the name with sfdisk --part-label (a power cut at that moment damages the partition table)".into()
                }
                table_name::TableError::NoPartition { .. } => "run the command again, and check the plan".into(),
                table_name::TableError::Io(_) | table_name::TableError::ReadBack => {
                    "read the kernel log (dmesg); the device may be failing".into()
                }
            },
            RelabelError::Link { device, .. } => {
                let device = shell(device.as_str());
                format!("find the cause (udevadm test-builtin blkid $(udevadm info --query=path {device})), {again}")
            }
            RelabelError::Stopped => "run the command again (it continues)".into(),
            RelabelError::NotPutBack { at, .. } if at.starts_with("/dev/") => {
                format!("swapon {}, {again}", shell(at))
            }
            RelabelError::NotPutBack { at, .. } => format!("mount {}, {again}", shell(at)),
            RelabelError::Fault(fault) if fault.class == FaultClass::Interrupted => {
                "run the command again (it continues)".into()
            }
            RelabelError::Fault(_) => format!("fix the cause, {again}"),
        }
    }
}
