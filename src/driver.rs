//! The driver: look, judge, act, look again, judge again.
//!
//! It holds no rule of its own. The states judge from facts what to do, and the world does it. The driver calls
//! look, judge and act in turn, counts attempts and saves the checkpoint. Every loop here is bounded, by the number of states or by the budget.
//!
//! A run, first or resumed, begins at `Planned` and looks at every step. What is done is skipped because it was seen to be
//! done, not because a checkpoint says so.
//!
//! Devices, programs and clocks belong to the [`World`].

mod damage;
mod last_word;
mod record;

use crate::checkpoint_store::{Place, Store};
use crate::event::Event;
use crate::world::{Perform, World};
use landfall_states::checkpoint::{Mark, Record};
use landfall_states::consent::{Consent, Erasure};
use landfall_states::fault::{AfterFault, Attempts, Budget, Fault, FaultClass, Kind, LastEnding, Remedy};
use landfall_states::names::{HostName, Revision};
use landfall_states::plan::{Layout, Payload, Plan};
use landfall_states::recovery::{Decision, ResumePlan, Rule, Situation, decide};
use landfall_states::state::Planned;
use landfall_states::{Phase, RecordedPhase, State, Step, StepProgress, Verdict};
use last_word::nothing_there;
use std::time::Duration;

/// How often a tool may report success without doing its work, before that is reported as a defect of the tool.
const EMPTY_SUCCESSES_MAX: u32 = 3;
/// How often consent is asked for one step: what is there may change once while a person reads.
const CONSENTS_MAX: u32 = 2;

/// What is asked of a run.
#[derive(Debug, Clone)]
pub struct Request {
    /// The host.
    pub host: HostName,
    /// Its layout.
    pub layout: Layout,
    /// Its payload.
    pub payload: Payload,
    /// The configuration's reinstall number.
    pub reinstall: u32,
    /// A person asked for a new install over whatever is there.
    pub reinstall_requested: bool,
    /// Only go on with what is under way.
    pub resume_only: bool,
    /// Forget the attempts made so far.
    pub reset_attempts: bool,
    /// Resolve the reference again, whatever revision the record asks for.
    pub repin: bool,
    /// Retries.
    pub budget: Budget,
}

/// How a run ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The install landed in this run.
    Landed {
        /// The system.
        system: String,
        /// The revision.
        revision: Revision,
    },
    /// It had landed before; nothing was touched.
    AlreadyLanded {
        /// The system.
        system: String,
        /// The revision.
        revision: Revision,
    },
    /// A resume was asked for and there is nothing under way.
    NothingToResume {
        /// For a person.
        why: String,
        /// What the reason lists.
        list: Vec<String>,
        /// What to do: a new install, or what keeps every disk from taking one.
        remedy: Remedy,
    },
}

/// How a run stopped before the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halt {
    /// Where; `None` when nothing was begun, and no disk was written to.
    pub phase: Option<Phase>,
    /// Why, and what to do.
    pub fault: Fault,
    /// The recovery rule that says so, when one does.
    pub rule: Option<Rule>,
}

/// Runs an install to its end, or to a stop with a reason. Whatever happens, what this run attached is released, the
/// checkpoint says so, and the last event says how the run ended: a run without such an event was killed.
///
/// # Errors
/// [`Halt`]: a refusal, the fault that ended the run, or the stop request.
pub async fn run<W: World>(world: &mut W, request: &Request) -> Result<Outcome, Halt> {
    // `install` begins and goes on; `resume` would find nothing where nothing was begun.
    let result = begin(world, request).await.map_err(|halt| match halt.phase {
        None if !request.resume_only => Halt {
            fault: halt.fault.before_begin(),
            ..halt
        },
        Some(_) | None => halt,
    });
    // Which rule says so is told as for every other decision.
    if let Err(halt) = &result
        && let Some(rule) = halt.rule
    {
        world.tell(Event::Decided {
            rules: vec![rule.number()],
            what: format!("nothing is done to {}", halt.fault.what()),
            claimed: None,
        });
    }
    world.tell(last_word::of(&result));
    result
}

