//! Asks Nix what a change of the repository does.
//!
//! Nix evaluates a copy of the files that Git tracks, before and after the change. The operator's files are not changed, and names of
//! attributes are compared, not guesses.
//!
//! Nothing is built: `nix build` shows whether the host and its installer build.

use super::error::HostError;
use super::names::quoted;
use super::programs::{Programs, Repository, Tracked, Unevaluated};
use super::rules::Rules;
use super::scratch::{self, Scratch};
use crate::safe_open::{self, Links, Refused};
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;

/// A copy of what Git tracks.
pub(crate) struct Copy<'a> {
    programs: &'a Programs,
    scratch: Scratch,
    /// The folder in which the repository is.
    outside: Utf8PathBuf,
}

/// The names of the outputs that count, as paths with dots.
pub(crate) type Names = BTreeSet<Vec<String>>;

impl<'a> Copy<'a> {
    pub(crate) fn of(programs: &'a Programs, repository: &Repository) -> Result<Copy<'a>, HostError> {
        let copy = Copy {
            programs,
            scratch: Scratch::new()?,
            outside: repository.root.parent().unwrap_or(&repository.root).to_owned(),
        };
        for Tracked {
            mode,
            path,
            is_left_out,
        } in programs.tracked(&repository.root)?
        {
            let from = repository.root.join(&path);
            if is_left_out && fs::symlink_metadata(&from).is_err() {
                return Err(HostError::Sparse {
                    root: repository.root.clone(),
                    first: path,
                });
            }
            match mode.as_str() {
                "120000" => copy.link(&from, &path)?,
                // A submodule: a flake sees none unless it asks for them.
                "160000" => {}
                _ => copy.file(&from, &path)?,
            }
        }
        Ok(copy)
    }

    fn root(&self) -> &Utf8Path {
        self.scratch.root()
    }

    fn place(&self, path: &Utf8Path) -> std::io::Result<Utf8PathBuf> {
        if scratch::has_ended() {
            return Err(ErrorKind::Interrupted.into());
        }
        let to = self.root().join(path);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        Ok(to)
    }

    fn link(&self, from: &Utf8Path, path: &Utf8Path) -> Result<(), HostError> {
        let led = match fs::read_link(from) {
            Ok(led) => led,
            // Deleted, and not told to Git.
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(HostError::file(from, &e)),
        };
        let made = || fs_err::os::unix::fs::symlink(led, self.place(path)?);
        made().map_err(|e| HostError::file(self.root().join(path), &e))
    }

    fn file(&self, from: &Utf8Path, path: &Utf8Path) -> Result<(), HostError> {
        let mut file = match safe_open::open(from, Links::Refuse) {
            Ok(file) => file,
            Err(Refused::Absent) => return Ok(()),
            Err(refused) => return Err(HostError::refused(from, refused)),
        };
        let found = file.metadata().map_err(|e| HostError::file(from, &e))?;
        let mut copied = || {
            let to = self.place(path)?;
            let mode = found.permissions().mode() & 0o777;
            let mut out = safe_open::open_own(&to, mode, false).map_err(|refused| refused.into_io(&to))?;
            std::io::copy(&mut file, &mut out).map(drop)
        };
        copied().map_err(|e: std::io::Error| match e.kind() {
            // A full disk is that of the copy.
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => HostError::file(self.root().join(path), &e),
            _ => HostError::file(from, &e),
        })
    }

    /// Puts a file into the copy.
    pub(crate) fn put(&self, path: &Utf8Path, bytes: &[u8]) -> Result<(), HostError> {
        let put = || safe_open::replace(&self.place(path)?, 0o644, bytes);
        put().map_err(|e| HostError::file(self.root().join(path), &e))
    }

    /// Takes a file out of the copy.
    pub(crate) fn remove(&self, path: &Utf8Path) -> Result<(), HostError> {
        match fs::remove_file(self.root().join(path)) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(HostError::file(path, &e)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn flake(&self) -> String {
        format!("(builtins.getFlake {})", quoted(&format!("path:{}", self.root())))
    }

    /// Without the name of the scratch directory, which is nobody's. What lies beside the copy lies beside the repository.
    fn said(&self, reason: &str) -> String {
        let said = self
            .in_copy(reason)
            .replace(&format!("flake 'path:{}'", self.root()), "the flake")
            .replace(&format!("{}/", self.root()), "")
            .replace(self.root().as_str(), "the flake");
        let above = self.root().parent().unwrap_or(self.root());
        if !said.contains(above.as_str()) {
            return said;
        }
        let outside = self.outside.as_str().trim_end_matches('/');
        format!(
            "{} (outside of the repository, and a flake has only files that Git tracks)",
            said.replace(above.as_str(), outside)
        )
    }

    /// Files of the copy by their names there: Nix tells those that they have in its store.
    fn in_copy(&self, reason: &str) -> String {
        const SOURCE: &str = "-source/";
        let (mut out, mut rest) = (String::new(), reason);
        while let Some((before, behind)) = rest.split_once("/nix/store/") {
            out.push_str(before);
            let named = behind
                .split_once(SOURCE)
                .filter(|(hash, _)| !hash.contains(['/', ' ', '\'']));
            let file =
                named.map(|(_, file)| (file, file.split([':', ' ', '\'', ',']).next().unwrap_or_default()));
            rest = match file {
                Some((file, name))
                    if !name.is_empty() && fs::symlink_metadata(self.root().join(name)).is_ok() =>
                {
                    file
                }
                _ => {
                    out.push_str("/nix/store/");
                    behind
                }
            };
        }
        out.push_str(rest);
        out
    }

    /// The names of the flake's outputs; or why it does not evaluate.
    pub(crate) fn names(&self, system: &str) -> Result<Result<Names, Unevaluated>, HostError> {
        let expression = format!(
            r#"let
  tried = value: let result = builtins.tryEval value; in if result.success then result.value else null;
  isSet = value: builtins.isAttrs value && !(value ? type && value.type == "derivation");
  names = value: let set = tried value; in if isSet set then builtins.mapAttrs (_: _: null) set else null;
  deep = value: let set = tried value; in if isSet set then builtins.mapAttrs (_: names) set else null;
  of = output: value:
    if output == "legacyPackages" then
      let set = tried value; in
      if isSet set then builtins.mapAttrs (of: value: if of == {system} then names value else null) set else null
    else if builtins.elem output [ "packages" "checks" "devShells" "apps" "deploy" ] then
      deep value
    else
      names value;
in
builtins.mapAttrs of {flake}.outputs"#,
            system = quoted(system),
            flake = self.flake(),
        );
        let said = match self.programs.evaluated(&expression)? {
            Ok(said) => said,
            Err(why) => return Ok(Err(self.shown(why))),
        };
        let value = match serde_json::from_str(&said) {
            Ok(value) => value,
            Err(e) => return Ok(Err(no_json(&e))),
        };
        let mut found = Names::new();
        collect(&value, &mut vec![], &mut found);
        Ok(Ok(found))
    }

    /// The host's own name, as its configuration has it; or why it does not evaluate.
    pub(crate) fn host_name(&self, host: &str) -> Result<Result<String, Unevaluated>, HostError> {
        let host = quoted(host);
        let expression = format!(
            "{}.outputs.nixosConfigurations.{host}.config.networking.hostName",
            self.flake()
        );
        Ok(match self.programs.evaluated(&expression)? {
            Ok(said) => serde_json::from_str(&said).map_err(|e| no_json(&e)),
            Err(why) => Err(self.shown(why)),
        })
    }

    /// The release of the flake's nixpkgs.
    pub(crate) fn release(&self) -> Result<Option<String>, HostError> {
        let expression = format!("{}.inputs.nixpkgs.lib.trivial.release", self.flake());
        let said = self.programs.evaluated(&expression)?;
        Ok(said.ok().and_then(|said| serde_json::from_str(&said).ok()))
    }

    /// What a rules file says; or why it does not evaluate.
    pub(crate) fn rules(&self, path: &Utf8Path) -> Result<Result<Rules, String>, HostError> {
        let file = quoted(self.root().join(path).as_str());
        let expression = format!(
            "let rules = import (/. + {file}); isRule = name: rules.${{name}} ? publicKeys; \
             of = name: {{ inherit name; value = {{ publicKeys = rules.${{name}}.publicKeys; armor = rules.${{name}}.armor or false; }}; }}; \
             in builtins.listToAttrs (map of (builtins.filter isRule (builtins.attrNames rules)))"
        );
        Ok(match self.programs.evaluated(&expression)? {
            Ok(said) => serde_json::from_str(&said).map_err(|e| format!("it is not a set of rules: {e}")),
            Err(why) => Err(self.said(&why.reason)),
        })
    }

    fn shown(&self, why: Unevaluated) -> Unevaluated {
        Unevaluated {
            reason: self.said(&why.reason),
            ..why
        }
    }
}

fn no_json(error: &serde_json::Error) -> Unevaluated {
    Unevaluated {
        reason: format!("the output of Nix is not JSON: {error}"),
        helps: None,
        class: None,
    }
}

fn collect(value: &serde_json::Value, path: &mut Vec<String>, found: &mut Names) {
    let serde_json::Value::Object(set) = value else {
        return;
    };
    for (name, value) in set {
        path.push(name.clone());
        found.insert(path.clone());
        collect(value, path, found);
        path.pop();
    }
}

/// What a change of names is, beside what was wanted of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// Exactly the host and its installer: these are the new ones.
    AsWanted(Vec<String>),
    /// The host is not there.
    NoHost,
    /// Its installer is not there.
    NoInstaller,
    /// Something else is gone or new.
    Other(Vec<String>),
}

/// Whether a name is one of what is made for a host: the host's own stands in it as a word.
fn is_of(name: &str, host: &str) -> bool {
    name.match_indices(host).any(|(at, found)| {
        let before = name.get(..at).and_then(|before| before.chars().next_back());
        let behind = name
            .get(at + found.len()..)
            .and_then(|behind| behind.chars().next());
        !before.is_some_and(char::is_alphanumeric)
            && !behind.is_some_and(|c| c.is_lowercase() || c.is_ascii_digit())
    })
}

fn has(names: &Names, path: &[&str]) -> bool {
    names.contains(&path.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>())
}

/// Whether the flake has the installer of a host.
pub(crate) fn has_installer(names: &Names, host: &str, system: &str) -> bool {
    let is_there = |name: &String| {
        ["packages", "legacyPackages"]
            .iter()
            .any(|output| has(names, &[output, system, name]))
    };
    super::flake::installer_names(host).iter().all(is_there)
}

/// Judges what differs. Whatever of the flake is made for each host has the host's name in its own.
pub(crate) fn difference(before: &Names, after: &Names, host: &str, system: &str) -> Difference {
    let shown = |path: &Vec<String>| path.join(".");
    let gone: Vec<String> = before
        .difference(after)
        .map(|path| format!("{} is gone", shown(path)))
        .collect();
    if !gone.is_empty() {
        return Difference::Other(gone);
    }
    let new: Vec<&Vec<String>> = after.difference(before).collect();
    if !has(after, &["nixosConfigurations", host]) {
        return Difference::NoHost;
    }
    if !has_installer(after, host, system) {
        return Difference::NoInstaller;
    }
    // The sets that hold them may be new, too.
    let is_ours = |path: &&Vec<String>| {
        path.last().is_some_and(|last| is_of(last, host))
            || new
                .iter()
                .any(|other| other.len() > path.len() && other.starts_with(path))
            || path.len() == 2 && path.last().is_some_and(|last| last == system)
    };
    let other: Vec<String> = new
        .iter()
        .filter(|path| !is_ours(path))
        .map(|path| format!("{} is new", shown(path)))
        .collect();
    if other.is_empty() {
        let leaves = new
            .iter()
            .filter(|path| path.last().is_some_and(|last| is_of(last, host)));
        Difference::AsWanted(leaves.map(|path| shown(path)).collect())
    } else {
        Difference::Other(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(paths: &[&str]) -> Names {
        let mut found = Names::new();
        for path in paths {
            let parts: Vec<String> = path.split('.').map(str::to_owned).collect();
            for n in 1..=parts.len() {
                found.insert(parts[..n].to_vec());
            }
        }
        found
    }

    #[test]
    fn a_short_name_does_not_claim_what_is_not_its_own() {
        for name in [
            "a",
            "aInstallerIso",
            "nixos-a",
            "op@a",
            "a.example",
            "deploy-a-now",
        ] {
            assert!(is_of(name, "a"), "{name}");
        }
        for name in ["web", "databases", "a1", "data", "ab", "1a"] {
            assert!(!is_of(name, "a"), "{name}");
        }
    }

    #[test]
    fn only_the_new_attributes_may_differ() {
        let before = names(&["nixosConfigurations.web", "packages.s.hello"]);
        let with = |more: &[&str]| {
            let mut after = before.clone();
            after.extend(names(more));
            difference(&before, &after, "db", "s")
        };
        let wanted = [
            "nixosConfigurations.db",
            "packages.s.dbInstallerIso",
            "packages.s.dbInstallerNetboot",
        ];
        assert!(matches!(with(&wanted), Difference::AsWanted(new) if new.len() == 3));
        assert_eq!(with(&wanted[..1]), Difference::NoInstaller);
        assert_eq!(with(&wanted[1..]), Difference::NoHost);
        let more: Vec<&str> = wanted.iter().copied().chain(["packages.s.other"]).collect();
        assert_eq!(
            with(&more),
            Difference::Other(vec!["packages.s.other is new".to_owned()])
        );
        let elsewhere = [
            "nixosConfigurations.db",
            "legacyPackages.s.dbInstallerIso",
            "legacyPackages.s.dbInstallerNetboot",
        ];
        assert!(matches!(with(&elsewhere), Difference::AsWanted(_)));
        // Another output that is made for every host.
        let more: Vec<&str> = wanted.iter().copied().chain(["checks.s.nixos-db"]).collect();
        assert!(matches!(with(&more), Difference::AsWanted(_)));
        let after = names(&[
            "nixosConfigurations.web",
            "nixosConfigurations.db",
            "packages.s.dbInstallerIso",
            "packages.s.dbInstallerNetboot",
        ]);
        assert_eq!(
            difference(&before, &after, "db", "s"),
            Difference::Other(vec!["packages.s.hello is gone".to_owned()])
        );
    }
}
