//! Which checkpoint to trust, and what follows.
//!
//! The checkpoint says where to look; the disk says what is true; a checkpoint never permits anything (I6, I7). This module
//! decides where to begin looking, or that nothing may be touched. Every later step is judged from facts, with or without a
//! checkpoint. A [`Situation`] holds what was seen.
//!
//! The rules are numbered; docs/design/failure-model.md lists them with the test that shows each.

use crate::actions::partition_disk::GptCopy;
use crate::authentic::Authenticity;
use crate::checkpoint::{Choice, Record, choose};
use crate::fault::{ConfigFault, DeviceFault, Fault, Kind, Remedy, RoomFault};
use crate::names::HostName;
use crate::phase::Phase;
use crate::plan::{DiskIdentity, InstallId, Layout, Payload, Plan, PlanError};

pub use crate::decision::{Decision, Pin, ResumePlan, Rule, TrustedRecord};

/// The highest reinstall number: that many are tried when a table is compared with the ids that would be ours, so no install is
/// begun with a higher one.
pub const NONCE_MAX: u32 = 255;

/// What one disk says of itself before any decision.
#[derive(Debug, Clone)]
pub struct DiskEvidence {
    /// Its identity.
    pub disk: DiskIdentity,
    /// The kernel name now, for people (`/dev/vda`).
    pub device: String,
    /// GPT at the start.
    pub primary: GptCopy,
    /// GPT at the end.
    pub backup: GptCopy,
    /// The two slots' bytes as read raw from an ESP of this disk, before any fsck or mount; `None` where there is no
    /// ESP or the slot could not be found.
    pub slots: [Option<Vec<u8>>; 2],
    /// Whether the slots were found by their magic, because the ESP's directory could not be used.
    pub slots_scanned: bool,
}

/// Everything that is known before the first decision.
#[derive(Debug, Clone)]
pub struct Situation<'a> {
    /// The host to install.
    pub host: &'a HostName,
    /// Its layout.
    pub layout: &'a Layout,
    /// Its payload.
    pub payload: &'a Payload,
    /// The configuration's `reinstall` number.
    pub reinstall: u32,
    /// Whether a person asked for a new install, on the command line.
    pub reinstall_requested: bool,
    /// Every disk.
    pub disks: &'a [DiskEvidence],
    /// The disk a new install would take, or why there is none.
    pub choice: &'a Result<DiskIdentity, Fault>,
    /// Whether that disk was named by the operator rather than found.
    pub named: bool,
    /// The record of this boot, from tmpfs.
    pub tmpfs: Option<&'a [u8]>,
}

/// What a disk carries of landfall.
struct Carried {
    /// The nonce whose ids the table has.
    table_nonce: Option<u32>,
    choice: Choice,
}

impl Carried {
    fn of(situation: &Situation<'_>, evidence: &DiskEvidence) -> Carried {
        let mut guids: Vec<_> = [&evidence.primary, &evidence.backup]
            .into_iter()
            .filter_map(|c| c.table())
            .map(|t| t.disk_guid)
            .collect();
        // Both copies have the same one nearly always, and looking for its number is dear.
        guids.dedup();
        let table_nonce = guids
            .iter()
            .filter_map(|guid| {
                InstallId::nonce_of(situation.host, situation.layout, &evidence.disk, guid, NONCE_MAX)
            })
            .max();
        let slots = [evidence.slots[0].as_deref(), evidence.slots[1].as_deref()];
        Carried {
            table_nonce,
            choice: choose(slots),
        }
    }

    fn record(&self) -> Option<&Record> {
        match &self.choice {
            Choice::Trusted { record, .. } => Some(record),
            Choice::Neither(_) | Choice::Fork { .. } | Choice::Newer(_) => None,
        }
    }

    /// Whether this disk has an install of this host under way or finished.
    fn is_of(&self, host: &HostName, disk: &DiskIdentity) -> bool {
        self.table_nonce.is_some() || self.record().is_some_and(|r| &r.host == host && &r.disk == disk)
    }
}

