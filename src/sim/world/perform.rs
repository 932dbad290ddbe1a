//! The counterpart of a step, and how the driver's trait carries it out.
//!
//! A look that writes is a breach, except for the repairs of `world::repair`.
use crate::sim::inject::planted::planted;
use crate::sim::world::run::SimWorld;
use crate::world::Perform;
use landfall_states::Step;
use landfall_states::fault::{Fault, FaultClass};

/// A step's script.
#[allow(async_fn_in_trait)]
pub trait Script: Step {
    /// Looks.
    ///
    /// # Errors
    /// A fault that the case has here.
    async fn look(&self, world: &mut SimWorld) -> Result<Self::Facts, Fault>;
    /// Carries an order out.
    ///
    /// # Errors
    /// A fault that the case has here.
    async fn carry(&self, world: &mut SimWorld, order: &Self::Order) -> Result<(), Fault>;
    /// Whether an order makes anything. One that only asks what is there redoes nothing (I21).
    fn redoes(_order: &Self::Order) -> bool {
        true
    }
}

impl<S: Script> Perform<S> for SimWorld {
    async fn observe(&mut self, step: &S) -> Result<S::Facts, Fault> {
        self.checks.get_mut().looks();
        let before = self.disk().writes();
        let facts = step.look(self).await;
        let after = self.disk().writes();
        self.checks.get_mut().looked(S::PHASE, before, after);
        facts
    }

    async fn perform(&mut self, step: &S, order: S::Order) -> Result<(), Fault> {
        self.orders += 1;
        self.ordered_in = Some(S::PHASE);
        let disk = self.machine.disk(self.target());
        if S::redoes(&order) {
            self.checks
                .borrow_mut()
                .order_begins(&self.setting, disk, S::PHASE);
        }
        let carried = step.carry(self, &order).await;
        // Whatever came of it, part of it may be in caches only.
        self.written_out = false;
        match carried {
            // How it ended is not known, and it is tried again without a look.
            Err(fault) if planted!(self, RetryBlind) && fault.class == FaultClass::Transient => {
                step.carry(self, &order).await?;
            }
            result => result?,
        }
        if self.setting.case.twice {
            self.checks.get_mut().again = true;
            let second = step.carry(self, &order).await;
            self.checks.get_mut().again = false;
            second?;
        }
        Ok(())
    }
}
