//! What the remote names, and who wrote the records.
//!
//! The attacker has no passphrase, so the inside of a container is out of reach.
//!
//! The states judge.

use crate::sim::inject::operator::EVIL_DIGIT;
use crate::sim::inject::planted::planted;
use crate::sim::model::environment::Moved;
use crate::sim::model::evidence::container_key;
use crate::sim::model::facts::is_commit;
use crate::sim::world::run::{Act, SimWorld};
use landfall_states::actions::clone_configuration::{CloneConfiguration, Standing};
use landfall_states::fault::Fault;
use landfall_states::names::{Revision, StorePath};
use landfall_states::plan::Payload;

impl SimWorld {
    /// The container was seen to be ours and to open.
    pub fn container_opened(&mut self) {
        if let Some(key) = container_key(self.disk(), &self.setting) {
            self.record_keys.hold(key);
        }
    }

    /// What the remote names now for a payload.
    pub fn named(&self, payload: &Payload) -> Revision {
        match self.setting.moved {
            Moved::On | Moved::Away if !is_commit(payload) => self.setting.named_now(),
            Moved::No | Moved::On | Moved::Away => self.setting.revision_of(payload),
        }
    }

    /// What the remote says of a wish.
    ///
    /// # Errors
    /// The remote cannot be asked: the fault that the schedule has for it.
    pub async fn standing(&mut self, step: &CloneConfiguration) -> Result<Standing, Fault> {
        if !step.is_wish {
            return Ok(Standing::NotAsked);
        }
        if self.granted || planted!(self, PinFromRecord) {
            return Ok(Standing::Named);
        }
        if planted!(self, EvaluatedEarly) {
            self.uses(Some(&step.revision), None);
        }
        let asked = self.act("ask the remote", Act::Ask).await;
        self.came = None;
        asked?;
        let now = self.setting.named_now();
        let is_ancestor = self.setting.moved != Moved::Away && step.revision == self.setting.first;
        if step.revision == now || is_ancestor {
            self.granted = true;
            return Ok(Standing::Named);
        }
        Ok(Standing::Elsewhere { now, named_by: None })
    }

    /// What somebody else than the configuration asked for is about to be evaluated or activated.
    pub fn uses(&mut self, revision: Option<&Revision>, system: Option<&StorePath>) {
        let evil = revision.is_some_and(|revision| revision.as_str().starts_with(EVIL_DIGIT));
        let strange = system.is_some_and(|system| *system != self.setting.system);
        if evil {
            self.checks
                .get_mut()
                .not_named("a commit that no reference names was evaluated");
        }
        if strange {
            self.checks
                .get_mut()
                .not_named("a system that no evaluation came to was activated");
        }
    }
}
