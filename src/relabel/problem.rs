//! The problems that keep `landfall relabel` from making a plan: the text of each, and the step that helps.
//!
//! Pure. `making` finds them.

use crate::real::disk::usage::shell;
use camino::Utf8PathBuf;
use landfall_states::names::{BadValue, quoted};

/// What stands against the plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The device below `/` is not known.
    #[error("/: the fstab names {}, and landfall finds no device for it", quoted(.spec))]
    RootUnknown {
        /// As the fstab says it.
        spec: String,
    },
    /// The fstab says nothing of `/`.
    #[error("/: the fstab of the running system has no line for it")]
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
    #[error("{what} ({device}): its new label {} is already on {other}, and /dev/disk/{folder} has one link for each label", quoted(.label))]
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
    #[error("{one} and {other}: both would get the label {}", quoted(.label))]
    Twice {
        /// The label.
        label: String,
        /// One.
        one: String,
        /// The other.
        other: String,
    },
    /// A generation, or a file of the next one, looks for the old label.
    #[error("{what} ({device}): its label {} is used at boot by {by}, which would not boot with another label", quoted(.old))]
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
    #[error("{what} ({device}): its contents are not clear: {why}")]
    Doubt {
        /// For what.
        what: String,
        /// The device.
        device: Utf8PathBuf,
        /// Why.
        why: String,
    },
    /// It cannot be written to.
    #[error("{what} ({device}): it is mounted read-only at {at}")]
    ReadOnly {
        /// For what.
        what: String,
        /// The device.
        device: Utf8PathBuf,
        /// Where.
        at: Utf8PathBuf,
    },
    /// It cannot be unmounted by one call.
    #[error("{what} ({device}): it must be unmounted for the change, and it is mounted in several places: {}", .at.join(" and "))]
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
        "{what} ({device}): it must be switched off for the change, but it holds {used} bytes and memory has room for {room}"
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
                "find the device (findmnt / and lsblk --fs), and label it by hand (docs/operate/migration.md)".into()
            }
            Problem::Nothing { .. } => {
                "leave it out, or name a mount point of /etc/fstab, or a mapping that dmsetup ls --target crypt shows".into()
            }
            Problem::Label { what, .. } | Problem::Taken { what, .. } => {
                format!("choose another label ({})", option_of(what))
            }
            Problem::Twice { one, .. } => format!("choose another label ({})", option_of(one)),
            Problem::BootsByIt {
                what, old, given_up, ..
            } => {
                let kept = format!("keep the label: {}", option(what, old));
                match given_up {
                    Some(command) => format!("{kept}; or, if it does not need to boot again: {command}"),
                    None => kept,
                }
            }
            Problem::Doubt { device, .. } => format!("wipefs {} (it lists the contents and changes nothing)", shell(device.as_str())),
            Problem::ReadOnly { at, .. } => format!("mount -o remount,rw {}", shell(at.as_str())),
            Problem::Mounts { at, .. } => {
                let others: Vec<String> = at.iter().skip(1).map(|at| shell(at)).collect();
                format!("umount {}", others.join(" "))
            }
            Problem::SwapFull { .. } => "close programs that use much memory, or run it after a reboot".into(),
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
