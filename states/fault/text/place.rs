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
                format!("it is a link to {to}, which does not lead to a directory on the target: {os}"),
            ),
            PlaceFault::LinkLeadsOut { path, to } => Words::of(
                path,
                format!(
                    "it is a link to {to}; programs of the installer would follow it into the running system instead of the target"
                ),
            ),
            PlaceFault::NotRegular { on, found } => Words::of(
                on,
                format!("it is a {found}; landfall reads only regular files here"),
            ),
            PlaceFault::FileTooLong { on, max } => Words::of(
                on,
                format!(
                    "it is longer than {max} bytes, which is the most that landfall reads of such a file"
                ),
            ),
            PlaceFault::ForeignUse { on, by } => Words::of(
                on,
                format!("it is already in use: {by}; landfall does not change what it did not make"),
            ),
            PlaceFault::StaysBusy { on, by } => {
                Words::of(format!("unmounting {on}"), format!("it is still in use: {by}"))
            }
            PlaceFault::MountsStacked { on, max } => {
                Words::of(on, format!("more than {max} filesystems are mounted on it"))
            }
            PlaceFault::FilesystemRefused { on, os } => {
                Words::of(on, format!("the kernel refuses to mount the filesystem: {os}"))
            }
            PlaceFault::TurnedReadOnly { on } => Words::of(on, "the kernel made it read-only after an error"),
            PlaceFault::NotPlaced { path, flaws } => Words::of(
                format!("{path} on the target"),
                format!("it is not right after landfall wrote it: {}", flaws.join(", ")),
            ),
            PlaceFault::RecordUnusable { file, reason } => Words::of(
                format!("file {file}"),
                format!("it is not a record of an earlier run: {reason}"),
            ),
        }
    }

    pub(in crate::fault) fn remedy(&self) -> Remedy {
        match self {
            PlaceFault::NameNotText { .. } => Remedy::words("rename it to a UTF-8 name"),
            PlaceFault::FileUnusable { .. } => Remedy::change("name a file that exists"),
            PlaceFault::FileType { path, .. } => Remedy::change(format!("move {path} away")),
            PlaceFault::LinkUnusable { path, .. } => Remedy::change(format!(
                "create the directory that the link {path} points to, or remove the link"
            )),
            PlaceFault::LinkLeadsOut { path, .. } => Remedy::change(format!(
                "make {path} a directory (use a bind mount in the host's configuration instead of a link)"
            )),
            PlaceFault::NotRegular { .. } => Remedy::change("put a regular file in its place"),
            PlaceFault::FileTooLong { .. } => Remedy::change("name the right file"),
            PlaceFault::ForeignUse { .. } => Remedy::change("stop the program that uses it"),
            PlaceFault::StaysBusy { .. } | PlaceFault::NotPlaced { .. } => Remedy::resume(),
            PlaceFault::MountsStacked { .. } => Remedy::change("reboot"),
            PlaceFault::FilesystemRefused { .. } => {
                Remedy::words("read the reason in dmesg, and the lines before it in landfall log")
            }
            PlaceFault::TurnedReadOnly { .. } => Remedy::turned_read_only(),
            PlaceFault::RecordUnusable { file, .. } => {
                Remedy::words(format!("rm {file}, and run the command again"))
            }
        }
    }
}
