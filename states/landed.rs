//! **Landed**: finished. Law: nothing leads out of here; this type has no action.

use crate::Voyage;
use crate::names::{Revision, StorePath};
use crate::plan::Plan;

/// See the module.
#[derive(Debug)]
pub struct Landed {
    pub(crate) voyage: Voyage,
    pub(crate) system: StorePath,
}

impl Landed {
    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.voyage.plan
    }

    /// The system.
    pub fn system(&self) -> &StorePath {
        &self.system
    }

    /// The revision.
    pub fn revision(&self) -> &Revision {
        &self.voyage.revision
    }
}
