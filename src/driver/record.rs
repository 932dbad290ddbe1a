//! Decides what a run uses from a record on the disk.
//!
//! A revision that only a record names is used only after it is proved who wrote the record. Nothing is used from a forged record;
//! the reference is resolved again.
//!
//! `states::recovery` and `states::actions::clone_configuration` judge; `states::authentic` checks the codes.

use super::Request;
use crate::event::Event;
use crate::world::World;
use landfall_states::authentic::Authenticity;
use landfall_states::checkpoint::authenticity;
use landfall_states::fault::{Attempts, Fault};
use landfall_states::names::Revision;
use landfall_states::recovery::{Pin, ResumePlan, Rule};

/// Checks everything before the first write, takes the disk, and finds out who wrote the record. The revision to go on with, and
/// whether it is a wish.
pub(super) async fn preflight<W: World>(
    world: &mut W,
    request: &Request,
    resume_plan: &mut ResumePlan,
    fresh: bool,
) -> Result<(Revision, bool), Fault> {
    let reference = &request.payload.repository.reference;
    let mut pin = resume_plan.pin(reference);
    if request.repin {
        pin = Pin::default();
    }
    if let Some(asked) = &pin.overruled {
        let what = format!(
            "the record on the disk names revision {asked}, and the configuration names {reference}; landfall uses the configuration"
        );
        world.tell(Event::Notice { what });
    }
    let revision = world
        .preflight(&resume_plan.plan, &request.payload, pin.revision.as_ref(), fresh)
        .await?;
    world.hold(&resume_plan.plan).await?;
    match authenticated(world, request, resume_plan, &mut pin, revision, fresh).await {
        Ok(revision) => Ok((revision, pin.is_wish)),
        Err(fault) => {
            // What this start took it gives back; why it stops is told first of all.
            if let Err(unclosed) = world.close().await {
                let what = unclosed.to_string();
                world.tell(Event::Notice { what });
            }
            Err(fault)
        }
    }
}

/// Who wrote the believed record, and which revision that leaves.
async fn authenticated<W: World>(
    world: &mut W,
    request: &Request,
    resume_plan: &mut ResumePlan,
    pin: &mut Pin,
    revision: Revision,
    fresh: bool,
) -> Result<Revision, Fault> {
    world.find_keys(&resume_plan.plan, !fresh).await?;
    let Some(trusted) = &resume_plan.trusted else {
        return Ok(revision);
    };
    if trusted.slot.is_some() {
        let own_copy = world.read_tmpfs().await?;
        resume_plan.authenticity = authenticity(&trusted.bytes, own_copy.as_deref(), world.keys());
    }
    match resume_plan.authenticity {
        Authenticity::Unproved => Ok(revision),
        Authenticity::Proved => {
            pin.is_wish = false;
            Ok(revision)
        }
        Authenticity::Forged => {
            world.tell(Event::Decided {
                rules: vec![Rule::Forged.number()],
                what: format!(
                    "{}: its authentication code is wrong, so landfall did not write it for this disk; landfall ignores it",
                    trusted.record
                ),
                claimed: None,
            });
            if std::mem::take(&mut pin.is_wish) {
                return world.resolve(&request.payload).await;
            }
            Ok(revision)
        }
    }
}

/// How often each step was tried so far.
pub(super) fn attempts<W: World>(world: &mut W, request: &Request, resume_plan: &ResumePlan) -> Attempts {
    let (mut attempts, impossible) = resume_plan.attempts(&request.budget);
    if let Some(count) = impossible {
        let what = format!(
            "the record counts {count} attempts, which is more than a run makes, and nothing proves the record: the counters start at zero"
        );
        world.tell(Event::Notice { what });
    }
    if request.reset_attempts {
        attempts.reset();
    }
    attempts
}
