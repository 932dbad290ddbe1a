//! A step of the install: facts, a verdict, an order. Only judging makes a proof or an order.
//!
//! `actions` has the steps themselves.

use crate::consent::Erasure;
use crate::fault::Fault;
use crate::image::ImageProgress;
use crate::phase::Phase;
use std::fmt;

/// What facts mean for an action.
#[derive(Debug)]
pub enum Verdict<Proof, Order> {
    /// The work is done; the proof opens the next state.
    Done(Proof),
    /// The work, or the rest of it, is to be done: exactly this.
    Todo(Order),
    /// The work would destroy something that nobody has agreed to lose: this.
    NeedsConsent(Erasure),
    /// Nothing may be done.
    Refuse(Fault),
}

/// One step of the install: an action with the facts it is judged by.
///
/// Contract for worlds: *observe* changes nothing that a power cut would keep (on a dirty filesystem, journal replay
/// excepted); *perform* is idempotent: carrying out an order twice, or carrying it out after it was cut off anywhere,
/// leaves what carrying it out once leaves, as far as the facts tell. Neither decides anything.
pub trait Step {
    /// The state it leads on from.
    const PHASE: Phase;
    /// What the world sees.
    type Facts: fmt::Debug;
    /// That the work is done. Only [`Step::judge`] makes one.
    type Proof;
    /// What is left to do. Only [`Step::judge`] makes one.
    type Order: fmt::Debug;

    /// Judges.
    fn judge(&self, facts: &Self::Facts) -> Verdict<Self::Proof, Self::Order>;
    /// What the action does, for `landfall plan`, in one line.
    fn describe(&self) -> String;
    /// What an order of it says is left to do, for people, in one line.
    fn remaining(&self, _order: &Self::Order) -> String {
        self.describe()
    }
    /// Whether the action is carried out in slices.
    const IN_SLICES: bool = false;
    /// How far such an action has come. A slice that brought it further is no attempt of its own, and is no success that did
    /// nothing.
    fn progress(&self, _facts: &Self::Facts) -> StepProgress {
        StepProgress::default()
    }
}

/// How far a step has come that is carried out in slices: what a record keeps of it, and what the driver compares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepProgress {
    image: Option<ImageProgress>,
}

impl StepProgress {
    /// Of the writing of an image.
    pub fn of_image(image: Option<ImageProgress>) -> StepProgress {
        StepProgress { image }
    }

    /// How far an image has come.
    pub fn image(&self) -> Option<&ImageProgress> {
        self.image.as_ref()
    }

    /// Whether it says anything.
    pub fn is_known(&self) -> bool {
        self.image.is_some()
    }

    /// Whether the step came further than `before`.
    pub fn is_beyond(&self, before: &StepProgress) -> bool {
        self.image
            .as_ref()
            .is_some_and(|image| image.is_beyond(before.image.as_ref()))
    }
}