/// Decides. Pure.
pub fn decide(situation: &Situation<'_>) -> Decision {
    let carried: Vec<Carried> = situation
        .disks
        .iter()
        .map(|d| Carried::of(situation, d))
        .collect();
    if let Some(stop) = clone(situation, &carried) {
        return stop;
    }
    let both = || situation.disks.iter().zip(&carried);
    let carriers: Vec<usize> = both()
        .enumerate()
        .filter(|(_, (evidence, carried))| carried.is_of(situation.host, &evidence.disk))
        .map(|(index, _)| index)
        .collect();
    let chosen = situation
        .choice
        .as_ref()
        .ok()
        .and_then(|c| situation.disks.iter().position(|d| &d.disk == c));
    let mut rules = Vec::new();
    let target = match (carriers.as_slice(), chosen) {
        (_, Some(named)) if situation.named => {
            if carriers.len() > 1 {
                rules.push(Rule::TwoDisks);
            }
            named
        }
        // Whoever named a disk meant no other one, whatever the others carry.
        ([one], _) if !situation.named => *one,
        ([], Some(chosen)) => chosen,
        (carriers, None) if carriers.is_empty() || situation.named => {
            let fault = situation
                .choice
                .clone()
                .err()
                .unwrap_or_else(|| DeviceFault::DiskNotListed { disk: "disk".into() }.into());
            return Decision::Stop { rule: None, fault };
        }
        (several, _) => {
            let list: Vec<String> = several
                .iter()
                .filter_map(|&i| situation.disks.get(i))
                .map(|evidence| format!("{} ({})", evidence.device, evidence.disk.name()))
                .collect();
            return stop_listing(
                Rule::TwoDisks,
                "checkpoints",
                format!("several disks hold an install of {}", situation.host),
                list,
                Remedy::words("name the disk: INSTALL_DISK=/dev/… landfall resume"),
            );
        }
    };
    #[expect(
        clippy::indexing_slicing,
        reason = "`target` is the place of one of the disks"
    )]
    let (evidence, carried) = (&situation.disks[target], &carried[target]);
    on_disk(situation, evidence, carried, rules)
}

fn stop(rule: Rule, on: impl Into<String>, reason: impl Into<String>, next: Remedy) -> Decision {
    stop_listing(rule, on, reason, vec![], next)
}

fn stop_listing(
    rule: Rule,
    on: impl Into<String>,
    reason: impl Into<String>,
    found: Vec<String>,
    next: Remedy,
) -> Decision {
    Decision::Stop {
        rule: Some(rule),
        fault: Fault::of(
            Kind::Recovery {
                rule: rule.number(),
                on: on.into(),
                reason: reason.into(),
                found,
            },
            next,
        ),
    }
}

/// Rule 13: the same install on two disks. Compared by the table's GUID and by what slots say, whichever is there.
fn clone(situation: &Situation<'_>, carried: &[Carried]) -> Option<Decision> {
    let mut seen: Vec<(uuid::Uuid, usize, &DiskEvidence)> = Vec::new();
    for (index, (evidence, carried)) in situation.disks.iter().zip(carried).enumerate() {
        let ours = |guid: &uuid::Uuid| {
            // Only installs that could be this host's, on any of the disks here, are of interest.
            situation.disks.iter().any(|d| {
                InstallId::nonce_of(situation.host, situation.layout, &d.disk, guid, NONCE_MAX).is_some()
            })
        };
        let mut ids: Vec<uuid::Uuid> = [&evidence.primary, &evidence.backup]
            .into_iter()
            .filter_map(|copy| copy.table())
            .map(|table| table.disk_guid)
            .collect();
        if let Some(record) = carried.record() {
            ids.push(record.install.disk_guid());
        }
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            if let Some((.., other)) = seen
                .iter()
                .find(|(known, other, _)| *known == id && *other != index)
                && ours(&id)
            {
                return Some(stop(
                    Rule::Clone,
                    format!("install on {}", evidence.device),
                    format!(
                        "the same install is on {} ({}) and on {} ({}): one is a copy of the other",
                        other.device,
                        other.disk.name(),
                        evidence.device,
                        evidence.disk.name()
                    ),
                    Remedy::change("detach the copy"),
                ));
            }
            seen.push((id, index, evidence));
        }
    }
    None
}

