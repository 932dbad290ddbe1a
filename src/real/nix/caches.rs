//! What Nix keeps on the target between two of its runs: copies of the inputs' repositories, lists of what it fetched and
//! evaluated.
//!
//! All of it is scratch and belongs to one run. A copy of a repository has settings that Git takes orders from, and a list of
//! evaluations says what is built, so data from before this run are never read. After an unclean stop, and after a failed
//! evaluation, they are made again.
//!
//! `nix::evaluation` and `nix::store` use them.

use super::client::CACHES_DIR;
use crate::real::fs::target_root;
use crate::real::nix::client::Stores;
use landfall_states::fault::Fault;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// The targets whose caches this process made.
static MADE_HERE: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

impl Stores {
    /// Whether Nix has kept anything between two of its runs (Git repositories of inputs, what it fetched, what it evaluated).
    ///
    /// # Errors
    /// The target cannot be read.
    pub fn has_caches(&self) -> Result<bool, Fault> {
        let Some(dir) = self.root.dir(CACHES_DIR)? else {
            return Ok(false);
        };
        let names = target_root::names_in(dir.fd())
            .map_err(|e| target_root::io_fault(format!("/{CACHES_DIR} on the target"), &e))?;
        Ok(!names.is_empty())
    }

    /// Whether what is there was made by this run, so that nobody else wrote it.
    pub fn caches_are_ours(&self) -> bool {
        let made = MADE_HERE.lock().unwrap_or_else(PoisonError::into_inner);
        made.contains(&self.root.as_arg())
    }

    /// Removes what Nix keeps between two of its runs. It flushes none of that and does not look at it twice: after a power cut its
    /// copy of a repository may have lost its HEAD and its references, which it then fails over for ever. Sources that have a
    /// lock are in the store, and are not fetched again.
    ///
    /// # Errors
    /// The target cannot be written.
    pub fn forget_caches(&self) -> Result<(), Fault> {
        target_root::remove(&self.root, CACHES_DIR)?;
        target_root::ensure_dir(&self.root, CACHES_DIR, 0o755)?;
        let mut made = MADE_HERE.lock().unwrap_or_else(PoisonError::into_inner);
        made.insert(self.root.as_arg());
        Ok(())
    }
}
