//! The checkpoint under power cuts: the store that installs, on two slots in memory.
//!
//! After every power cut that the device allows, the trusted record is the last acknowledged one or the one being written
//! (I8), and the next run continues from there with an unbroken chain (I9).
//!
//! Between two flushes a power cut keeps any subset of the sectors written. One of them may be torn: at any byte, with the
//! rest old, or new, or noise, or zeros. One may take its block of 4 KiB with it. States with equal bytes are judged once, so
//! every counted state was read by the code that a resume uses. Once in a while a run continues from such a state, so the
//! chains are long and their slots are not clean.
//!
//! The FAT around the slots is left out: it is never written again once they are allocated.

#![expect(
    clippy::indexing_slicing,
    reason = "a slot is 0 or 1, a sector is one of its own, a byte one of that, and what the dice give is below the length of its list"
)]

use crate::checkpoint_store::Store;
use crate::sim::check::invariants::{Breach, Invariant};
use crate::sim::model::crash::mix;
use crate::sim::model::disk::{SECTOR_BYTES, SLOT_SECTORS};
use crate::sim::model::setting::Setting;
use crate::world::Media;
use landfall_states::authentic::{Authenticity, RecordKeys};
use landfall_states::checkpoint::{Choice, Mark, Record, SLOT_BYTES, SlotError, choose};
use landfall_states::fault::{Attempts, Fault, FaultClass};
use landfall_states::names::StorePath;
use landfall_states::recovery::{ResumePlan, TrustedRecord};
use landfall_states::{Phase, RecordedPhase};
use std::fmt;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Saves between two restarts, at most.
const SAVES_PER_RUN_MAX: u64 = 6;

/// Every so many states that could be judged by one slot are judged by both.
const JUDGED_WHOLE_EVERY: u64 = 4_096;

/// Up to so many sectors in flight every subset of them is tried.
const ALL_SUBSETS_MAX: usize = 16;

/// Whether these slots are saved in this wrong way: only where this file's tests say so.
#[cfg(test)]
macro_rules! is_flawed {
    ($slots:expr, $flaw:ident) => {
        $slots.flaw == Some(tests::Flaw::$flaw)
    };
}
#[cfg(not(test))]
macro_rules! is_flawed {
    ($slots:expr, $flaw:ident) => {
        false
    };
}

/// What was enumerated.
#[derive(Debug, Clone, Default)]
pub struct Saved {
    /// Saves, each of which could have been cut off.
    pub saves: u64,
    /// Runs that went on from such a state.
    pub restarts: u64,
    /// Crash states read and judged.
    pub states: u64,
    /// Among them: the record on its way was believed.
    pub newer: u64,
    /// How many broke something.
    pub failed: u64,
    /// The first of them.
    pub breaches: Vec<Breach>,
}

impl Saved {
    /// Adds another one.
    pub fn add(&mut self, other: Saved) {
        let Saved {
            saves,
            restarts,
            states,
            newer,
            failed,
            breaches,
        } = other;
        self.saves += saves;
        self.restarts += restarts;
        self.states += states;
        self.newer += newer;
        self.failed += failed;
        self.breaches.extend(breaches);
        self.breaches.truncate(BREACHES_MAX);
    }
}

impl fmt::Display for Saved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Saved {
            saves,
            restarts,
            states,
            newer,
            failed,
            breaches: _,
        } = self;
        write!(
            f,
            "{states} crash states of {saves} saves in {restarts} restarts ({newer} with the new record), {failed} failures"
        )
    }
}

/// How many breaches are kept.
const BREACHES_MAX: usize = 10;

/// Two slots behind a cache.
#[derive(Debug)]
struct Slots {
    #[cfg(test)]
    flaw: Option<tests::Flaw>,
    durable: [Vec<u8>; 2],
    /// What the device has not made durable, oldest first: slot, sector, bytes.
    cache: Vec<(usize, usize, Vec<u8>)>,
    /// What went to tmpfs last, and so was acknowledged.
    acknowledged: Option<u64>,
    /// What is being written.
    in_flight: u64,
    /// Where a run that is cut off goes on.
    go_on_from: Option<[Vec<u8>; 2]>,
    dice: u64,
    coverage: Saved,
}