async fn begin<W: World>(world: &mut W, request: &Request) -> Result<Outcome, Halt> {
    // Until the disk is held nothing is begun: no phase is to blame, and a person reads that nothing was written.
    let at_start = |fault: Fault| Halt {
        phase: None,
        fault,
        rule: None,
    };
    let survey = world.survey().await.map_err(at_start)?;
    let tmpfs = world.read_tmpfs().await.map_err(at_start)?;
    let decision = decide(&Situation {
        host: &request.host,
        layout: &request.layout,
        payload: &request.payload,
        reinstall: request.reinstall,
        reinstall_requested: request.reinstall_requested,
        disks: &survey.disks,
        choice: &survey.choice,
        named: survey.named,
        tmpfs: tmpfs.as_deref(),
    });
    let rules = decision.rules().iter().map(|r| r.number()).collect();
    let (resume_plan, fresh) = match decision {
        Decision::Landed { record, why } => {
            world.settle_landed(&record.disk).await.map_err(at_start)?;
            world.tell(Event::Decided {
                rules,
                what: why,
                claimed: Some(record.phase()),
            });
            return Ok(Outcome::AlreadyLanded {
                system: record.claim.system().map(ToString::to_string).unwrap_or_default(),
                revision: record.revision,
            });
        }
        Decision::Stop { rule, fault } => {
            if request.resume_only
                && let Some((why, list)) = nothing_there(&request.host, &survey, tmpfs.is_some(), &fault)
            {
                // No install helps where no disk can take one: what keeps the disks from it comes first.
                let remedy = fault.before_begin().remedy;
                return Ok(Outcome::NothingToResume { why, list, remedy });
            }
            return Err(Halt {
                rule,
                ..at_start(fault)
            });
        }
        Decision::Begin(resume_plan) => (resume_plan, true),
        Decision::Continue(resume_plan) => (resume_plan, false),
    };
    world.tell(Event::Decided {
        rules,
        what: resume_plan.why.clone(),
        claimed: resume_plan.claimed(),
    });
    // A first attempt that was cut off before the ESP existed is under way too.
    if request.resume_only && fresh && resume_plan.trusted.is_none() {
        return Ok(Outcome::NothingToResume {
            why: resume_plan.why,
            list: vec![],
            remedy: Remedy::resume().before_begin(),
        });
    }
    let mut resume_plan = resume_plan;
    let (revision, is_wish) = record::preflight(world, request, &mut resume_plan, fresh)
        .await
        .map_err(at_start)?;
    let vouched = resume_plan.vouched(&revision).cloned();
    let first = Planned::new(
        (*resume_plan.plan).clone(),
        revision.clone(),
        // A new table makes everything behind it new: a claim of a former one says nothing about it.
        if fresh { None } else { resume_plan.claimed() },
        resume_plan.unclean(),
    )
    .on_a_wish(is_wish)
    .vouched_for(vouched);
    let mut run = Run::new(world, request, &resume_plan, revision);
    let end = run.travel(State::Planned(first), &resume_plan).await;
    run.settle(end).await
}

struct Run<'w, W: World> {
    world: &'w mut W,
    budget: Budget,
    store: Store,
    attempts: Attempts,
    last_fault: Option<Fault>,
    /// How the last attempt ended, also that of a former run, where nobody knows such an ending.
    last_ending: LastEnding,
    plan: Plan,
    revision: Revision,
    /// The state reached in this run, by looking.
    claim: RecordedPhase,
    /// Whether this run has written anything that its end must be told apart from a crash.
    dirty: bool,
    /// Whether what an unclean stop left has not been verified yet. Until it is, no end of a run may call itself clean.
    unverified: bool,
    /// How often damage of the root filesystem was met, and whether it ever was.
    damages: u32,
    damaged: bool,
    /// The damage that this run met behind a clone that it had found in order or made: when it is repaired, the next run verifies that too.
    ends_repaired: Option<Fault>,
    /// How far a step in slices has come, as the checkpoint said or as this run saw.
    progress: StepProgress,
}

impl<'w, W: World> Run<'w, W> {
    fn new(world: &'w mut W, request: &Request, resume_plan: &ResumePlan, revision: Revision) -> Self {
        let attempts = record::attempts(world, request, resume_plan);
        Run {
            world,
            budget: request.budget,
            store: Store::new(resume_plan),
            attempts,
            last_fault: None,
            // What was repaired by hand may end otherwise now: a person says so with the wish to begin the counts anew.
            last_ending: if request.reset_attempts {
                LastEnding::default()
            } else {
                resume_plan.last_ending()
            },
            plan: (*resume_plan.plan).clone(),
            revision,
            claim: RecordedPhase::Planned,
            dirty: false,
            unverified: resume_plan.unclean(),
            damages: 0,
            damaged: false,
            ends_repaired: None,
            // What was begun of another payload is another image's, which the states see.
            progress: StepProgress::of_image(resume_plan.image_progress().cloned()),
        }
    }