/// A layout that this disk cannot have.
fn impossible(disk: String, error: PlanError) -> Fault {
    match error {
        PlanError::TooSmall {
            disk: _,
            needed,
            found,
        } => RoomFault::Disk {
            disk,
            needed_bytes: needed,
            available_bytes: found,
        }
        .into(),
        PlanError::EspTooSmall { needed, found } => RoomFault::Esp {
            disk,
            needed_bytes: needed,
            available_bytes: found,
        }
        .into(),
        PlanError::Nameless => ConfigFault::DiskNameless { disk }.into(),
        PlanError::SectorSize(bytes) => ConfigFault::SectorSize { disk, bytes }.into(),
    }
}

/// How a new install is asked for where there is one.
const ANEW: &str = "landfall install --reinstall, and agree when asked";

fn on_disk(
    situation: &Situation<'_>,
    evidence: &DiskEvidence,
    carried: &Carried,
    rules: Vec<Rule>,
) -> Decision {
    let disk = OneDisk {
        situation,
        evidence,
        carried,
        name: format!("{} ({})", evidence.device, evidence.disk.name()),
        rules,
        sequence_seen: 0,
    };
    disk.decide()
}

/// The disk that a run is about, as far as it is judged.
struct OneDisk<'a> {
    situation: &'a Situation<'a>,
    evidence: &'a DiskEvidence,
    carried: &'a Carried,
    /// For a person.
    name: String,
    /// The rules that were applied so far.
    rules: Vec<Rule>,
    /// The highest sequence number that its slots have.
    sequence_seen: u64,
}

