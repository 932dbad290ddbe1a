//! Refuses places of files that Git does not track: behind a link, and in another repository.
//!
//! The remedy replaces the link by a folder.
//!
//! `new` names the files.

use crate::hosts::error::HostError;
use crate::hosts::transaction::Change;
use crate::real::disk::usage::shell;
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

/// Whether Git takes a file of this name: not behind a link, which may lead out of the repository, nor in one of its own.
pub(super) fn in_repository(root: &Utf8Path, change: &Change) -> Result<(), HostError> {
    let path = &change.path;
    let folders = path
        .ancestors()
        .skip(1)
        .filter(|folder| !folder.as_str().is_empty());
    for folder in folders {
        let whole = root.join(folder);
        let is_link = fs::symlink_metadata(&whole).is_ok_and(|found| found.file_type().is_symlink());
        let (reason, next) = if is_link {
            let next = match change.is_of_host {
                true => folder_for_link(root, folder),
                false => "name it by the directory that the link points to".to_owned(),
            };
            ("a link, and Git does not track files below a link", next)
        } else if fs::symlink_metadata(whole.join(".git")).is_ok() {
            let next = match change.is_of_host {
                true => {
                    "run it in that repository, which has the hosts, or make a folder of it that Git tracks here"
                }
                false => "change it there, and leave it out here (--no-rekey, --rules FILE)",
            };
            ("a repository of its own (a submodule?)", next.to_owned())
        } else {
            continue;
        };
        return Err(HostError::Secret {
            path: root.join(path),
            reason: format!("{folder} is {reason}"),
            next,
        });
    }
    Ok(())
}

/// How a link becomes the folder that it leads to, where files of a host belong into it.
fn folder_for_link(root: &Utf8Path, folder: &Utf8Path) -> String {
    let whole = root.join(folder);
    let real = |path: &Utf8Path| Utf8PathBuf::from_path_buf(fs::canonicalize(path).ok()?).ok();
    let led = real(&whole).zip(real(root));
    let below = led.and_then(|(led, top)| led.strip_prefix(top).map(Utf8Path::to_owned).ok());
    let folder = shell(folder.as_str());
    match below {
        Some(led) => format!(
            "put the folder itself in the place of the link: cd {root} && rm {folder} && git mv {led} {folder}; have the flake name {folder} \
             where it names {led}, commit that, and run the command again",
            root = shell(root.as_str()),
            led = shell(led.as_str())
        ),
        None => format!(
            "put a folder of this repository in the place of the link: cd {root} && rm {folder} && mkdir {folder}; with the hosts in it that \
             the flake reads, commit that, and run the command again",
            root = shell(root.as_str())
        ),
    }
}