    /// From state to state. No wildcard: a new state asks for its arm here.
    async fn travel(&mut self, mut state: State, resume_plan: &ResumePlan) -> Result<State, Halt> {
        loop {
            self.claim = state.claim();
            if self.claim.phase() >= Phase::Realised {
                self.unverified = false;
            } else if self.is_damaged() {
                self.unverified = true;
                state = state.distrusted();
            }
            state = match state {
                State::Planned(s) => {
                    let proof = self.step(|consent| s.action(consent)).await?;
                    State::Partitioned(s.advance(proof))
                }
                State::Partitioned(s) => {
                    let proof = self.step(|consent| s.action(consent)).await?;
                    State::Anchored(s.advance(proof))
                }
                State::Anchored(s) => {
                    let proof = self.step(|consent| s.action(consent)).await?;
                    State::Encrypted(s.advance(proof))
                }
                State::Encrypted(s) => {
                    let progress = self.progress.clone();
                    let proof = self.step(|consent| s.action(consent, &progress)).await?;
                    State::Formatted(s.advance(proof))
                }
                State::Formatted(s) => {
                    let proof = self.step(|_| s.action()).await?;
                    State::Cloned(s.advance(proof))
                }
                State::Cloned(s) => {
                    let proof = self.step(|_| s.action()).await?;
                    State::Realised(s.advance(proof))
                }
                State::Realised(s) => {
                    let proof = self.step(|_| s.action()).await?;
                    State::Installed(s.advance(proof))
                }
                State::Installed(s) => {
                    let proof = self.step(|_| s.action()).await?;
                    State::Bootable(s.advance(proof))
                }
                State::Bootable(s) => {
                    let proof = self.step(|_| s.action()).await?;
                    State::Provisioned(s.advance(proof))
                }
                State::Provisioned(s) => {
                    let proof = self.step(|_| s.action()).await?;
                    State::Landed(s.advance(proof))
                }
                State::Landed(s) => return Ok(State::Landed(s)),
            };
            // What was only found needs no new record, unless the record on disk claims less.
            if self.dirty
                || resume_plan
                    .claimed()
                    .is_none_or(|claimed| state.phase() > claimed)
            {
                self.claim = state.claim();
                self.save(Mark::Reached).await?;
            }
        }
    }

    /// One step: look, judge, act, look again.
    async fn step<S: Step>(&mut self, action: impl Fn(Option<Consent>) -> S) -> Result<S::Proof, Halt>
    where
        W: Perform<S>,
    {
        let (mut consent, mut consents, mut retry, mut empty_successes) = (None, 0, 0, 0);
        let (mut acted, mut began_ms, mut came) = (false, self.world.now_ms(), StepProgress::default());
        loop {
            self.world.heartbeat(S::PHASE);
            if self.world.stop_requested() {
                return Err(self.halt(stop_fault()));
            }
            let step = action(consent.clone());
            let seen = self.world.observe(&step).await;
            if seen.is_ok() {
                self.end_if_repaired()?;
            }
            let (order, progress) = match seen {
                Err(fault) => {
                    self.met(fault, &mut retry).await?;
                    continue;
                }
                Ok(facts) => match step.judge(&facts) {
                    Verdict::Done(proof) => {
                        if S::IN_SLICES {
                            // Behind the commit it says nothing any more.
                            self.progress = StepProgress::default();
                        }
                        self.done(S::PHASE, acted, began_ms);
                        return Ok(proof);
                    }
                    Verdict::Refuse(fault) => return Err(self.halt(fault)),
                    Verdict::NeedsConsent(erasure) => {
                        consents += 1;
                        consent = Some(self.ask(&erasure, consents).await?);
                        continue;
                    }
                    Verdict::Todo(order) => (order, step.progress(&facts)),
                },
            };
            // The next slice of the same attempt. There are no more of them than the step says.
            let goes_on = acted && self.last_fault.is_none() && progress.is_beyond(&came);
            if progress.is_known() {
                self.progress.clone_from(&progress);
                came = progress;
            }
            if acted && !goes_on && self.last_fault.is_none() {
                empty_successes += 1;
                let fault = self.empty_success::<S>(step.remaining(&order), empty_successes)?;
                // What was judged before the wait may not hold behind it: look again.
                self.after(fault, &mut retry).await?;
                continue;
            }
            if goes_on {
                self.save(Mark::Begun).await?;
            } else {
                self.begin_attempt(&step).await?;
            }
            if !acted {
                began_ms = self.world.now_ms();
            }
            acted = true;
            match self.world.perform(&step, order).await {
                Ok(()) => {
                    self.last_fault = None;
                    self.last_ending.clear();
                }
                Err(fault) => self.met(fault, &mut retry).await?,
            }
        }
    }