impl Media for Slots {
    async fn read_tmpfs(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        Ok(None)
    }

    async fn write_tmpfs(&mut self, _bytes: &[u8]) -> Result<(), Fault> {
        self.acknowledged = Some(self.in_flight);
        Ok(())
    }

    async fn write_slot(&mut self, which: usize, bytes: &[u8]) -> Result<(), Fault> {
        let slots: &[usize] = if is_flawed!(self, BothAtOnce) {
            &[0, 1]
        } else if which == 0 || is_flawed!(self, SameSlot) {
            &[0]
        } else {
            &[1]
        };
        for slot in slots {
            for (sector, bytes) in bytes.chunks(SECTOR_BYTES).enumerate() {
                self.cache.push((*slot, sector, bytes.to_vec()));
            }
        }
        self.in_flight += 1;
        self.coverage.saves += 1;
        self.every_crash();
        if !is_flawed!(self, Unflushed) {
            self.flush();
        }
        Ok(())
    }

    async fn read_slot(&mut self, which: usize) -> Result<Vec<u8>, Fault> {
        let which = if is_flawed!(self, SameSlot) { 0 } else { which };
        let mut slot = self.durable[which].clone();
        for (_, sector, bytes) in self.cache.iter().filter(|(slot, _, _)| *slot == which) {
            sector_mut(&mut slot, *sector).copy_from_slice(bytes);
        }
        Ok(slot)
    }
}

fn sector_mut(slot: &mut [u8], sector: usize) -> &mut [u8] {
    &mut slot[sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES]
}

/// What the rest of a torn sector holds.
#[derive(Debug, Clone, Copy)]
enum Rest {
    Old,
    /// The rest is new, and the beginning is old.
    New,
    Noise,
    Zeros,
}

impl Slots {
    fn new(seed: u64) -> Slots {
        let blank = vec![b'\n'; SLOT_BYTES];
        Slots {
            #[cfg(test)]
            flaw: None,
            durable: [blank.clone(), blank],
            cache: vec![],
            acknowledged: None,
            in_flight: 0,
            go_on_from: None,
            dice: mix(seed),
            coverage: Saved::default(),
        }
    }

    fn flush(&mut self) {
        for (slot, sector, bytes) in std::mem::take(&mut self.cache) {
            sector_mut(&mut self.durable[slot], sector).copy_from_slice(&bytes);
        }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.dice = mix(self.dice);
        self.dice % limit.max(1)
    }

    /// Every state that a power cut could leave now.
    fn every_crash(&mut self) {
        // A write that changes nothing leaves nothing to choose.
        let mut changes: Vec<(usize, usize, Vec<u8>)> = vec![];
        for (slot, sector, bytes) in self.cache.clone() {
            if sector_mut(&mut self.durable[slot], sector) != bytes.as_slice() {
                changes.push((slot, sector, bytes));
            }
        }
        let first = changes.first().map(|(slot, ..)| *slot);
        let both = changes.iter().any(|(slot, ..)| Some(*slot) != first);
        if both || changes.len() > SLOT_SECTORS {
            self.subsets_of_both(&changes);
        } else if let Some((slot, ..)) = changes.first() {
            self.states_of_one(*slot, &changes);
        }
    }

    /// Where sectors of both slots are in flight, or some of them twice.
    fn subsets_of_both(&mut self, changes: &[(usize, usize, Vec<u8>)]) {
        let count = changes.len().min(ALL_SUBSETS_MAX);
        for mask in 0_u64..1 << count {
            let mut slots = self.durable.clone();
            for (index, (slot, sector, bytes)) in changes.iter().enumerate() {
                if mask >> (index % ALL_SUBSETS_MAX) & 1 == 1 {
                    sector_mut(&mut slots[*slot], *sector).copy_from_slice(bytes);
                }
            }
            self.judge_both(&slots);
        }
    }