impl OneDisk<'_> {
    fn decide(mut self) -> Decision {
        let slots = match self.slots() {
            Ok(trusted) => trusted,
            Err(stop) => return stop,
        };
        let known_nonce = self
            .carried
            .table_nonce
            .or(slots.as_ref().map(|b| b.record.nonce));
        let trusted = self.of_its_table(slots, known_nonce);
        if let Some((nonce, why)) = self.new_install(known_nonce) {
            let is_spent = self.situation.reinstall_requested && nonce > NONCE_MAX;
            return if is_spent {
                self.spent(nonce)
            } else {
                self.begin(nonce, why)
            };
        }
        if let Some(trusted) = &trusted
            && trusted.record.phase() == Phase::Landed
        {
            return Decision::Landed {
                why: format!(
                    "{} holds a finished install of {}; for a new one: {ANEW}",
                    self.name, self.situation.host
                ),
                record: Box::new(trusted.record.clone()),
            };
        }
        let Some(nonce) = known_nonce else {
            self.rules.push(Rule::Fresh);
            let why = format!("{} holds no install of {}", self.name, self.situation.host);
            let number = self.situation.reinstall;
            return self.begin(number, why);
        };
        let plan = match self.plan(nonce) {
            Ok(plan) => plan,
            Err(error) => return self.no_plan(error),
        };
        if let Some(stop) = self.edited(&plan) {
            return stop;
        }
        let ours = |copy: &GptCopy| copy.table() == Some(&plan.table);
        match (ours(&self.evidence.primary), ours(&self.evidence.backup)) {
            (true, true) => self.go_on(plan, trusted),
            (true, false) | (false, true) => {
                self.rules.push(Rule::HalfTable);
                self.go_on(plan, trusted)
            }
            (false, false) => self.write_table(nonce, trusted),
        }
    }

    fn plan(&self, nonce: u32) -> Result<Plan, PlanError> {
        let Situation {
            host,
            layout,
            payload,
            ..
        } = self.situation;
        Plan::derive(host, layout, payload, &self.evidence.disk, nonce)
    }

    fn no_plan(&self, error: PlanError) -> Decision {
        Decision::Stop {
            rule: None,
            fault: impossible(format!("disk {}", self.name), error),
        }
    }

    fn begin(self, nonce: u32, why: String) -> Decision {
        let plan = match self.plan(nonce) {
            Ok(plan) => plan,
            Err(error) => return self.no_plan(error),
        };
        // A run of this boot that was cut off before the ESP existed left its attempts and its pin in tmpfs.
        let trusted = tmpfs(self.situation, &plan);
        Decision::Begin(self.resume_plan(plan, trusted, why))
    }

    fn resume_plan(self, plan: Plan, trusted: Option<Box<TrustedRecord>>, why: String) -> ResumePlan {
        ResumePlan {
            plan: Box::new(plan),
            authenticity: by_place(trusted.as_deref()),
            trusted,
            rules: self.rules,
            why,
            sequence_seen: self.sequence_seen,
        }
    }

    /// What the slots say, as far as they may speak for this disk; or why nothing is done to it.
    fn slots(&mut self) -> Result<Option<Box<TrustedRecord>>, Decision> {
        let (situation, evidence, carried) = (self.situation, self.evidence, self.carried);
        let (record, slot, other) = match &carried.choice {
            Choice::Newer(version) => {
                return Err(stop(
                    Rule::Newer,
                    format!("checkpoint on {}", self.name),
                    format!("it has format version {version}, which this landfall cannot read"),
                    Remedy::words("use the installer that wrote it, or a newer one"),
                ));
            }
            Choice::Fork { why: _, sequence } => {
                self.sequence_seen = *sequence;
                self.rules.push(Rule::Fork);
                return Ok(None);
            }
            Choice::Neither(_) => return Ok(None),
            Choice::Trusted { record, slot, other } => (record, *slot, other),
        };
        self.sequence_seen = record.sequence;
        if record.disk != evidence.disk {
            self.rules.push(Rule::OtherDisk);
            return Ok(None);
        }
        if let Some(stop) = self.of_another(record) {
            return if situation.reinstall_requested {
                Ok(None)
            } else {
                Err(stop)
            };
        }
        let derived = || InstallId::derive(situation.host, situation.layout, &evidence.disk, record.nonce);
        if record.nonce > NONCE_MAX || record.install != derived() {
            // Its own fields contradict one another: nobody of us wrote it.
            self.rules.push(Rule::Fork);
            return Ok(None);
        }
        if other.is_some() {
            self.rules.push(Rule::OneSlotBad);
        }
        if evidence.slots_scanned {
            self.rules.push(Rule::RawSlots);
        }
        Ok(Some(Box::new(TrustedRecord {
            record: (**record).clone(),
            bytes: evidence.slots.get(slot).cloned().flatten().unwrap_or_default(),
            slot: Some(slot),
        })))
    }

    /// A record of another host's install, or of one with another layout.
    fn of_another(&self, record: &Record) -> Option<Decision> {
        let situation = self.situation;
        let (rule, reason, next) = if &record.host != situation.host {
            (
                Rule::OtherHost,
                format!(
                    "it holds an install of host {}, not of {}",
                    record.host, situation.host
                ),
                format!("use the installer of {}, or: {ANEW}", record.host),
            )
        } else if record.layout != situation.layout.digest() {
            (
                Rule::OtherLayout,
                format!(
                    "it holds install {} of {} with another layout (labels, sizes, encryption or swap)",
                    record.install, record.host
                ),
                format!("use the installer that started it, or: {ANEW}"),
            )
        } else {
            return None;
        };
        Some(stop(
            rule,
            format!("disk {}", self.name),
            reason,
            Remedy::words(next),
        ))
    }

    /// A record of another install says nothing of the one that the table belongs to: a former one's is behind it, and nobody of us
    /// writes one of a later install before its table.
    fn of_its_table(
        &mut self,
        trusted: Option<Box<TrustedRecord>>,
        known_nonce: Option<u32>,
    ) -> Option<Box<TrustedRecord>> {
        let trusted = trusted?;
        if Some(trusted.record.nonce) == known_nonce {
            return Some(trusted);
        }
        self.rules.push(Rule::Fork);
        None
    }

    /// A new install over what is there: a person asked, or the configuration's number was raised. Its number, and why.
    fn new_install(&self, known_nonce: Option<u32>) -> Option<(u32, String)> {
        let number = self.situation.reinstall;
        if self.situation.reinstall_requested {
            let nonce = known_nonce.map_or(number, |known| number.max(known.saturating_add(1)));
            return Some((nonce, "a reinstall was requested".into()));
        }
        let known = known_nonce.filter(|known| number > *known)?;
        let why = format!(
            "the configuration requests reinstall number {number}, and the disk holds number {known}"
        );
        Some((number, why))
    }

    /// There is no such number of a reinstall any more.
    fn spent(&self, nonce: u32) -> Decision {
        Decision::Stop {
            rule: None,
            fault: ConfigFault::ReinstallsSpent {
                disk: format!("disk {}", self.name),
                device: self.evidence.device.clone(),
                number: nonce.saturating_sub(1),
                max: NONCE_MAX,
            }
            .into(),
        }
    }

    /// A copy of the planned table that somebody changed.
    fn edited(&self, plan: &Plan) -> Option<Decision> {
        let copies = [&self.evidence.primary, &self.evidence.backup];
        let found = copies
            .into_iter()
            .filter_map(|copy| copy.table())
            .find(|found| found.disk_guid == plan.table.disk_guid && **found != plan.table)?;
        Some(stop_listing(
            Rule::Edited,
            format!("partition table of {}", self.name),
            "it changed after this install wrote it",
            plan.table.differences(found),
            Remedy::words(format!("restore the partition table, or: {ANEW}")),
        ))
    }

    /// The slots are ours, the table is not: the disk is behind, and wins. Writing the table needs consent.
    fn write_table(mut self, nonce: u32, trusted: Option<Box<TrustedRecord>>) -> Decision {
        self.rules.push(Rule::Behind);
        let why = format!(
            "{} has a checkpoint of landfall, but not its partition table",
            self.name
        );
        match self.begin(nonce, why) {
            Decision::Begin(resume_plan) => Decision::Begin(ResumePlan {
                authenticity: by_place(trusted.as_deref()),
                trusted,
                ..resume_plan
            }),
            other => other,
        }
    }

    fn go_on(mut self, plan: Plan, trusted: Option<Box<TrustedRecord>>) -> Decision {
        let why = match &trusted {
            Some(b) => format!(
                "{} holds an install of {} in phase {}",
                self.name,
                self.situation.host,
                b.record.phase()
            ),
            None => {
                let checkpoint = if self.rules.contains(&Rule::Fork) {
                    "its two checkpoints contradict each other"
                } else {
                    self.rules.push(Rule::SlotsLost);
                    "no readable checkpoint"
                };
                format!(
                    "{} has landfall's partition table, but {checkpoint}: landfall checks every phase again",
                    self.name
                )
            }
        };
        // Before the ESP exists the record is in tmpfs only.
        let trusted = trusted.or_else(|| tmpfs(self.situation, &plan));
        // The run ended between the table and the save that would have told of it. Further states cannot be seen from here;
        // each step skips what verifies.
        if !self.rules.contains(&Rule::HalfTable)
            && trusted
                .as_ref()
                .is_some_and(|b| b.record.phase() < Phase::Partitioned)
        {
            self.rules.push(Rule::Ahead);
        }
        Decision::Continue(self.resume_plan(plan, trusted, why))
    }
}

/// What its place says of who wrote a record: memory is written by root alone, a disk by everybody who had it.
fn by_place(trusted: Option<&TrustedRecord>) -> Authenticity {
    match trusted {
        Some(TrustedRecord { slot: None, .. }) => Authenticity::Proved,
        Some(TrustedRecord { slot: Some(_), .. }) | None => Authenticity::Unproved,
    }
}

/// The record of this boot, when it is of this plan.
fn tmpfs(situation: &Situation<'_>, plan: &Plan) -> Option<Box<TrustedRecord>> {
    let bytes = situation.tmpfs?;
    match Record::decode(bytes) {
        // From Anchored on, only the ESP's word counts.
        Ok(record)
            if record.install == plan.install
                && record.disk == plan.disk
                && !record.phase().is_anchored() =>
        {
            Some(Box::new(TrustedRecord {
                record,
                bytes: bytes.to_vec(),
                slot: None,
            }))
        }
        Ok(_) | Err(_) => None,
    }
}

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
