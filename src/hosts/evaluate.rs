//! Nix's own answer to what a change of the repository does. Law: Nix is shown a copy of what Git tracks, before the change and after
//! it; the operator's files are not touched, and what is compared are names of attributes, not guesses.
//!
//! Absent: building. That the host and its installer build is shown by `nix build`.

use super::error::HostError;
use super::names::quoted;
use super::programs::{Programs, Repository, Tracked};
use super::rules::Rules;
use crate::foreign::{self, Links};
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;

/// A copy of what Git tracks.
pub(crate) struct Copy<'a> {
    programs: &'a Programs,
    /// Removed with everything in it when this is dropped.
    _dir: tempfile::TempDir,
    root: Utf8PathBuf,
}

/// The names of the outputs that count, as paths with dots.
pub(crate) type Names = BTreeSet<Vec<String>>;

impl<'a> Copy<'a> {
    pub(crate) fn of(programs: &'a Programs, repository: &Repository) -> Result<Copy<'a>, HostError> {
        let dir = tempfile::Builder::new()
            .prefix("landfall-host-")
            .tempdir()
            .map_err(|e| HostError::file("a scratch directory", &e))?;
        let real = fs::canonicalize(dir.path()).map_err(|e| HostError::file("a scratch directory", &e))?;
        let root = Utf8PathBuf::from_path_buf(real).map_err(|path| HostError::File {
            path: path.to_string_lossy().into_owned().into(),
            reason: "its name is no text in UTF-8".to_owned(),
            next: "name another folder with TMPDIR",
        })?;
        let copy = Copy {
            programs,
            _dir: dir,
            root,
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
            let copied = match mode.as_str() {
                "120000" => copy.link(&from, &path),
                // A submodule: a flake sees none unless it asks for them.
                "160000" => Ok(()),
                _ => copy.file(&from, &path),
            };
            match copied {
                Ok(()) => {}
                // Deleted, and not told to Git.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(HostError::file(from, &e)),
            }
        }
        Ok(copy)
    }

    fn place(&self, path: &Utf8Path) -> std::io::Result<Utf8PathBuf> {
        let to = self.root.join(path);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        Ok(to)
    }

    fn link(&self, from: &Utf8Path, path: &Utf8Path) -> std::io::Result<()> {
        let to = self.place(path)?;
        fs_err::os::unix::fs::symlink(fs::read_link(from)?, to)
    }

    fn file(&self, from: &Utf8Path, path: &Utf8Path) -> std::io::Result<()> {
        let mut file = foreign::open(from, Links::Refuse).map_err(|refused| refused.into_io(from))?;
        let mode = file.metadata()?.permissions().mode();
        let to = self.place(path)?;
        let mut out = foreign::open_own(&to, mode & 0o777, false).map_err(|refused| refused.into_io(&to))?;
        std::io::copy(&mut file, &mut out).map(drop)
    }

    /// Puts a file into the copy.
    pub(crate) fn put(&self, path: &Utf8Path, bytes: &[u8]) -> Result<(), HostError> {
        let put = || foreign::replace(&self.place(path)?, 0o644, bytes);
        put().map_err(|e| HostError::file(path, &e))
    }

    /// Takes a file out of the copy.
    pub(crate) fn remove(&self, path: &Utf8Path) -> Result<(), HostError> {
        match fs::remove_file(self.root.join(path)) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(HostError::file(path, &e)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn flake(&self) -> String {
        format!("(builtins.getFlake {})", quoted(&format!("path:{}", self.root)))
    }

    /// Without the name of the scratch directory, which is nobody's.
    fn said(&self, reason: &str) -> String {
        reason
            .replace(&format!("{}/", self.root), "")
            .replace(self.root.as_str(), "the flake")
    }

    /// The names of the flake's outputs; or why it does not evaluate.
    pub(crate) fn names(&self, system: &str) -> Result<Result<Names, String>, HostError> {
        let expression = format!(
            r#"let
  tried = value: let result = builtins.tryEval value; in if result.success then result.value else null;
  isSet = value: builtins.isAttrs value && !(value ? type && value.type == "derivation");
  names = value: let set = tried value; in if isSet set then builtins.mapAttrs (_: _: null) set else null;
  deep = value: let set = tried value; in if isSet set then builtins.mapAttrs (_: names) set else null;
  of = output: value:
    if output == "legacyPackages" then
      {{ {system} = names ((tried value).{system} or null); }}
    else if builtins.elem output [ "packages" "checks" "devShells" "apps" ] then
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
            Err(reason) => return Ok(Err(self.said(&reason))),
        };
        let value = match serde_json::from_str(&said) {
            Ok(value) => value,
            Err(e) => return Ok(Err(format!("what Nix printed is no JSON: {e}"))),
        };
        let mut found = Names::new();
        collect(&value, &mut vec![], &mut found);
        Ok(Ok(found))
    }

    /// The host's own name, as its configuration has it; or why it does not evaluate.
    pub(crate) fn host_name(&self, host: &str) -> Result<Result<String, String>, HostError> {
        let host = quoted(host);
        let expression = format!(
            "{}.outputs.nixosConfigurations.{host}.config.networking.hostName",
            self.flake()
        );
        Ok(match self.programs.evaluated(&expression)? {
            Ok(said) => serde_json::from_str(&said).map_err(|e| format!("what Nix printed is no JSON: {e}")),
            Err(reason) => Err(self.said(&reason)),
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
        let file = quoted(self.root.join(path).as_str());
        let expression = format!(
            "let rules = import (/. + {file}); isRule = name: rules.${{name}} ? publicKeys; \
             of = name: {{ inherit name; value = {{ publicKeys = rules.${{name}}.publicKeys; armor = rules.${{name}}.armor or false; }}; }}; \
             in builtins.listToAttrs (map of (builtins.filter isRule (builtins.attrNames rules)))"
        );
        Ok(match self.programs.evaluated(&expression)? {
            Ok(said) => serde_json::from_str(&said).map_err(|e| format!("it is no set of rules: {e}")),
            Err(reason) => Err(self.said(&reason)),
        })
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
    let is_there =
        |path: &[&str]| after.contains(&path.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>());
    if !is_there(&["nixosConfigurations", host]) {
        return Difference::NoHost;
    }
    let wanted = super::flake::installer_names(host);
    let has_installer = |name: &String| {
        ["packages", "legacyPackages"]
            .iter()
            .any(|output| is_there(&[output, system, name]))
    };
    if !wanted.iter().all(has_installer) {
        return Difference::NoInstaller;
    }
    // The sets that hold them may be new, too.
    let is_ours = |path: &&Vec<String>| {
        path.last().is_some_and(|last| last.contains(host))
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
            .filter(|path| path.last().is_some_and(|last| last.contains(host)));
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
