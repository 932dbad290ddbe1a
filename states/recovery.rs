//! Which checkpoint to believe, and what follows. Law: the checkpoint says where to look; the disk says what is true; a
//! checkpoint never permits anything (I6, I7). What this module decides is where to begin looking, or that nothing may be
//! touched; every step after it is judged from facts, checkpoint or not.
//!
//! Absent: looking. A [`Situation`] holds what was seen.
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

fn on_disk(
    situation: &Situation<'_>,
    evidence: &DiskEvidence,
    carried: &Carried,
    mut rules: Vec<Rule>,
) -> Decision {
    let disk = &evidence.disk;
    let name = format!("{} ({})", evidence.device, disk.name());
    let plan = |nonce: u32| Plan::derive(situation.host, situation.layout, situation.payload, disk, nonce);
    let begin = |nonce: u32, rules: Vec<Rule>, why: String, sequence_seen: u64| match plan(nonce) {
        Ok(plan) => {
            // A run of this boot that was cut off before the ESP existed left its attempts and its pin in tmpfs.
            let trusted = tmpfs(situation, &plan);
            Decision::Begin(ResumePlan {
                plan: Box::new(plan),
                authenticity: by_place(trusted.as_deref()),
                trusted,
                rules,
                why,
                sequence_seen,
            })
        }
        Err(error) => Decision::Stop {
            rule: None,
            fault: impossible(format!("disk {name}"), error),
        },
    };
    let anew = "landfall install --reinstall, and agree when asked";

    // What the slots say, as far as they may speak for this disk.
    let mut sequence_seen = 0;
    let mut trusted = None;
    match &carried.choice {
        Choice::Newer(version) => {
            return stop(
                Rule::Newer,
                format!("checkpoint on {name}"),
                format!("it has format version {version}, which this landfall cannot read"),
                Remedy::words("use the installer that wrote it, or a newer one"),
            );
        }
        Choice::Fork { why: _, sequence } => {
            sequence_seen = *sequence;
            rules.push(Rule::Fork);
        }
        Choice::Neither(_) => {}
        Choice::Trusted { record, slot, other } => {
            sequence_seen = record.sequence;
            if &record.disk != disk {
                rules.push(Rule::OtherDisk);
            } else if &record.host != situation.host {
                if !situation.reinstall_requested {
                    return stop(
                        Rule::OtherHost,
                        format!("disk {name}"),
                        format!(
                            "it holds an install of host {}, not of {}",
                            record.host, situation.host
                        ),
                        Remedy::words(format!("use the installer of {}, or: {anew}", record.host)),
                    );
                }
            } else if record.layout != situation.layout.digest() {
                if !situation.reinstall_requested {
                    return stop(
                        Rule::OtherLayout,
                        format!("disk {name}"),
                        format!(
                            "it holds install {} of {} with another layout (labels, sizes, encryption or swap)",
                            record.install, record.host
                        ),
                        Remedy::words(format!("use the installer that started it, or: {anew}")),
                    );
                }
            } else if record.nonce > NONCE_MAX
                || record.install != InstallId::derive(situation.host, situation.layout, disk, record.nonce)
            {
                // Its own fields contradict one another: nobody of us wrote it.
                rules.push(Rule::Fork);
            } else {
                if other.is_some() {
                    rules.push(Rule::OneSlotBad);
                }
                if evidence.slots_scanned {
                    rules.push(Rule::RawSlots);
                }
                let bytes = evidence.slots.get(*slot).cloned().flatten().unwrap_or_default();
                trusted = Some(Box::new(TrustedRecord {
                    record: (**record).clone(),
                    bytes,
                    slot: Some(*slot),
                }));
            }
        }
    }

    // A new install over what is there: a person asked, or the configuration's number was raised.
    let known_nonce = carried.table_nonce.or(trusted.as_ref().map(|b| b.record.nonce));
    // A record of another install says nothing of the one that the table belongs to: a former one's is behind it, and nobody of us
    // writes one of a later install before its table.
    if trusted
        .as_ref()
        .is_some_and(|b| Some(b.record.nonce) != known_nonce)
    {
        rules.push(Rule::Fork);
        trusted = None;
    }
    if situation.reinstall_requested {
        let nonce = known_nonce.map_or(situation.reinstall, |known| {
            situation.reinstall.max(known.saturating_add(1))
        });
        if nonce > NONCE_MAX {
            return Decision::Stop {
                rule: None,
                fault: ConfigFault::ReinstallsSpent {
                    disk: format!("disk {name}"),
                    device: evidence.device.clone(),
                    number: nonce.saturating_sub(1),
                    max: NONCE_MAX,
                }
                .into(),
            };
        }
        return begin(nonce, rules, "a reinstall was requested".into(), sequence_seen);
    }
    if let Some(known) = known_nonce
        && situation.reinstall > known
    {
        let why = format!(
            "the configuration requests reinstall number {}, and the disk holds number {known}",
            situation.reinstall
        );
        return begin(situation.reinstall, rules, why, sequence_seen);
    }

    if let Some(trusted) = &trusted
        && trusted.record.phase() == Phase::Landed
    {
        return Decision::Landed {
            why: format!(
                "{name} holds a finished install of {}; for a new one: {anew}",
                situation.host
            ),
            record: Box::new(trusted.record.clone()),
        };
    }

    let Some(nonce) = known_nonce else {
        rules.push(Rule::Fresh);
        return begin(
            situation.reinstall,
            rules,
            format!("{name} holds no install of {}", situation.host),
            sequence_seen,
        );
    };
    let plan = match plan(nonce) {
        Ok(plan) => plan,
        Err(error) => {
            return Decision::Stop {
                rule: None,
                fault: impossible(format!("disk {name}"), error),
            };
        }
    };
    let ours = |copy: &GptCopy| copy.table() == Some(&plan.table);
    for copy in [&evidence.primary, &evidence.backup] {
        if let Some(found) = copy.table()
            && found.disk_guid == plan.table.disk_guid
            && found != &plan.table
        {
            return stop_listing(
                Rule::Edited,
                format!("partition table of {name}"),
                "it was changed since",
                plan.table.differences(found),
                Remedy::words(format!("restore the partition table, or: {anew}")),
            );
        }
    }
    match (ours(&evidence.primary), ours(&evidence.backup)) {
        (true, true) => {}
        (true, false) | (false, true) => rules.push(Rule::HalfTable),
        (false, false) => {
            // The slots are ours, the table is not: the disk is behind, and wins. Writing the table needs consent.
            rules.push(Rule::Behind);
            let why = format!("{name} has a checkpoint of landfall, but not its partition table");
            return match begin(nonce, rules, why, sequence_seen) {
                Decision::Begin(resume_plan) => Decision::Begin(ResumePlan {
                    authenticity: by_place(trusted.as_deref()),
                    trusted,
                    ..resume_plan
                }),
                other => other,
            };
        }
    }
    let why = match &trusted {
        Some(b) => format!(
            "{name} holds an install of {} in phase {}",
            situation.host,
            b.record.phase()
        ),
        None => {
            let checkpoint = if rules.contains(&Rule::Fork) {
                "its two checkpoints contradict each other"
            } else {
                rules.push(Rule::SlotsLost);
                "no readable checkpoint"
            };
            format!(
                "{name} has landfall's partition table, but {checkpoint}: landfall checks every phase again"
            )
        }
    };
    // Before the ESP exists the record is in tmpfs only.
    let trusted = trusted.or_else(|| tmpfs(situation, &plan));
    // The run ended between the table and the save that would have told of it. Further states cannot be seen from here;
    // each step skips what verifies.
    if !rules.contains(&Rule::HalfTable)
        && trusted
            .as_ref()
            .is_some_and(|b| b.record.phase() < Phase::Partitioned)
    {
        rules.push(Rule::Ahead);
    }
    Decision::Continue(ResumePlan {
        plan: Box::new(plan),
        authenticity: by_place(trusted.as_deref()),
        trusted,
        rules,
        why,
        sequence_seen,
    })
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
