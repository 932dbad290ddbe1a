//! The rhythm of a step without the driver: look, judge, act, look.
//!
//! As in the driver, a transient fault is tried again, and only a verdict ends the step. Everything else is a failure, with
//! the text that landfall would have reported. There are no attempts over several runs, no checkpoint and no waits.

use landfall_states::fault::{Fault, FaultClass};
use landfall_states::{Step, Verdict};

/// Attempts in one run: more than a state that can be repaired needs.
const ATTEMPTS: usize = 4;

/// Carries a step out until it is done.
pub async fn carry<S: Step>(
    action: &S,
    mut look: impl AsyncFnMut() -> Result<S::Facts, Fault>,
    mut act: impl AsyncFnMut(S::Order) -> Result<(), Fault>,
) -> Result<(), String>
where
    S::Facts: std::fmt::Debug,
{
    let mut told = String::new();
    for _ in 0..ATTEMPTS {
        let facts = match look().await {
            Ok(facts) => facts,
            Err(fault) if fault.class == FaultClass::Transient => {
                told = format!("look: {fault}");
                continue;
            }
            Err(fault) => return Err(format!("look: {fault}")),
        };
        match action.judge(&facts) {
            Verdict::Done(_) => return Ok(()),
            Verdict::Refuse(fault) => return Err(format!("judge: {fault}")),
            Verdict::NeedsConsent(erasure) => return Err(format!("judge: wants consent: {erasure}")),
            Verdict::Todo(order) => match act(order).await {
                Ok(()) => told = format!("the order was carried out and is seen not to be: {facts:?}"),
                Err(fault) if fault.class == FaultClass::Transient => told = format!("act: {fault}"),
                Err(fault) => return Err(format!("act: {fault}")),
            },
        }
    }
    Err(format!("not done after {ATTEMPTS} attempts: {told}"))
}
