//! The host's two files, and the changed flake.
//!
//! With Nix, landfall uses the first way that makes exactly the new attributes and a host that evaluates. Without Nix, it uses a way
//! that the form of the flake proves.
//!
//! `flake` finds the ways, `templates` has the files.

use super::outcome::{Secrets, Written};
use super::{FLAKE, RELEASE, TRIED_MAX, Work};
use crate::config;
use crate::hosts::error::HostError;
use crate::hosts::evaluate::{Copy, Difference, Names, difference};
use crate::hosts::flake::{Candidate, OtherSystem};
use crate::hosts::names::quoted;
use crate::hosts::place::Outline;
use crate::hosts::syntax;
use crate::hosts::templates::HostText;
use camino::Utf8Path;
use landfall_states::remote::is_over_ssh;

impl Work<'_> {
    /// Where the repository is fetched from, and what of that is worth a note.
    pub(super) fn remote(&self) -> Result<(Option<String>, Option<String>), HostError> {
        let named = match &self.request.remote {
            Some(remote) => Some(remote.clone()),
            None => self.programs.origin(&self.repository.root)?,
        };
        let Some(remote) = named else {
            return Ok((
                None,
                Some("the repository has no remote `origin`: set repoRemote in installer.nix".to_owned()),
            ));
        };
        // One that was named was looked at already.
        let which = if self.request.remote.is_some() {
            "the remote of --remote"
        } else {
            "the remote `origin`"
        };
        let by_hand = |why: &str| Ok((None, Some(format!("{which} {why}"))));
        if super::is_folder(&remote) {
            return by_hand("is a directory of this computer: set repoRemote in installer.nix");
        }
        // As `landfall check` judges it in the build of the installer.
        if let Some((_, why, fix)) = config::remote_objection(&remote) {
            return by_hand(&format!(
                "is not one that an installer accepts: {why}; set repoRemote in installer.nix ({fix})"
            ));
        }
        Ok((Some(remote), None))
    }

    /// The host's two files, and the flake with it.
    pub(super) fn written(
        &self,
        flake: (&str, &Outline),
        candidates: &[Candidate],
        before: Option<&Names>,
        secrets: &Secrets,
        is_bound: bool,
    ) -> Result<Written, HostError> {
        let (remote, note) = self.remote()?;
        let known_hosts = remote
            .as_deref()
            .filter(|remote| is_over_ssh(remote))
            .and_then(ssh_host)
            .map(|host| {
                let keys = self.programs.known_hosts(&host, self.request.home.as_deref());
                keys.iter().map(|key| format!("{host} {key}")).collect::<Vec<_>>()
            });
        let mut notes: Vec<String> = note.into_iter().collect();
        if known_hosts.as_ref().is_some_and(Vec::is_empty) {
            notes.push(
                "ssh does not know the remote's host yet: add its lines to ssh.knownHosts in installer.nix"
                    .to_owned(),
            );
        }
        let known_hosts = known_hosts.unwrap_or_default();
        let release = match &self.copy {
            Some(copy) => copy.release()?,
            None => None,
        };
        let base = HostText {
            name: &self.request.name,
            layout: self.request.layout,
            swap_size: &self.request.swap_size,
            prebuilt: self.request.prebuilt,
            system: &self.request.system,
            state_version: release.as_deref().unwrap_or(RELEASE),
            user: self.request.user.as_deref(),
            has_target_module: true,
            age: secrets.has_rules.then_some(false),
            remote: remote.as_deref(),
            installer_public: &self.keys.ssh_public,
            known_hosts: &known_hosts,
        };
        let mut written = match (&self.copy, before) {
            _ if !self.request.edit_flake => self.without_flake(flake.1, base, before, is_bound)?,
            (Some(copy), Some(before)) => self.evaluated(flake, candidates, copy, before, base)?,
            _ => self.by_form(flake, candidates, base)?,
        };
        written.notes.extend(notes);
        if self.request.user.is_none() {
            written.notes.push(format!(
                "{} makes no user, and there is no root password: without a module of the flake that makes one, nobody can log in (--user \
                 NAME makes one)",
                written.files.main
            ));
        }
        Ok(written)
    }

    /// Without Nix: what is certain by its form.
    fn by_form(
        &self,
        (text, outline): (&str, &Outline),
        candidates: &[Candidate],
        base: HostText<'_>,
    ) -> Result<Written, HostError> {
        let Some(candidate) = candidates.iter().find(|candidate| candidate.is_sure) else {
            return Err(self.declined(
                Some(outline),
                "its form is known, but only Nix can evaluate it, and there is no `nix` in PATH".to_owned(),
            ));
        };
        let flake = syntax::apply(text, &candidate.insertions)
            .map_err(|reason| self.declined(Some(outline), reason))?;
        let mut host = base;
        host.has_target_module = candidate.has_target_module;
        host.age = host.age.map(|_| candidate.names_agenix);
        Ok(Written {
            flake: Some(flake),
            files: candidate.files.clone(),
            host: host.host(),
            installer: host.installer(),
            has_lines: false,
            attributes: None,
            notes: told(candidate, None, host.name, host.system)
                .into_iter()
                .chain([
                    "there is no `nix` in PATH: the flake was edited by its form, and was not evaluated"
                        .to_owned(),
                ])
                .collect(),
        })
    }

    /// With Nix: the first that makes exactly the new attributes.
    fn evaluated(
        &self,
        (text, outline): (&str, &Outline),
        candidates: &[Candidate],
        copy: &Copy<'_>,
        before: &Names,
        base: HostText<'_>,
    ) -> Result<Written, HostError> {
        let mut reasons: Vec<String> = vec![];
        for candidate in candidates.iter().take(TRIED_MAX) {
            let flake = match syntax::apply(text, &candidate.insertions) {
                Ok(flake) => flake,
                Err(reason) => {
                    reasons.push(reason);
                    continue;
                }
            };
            copy.put(Utf8Path::new(FLAKE), flake.as_bytes())?;
            let tried = self.tried(candidate, copy, before, &base)?;
            copy.remove(Utf8Path::new(&candidate.files.main))?;
            copy.remove(Utf8Path::new(&candidate.files.installer))?;
            match tried {
                Ok((attributes, host)) => {
                    return Ok(Written {
                        flake: Some(flake),
                        files: candidate.files.clone(),
                        host: host.host(),
                        installer: host.installer(),
                        attributes: Some(attributes),
                        has_lines: false,
                        notes: told(candidate, Some(before), base.name, base.system),
                    });
                }
                Err(reason) => reasons.push(reason),
            }
        }
        reasons.dedup();
        Err(self.declined(
            Some(outline),
            format!("with the new lines {}", reasons.join("; and in another form ")),
        ))
    }

    /// Why the host's own file is none: Nix evaluates the host without reading it. Its name alone shows nothing, as lines that are copied
    /// give it, too.
    fn not_read(&self, copy: &Copy<'_>, main: &Utf8Path) -> Result<Option<String>, HostError> {
        copy.put(main, format!("abort {}\n", quoted(READ)).as_bytes())?;
        match copy.host_name(&self.request.name)? {
            Err(why) if why.reason.contains(READ) => Ok(None),
            Err(why) if why.helps.is_some() => Err(self.unevaluated(why)),
            Ok(_) | Err(_) => Ok(Some(format!("the flake does not read {main}"))),
        }
    }

    /// One way, evaluated: the new attributes, and the host's text that goes with it.
    fn tried<'t>(
        &self,
        candidate: &Candidate,
        copy: &Copy<'_>,
        before: &Names,
        base: &HostText<'t>,
    ) -> Result<Result<(Vec<String>, HostText<'t>), String>, HostError> {
        let main = Utf8Path::new(&candidate.files.main);
        let mut variants = vec![];
        for age in [Some(true), Some(false)] {
            for has_target_module in [candidate.has_target_module, !candidate.has_target_module] {
                let mut host = base.clone();
                host.age = base.age.and(age);
                host.has_target_module = has_target_module;
                variants.push(host);
            }
        }
        if base.age.is_none() {
            variants.truncate(2);
        }
        let mut reason = None;
        let mut attributes = None;
        for host in variants {
            copy.put(main, host.host().as_bytes())?;
            copy.put(
                Utf8Path::new(&candidate.files.installer),
                host.installer().as_bytes(),
            )?;
            if attributes.is_none() {
                let after = match copy.names(&self.request.system)? {
                    Ok(after) => after,
                    Err(why) if why.helps.is_some() => return Err(self.unevaluated(why)),
                    Err(why) => return Ok(Err(format!("Nix cannot evaluate it: {}", why.reason))),
                };
                match difference(before, &after, &self.request.name, &self.request.system) {
                    Difference::AsWanted(new) => attributes = Some(new),
                    Difference::NoHost => {
                        return Ok(Err(format!(
                            "it has no nixosConfigurations.{}",
                            self.request.name
                        )));
                    }
                    Difference::NoInstaller => return Ok(Err("it has no installer of the host".to_owned())),
                    Difference::Other(other) => {
                        return Ok(Err(format!(
                            "other attributes would change: {}",
                            other.join(", ")
                        )));
                    }
                }
            }
            match copy.host_name(&self.request.name)? {
                Ok(found) if found == self.request.name => {
                    return Ok(match self.not_read(copy, main)? {
                        None => Ok((attributes.unwrap_or_default(), host)),
                        Some(reason) => Err(reason),
                    });
                }
                Ok(found) => return Ok(Err(format!("the new host would have the name {found}"))),
                Err(why) if why.helps.is_some() => return Err(self.unevaluated(why)),
                Err(why) => {
                    reason.get_or_insert(why.reason);
                }
            }
        }
        Ok(Err(format!(
            "Nix cannot evaluate the new host: {}",
            reason.unwrap_or_default()
        )))
    }
}