    /// Where one slot is in flight: every subset, every tear, the ruined block.
    fn states_of_one(&mut self, which: usize, changes: &[(usize, usize, Vec<u8>)]) {
        let old = self.durable[which].clone();
        let other = self.durable[1 - which].clone();
        let count = changes.len();
        let mut slot = old.clone();
        let part = |slot: &mut Vec<u8>, mask: u64| {
            slot.copy_from_slice(&old);
            for (index, (_, sector, bytes)) in changes.iter().enumerate() {
                if mask >> index & 1 == 1 {
                    sector_mut(slot, *sector).copy_from_slice(bytes);
                }
            }
        };
        for mask in 0_u64..1 << count {
            part(&mut slot, mask);
            self.judge(which, &slot, &other);
        }
        for ruin in [0x00, 0xA5, 0xFF] {
            slot.fill(ruin);
            if is_flawed!(self, OneBlock) {
                self.judge_both(&[slot.clone(), slot.clone()]);
            } else {
                self.judge(which, &slot, &other);
            }
        }
        for (torn, (_, sector, new)) in changes.iter().enumerate() {
            let before = old[sector * SECTOR_BYTES..][..SECTOR_BYTES].to_vec();
            for mask in (0_u64..1 << count).filter(|mask| mask >> torn & 1 == 0) {
                for rest in [Rest::Old, Rest::New, Rest::Noise, Rest::Zeros] {
                    part(&mut slot, mask);
                    let (begin, then): (Vec<u8>, &[u8]) = match rest {
                        Rest::Old => (before.clone(), new),
                        Rest::New => (new.clone(), &before),
                        Rest::Noise => (vec![0xA5; SECTOR_BYTES], new),
                        Rest::Zeros => (vec![0; SECTOR_BYTES], new),
                    };
                    sector_mut(&mut slot, *sector).copy_from_slice(&begin);
                    for at in 0..SECTOR_BYTES - 1 {
                        // The same byte on both sides: the same state as the one before.
                        if begin[at] != then[at] {
                            slot[sector * SECTOR_BYTES + at] = then[at];
                            self.judge(which, &slot, &other);
                        }
                    }
                }
            }
        }
    }

    /// Judges a state in which only this slot is in doubt. One that is not believed, of whatever damage, leaves the other
    /// one, and what that means does not depend on the damage; every so often that is not taken for granted.
    fn judge(&mut self, which: usize, slot: &[u8], other: &[u8]) {
        let whole = self.coverage.states.is_multiple_of(JUDGED_WHOLE_EVERY);
        let damaged = match Record::decode(slot) {
            Ok(_) | Err(SlotError::Newer(_)) => false,
            Err(
                SlotError::Empty
                | SlotError::NoMagic
                | SlotError::Header
                | SlotError::Length
                | SlotError::Digest
                | SlotError::Body(_),
            ) => true,
        };
        if damaged && !whole && self.alone_is_enough(other) {
            self.coverage.states += 1;
            return;
        }
        let mut slots = [slot.to_vec(), other.to_vec()];
        slots.rotate_left(which);
        self.judge_both(&slots);
    }

    /// Whether the other slot alone is what has to be left.
    fn alone_is_enough(&mut self, other: &[u8]) -> bool {
        match self.acknowledged {
            None => true,
            // The header says it; that the rest is whole is seen whenever both slots are judged.
            Some(acknowledged) => sequence_of(other) == Some(acknowledged),
        }
    }

