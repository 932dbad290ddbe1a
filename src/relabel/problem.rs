//! What stands against a plan. Law: pure; each says the thing, what is wrong with it, and the one thing that helps.
//!
//! Absent: finding it (`making`).

use crate::real::disk::usage::shell;
use camino::Utf8PathBuf;
use landfall_states::names::{BadValue, quoted};

/// What stands against the plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The device below `/` is not known.
    #[error("/ is {}, and no device of this machine can be told to be that", quoted(.spec))]
    RootUnknown {
        /// As the fstab says it.
        spec: String,
    },
    /// The fstab says nothing of `/`.
    #[error("the fstab of the running system has no line for /")]
    NoRoot,
    /// A label for something that is not there.
    #[error("--label {}: {why}", quoted(&format!("{what}={label}")))]
    Nothing {
        /// For what.
        what: String,
        /// The label.
        label: String,
        /// What is there in its place.
        why: &'static str,
    },
    /// A label that its bearer cannot have.
    #[error("{what} ({device}): {why}")]
    Label {
        /// For what.
        what: String,
        /// The device.
        device: Utf8PathBuf,
        /// The rule.
        why: BadValue,
    },
    /// Another device has it.
    #[error("{what} ({device}) would get the label {}, which {other} has: /dev/disk/{folder} knows one of each", quoted(.label))]
    Taken {
        /// For what.
        what: String,
        /// The device.
        device: Utf8PathBuf,
        /// The label.
        label: String,
        /// Which folder of links.
        folder: &'static str,
        /// Who has it.
        other: Utf8PathBuf,
    },
    /// Two devices would get the same.
    #[error("{one} and {other} would both get the label {}", quoted(.label))]
    Twice {
        /// The label.
        label: String,
        /// One.
        one: String,
        /// The other.
        other: String,
    },
    /// The running generation looks for the old label.
    #[error("{what} ({device}) has the label {}, and {by} looks for it: with another label it would not boot", quoted(.old))]
    BootsByIt {
        /// For what.
        what: String,
        /// The device.
        device: Utf8PathBuf,
        /// The label that is looked for.
        old: String,
        /// What looks for it.
        by: String,
    },
    /// Two signatures, or none that can be read.
    #[error("{what} ({device}): what is on it is in doubt: {why}")]
    Doubt {
        /// For what.
        what: String,
        /// The device.
        device: Utf8PathBuf,
        /// Why.
        why: String,
    },
    /// It cannot be written to.
    #[error("{what} ({device}) is mounted read-only, at {at}")]
    ReadOnly {
        /// For what.
        what: String,
        /// The device.
        device: Utf8PathBuf,
        /// Where.
        at: Utf8PathBuf,
    },
    /// It cannot be unmounted by one call.
    #[error("{what} ({device}) has to be unmounted for this, and is mounted at {}", .at.join(" and "))]
    Mounts {
        /// For what.
        what: String,
        /// The device.
        device: Utf8PathBuf,
        /// Where.
        at: Vec<String>,
    },
    /// More is swapped than memory has room for.
    #[error(
        "{what} ({device}) has to be switched off for this: {used} bytes lie in it, and memory has room for {room}"
    )]
    SwapFull {
        /// For what.
        what: String,
        /// The device.
        device: Utf8PathBuf,
        /// Bytes in it.
        used: u64,
        /// Bytes of memory that could be had.
        room: u64,
    },
}

impl Problem {
    /// What helps.
    pub fn remedy(&self) -> String {
        match self {
            Problem::RootUnknown { .. } | Problem::NoRoot => {
                "findmnt / and lsblk --fs show it; label it by hand (docs/operations.md)".into()
            }
            Problem::Nothing { .. } => {
                "leave it out, or name a mount point of /etc/fstab, or a mapping that dmsetup ls --target crypt shows".into()
            }
            Problem::Label { what, .. } | Problem::Taken { what, .. } => {
                format!("name another label ({})", option_of(what))
            }
            Problem::Twice { one, .. } => format!("name another label ({})", option_of(one)),
            Problem::BootsByIt { what, old, .. } => {
                format!("keep the label: {} {}", option_of(what), shell(old))
            }
            Problem::Doubt { device, .. } => format!("wipefs {} shows what is on it, without a change", shell(device.as_str())),
            Problem::ReadOnly { at, .. } => format!("mount -o remount,rw {}", shell(at.as_str())),
            Problem::Mounts { at, .. } => {
                let others: Vec<String> = at.iter().skip(1).map(|at| shell(at)).collect();
                format!("umount {}", others.join(" "))
            }
            Problem::SwapFull { .. } => "end what takes the memory, or run it after a reboot".into(),
        }
    }
}

/// The option that names the label of something.
fn option_of(what: &str) -> String {
    match what {
        "/" => "--root".into(),
        "/boot" | "/efi" | "/boot/efi" => "--esp".into(),
        "swap" => "--swap".into(),
        other => match other.strip_prefix("the container ") {
            Some(name) => format!(
                "--luks for the one below /, --label {}… for any",
                shell(&format!("{name}="))
            ),
            None => format!("--label {}…", shell(&format!("{other}="))),
        },
    }
}
