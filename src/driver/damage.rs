//! Damage of the root filesystem: what its repair takes away is not known, and nothing that was found in order before counts any more.

use super::{Halt, Run};
use crate::world::World;
use landfall_states::Phase;
use landfall_states::checkpoint::Mark;
use landfall_states::fault::Fault;

impl<W: World> Run<'_, W> {
    /// Whether damage of the root filesystem was met in this run.
    pub(super) fn is_damaged(&mut self) -> bool {
        let seen = self.world.damages_seen();
        self.damaged |= seen > self.damages;
        self.damages = seen;
        self.damaged
    }

    /// The root filesystem was repaired behind something that this run does not look at again.
    pub(super) fn end_if_repaired(&mut self) -> Result<(), Halt> {
        let Some(fault) = self.ends_repaired.take() else {
            return Ok(());
        };
        (self.unverified, self.dirty) = (true, true);
        Err(self.halt(fault))
    }

    /// After a fault that a look or an order ended with.
    pub(super) async fn met(&mut self, fault: Fault, retry: &mut u32) -> Result<(), Halt> {
        let fault = self.world.cause_of(fault);
        let before = self.damages;
        if self.is_damaged() && self.damages > before && self.unverified {
            self.ends_repaired = (self.claim.phase() > Phase::Formatted).then(|| fault.clone());
        } else if self.damages > before {
            // The repair takes files away: a run that is killed behind it must not have ended in good order.
            (self.unverified, self.dirty) = (true, true);
            self.save(Mark::Begun).await?;
            // What this run found in order before, and the step that was made so, are not looked at again in it.
            if self.claim.phase() >= Phase::Formatted {
                return Err(self.halt(fault));
            }
        }
        self.after(fault, retry).await
    }
}