    /// Asks for consent; `times` counts the questions of this step, this one too.
    async fn ask(&mut self, erasure: &Erasure, times: u32) -> Result<Consent, Halt> {
        let disk = || format!("disk {}", erasure.disk.name());
        if times > CONSENTS_MAX {
            return Err(self.halt(Fault::of(
                Kind::ChangedContents {
                    disk: disk(),
                    after_consent: false,
                },
                Remedy::change_and_install("stop what writes to it (landfall disks shows what uses it)"),
            )));
        }
        match self.world.consent(erasure).await {
            Ok(Some(given)) => Ok(given),
            Ok(None) => Err(self.halt(Fault::of(
                Kind::ConsentRefused { disk: disk() },
                Remedy::words("landfall install, and answer yes"),
            ))),
            Err(fault) => Err(self.halt(fault)),
        }
    }

    /// The fault of an action that reported success and left something to do; an end of the run after too many of them.
    fn empty_success<S: Step>(&self, order: String, times: u32) -> Result<Fault, Halt> {
        let is_final = times >= EMPTY_SUCCESSES_MAX;
        let kind = Kind::EmptySuccess {
            action: S::PHASE.action().unwrap_or_default().to_owned(),
            order,
            is_final,
        };
        if is_final {
            return Err(self.halt(Fault::of(kind, Remedy::change("fix the cause (landfall log)"))));
        }
        Ok(Fault::of(kind, Remedy::resume()))
    }

    /// Counts an attempt and saves that, before anything is done.
    async fn begin_attempt<S: Step>(&mut self, step: &S) -> Result<(), Halt> {
        self.budget
            .admits(&self.attempts, S::PHASE)
            .map_err(|fault| Halt {
                phase: Some(S::PHASE),
                fault,
                rule: Some(Rule::Exhausted),
            })?;
        let attempt = self.attempts.raise(S::PHASE);
        self.dirty = true;
        self.save(Mark::Begun).await?;
        self.world.tell(Event::Begun {
            phase: S::PHASE,
            attempt,
            what: step.describe(),
        });
        Ok(())
    }

    fn done(&mut self, phase: Phase, acted: bool, began_ms: u64) {
        self.last_fault = None;
        if acted {
            let reached = Phase::ALL.get(phase as usize + 1).copied().unwrap_or(phase);
            let took_ms = self.world.now_ms().saturating_sub(began_ms);
            self.world.tell(Event::Reached {
                phase: reached,
                took_ms,
            });
        } else {
            self.world.tell(Event::Found { phase });
        }
    }

    /// After a fault: wait and let the loop look again, or stop.
    async fn after(&mut self, fault: Fault, retry: &mut u32) -> Result<(), Halt> {
        let phase = self.claim.phase();
        let fault = self.last_ending.follow(phase, fault);
        self.world.tell(Event::Failed {
            phase,
            fault: (&fault).into(),
        });
        self.last_fault = Some(fault.clone());
        match self.budget.after(&fault, *retry, self.world.seed()) {
            AfterFault::RetryIn(wait) => {
                *retry += 1;
                self.world.tell(Event::RetryIn {
                    wait_ms: wait.as_millis().try_into().unwrap_or(u64::MAX),
                    retry: *retry,
                });
                self.pause(wait).await
            }
            AfterFault::Stop => Err(self.halt(fault)),
            AfterFault::Exhausted(retries) => Err(self.halt(fault.after_retries(retries))),
        }
    }

    async fn pause(&mut self, wait: Duration) -> Result<(), Halt> {
        match self.world.sleep(wait).await {
            Ok(()) => Ok(()),
            Err(fault) => Err(self.halt(fault)),
        }
    }

    fn halt(&self, fault: Fault) -> Halt {
        Halt {
            phase: Some(self.claim.phase()),
            fault,
            rule: None,
        }
    }

