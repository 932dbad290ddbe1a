//! From UUIDs to labels, on a machine that runs. Law: a label is made before anything looks for it, and nothing that the running
//! generation looks for is taken away, so that the machine boots at every instant; each step looks, does and looks again, so the
//! same call after any interruption ends what was begun.
//!
//! | file | what it knows |
//! |---|---|
//! | `label` | what can bear a label, and how long it may be |
//! | `facts` | what the machine has: pure parsers |
//! | `plan`, `making`, `problem` | which device gets which label; how that is found; what stands against it: pure |
//! | `nix_file` | the edit of `hardware-configuration.nix`: pure |
//! | `table_name` | the name of a partition, in both copies of a table that is in use |
//! | `look` | asks the machine |
//! | `apply` | makes the labels, waits for the links, writes the file |
//! | `generations` | every generation that can be booted, and what it looks for |
//! | `next_boot` | whether the next boot looks for labels |
//!
//! Absent: building the system (`nixos-rebuild` is the user's), texts (`cli::relabel`).

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
    #[error("nothing was changed")]
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
    #[error("{file}: {why}; this command changes the NixOS that it runs on")]
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
    #[error("{0}: somebody changed it in the meantime; it was left as it is")]
    Changed(Utf8PathBuf),
    /// What the machine said cannot be understood.
    #[error("{what} cannot be understood: {why}")]
    Unknown {
        /// What.
        what: String,
        /// Why.
        why: String,
    },
    /// The FAT was not unmounted, once.
    #[error("the FAT on {0} is marked as not cleanly unmounted; its label was left as it is")]
    Dirty(Utf8PathBuf),
    /// Somebody has the device besides the mount.
    #[error(
        "{device} is still in use after {at} was unmounted (a service with mounts of its own?); its label was left as it is"
    )]
    StillUsed {
        /// The device.
        device: Utf8PathBuf,
        /// Where it was mounted.
        at: Utf8PathBuf,
    },
    /// A device or a mount is not what the plan was made for.
    #[error("{0} is not what it was when the plan was made")]
    Moved(Utf8PathBuf),
    /// A label does not read back.
    #[error("{device} should have the label {wanted} now, and has {found}")]
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
    #[error("{link} does not lead to {device}: {found}")]
    Link {
        /// The link.
        link: String,
        /// Where it should lead.
        device: Utf8PathBuf,
        /// What it does.
        found: String,
    },
    /// A person or a signal stopped it.
    #[error("stopped between two steps")]
    Stopped,
    /// It failed, and what was undone for it could not be done again.
    #[error("{first}; and {at} could not be put back into use: {then}")]
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
        let again = "then run it again: what is done stays done";
        match self {
            RelabelError::Problems(_) => "as each of them says".into(),
            RelabelError::Unread { .. } => "name the file that has the devices: --file FILE".into(),
            RelabelError::NoSystem { .. } => "run it on the host that is to be moved to labels".into(),
            RelabelError::Nix { file, .. } => format!(
                "nix-instantiate --parse {} shows what is wrong",
                shell(file.as_str())
            ),
            RelabelError::Changed(_) => "run it again, and look at the plan".into(),
            RelabelError::Unknown { .. } => "report this, with the version of the program".into(),
            RelabelError::Dirty(device) => {
                format!(
                    "umount it, fsck.vfat -a {}, mount it, {again}",
                    shell(device.as_str())
                )
            }
            RelabelError::StillUsed { device, .. } => {
                let device = shell(device.as_str());
                format!("grep -l {device} /proc/*/mountinfo shows the processes; end them, {again}")
            }
            RelabelError::Moved(_) => "run it again, and look at the plan".into(),
            RelabelError::ReadBack { .. } => {
                "look at the kernel's log (dmesg); the device may be failing".into()
            }
            RelabelError::Table { why, disk } => match why {
                table_name::TableError::Copy { .. } | table_name::TableError::Differ => {
                    format!(
                        "sgdisk --verify {} shows it; mend the table, {again}",
                        shell(disk.as_str())
                    )
                }
                table_name::TableError::NoRoom { .. } => {
                    "sfdisk --part-label does it in place, at the risk of a power cut in that moment".into()
                }
                table_name::TableError::NoPartition { .. } => "run it again, and look at the plan".into(),
                table_name::TableError::Io(_) | table_name::TableError::ReadBack => {
                    "look at the kernel's log (dmesg); the device may be failing".into()
                }
            },
            RelabelError::Link { device, .. } => {
                let device = shell(device.as_str());
                format!("udevadm test-builtin blkid $(udevadm info --query=path {device}) shows why; {again}")
            }
            RelabelError::Stopped => "run it again: what is done stays done".into(),
            RelabelError::NotPutBack { at, .. } if at.starts_with("/dev/") => {
                format!("swapon {}; {again}", shell(at))
            }
            RelabelError::NotPutBack { at, .. } => format!("mount {}; {again}", shell(at)),
            RelabelError::Fault(_) => format!("mend that, {again}"),
        }
    }
}
