//! Checks the contents of the target store by their hashes, and corrects wrong ones.
//!
//! A wrong path is an answer, never a fault. If Nix can neither repair nor forget a path, the database is put aside, and
//! everything is copied again.
//!
//! `nix::database` says whether the database can be read; `nix::store` copies and builds.

use crate::real::boot::leftovers;
use crate::real::fs::target_root;
use crate::real::nix::client::{Stores, failed, follow, survived};
use crate::real::nix::{database, permissions, sizes};
use crate::real::process::context::CommandContext;
use landfall_states::actions::realise_system::{Contents, PutAside};
use landfall_states::fault::{Fault, FaultClass, StoreFault};
use landfall_states::image::Image;

/// Most store paths that one command gets.
const PATHS_MAX: usize = 4_000;
/// Most wrong store paths that are named.
const LOST_NAMED_MAX: usize = 3;

/// What hashing gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verified {
    /// An answer.
    Contents(Contents),
    /// Nix gave up, and named no path: what the database says cannot be compared with the files.
    Unusable(String),
}

impl Stores {
    /// Hashes everything that the database has, but for what is too long to be right. The database must be there.
    ///
    /// # Errors
    /// Nix fails, or the target cannot be read.
    pub async fn verify(&self, context: &CommandContext) -> Result<Verified, Fault> {
        context.reporter.step("verify the contents of the target store");
        // Nix would read all of it, and holes are read like bytes.
        let oversized = sizes::oversized(&self.root, database::DIR)?;
        if let Some(first) = oversized.first() {
            context.reporter.notice(format!(
                "{} store path(s) on the target are longer than Nix registered, and are not read: {first}",
                oversized.len()
            ));
            return Ok(Verified::Contents(Contents::Corrupt(oversized)));
        }
        let program = self.nix().args([
            "store",
            "verify",
            "--store",
            &self.root.as_arg(),
            "--all",
            "--no-trust",
            "--log-format",
            "internal-json",
        ]);
        let what = "verification of the target store";
        let (ended, log) = follow(context, program, false).await?;
        if ended.success() {
            let wrong = permissions::wrong(&self.root)?;
            return Ok(Verified::Contents(if wrong.is_empty() {
                Contents::Verified
            } else {
                Contents::Permissions(wrong)
            }));
        }
        let ended = survived(what, ended)?;
        let fault = failed(what, &ended, &log, &self.root);
        if fault.class == FaultClass::Hardware {
            return Err(fault);
        }
        let paths = log.corrupt();
        Ok(if paths.is_empty() {
            Verified::Unusable(fault.why())
        } else {
            Verified::Contents(Contents::Corrupt(paths))
        })
    }

    /// Makes wrong paths right: from the installer's store or the caches in their place; where that fails, they are
    /// forgotten with everything that refers to them, and copied or built again later; where that fails, too, the whole
    /// database is put aside. Whether it was.
    ///
    /// # Errors
    /// Nix fails, or a path is wrong that nothing can give again.
    pub async fn repair(&self, context: &CommandContext, corrupt: &[String]) -> Result<bool, Fault> {
        if corrupt.is_empty() {
            return Ok(false);
        }
        context.reporter.notice(format!(
            "{} store path(s) on the target have wrong contents and are made again: {}",
            corrupt.len(),
            corrupt.iter().take(5).cloned().collect::<Vec<_>>().join(" ")
        ));
        let mut repaired = true;
        for paths in corrupt.chunks(PATHS_MAX) {
            let repair = self
                .nix_store()
                .args(self.settings())
                .args(["--log-format", "internal-json", "--repair-path"])
                .args(paths.iter().cloned());
            let (ended, _) = follow(context, repair, false).await?;
            repaired = survived("repair of wrong store paths", ended)?.success();
            if !repaired {
                break;
            }
        }
        if repaired {
            target_root::sync_filesystem(&self.root)?;
            return Ok(false);
        }
        let mut doomed: Vec<String> = vec![];
        for paths in corrupt.chunks(PATHS_MAX) {
            let query = self
                .nix_store()
                .args(["--query", "--referrers-closure"])
                .args(paths.iter().cloned());
            let what = "search for what refers to wrong store paths";
            let (ended, log) = follow(context, query, false).await?;
            let ended = survived(what, ended)?;
            if !ended.success() {
                return self.give_up(context, failed(what, &ended, &log, &self.root));
            }
            doomed.extend(ended.stdout.split_whitespace().map(str::to_owned));
        }
        doomed.sort();
        doomed.dedup();
        if doomed.len() > PATHS_MAX {
            // More than one command can name: everything is copied again.
            let unusable = PutAside {
                why: format!(
                    "{} of its paths are wrong, or refer to a wrong path",
                    doomed.len()
                ),
                finished: true,
            };
            return database::put_aside(context, self, &unusable).map(|()| true);
        }
        // Nix deletes a path only together with all that refer to it, so they go in one call.
        let delete = self
            .nix_store()
            .args(["--delete", "--ignore-liveness"])
            .args(doomed);
        let what = "removal of wrong store paths";
        let (ended, log) = follow(context, delete, false).await?;
        let ended = survived(what, ended)?;
        if !ended.success() {
            return self.give_up(context, failed(what, &ended, &log, &self.root));
        }
        for (name, why) in leftovers::clear_generations(&self.root)? {
            context
                .reporter
                .step(format!("remove {name} among the target's profiles: {why}"));
        }
        target_root::sync_filesystem(&self.root)?;
        Ok(false)
    }

    /// The last resort. A path that no database has is written again, whatever is at its place.
    fn give_up(&self, context: &CommandContext, fault: Fault) -> Result<bool, Fault> {
        if fault.class == FaultClass::Hardware {
            return Err(fault);
        }
        let unusable = PutAside {
            why: fault.to_string(),
            finished: true,
        };
        database::put_aside(context, self, &unusable).map(|()| true)
    }
}

/// Paths that were read back whole from the disk, and are not whole any more. An image has no paths that could be copied.
pub fn lost(image: &Image, corrupt: &[String]) -> Fault {
    StoreFault::PathsLost {
        system: image.system.to_string(),
        paths: corrupt.iter().take(LOST_NAMED_MAX).cloned().collect(),
        more: corrupt.len().saturating_sub(LOST_NAMED_MAX) as u64,
    }
    .into()
}