    fn judge_both(&mut self, slots: &[Vec<u8>; 2]) {
        self.coverage.states += 1;
        let choice = choose([Some(&slots[0]), Some(&slots[1])]);
        let expected = self
            .acknowledged
            .map(|acknowledged| (acknowledged, self.in_flight));
        let broken = match (&choice, expected) {
            (Choice::Newer(version), _) => Some(format!("a format {version} that was never written")),
            (Choice::Trusted { record, .. }, Some((acknowledged, in_flight))) => {
                self.coverage.newer += u64::from(record.sequence == in_flight);
                (record.sequence != acknowledged && record.sequence != in_flight)
                    .then(|| format!("record {} is accepted", record.sequence))
            }
            (Choice::Neither(_) | Choice::Fork { .. }, Some(_)) => Some(format!("{choice:?}")),
            // Before the first save nothing was promised.
            (Choice::Trusted { .. } | Choice::Neither(_) | Choice::Fork { .. }, None) => None,
        };
        if let Some(how) = broken {
            self.coverage.failed += 1;
            if self.coverage.breaches.len() < BREACHES_MAX {
                let how = format!("after record {:?} was acknowledged: {how}", self.acknowledged);
                self.coverage.breaches.push(Breach {
                    invariant: Invariant::SavedIsKept,
                    how,
                });
            }
        }
        if self.go_on_from.is_none() || self.below(64) == 0 {
            self.go_on_from = Some(slots.clone());
        }
    }
}

/// What a slot's header says.
fn sequence_of(slot: &[u8]) -> Option<u64> {
    let line = slot.split(|byte| *byte == b'\n').next()?;
    let text = std::str::from_utf8(line).ok()?;
    text.split(' ')
        .find_map(|word| word.strip_prefix("seq="))?
        .parse()
        .ok()
}

/// Nothing here waits.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

/// Saves of a chain of runs, from this seed, until so many states were judged or `go_on` says no. The error is a save that
/// failed, which is a defect.
///
/// # Errors
/// A save that failed, which is a defect.
pub fn enumerate(
    setting: &Setting,
    seed: u64,
    states_min: u64,
    go_on: &dyn Fn(u64) -> bool,
) -> Result<Saved, String> {
    enumerate_from(Slots::new(seed), setting, states_min, go_on)
}

fn enumerate_from(
    mut slots: Slots,
    setting: &Setting,
    states_min: u64,
    go_on: &dyn Fn(u64) -> bool,
) -> Result<Saved, String> {
    let mut boot = 0;
    while slots.coverage.states < states_min && go_on(slots.coverage.states) {
        boot += 1;
        let resume_plan = resume_plan(setting, &slots.durable);
        // A run goes on from what it believes, and promises what it is given.
        slots.in_flight = resume_plan
            .trusted
            .as_ref()
            .map_or(resume_plan.sequence_seen, |b| b.record.sequence);
        slots.acknowledged = resume_plan.trusted.as_ref().map(|b| b.record.sequence);
        let mut store = Store::new(&resume_plan);
        let mut attempts = Attempts::default();
        for _ in 0..=slots.below(SAVES_PER_RUN_MAX) {
            let phase = Phase::ALL[2 + slots.below(9) as usize];
            attempts.raise(phase);
            let record = record(setting, phase, &attempts, boot, slots.below(700) as usize);
            match at_once(store.save(&mut slots, &record, true, &RecordKeys::default())) {
                Some(Ok(_)) => {}
                Some(Err(fault)) => return Err(format!("a save failed: {fault}")),
                None => return Err("a save waits for ever".into()),
            }
            #[cfg(test)]
            if slots.coverage.failed > 0 && slots.flaw.is_some() {
                return Ok(slots.coverage);
            }
        }
        // Two times in three the power goes.
        let cut = slots.go_on_from.take();
        if slots.below(3) > 0
            && let Some(left) = cut
        {
            slots.durable = left;
        }
        slots.cache.clear();
        slots.coverage.restarts += 1;
    }
    Ok(slots.coverage)
}

