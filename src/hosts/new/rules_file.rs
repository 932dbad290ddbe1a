//! Finds the file with the rules of the secrets.
//!
//! It must be in the repository, and give secrets their public keys. Another file with a usual name is not taken for it, and of several
//! files the operator names one. A link to it is followed, as agenix and Nix do, and the secrets are searched in the folder
//! of the link, where agenix runs.
//!
//! `new::secrets` reads it.

use super::secrets::RulesFile;
use super::{FLAKE, Work, argument};
use crate::hosts::error::HostError;
use crate::hosts::rules::{self, Kind};
use crate::hosts::transaction::{FILE_BYTES_MAX, contents};
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
            self.resolved(&whole).map_err(|reason| HostError::Secret {
                path: whole,
                reason,
                next: "put the file itself there (git rm the link, and git mv the file to its place), or name the rules file with \
                       --rules FILE"
                    .to_owned(),
            })
        };
        let mut usual = vec![];
        for path in self.at_usual_places() {
            let file = found(path)?;
            let kind = self.kind(&file.path);
            usual.push((file, kind));
        }
        let of = |kinds: &[Kind]| {
            let fitting = usual.iter().filter(|(_, kind)| kinds.contains(kind));
            fitting.map(|(file, _)| file.clone()).collect::<Vec<_>>()
        };
        let has_rules = of(&[Kind::Rules, Kind::NotNix]);
        if !has_rules.is_empty() {
            return self.only(has_rules);
        }
        // Elsewhere: under the name that agenix reads, then under any.
        let (named, others): (Vec<_>, Vec<_>) = self
            .with_public_keys()?
            .into_iter()
            .partition(|path| path.file_name() == Some("secrets.nix"));
        for paths in [named, others] {
            let files = paths
                .iter()
                .map(|path| found(path))
                .collect::<Result<Vec<_>, _>>()?;
            if !files.is_empty() {
                return self.only(files);
            }
        }
        self.only(of(&[Kind::NoSecretYet]))
    }

    fn kind(&self, path: &Utf8Path) -> Kind {
        let root = &self.repository.root;
        rules::kind(path, &|path| String::from_utf8(contents(root, path).ok()??).ok())
    }

    /// Files that have the name of a rules file, at the places where one is usual.
    pub(super) fn at_usual_places(&self) -> impl Iterator<Item = &'static Utf8Path> {
        let root = self.repository.root.clone();
        let is_there = move |path: &&Utf8Path| {
            let whole = root.join(path);
            fs::symlink_metadata(&whole).is_ok_and(|found| found.is_file() || found.is_symlink())
                && !whole.as_std_path().is_dir()
        };
        rules::PLACES
            .iter()
            .map(|path| Utf8Path::new(*path))
            .filter(is_there)
    }

    /// Files of the repository that give secrets of age their public keys.
    fn with_public_keys(&self) -> Result<Vec<Utf8PathBuf>, HostError> {
        let root = &self.repository.root;
        let mut found = vec![];
        for tracked in self.programs.tracked(root)? {
            let path = tracked.path;
            if path.extension() != Some("nix") || path == FLAKE {
                continue;
            }
            let whole = root.join(&path);
            let is_named = path.file_name() == Some("secrets.nix");
            let bytes = match safe_open::read_if_there(&whole, Links::Follow, FILE_BYTES_MAX) {
                Ok(bytes) => bytes,
                Err(refused) if is_named => return Err(HostError::refused(whole, refused)),
                // A directory under such a name, or a file that is too long, gives no secret its keys.
                Err(_) => continue,
            };
            let text = String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned();
            if text.contains("publicKeys")
                && (is_named || text.contains(".age\""))
                && self.kind(&path) == Kind::Rules
            {
                found.push(path);
            }
        }
        Ok(found)
    }

    /// The only one, without those that another one imports.
    fn only(&self, files: Vec<RulesFile>) -> Result<Option<RulesFile>, HostError> {
        let root = &self.repository.root;
        let read = |path: &Utf8Path| String::from_utf8(contents(root, path).ok()??).ok();
        let mut own: Vec<&RulesFile> = vec![];
        for file in &files {
            let is_part = files
                .iter()
                .any(|other| rules::imports(&other.path, &file.path, &read));
            if !is_part && own.iter().all(|other| other.path != file.path) {
                own.push(file);
            }
        }
        match own.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some((*one).clone())),
            [one, ..] => {
                let shown: Vec<&str> = own.iter().map(|file| file.beside.as_str()).collect();
                Err(argument(
                    "--rules",
                    "(not given)",
                    format!("there are several rules files of agenix: {}", shown.join(", ")),
                    format!(
                        "name one of them: --rules {}",
                        shell(root.join(&one.beside).as_str())
                    ),
                ))
            }
        }
    }
}
