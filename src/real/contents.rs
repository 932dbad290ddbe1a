//! The contents of the target store: hashed, and made right where they are wrong. Law: a wrong path is an answer and never a
//! fault; whatever Nix cannot repair or forget ends with the database put aside, after which everything is copied again.
//!
//! Absent: whether the database can be read (`database`), copying and building (`closure`).

use crate::real::closure::{Stores, failed, follow, survived};
use crate::real::hands::Hands;
use crate::real::nixlog::corrupt_paths;
use crate::real::{database, rooted};
use landfall_states::cloned::{Contents, PutAside};
use landfall_states::fault::{Fault, FaultClass, StoreFault};
use landfall_states::image::Image;

/// How many wrong store paths are named.
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
    /// Hashes everything that the database has. It must be there.
    pub async fn verify(&self, hands: &Hands) -> Result<Verified, Fault> {
        hands.reporter.step("verify the contents of the target store");
        let program = self.nix().args([
            "store",
            "verify",
            "--store",
            self.root.as_str(),
            "--all",
            "--no-trust",
            "--log-format",
            "internal-json",
        ]);
        let what = "verification of the target store";
        let (ended, log) = follow(hands, program, false).await?;
        if ended.success() {
            return Ok(Verified::Contents(Contents::Verified));
        }
        let ended = survived(what, ended)?;
        let fault = failed(what, &ended, &log, &self.root);
        if fault.class == FaultClass::Hardware {
            return Err(fault);
        }
        let paths = corrupt_paths(&log.said());
        Ok(if paths.is_empty() {
            Verified::Unusable(fault.why())
        } else {
            Verified::Contents(Contents::Corrupt(paths))
        })
    }

    /// Makes wrong paths right: from the installer's store or the caches in their place; where that fails, they are
    /// forgotten with everything that refers to them, and copied or built again later; where that fails, too, the whole
    /// database is put aside. Whether it was.
    pub async fn heal(&self, hands: &Hands, corrupt: &[String]) -> Result<bool, Fault> {
        if corrupt.is_empty() {
            return Ok(false);
        }
        hands.reporter.notice(format!(
            "{} store path(s) on the target have wrong contents and are made anew: {}",
            corrupt.len(),
            corrupt.iter().take(5).cloned().collect::<Vec<_>>().join(" ")
        ));
        let repair = self
            .nix_store()
            .args(self.settings())
            .args(["--log-format", "internal-json", "--repair-path"])
            .args(corrupt.iter().cloned());
        let (ended, _) = follow(hands, repair, false).await?;
        if survived("repair of wrong store paths", ended)?.success() {
            rooted::sync_filesystem(&self.root)?;
            return Ok(false);
        }
        let query = self
            .nix_store()
            .args(["--query", "--referrers-closure"])
            .args(corrupt.iter().cloned());
        let what = "search for what refers to wrong store paths";
        let (ended, log) = follow(hands, query, false).await?;
        let ended = survived(what, ended)?;
        if !ended.success() {
            return self.give_up(hands, failed(what, &ended, &log, &self.root));
        }
        let mut doomed: Vec<String> = ended.stdout.split_whitespace().map(str::to_owned).collect();
        doomed.sort();
        doomed.dedup();
        // Nix deletes a path only together with all that refer to it, so they go in one call.
        let delete = self
            .nix_store()
            .args(["--delete", "--ignore-liveness"])
            .args(doomed);
        let what = "removal of wrong store paths";
        let (ended, log) = follow(hands, delete, false).await?;
        let ended = survived(what, ended)?;
        if !ended.success() {
            return self.give_up(hands, failed(what, &ended, &log, &self.root));
        }
        rooted::sync_filesystem(&self.root)?;
        Ok(false)
    }

    /// The last resort. A path that no database has is written again, whatever is at its place.
    fn give_up(&self, hands: &Hands, fault: Fault) -> Result<bool, Fault> {
        if fault.class == FaultClass::Hardware {
            return Err(fault);
        }
        let unusable = PutAside {
            why: fault.to_string(),
            finished: true,
        };
        database::put_aside(hands, self, &unusable).map(|()| true)
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
