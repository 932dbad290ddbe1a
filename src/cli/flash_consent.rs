//! The consent to erase a stick, or the keys on it.
//!
//! A plain stick needs a yes. A fixed disk or a large one needs its name, typed or given in advance. If landfall cannot ask, it
//! writes nothing and prints the command that agrees.
//!
//! `flash::sticks` says which disk is which, `real::disk::named` which name can agree, and `flash_words` has the questions.

use super::flash::{Seen, Wrong, output};
use super::flash_run::Run;
use super::flash_words::{self as words, Question};
use crate::exit::Exit;
use crate::flash::error::Error;
use crate::flash::sticks::{Judged, Standing};
use crate::real::disk::locked::HeldDisk;
use crate::real::disk::named;
use crate::real::disk::usage::{option_word, shell};
use std::io::Write;

/// Why nobody agreed who was not asked.
const NOBODY: &str = "landfall cannot ask: standard input is not a terminal, or --json is set";

/// Ctrl-C, or the end of what can be read, in place of an answer.
fn stopped_while_asked() -> Error {
    Error::StoppedBefore {
        doing: "the question was open".into(),
    }
}

impl Run<'_> {
    /// Looks at the machine again: what was judged and agreed to is what is still there. What another landfall is just writing is that
    /// one's, whatever it looks like meanwhile.
    pub(super) fn again_as_before(&self, judged: &Judged) -> Result<Judged, Error> {
        self.as_before(judged)
            .map_err(|error| self.taken_by_another(judged).unwrap_or(error))
    }

    /// The fault of a stick that another landfall holds.
    fn taken_by_another(&self, judged: &Judged) -> Option<Error> {
        // One that is gone, or cannot be opened, is told as what was seen of it.
        let mut held = HeldDisk::open_name(&judged.block.name).ok()?;
        let locked = Error::from(self.runtime.block_on(held.take()).err()?);
        (locked.exit() == Exit::Locked).then_some(locked)
    }

    fn as_before(&self, judged: &Judged) -> Result<Judged, Error> {
        let now = self.find(&judged.block.device(), &self.look()?)?;
        words::refuse_never(&Some(now.clone()))?;
        if now.identity() != judged.identity() || now.standing != judged.standing || now.holds != judged.holds
        {
            return Err(Error::Refused {
                stick: judged.shown(),
                reasons: vec![format!(
                    "it changed after landfall checked it: it is now {}, and holds {}",
                    now.shown(),
                    if now.holds.is_empty() {
                        "nothing known".into()
                    } else {
                        now.holds.join(", ")
                    }
                )],
                next: "landfall flash (it lists the sticks)".into(),
                is_systems: false,
            });
        }
        Ok(now)
    }

    /// A refusal because there is no consent.
    pub(super) fn no_consent(
        judged: &Judged,
        reason: impl Into<String>,
        next: String,
        declined: bool,
    ) -> Error {
        Error::NoConsent {
            stick: judged.shown(),
            reason: reason.into(),
            next,
            declined,
        }
    }

    /// The command that agrees in advance.
    fn agreeing(&self, judged: &Judged, how: &str) -> String {
        let device = shell(&judged.block.device());
        let resume = if self.args.resume { " --resume" } else { "" };
        let options = self.options_but_consent();
        format!(
            "landfall flash {} {device}{options}{resume} {how}",
            self.image_word()
        )
    }

    /// What agrees to this disk.
    fn consenting(&self, judged: &Judged) -> String {
        let how = match (&judged.standing, judged.name.as_deref()) {
            (Standing::Named(_), Some(name)) => option_word("--erase-disk", name),
            (Standing::Named(_), None) => {
                return "attach it to another port or adapter, where it has a unique name, then run the same command".into();
            }
            (Standing::Stick | Standing::Never { .. }, _) => "--yes".into(),
        };
        match self.args.forget_keys {
            Some(_) => format!("{} {how}", self.forgetting(judged)),
            None => self.agreeing(judged, &how),
        }
    }

    /// The command that takes keys off a disk.
    pub(super) fn forgetting(&self, judged: &Judged) -> String {
        let device = shell(&judged.block.device());
        format!(
            "landfall flash --forget-keys {device}{}",
            self.options_but_consent()
        )
    }

    /// Who agrees that keys go off a disk: a fixed disk or a large one wants its name, as for an erasure.
    pub(super) fn agree_to_forget(
        &self,
        judged: &Judged,
        seen: &Seen,
        out: &mut dyn Write,
    ) -> Result<(), Wrong> {
        if let Some(given) = &self.args.erase_disk {
            return Ok(self.is_named(given, judged, seen)?);
        }
        let question = match (&judged.standing, &judged.name) {
            (Standing::Never { .. }, _) => return Ok(words::refuse_never(&Some(judged.clone()))?),
            (Standing::Stick, _) if self.args.yes => return Ok(()),
            (Standing::Stick, _) => Question::Forget,
            (Standing::Named(reasons), name) => Question::ForgetNamed {
                name: name.clone().unwrap_or_default(),
                reasons: reasons.clone(),
            },
        };
        let refused = |reason: String, declined| {
            let reason = format!("{reason}; the keys are still there");
            Self::no_consent(judged, reason, self.consenting(judged), declined)
        };
        let can_answer = judged.name.is_some() || matches!(question, Question::Forget);
        if self.args.json || !can_answer || !words::can_ask() {
            let reason = match &judged.standing {
                Standing::Named(reasons) => reasons.join("; "),
                Standing::Stick | Standing::Never { .. } => NOBODY.into(),
            };
            return Err(refused(reason, false).into());
        }
        match (
            &question,
            words::ask(&question, &judged.shown(), &self.stop, out)
                .map_err(output)?
                .as_deref(),
        ) {
            (_, None) => Err(stopped_while_asked().into()),
            (Question::Forget, Some("yes")) => Ok(()),
            (Question::ForgetNamed { .. }, Some(answer)) if !answer.is_empty() => {
                Ok(self.is_named(answer, judged, seen)?)
            }
            (_, Some(_)) => Err(refused("the answer was no".into(), true).into()),
        }
    }

    /// Whether a name agrees to the erasure of this disk and no other.
    fn is_named(&self, given: &str, judged: &Judged, seen: &Seen) -> Result<(), Error> {
        named::agrees(given, &judged.block.identity, &seen.names)
            .map_err(|why| Self::no_consent(judged, why, self.consenting(judged), false))
    }

    pub(super) fn agree(
        &self,
        judged: &Judged,
        seen: &Seen,
        with_keys: bool,
        out: &mut dyn Write,
    ) -> Result<(), Wrong> {
        if let Some(given) = &self.args.erase_disk {
            return Ok(self.is_named(given, judged, seen)?);
        }
        let (question, unasked) = match (&judged.standing, &judged.name) {
            (Standing::Never { .. }, _) => return Ok(words::refuse_never(&Some(judged.clone()))?),
            (Standing::Stick, _) if self.args.yes => return Ok(()),
            (Standing::Stick, _) => {
                let unasked = Self::no_consent(judged, NOBODY, self.consenting(judged), false);
                (Question::Yes { with_keys }, unasked)
            }
            (Standing::Named(reasons), Some(name)) => {
                let question = Question::Name {
                    name: name.clone(),
                    reasons: reasons.clone(),
                    with_keys,
                };
                let next = self.consenting(judged);
                (
                    question,
                    Self::no_consent(judged, reasons.join("; "), next, false),
                )
            }
            (Standing::Named(reasons), None) => {
                let reason = format!("{}; and it has no name that is unique to it", reasons.join("; "));
                return Err(Self::no_consent(judged, reason, self.consenting(judged), false).into());
            }
        };
        if self.args.json || !words::can_ask() {
            return Err(unasked.into());
        }
        let answer = words::ask(&question, &judged.shown(), &self.stop, out).map_err(output)?;
        match (&question, answer) {
            (Question::Yes { .. }, Some(answer)) if answer == "yes" => Ok(()),
            (Question::Name { .. }, Some(answer)) if !answer.is_empty() => {
                Ok(self.is_named(&answer, judged, seen)?)
            }
            (_, None) => Err(stopped_while_asked().into()),
            (_, Some(_)) => {
                let reason = "the answer was no; nothing was written";
                Err(Self::no_consent(judged, reason, "nothing".into(), true).into())
            }
        }
    }
}
