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
    /// A generation, or a file of the next one, looks for the old label.
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
        /// The command that gives up what looks for it, where that is not needed.
        given_up: Option<String>,
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
                "findmnt / and lsblk --fs show it; label it by hand (docs/operate/migration.md)".into()
            }
            Problem::Nothing { .. } => {
                "leave it out, or name a mount point of /etc/fstab, or a mapping that dmsetup ls --target crypt shows".into()
            }
            Problem::Label { what, .. } | Problem::Taken { what, .. } => {
                format!("name another label ({})", option_of(what))
            }
            Problem::Twice { one, .. } => format!("name another label ({})", option_of(one)),
            Problem::BootsByIt {
                what, old, given_up, ..
            } => {
                let kept = format!("keep the label: {}", option(what, old));
                match given_up {
                    Some(command) => format!("{kept}; or, where that is not to boot again: {command}"),
                    None => kept,
                }
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

/// The option that gives something a label, as it is typed.
pub fn option(what: &str, label: &str) -> String {
    match (own_option(what), what.strip_prefix("the container ")) {
        (Some(option), _) => format!("{option} {}", shell(label)),
        (None, Some(name)) => further(name, label),
        (None, None) => further(what, label),
    }
}

/// `--label`, as it is typed.
pub fn further(what: &str, label: &str) -> String {
    let value = format!("{what}={label}");
    // A shell takes it as it is where both halves are plain.
    if shell(what) == what && shell(label) == label {
        return format!("--label {value}");
    }
    format!("--label {}", shell(&value))
}

fn own_option(what: &str) -> Option<&'static str> {
    match what {
        "/" => Some("--root"),
        "/boot" | "/efi" | "/boot/efi" => Some("--esp"),
        "swap" => Some("--swap"),
        _ => None,
    }
}

/// The option that names the label of something, for another label.
fn option_of(what: &str) -> String {
    match own_option(what) {
        Some(option) => option.to_owned(),
        None => option(what, "LABEL"),
    }
}
