//! Judges what a person has written into flake.nix for a new host.
//!
//! Lines that have no effect are not taken for a host or an installer, and nothing that the flake had may be gone: Nix says both. Without
//! Nix, nothing is judged.
//!
//! `flake::lines` writes lines for a person.

use super::outcome::Written;
use super::{FLAKE, Work};
use crate::hosts::error::HostError;
use crate::hosts::evaluate::{Names, has_installer};
use crate::hosts::flake::{self, Fit, HostFiles, Of, installer_names};
use crate::hosts::place::{self, Outline, Place};
use crate::hosts::syntax::{self, Bindings, call, called};
use crate::hosts::templates::HostText;
use camino::Utf8Path;
use rnix::ast::{self, Expr};
use rowan::ast::AstNode;

const LOCK: &str = "flake.lock";

/// Whether a set binds a name, or something below it.
fn binds(bindings: &Bindings, name: &str) -> bool {
    let first = |entry: &ast::AttrpathValue| syntax::name(&entry.attrpath()?.attrs().next()?);
    let is_it = |entry: &ast::AttrpathValue| first(entry).as_deref() == Some(name);
    bindings.values().iter().any(is_it)
}

/// Whether a host stands in a set of outputs, whatever becomes of that.
fn has_host(outline: &Outline, name: &str) -> bool {
    let entries = outline
        .sets
        .iter()
        .flat_map(|set| set.entries("nixosConfigurations"));
    entries.into_iter().any(|(rest, entry)| match rest.as_deref() {
        Some([]) => {
            let sides = entry.value().map(written_sets).unwrap_or_default();
            sides.iter().any(|set| binds(set, name))
        }
        Some([host, ..]) => host == name,
        None => false,
    })
}

/// The sets that are written in a value, joined or alone.
fn written_sets(value: Expr) -> Vec<Bindings> {
    match place::result(value) {
        Expr::AttrSet(set) => vec![Bindings::Set(set)],
        Expr::BinOp(op) => {
            let sides = [op.lhs(), op.rhs()].into_iter().flatten();
            sides.flat_map(written_sets).collect()
        }
        _ => vec![],
    }
}

/// Whether the call that makes installers names a host, whatever becomes of that.
fn names_installer(outline: &Outline, name: &str) -> bool {
    outline.nodes().filter_map(ast::Apply::cast).any(|apply| {
        let (head, arguments) = call(&apply);
        let is_maker = head.as_ref().and_then(called).as_deref() == Some("mkInstallerPackages");
        let place = arguments.first().filter(|_| is_maker).and_then(place::places);
        matches!(place.map(|places| places.place), Some(Place::Set { bindings, .. }) if binds(&bindings, name))
    })
}

/// Those of which nothing above is in the list.
fn topmost(gone: &[&Vec<String>]) -> Vec<String> {
    let is_below = |path: &Vec<String>| {
        gone.iter()
            .any(|above| above.len() < path.len() && path.starts_with(above))
    };
    gone.iter()
        .filter(|path| !is_below(path))
        .map(|path| path.join("."))
        .collect()
}

impl Work<'_> {
    /// Refuses a flake in which the lines of the host, or of its installer, stand and have no effect.
    pub(super) fn refuse_without_effect(&self, outline: &Outline, names: &Names) -> Result<(), HostError> {
        let (name, system) = (&self.request.name, &self.request.system);
        let refused = |what: String, of: Of| {
            Err(HostError::WithoutEffect {
                reason: format!(
                    "it has lines for {what}, and Nix does not see that: another part of the outputs hides it"
                ),
                lines: flake::lines(self.wanted(), Some(outline), of, Fit::Around),
            })
        };
        let is_bound = names.contains(&vec!["nixosConfigurations".to_owned(), name.clone()]);
        if !is_bound && has_host(outline, name) {
            return refused(format!("nixosConfigurations.{name}"), Of::Both);
        }
        if is_bound && !has_installer(names, name, system) && names_installer(outline, name) {
            let [iso, _] = installer_names(name);
            return refused(format!("packages.{system}.{iso}"), Of::Installer);
        }
        Ok(())
    }

    /// The host's files for a flake that somebody else edits, or has edited.
    pub(super) fn without_flake(
        &self,
        outline: &Outline,
        base: HostText<'_>,
        before: Option<&Names>,
        is_bound: bool,
    ) -> Result<Written, HostError> {
        let name = base.name;
        let has_installer = match before {
            Some(names) => has_installer(names, name, base.system),
            None => names_installer(outline, name),
        };
        let lines = |of: Of| flake::lines(self.wanted(), Some(outline), of, Fit::Best);
        let note = match (is_bound, has_installer) {
            (false, _) => Some(format!(
                "flake.nix was not edited; add these lines:\n\n{}",
                lines(Of::Both)
            )),
            (true, false) => Some(format!(
                "flake.nix was not edited; it has nixosConfigurations.{name}, and no installer of it; add these lines:\n\n{}",
                lines(Of::Installer)
            )),
            (true, true) => None,
        };
        let has_lines = note.is_some();
        let mut notes: Vec<String> = note.into_iter().collect();
        match before {
            Some(names) if is_bound => notes.extend(self.lost(names)?),
            None if is_bound => notes.push(
                "there is no `nix` in PATH: nobody has seen that the lines of the host in flake.nix have their effect, and hide nothing"
                    .to_owned(),
            ),
            _ => {}
        }
        Ok(Written {
            flake: None,
            files: HostFiles {
                main: format!("hosts/{name}/default.nix"),
                installer: format!("hosts/{name}/installer.nix"),
            },
            host: base.host(),
            installer: base.installer(),
            attributes: None,
            notes,
            has_lines,
        })
    }

    /// Refuses a flake that has lost attributes by changes that are not committed; and a note on those that its last commit took from it,
    /// if that is the one that gave it the host.
    fn lost(&self, names: &Names) -> Result<Option<String>, HostError> {
        let Some(copy) = &self.copy else { return Ok(None) };
        let root = &self.repository.root;
        let is_dirty = !self.programs.dirty(root, &[FLAKE])?.is_empty();
        let revision = match is_dirty {
            true => Some("HEAD".to_owned()),
            false => self
                .programs
                .last_commit(root, FLAKE)?
                .map(|commit| format!("{commit}^")),
        };
        let Some(revision) = revision else { return Ok(None) };
        let mut put_back = vec![];
        for file in [FLAKE, LOCK] {
            let old = self.programs.committed(root, &revision, file)?;
            let now = super::contents(root, Utf8Path::new(file))?;
            if let (Some(old), Some(now)) = (old, now) {
                copy.put(Utf8Path::new(file), old.as_bytes())?;
                put_back.push((file, now));
            }
        }
        let old = copy.names(&self.request.system)?;
        for (file, now) in put_back {
            copy.put(Utf8Path::new(file), &now)?;
        }
        // One that does not evaluate shows nothing.
        let Ok(old) = old else { return Ok(None) };
        let had_host = old.contains(&vec!["nixosConfigurations".to_owned(), self.request.name.clone()]);
        let gone = topmost(&old.difference(names).collect::<Vec<_>>());
        if gone.is_empty() || had_host && !is_dirty {
            return Ok(None);
        }
        if is_dirty {
            return Err(HostError::Lost(gone));
        }
        Ok(Some(format!(
            "since its last commit flake.nix has no longer {}: put that back, unless it was to go (git log -p -n 1 -- flake.nix shows the change)",
            gone.join(", ")
        )))
    }
}