/// What a run makes of the slots.
fn resume_plan(setting: &Setting, slots: &[Vec<u8>; 2]) -> ResumePlan {
    let (trusted, sequence_seen) = match choose([Some(&slots[0]), Some(&slots[1])]) {
        Choice::Trusted { record, slot, .. } => (
            Some(Box::new(TrustedRecord {
                record: *record,
                bytes: slots[slot].clone(),
                slot: Some(slot),
            })),
            0,
        ),
        Choice::Fork { sequence, .. } => (None, sequence),
        Choice::Neither(_) | Choice::Newer(_) => (None, 0),
    };
    ResumePlan {
        plan: Box::new(setting.plan.clone()),
        trusted,
        rules: vec![],
        why: String::new(),
        sequence_seen,
        authenticity: Authenticity::Unproved,
    }
}

fn record(setting: &Setting, phase: Phase, attempts: &Attempts, boot: u64, fault_bytes: usize) -> Record {
    let plan = &setting.plan;
    let system: StorePath = setting.system.clone();
    Record {
        sequence: 0,
        parent: None,
        host: plan.host.clone(),
        install: plan.install,
        nonce: plan.nonce,
        layout: plan.layout_digest.clone(),
        payload: plan.payload_digest.clone(),
        disk: plan.disk.clone(),
        revision: setting.revision.clone(),
        claim: match phase {
            Phase::Planned => RecordedPhase::Planned,
            Phase::Partitioned => RecordedPhase::Partitioned,
            Phase::Anchored => RecordedPhase::Anchored,
            Phase::Encrypted => RecordedPhase::Encrypted,
            Phase::Formatted => RecordedPhase::Formatted,
            Phase::Cloned => RecordedPhase::Cloned,
            Phase::Realised => RecordedPhase::Realised(system),
            Phase::Installed => RecordedPhase::Installed(system),
            Phase::Bootable => RecordedPhase::Bootable(system),
            Phase::Provisioned => RecordedPhase::Provisioned(system),
            Phase::Landed => RecordedPhase::Landed(system),
        },
        mark: [Mark::Reached, Mark::Begun, Mark::Stopped][fault_bytes % 3],
        attempts: attempts.clone(),
        boot: format!("boot-{boot}"),
        last_fault: (fault_bytes > 300)
            .then(|| Fault::injected(FaultClass::Transient, "clone", "x".repeat(fault_bytes - 300)).record()),
        image_progress: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What may be wrong with the way of saving; to see that the enumeration notices.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(super) enum Flaw {
        /// A slot is written and not flushed; `syncfs` and unmounting a FAT do no more.
        Unflushed,
        /// Always the same slot.
        SameSlot,
        /// Both slots before one flush.
        BothAtOnce,
        /// Both slots lie in one block of 4 KiB.
        OneBlock,
    }

    fn setting() -> Setting {
        Setting::new("luks-swap/prebuilt/blank/person".parse().unwrap()).unwrap()
    }

    #[test]
    fn whatever_a_cut_leaves_an_acknowledged_record_is_trusted() {
        let coverage = enumerate(&setting(), 1, 100_000, &|_| true).unwrap();
        assert_eq!(coverage.breaches, vec![]);
        assert!(coverage.states >= 100_000 && coverage.newer > 0 && coverage.newer < coverage.states / 2);
        assert!(coverage.restarts > 0, "{coverage}");
    }

    /// The control: each wrong way of saving loses a record.
    #[test]
    fn every_wrong_way_of_saving_is_noticed() {
        for flaw in [Flaw::Unflushed, Flaw::SameSlot, Flaw::BothAtOnce, Flaw::OneBlock] {
            let flawed = Slots {
                flaw: Some(flaw),
                ..Slots::new(1)
            };
            let coverage = enumerate_from(flawed, &setting(), 1_000_000, &|_| true).unwrap();
            assert!(
                coverage
                    .breaches
                    .iter()
                    .any(|b| b.invariant == Invariant::SavedIsKept),
                "{flaw:?}"
            );
        }
    }

    #[test]
    fn the_same_seed_judges_the_same_states() {
        let count = |seed| enumerate(&setting(), seed, 5_000, &|_| true).unwrap().to_string();
        assert_eq!(count(3), count(3));
        assert_ne!(count(3), count(4));
    }
}