    async fn save(&mut self, mark: Mark) -> Result<(), Halt> {
        let record = Record {
            sequence: 0,
            parent: None,
            host: self.plan.host.clone(),
            install: self.plan.install,
            nonce: self.plan.nonce,
            layout: self.plan.layout_digest.clone(),
            payload: self.plan.payload_digest.clone(),
            disk: self.plan.disk.clone(),
            revision: self.revision.clone(),
            claim: self.claim.clone(),
            mark,
            attempts: self.attempts.clone(),
            boot: self.world.boot_id(),
            last_fault: match &self.last_fault {
                Some(fault) => Some(fault.record()),
                None => self.last_ending.at(self.claim.phase()).cloned(),
            },
            image_progress: self.progress.image().cloned(),
        };
        let phase = self.claim.phase();
        let keys = self.world.keys().clone();
        let saved = self
            .store
            .save(self.world, &record, phase.is_anchored(), &keys)
            .await
            .map_err(|fault| Halt {
                phase: Some(phase),
                fault,
                rule: None,
            })?;
        let place = match saved.place {
            Place::Tmpfs => "tmpfs".to_owned(),
            Place::Slot(which) => format!("slot {which}"),
        };
        self.world.tell(Event::Saved {
            sequence: saved.sequence,
            phase,
            place,
        });
        Ok(())
    }

    /// The end of every run that held a disk: detach, flush, and only then say that it ended in good order.
    async fn settle(&mut self, end: Result<State, Halt>) -> Result<Outcome, Halt> {
        let released = self.world.release().await;
        match end {
            Ok(state) => {
                let halt = |fault| Halt {
                    phase: Some(state.phase()),
                    fault,
                    rule: None,
                };
                released.map_err(halt)?;
                self.world.close().await.map_err(halt)?;
                let system = self.claim.system().map(ToString::to_string).unwrap_or_default();
                Ok(Outcome::Landed {
                    system,
                    revision: self.revision.clone(),
                })
            }
            Err(halt) => {
                let phase = self.claim.phase();
                // A device that reports errors gets no more writes; an unreleased one did not end in good order.
                let quiet = halt.fault.class == FaultClass::Hardware;
                if self.dirty && !quiet {
                    self.last_fault = Some(halt.fault.clone());
                    let mark = if released.is_ok() && !self.unverified {
                        Mark::Stopped
                    } else {
                        Mark::Begun
                    };
                    if let Err(unsaved) = self.save(mark).await {
                        self.world.tell(Event::Failed {
                            phase,
                            fault: (&unsaved.fault).into(),
                        });
                    }
                }
                for result in [released, self.world.close().await] {
                    if let Err(fault) = result {
                        self.world.tell(Event::Failed {
                            phase,
                            fault: (&fault).into(),
                        });
                    }
                }
                Err(halt)
            }
        }
    }
}

fn stop_fault() -> Fault {
    Fault::of(Kind::Stopped { by: None }, Remedy::resume())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Survey;

    #[test]
    fn to_resume_where_no_disk_qualifies_is_nothing_to_resume() {
        let host = "web".parse().unwrap();
        let fault = |class| Fault::injected(class, "target disk", "no disk is suitable for an install");
        let survey = |class, named| Survey {
            disks: vec![],
            choice: Err(fault(class)),
            named,
        };
        let lasting = FaultClass::NeedsChange;
        let (why, list) = nothing_there(&host, &survey(lasting, false), false, &fault(lasting)).unwrap();
        assert!(
            why.contains("of web") && why.contains("no disk is suitable for an install"),
            "{why}"
        );
        assert!(list.is_empty() && !why.contains('\n'), "{why:?} {list:?}");
        // What is listed stays a list: no layout is in a text.
        let refused = Fault::of(
            Kind::NoChoice {
                reason: "no disk is suitable for an install".into(),
                disks: vec!["sda: it is too small".into(), "sdb: it is in use".into()],
            },
            Remedy::resume(),
        );
        let of_two = Survey {
            choice: Err(refused.clone()),
            ..survey(lasting, false)
        };
        let (why, list) = nothing_there(&host, &of_two, false, &refused).unwrap();
        assert!(why.ends_with("no disk is suitable for an install"), "{why:?}");
        assert_eq!(list, ["sda: it is too small", "sdb: it is in use"]);
        // The controls: an install of this boot whose disk is away, a disk that somebody named, a fault of the moment, another stop.
        let none = |survey: Survey, has_record, fault: &Fault| {
            assert_eq!(nothing_there(&host, &survey, has_record, fault), None);
        };
        none(survey(lasting, false), true, &fault(lasting));
        none(survey(lasting, true), false, &fault(lasting));
        let hardware = FaultClass::Hardware;
        none(survey(hardware, false), false, &fault(hardware));
        none(survey(lasting, false), false, &fault(FaultClass::Unsafe));
    }
}
