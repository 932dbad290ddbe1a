//! Finds the file with the rules of the secrets.
//!
//! It must be in the repository. A link to it is followed, as agenix and Nix do, and the secrets are searched in the folder
//! of the link, where agenix runs.
//!
//! `new::secrets` reads it.

use super::secrets::RulesFile;
use super::{Work, argument};
use crate::hosts::error::HostError;
use crate::hosts::rules;
use crate::hosts::transaction::FILE_BYTES_MAX;
use crate::real::disk::usage::shell;
use crate::safe_open::{self, Links};
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

const NOT_UTF8: &str = "its path is not UTF-8";

fn real(path: &Utf8Path) -> Result<Utf8PathBuf, String> {
    let path = match path.as_str() {
        "" => Utf8Path::new("."),
        _ => path,
    };
    let found = fs::canonicalize(path).map_err(|e| crate::os_error::said(&e))?;
    Utf8PathBuf::from_path_buf(found).map_err(|_| NOT_UTF8.to_owned())
}

impl Work<'_> {
    /// A file by one of its names; or why it is none of the repository.
    fn resolved(&self, named: &Utf8Path) -> Result<RulesFile, String> {
        let is_link = |path: &Utf8Path| fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
        let top = real(&self.repository.root)?;
        let below = |path: Utf8PathBuf| match path.strip_prefix(&top) {
            Ok(below) => Ok(below.to_owned()),
            Err(_) if is_link(named) => {
                Err(format!("it is a link to {path}, which is not in the repository"))
            }
            Err(_) => Err("it is not in the repository".to_owned()),
        };
        let found = real(named).map_err(|reason| match fs::read_link(named) {
            Ok(led) => format!("it is a link to {}: {reason}", led.to_string_lossy()),
            Err(_) => reason,
        })?;
        let path = below(found)?;
        let name = named.file_name().unwrap_or_default();
        let beside = below(real(named.parent().unwrap_or(Utf8Path::new("")))?.join(name))?;
        Ok(RulesFile { path, beside })
    }

    /// The rules file: the one that is named, the one at a usual place, or the only one that there is.
    pub(super) fn rules_file(&self) -> Result<Option<RulesFile>, HostError> {
        let root = &self.repository.root;
        if let Some(named) = &self.request.rules {
            return self.resolved(named).map(Some).map_err(|reason| {
                argument(
                    "--rules",
                    named.as_str(),
                    reason,
                    "name the file with the publicKeys of each secret",
                )
            });
        }
        let found = |path: &Utf8Path| {
            let whole = root.join(path);
            self.resolved(&whole).map(Some).map_err(|reason| HostError::Secret {
                path: whole,
                reason,
                next: "put the file itself there (git rm the link, and git mv the file to its place), or name the rules file with \
                       --rules FILE"
                    .to_owned(),
            })
        };
        let is_there = |path: &&str| {
            fs::symlink_metadata(root.join(path)).is_ok_and(|found| found.is_file() || found.is_symlink())
                && !root.join(path).as_std_path().is_dir()
        };
        if let Some(path) = rules::PLACES.iter().copied().find(is_there) {
            return found(Utf8Path::new(path));
        }
        // Elsewhere, under the name that agenix reads.
        let mut others = vec![];
        for tracked in self.programs.tracked(root)? {
            let path = tracked.path;
            if path.file_name() != Some("secrets.nix") {
                continue;
            }
            let whole = root.join(&path);
            let bytes = safe_open::read_if_there(&whole, Links::Follow, FILE_BYTES_MAX)
                .map_err(|refused| HostError::refused(whole, refused))?;
            let is_rules = bytes.is_some_and(|bytes| String::from_utf8_lossy(&bytes).contains("publicKeys"));
            others.extend(is_rules.then_some(path));
        }
        match others.as_slice() {
            [] => Ok(None),
            [one] => found(one),
            [one, ..] => Err(argument(
                "--rules",
                "(not given)",
                format!(
                    "there are several rules files of agenix: {}",
                    others
                        .iter()
                        .map(|path| path.as_str())
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
                format!("name one of them: --rules {}", shell(root.join(one).as_str())),
            )),
        }
    }
}
