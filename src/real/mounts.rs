//! Attaching: the LUKS mapping and the mounts of this run.
//! (Stand-in of branch `system`: branch `volumes` brings the real one.)

use crate::real::Real;
use landfall_states::fault::Fault;

/// What this run has attached.
#[derive(Debug, Default)]
pub struct Attached {}

/// What is to be attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attach {
    /// The ESP, for slots.
    Checkpoint,
    /// The LUKS container.
    Container,
    /// Root and ESP.
    Target,
}

impl Real {
    /// Attaches; idempotent.
    pub async fn attach(&mut self, what: Attach) -> Result<(), Fault> {
        tracing::debug!(?what, "stand-in: nothing is attached");
        Ok(())
    }
}
