//! Finds what already has the name of the new host.
//!
//! A host exists if all of it exists, in the form that this command makes. Everything else with that name, or with a name that
//! differs only in upper and lower case, belongs to somebody else and is refused. Nothing is changed.

use super::secrets::RulesFile;
use super::{Disk, Prepared, Work};
use crate::hosts::error::HostError;
use crate::hosts::flake::{Candidate, HostFiles, Tree};
use crate::hosts::literal;
use crate::hosts::names::same_but_for_case;
use crate::hosts::rules::Rules;
use camino::{Utf8Path, Utf8PathBuf};

impl Work<'_> {
    /// Another host whose name differs in case alone: DNS and mDNS know one of both.
    pub(super) fn refuse_same_but_for_case(&self, hosts: &[String]) -> Result<(), HostError> {
        let name = &self.request.name;
        match same_but_for_case(name, hosts.iter().map(String::as_str)) {
            None => Ok(()),
            Some(other) => Err(HostError::Exists {
                name: name.clone(),
                what: format!(
                    "the flake has {other}, and in DNS names that differ only in upper and lower case are the same"
                ),
            }),
        }
    }

    /// The same of a folder or file: where case is not told apart (macOS, Windows), a checkout has one of both.
    pub(super) fn refuse_same_folder(&self, candidates: &[Candidate]) -> Result<(), HostError> {
        let name = &self.request.name;
        let own = format!("hosts/{name}/default.nix");
        let files = candidates.iter().map(|candidate| candidate.files.main.as_str());
        for file in files.chain([own.as_str()]) {
            for path in Utf8Path::new(file).ancestors() {
                let (Some(parent), Some(last)) = (path.parent(), path.file_name()) else {
                    continue;
                };
                let there = Disk(&self.repository.root).list(parent.as_str());
                if last.contains(name.as_str())
                    && let Some(other) = same_but_for_case(last, there.iter().map(String::as_str))
                {
                    return Err(HostError::Exists {
                        name: name.clone(),
                        what: format!(
                            "{} exists, and on a filesystem that ignores case it is the same as {path}",
                            parent.join(other)
                        ),
                    });
                }
            }
        }
        Ok(())
    }

    /// A file of the host that is there already.
    pub(super) fn found(&self, candidates: &[Candidate]) -> Option<HostFiles> {
        let root = Disk(&self.repository.root);
        let name = &self.request.name;
        let own = HostFiles {
            main: format!("hosts/{name}/default.nix"),
            installer: format!("hosts/{name}/installer.nix"),
        };
        candidates
            .iter()
            .map(|candidate| candidate.files.clone())
            .chain([own])
            .find(|files| root.has(&files.main) || root.has(&files.installer))
    }

    /// Whether only its folder is there, as of one who has put a key there: a flake that reads folders has the host's name then.
    pub(super) fn has_only_a_folder(&self, candidates: &[Candidate]) -> bool {
        let root = Disk(&self.repository.root);
        candidates.iter().any(|candidate| {
            let folder = Utf8Path::new(&candidate.files.installer).parent();
            candidate.is_by_folder && folder.is_some_and(|folder| root.has(folder.as_str()))
        })
    }

    /// The host is there: all of it as this command makes it, or something else.
    pub(super) fn already(
        self,
        is_bound: bool,
        found: Option<HostFiles>,
        hosts: &[String],
    ) -> Result<Prepared, HostError> {
        let root = Disk(&self.repository.root);
        let name = self.request.name.clone();
        let exists = |what: String| HostError::Exists {
            name: name.clone(),
            what,
        };
        let is_whole = |files: &&HostFiles| root.has(&files.main) && root.has(&files.installer);
        let is_bound = is_bound || !self.request.edit_flake;
        let (true, Some(files)) = (is_bound, found.as_ref().filter(is_whole)) else {
            return Err(exists(match found {
                None => "the flake has nixosConfigurations of that name".to_owned(),
                Some(files) => {
                    let there = [files.main, files.installer]
                        .into_iter()
                        .filter(|file| root.has(file));
                    let there = there.collect::<Vec<_>>().join(" and ");
                    let flake = if is_bound { "names it" } else { "does not name it" };
                    format!("{there} exists, and the flake {flake}")
                }
            }));
        };
        if !self.keys.are_kept() {
            return Err(exists(format!(
                "{} exists, and its keys are not in {}",
                files.main, self.request.keys
            )));
        }
        let mut others = vec![];
        if let Some(rules) = self.rules_file()?
            && self.request.edit_flake
        {
            let said = self.rules_with(&rules.path, &vec![]).ok();
            others = self.of_secrets(&rules, said.as_ref());
            if !self.with_key(&rules, hosts, said.as_ref())?.edited.is_empty() {
                return Err(exists(format!(
                    "{} exists, and the rules of the secrets do not have its key",
                    files.main
                )));
            }
            if self.request.rekey
                && let Some(said) = &said
                && let Some(error) = self.unkeyed(&rules, said)?
            {
                return Err(error);
            }
        }
        let of_host = vec![files.main.clone().into(), files.installer.clone().into()];
        let to_do = super::to_do(self.programs, &self.repository.root, of_host, others)?;
        Ok(Prepared::There(self.keys, to_do))
    }

    /// The rules, and the secrets that are for the host.
    fn of_secrets(&self, file: &RulesFile, rules: Option<&Rules>) -> Vec<Utf8PathBuf> {
        let for_host = rules
            .into_iter()
            .flatten()
            .filter(|(_, rule)| self.is_for_host(rule));
        let secrets = for_host.filter_map(|(secret, _)| literal::beside(&file.beside, secret));
        std::iter::once(file.path.clone()).chain(secrets).collect()
    }
}