/// What Nix says where it reads the host's file in the trial, and nowhere else.
const READ: &str = "landfall: Nix reads this file";

/// What somebody should know of the lines: the system, where the flake has another one, and what may be a neighbour's alone.
fn told(candidate: &Candidate, before: Option<&Names>, host: &str, system: &str) -> Vec<String> {
    let other = match &candidate.other_system {
        Some(OtherSystem::Neighbours(other)) => Some(format!(
            "the other hosts are of {other}, and {host} is written for {system} (--system)"
        )),
        Some(OtherSystem::Flake(other)) => Some(format!(
            "flake.nix names {other} and nowhere {system}, for which {host} is made: where a function of it makes hosts of {other}, run it \
             again with --system {other}"
        )),
        None => None,
    };
    // Where they stand elsewhere, as in a module or by a name that is computed, Nix names them.
    let of_hosts =
        |path: &&Vec<String>| matches!(path.as_slice(), [output, _] if output == "nixosConfigurations");
    let others: Vec<&str> = match before {
        Some(names) => names
            .iter()
            .filter(of_hosts)
            .filter_map(|path| path.last())
            .map(String::as_str)
            .collect(),
        None => candidate.unlike.iter().map(String::as_str).collect(),
    };
    let unlike = (candidate.is_bare && !others.is_empty()).then(|| {
        format!(
            "{host} has its own file and landfall's module alone: what the flake gives {} besides is not in its lines; add what they share in \
             flake.nix",
            others.join(", ")
        )
    });
    let place = match candidate.places.as_slice() {
        [place, others @ ..] if !others.is_empty() => Some(format!(
            "the flake has hosts in several places: {host} was put into {place}, and not into {}; move it in flake.nix if it belongs there",
            others.join(", ")
        )),
        _ => None,
    };
    [other, place, copied(candidate), unlike]
        .into_iter()
        .flatten()
        .collect()
}

