//! Words of a [`PlaceFault`], and what to do about it.

use super::Words;
use crate::fault::{PlaceFault, Remedy};

impl PlaceFault {
    pub(super) fn words(&self) -> Words {
        match self {
            PlaceFault::NameNotText { on } => Words::of(on, "its name is not UTF-8"),
            PlaceFault::FileUnusable { on, os } => Words::of(on, os.to_string()),
            PlaceFault::FileType { path, expected } => Words::of(path, format!("it is not {expected}")),
            PlaceFault::LinkUnusable { path, to, os } => Words::of(
                path,
                format!("it is a link to {to}, which cannot be followed to a directory of the target: {os}"),
            ),
            PlaceFault::LinkLeadsOut { path, to } => Words::of(
                path,
                format!(
                    "it is a link to {to}; programs that work on the target from outside would follow it into this system"
                ),
            ),
            PlaceFault::NotRegular { on, found } => {
                Words::of(on, format!("it is a {found}; only a regular file is read here"))
            }
            PlaceFault::FileTooLong { on, max } => Words::of(
                on,
                format!("it has more than {max} bytes, which no such file has"),
            ),
            PlaceFault::ForeignUse { on, by } => Words::of(
                on,
                format!("already in use: {by}; landfall leaves alone what it did not make"),
            ),
            PlaceFault::StaysBusy { on, by } => {
                Words::of(format!("unmounting {on}"), format!("it stays busy: {by}"))
            }
            PlaceFault::MountsStacked { on, max } => {
                Words::of(on, format!("more than {max} mounts lie on it"))
            }
            PlaceFault::FilesystemRefused { on, os } => {
                Words::of(on, format!("the kernel refuses the filesystem: {os}"))
            }
            PlaceFault::TurnedReadOnly { on } => Words::of(on, "the kernel made it read-only after an error"),
            PlaceFault::NotPlaced { path, flaws } => Words::of(
                format!("{path} on the target"),
                format!("after it was placed: {}", flaws.join(", ")),
            ),
            PlaceFault::RecordUnusable { file, reason } => Words::of(
                format!("file {file}"),
                format!("it is not what an earlier run kept: {reason}"),
            ),
        }
    }

    pub(in crate::fault) fn remedy(&self) -> Remedy {
        match self {
            PlaceFault::NameNotText { .. } => Remedy::words("give it a name in UTF-8"),
            PlaceFault::FileUnusable { .. } => Remedy::change("name a file that is there"),
            PlaceFault::FileType { path, .. } => Remedy::change(format!("move {path} away")),
            PlaceFault::LinkUnusable { path, .. } => Remedy::change(format!(
                "make what the link at {path} leads to, or remove the link"
            )),
            PlaceFault::LinkLeadsOut { path, .. } => Remedy::change(format!(
                "make {path} a directory (a bind mount in the host's configuration instead of a link)"
            )),
            PlaceFault::NotRegular { on, .. } => {
                Remedy::change(format!("put a regular file in the place of {on}"))
            }
            PlaceFault::FileTooLong { .. } => Remedy::change("name the file that was meant"),
            PlaceFault::ForeignUse { .. } => Remedy::change("close what uses it"),
            PlaceFault::StaysBusy { .. } | PlaceFault::NotPlaced { .. } => Remedy::resume(),
            PlaceFault::MountsStacked { .. } => Remedy::change("reboot"),
            PlaceFault::FilesystemRefused { .. } => {
                Remedy::words("dmesg says why; landfall log shows what came before")
            }
            PlaceFault::TurnedReadOnly { .. } => Remedy::replace_device(),
            PlaceFault::RecordUnusable { file, .. } => Remedy::words(format!("rm {file}, and begin anew")),
        }
    }
}
