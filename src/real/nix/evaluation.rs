//! From the clone to the system: what Nix evaluates and builds.
//!
//! Nix reads no repository that gives orders, and no cache of an earlier run. The flake is that of the revision, whatever the
//! work tree holds. A host that cannot be installed is refused before it is built.
//!
//! `nix::store` copies and records, `nix::client` calls Nix, and `git::guard` decides which repository is safe to read.

use crate::os_error;
use crate::real::boot::host_loader;
use crate::real::git::command::Access;
use crate::real::git::guard;
use crate::real::nix::client::{Stores, follow, follow_evaluation, succeeded};
use crate::real::process::context::CommandContext;
use camino::Utf8Path;
use landfall_states::actions::realise_system::RealiseSystem;
use landfall_states::fault::{Fault, FaultClass, MachineFault, PlaceFault};
use landfall_states::names::{HostName, Revision, StorePath};
use nix::unistd::Uid;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

/// Git and libgit2 open no repository of another account, but root's programs one of the account that this variable names, as
/// under sudo (git-config(1), `safe.directory`).
const OWNER_ACCOUNT: &str = "SUDO_UID";

/// Whose a clone is, where it is not this account's: a run that was cut off may have given it to the target's user already.
fn other_owner(clone: &Utf8Path) -> Result<Option<u32>, Fault> {
    let own = Uid::effective().as_raw();
    for path in [clone, &clone.join(".git")] {
        match fs_err::symlink_metadata(path) {
            Ok(found) if found.uid() != own => return Ok(Some(found.uid())),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(os_error::fault(format!("owner of {path}"), &error)),
        }
    }
    Ok(None)
}

impl Stores {
    /// Evaluates the host's system of a revision, then realises it.
    ///
    /// # Errors
    /// The evaluation or the build fails, or there is no room or memory for it.
    pub async fn build(
        &self,
        context: &CommandContext,
        access: &Access,
        action: &RealiseSystem,
    ) -> Result<StorePath, Fault> {
        let place = self.root.clone_place(&action.repository.clone_path, false)?;
        let clone = place.ok_or_else(|| {
            Fault::from(PlaceFault::FileType {
                path: format!("{} on the target", action.repository.clone_path),
                expected: "the clone of the configuration".into(),
            })
        })?;
        self.build_at(context, access, action, &clone).await
    }

    /// As [`Stores::build`], from a clone anywhere.
    ///
    /// # Errors
    /// As [`Stores::build`].
    pub async fn build_at(
        &self,
        context: &CommandContext,
        access: &Access,
        action: &RealiseSystem,
        clone: &Utf8Path,
    ) -> Result<StorePath, Fault> {
        guard::vetted(clone, &action.repository)?;
        let attribute = flake_attribute(clone, &action.revision, &action.host);
        let what = format!("evaluation of {attribute}");
        if action.verify || !self.caches_are_ours() {
            self.forget_caches()?;
        }
        let had_caches = self.has_caches()?;
        let owner = other_owner(clone)?;
        let mut evaluated = self.evaluate(context, access, &attribute, &what, owner).await;
        if let Err(fault) = &evaluated
            && !matches!(fault.class, FaultClass::Hardware | FaultClass::Interrupted)
        {
            // A program that was killed while it wrote there may be why, whatever it is.
            self.forget_caches()?;
            if had_caches && fault.class != FaultClass::Transient {
                context
                    .reporter
                    .notice("landfall deletes Nix's caches on the target, and Nix evaluates again");
                evaluated = self.evaluate(context, access, &attribute, &what, owner).await;
            }
        }
        let derivation = evaluated?;
        // A host that cannot be installed is not built first.
        host_loader::of_derivation(&self.root, &derivation)?;
        context.reporter.step(format!("realise {derivation}"));
        let mut realise = self
            .nix_store()
            .args([
                "--realise",
                derivation.as_str(),
                "--log-format",
                "internal-json",
                "--cores",
                "0",
            ])
            .args(self.settings());
        for (key, value) in access.env() {
            realise = realise.env(key, value);
        }
        let what = format!("build of {attribute}");
        let (ended, log) = follow(context, realise, true).await?;
        let ended = succeeded(&what, ended, &log, &self.root)?;
        parse_path(&what, &ended.stdout)
    }

    async fn evaluate(
        &self,
        context: &CommandContext,
        access: &Access,
        attribute: &str,
        what: &str,
        owner: Option<u32>,
    ) -> Result<StorePath, Fault> {
        context.reporter.step(format!("evaluate {attribute}"));
        let mut eval = self
            .nix()
            .args([
                "eval",
                "--raw",
                "--store",
                &self.root.as_arg(),
                "--no-write-lock-file",
            ])
            .args(["--log-format", "internal-json"])
            .args(self.settings())
            .arg(format!("{attribute}.drvPath"))
            // The Git that Nix runs takes a repository where it is run for its own.
            .dir("/")
            // A Git fetch that stalls hangs for ever inside Nix. Evaluation is silent too, so there is room for it.
            .silence_max(Duration::from_secs(60 + 4 * u64::from(self.stall_s)));
        if let Some(owner) = owner {
            eval = eval.env(OWNER_ACCOUNT, owner.to_string());
        }
        for (key, value) in access.env() {
            eval = eval.env(key, value);
        }
        let (ended, log) = follow_evaluation(context, eval).await?;
        let ended = succeeded(what, ended, &log, &self.root)?;
        parse_path(what, &ended.stdout)
    }
}

fn parse_path(what: &str, stdout: &str) -> Result<StorePath, Fault> {
    let last = stdout.lines().last().unwrap_or_default().trim();
    last.parse().map_err(|e| {
        MachineFault::OutputUnknown {
            on: what.to_owned(),
            program: "nix".into(),
            reason: format!("it is not a store path: {e}"),
            line: None,
        }
        .into()
    })
}

/// The flake's attribute, pinned to the revision whatever the work tree holds.
fn flake_attribute(clone: &Utf8Path, revision: &Revision, host: &HostName) -> String {
    let path: String = clone
        .as_str()
        .bytes()
        .map(|b| match b {
            b'/' | b'.' | b'_' | b'-' | b'~' => char::from(b).to_string(),
            b if b.is_ascii_alphanumeric() => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        })
        .collect();
    let has_submodules = clone.join(".gitmodules").exists();
    let submodules = if has_submodules { "&submodules=1" } else { "" };
    format!(
        "git+file://{path}?rev={revision}&allRefs=1{submodules}#nixosConfigurations.\"{host}\".config.system.build.toplevel"
    )
}