/// What of a neighbour may be the neighbour's alone.
fn copied(candidate: &Candidate) -> Option<String> {
    let (neighbour, names) = candidate.copied.as_ref()?;
    Some(format!(
        "the new host's lines contain values of {neighbour}, because there is no other host to compare with: {}; correct them in flake.nix",
        names.join(", ")
    ))
}

/// The name by which ssh knows a remote's host.
fn ssh_host(remote: &str) -> Option<String> {
    let of_authority = |authority: &str| {
        let host = authority.rsplit('@').next().unwrap_or_default();
        match host.rsplit_once(':') {
            Some((name, port)) if !name.ends_with(']') || port.bytes().all(|b| b.is_ascii_digit()) => {
                match port {
                    "22" => name.to_owned(),
                    port => format!("[{name}]:{port}"),
                }
            }
            _ => host.to_owned(),
        }
    };
    let host = match remote.split_once("://") {
        Some((_, rest)) => of_authority(rest.split('/').next()?),
        None => remote.split(':').next()?.rsplit('@').next()?.to_owned(),
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '[' | ']' | ':');
    (!host.is_empty() && !host.starts_with('-') && host.chars().all(is_plain)).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_remote_is_as_ssh_knows_it() {
        for (remote, host) in [
            ("git@forge.example:ops/x", Some("forge.example")),
            ("ssh://git@forge.example/ops/x", Some("forge.example")),
            (
                "git+ssh://git@forge.example:2222/ops/x",
                Some("[forge.example]:2222"),
            ),
            ("ssh://git@forge.example:22/ops/x", Some("forge.example")),
            ("ssh://-oProxyCommand=x/y", None),
        ] {
            assert_eq!(ssh_host(remote).as_deref(), host, "{remote}");
        }
    }
}
