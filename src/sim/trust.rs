//! Who wrote a record, and what the remote names: the world's side of both, and somebody who has the disk for a while and can make a
//! right digest. Law: as `world`; the attacker has no passphrase, so that what is in a container is out of reach.
//!
//! Absent: judging (`states::authentic`, `states::formatted`, `states::cloned`).

use super::bugs::Bug;
use super::case::Setting;
use super::contents::{OWNER, record_text};
use super::disk::{Disk, Fs, Key, Region, Value};
use super::faults::ended;
use super::landing::Mode;
use super::machine::Machine;
use super::world::{Act, SimWorld};
use landfall_states::Phase;
use landfall_states::authentic::{Authenticity, KeySource, RecordKey, RecordKeys};
use landfall_states::checkpoint::{Choice, Record, SLOT_BYTES, authenticity, choose};
use landfall_states::cloned::RealiseOrder;
use landfall_states::fault::{Cause, Fault};
use landfall_states::formatted::{CloneConfiguration, Standing};
use landfall_states::names::{Digest, Revision, StorePath};
use landfall_states::plan::{Payload, Reference};

/// A commit that the server has, and no reference names.
pub const EVIL_DIGIT: &str = "e";
/// What somebody has put into the store under a name of its own.
pub const EVIL_SYSTEM: &str = "/nix/store/3123456789abcdfghijklmnpqrsvwxyz-nixos-system-web";
/// Where the code of a slot begins, from its end: `container:` or `installer:`, 64 digits, a line feed.
const CODE_LINE_BYTES: usize = 79;

/// Where the remote's reference has gone since the revision was pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Moved {
    /// Nowhere.
    #[default]
    No,
    /// To a descendant.
    On,
    /// To something else: somebody pushed by force.
    Away,
}

/// The same digit forty times.
fn revision(digit: &str) -> Option<Revision> {
    digit.repeat(40).parse().ok()
}

/// Whether the configuration names the commit itself.
fn is_commit(payload: &Payload) -> bool {
    matches!(payload.repository.reference, Reference::Revision(_))
}

impl Setting {
    /// What the remote's reference names now. A commit that the configuration names is none: nothing that is pushed moves it.
    pub fn named_now(&self) -> Revision {
        if is_commit(&self.request.payload) {
            return self.revision.clone();
        }
        let digit = match self.moved {
            Moved::No => return self.revision.clone(),
            Moved::On => "c",
            Moved::Away => "d",
        };
        revision(digit).unwrap_or_else(|| self.revision.clone())
    }

    /// The same, where the reference has moved; the install stays at what it named first, or comes to what it names now.
    pub fn moved(&self, moved: Moved, stays: bool) -> Setting {
        let mut setting = self.clone();
        setting.moved = moved;
        if !stays {
            setting.revision = setting.named_now();
        }
        setting
    }
}

/// The key for the records of a container that is ours and opens.
fn container_key(disk: &Disk, setting: &Setting) -> Option<RecordKey> {
    let id = setting.plan.luks.as_ref()?.id;
    let header = disk.header(Region::Root)?;
    let opens = disk.see(Key::Keyslot) == Some(&Value::Of(header.making));
    if !opens || *header.id != *id.to_string() {
        return None;
    }
    // Each making has a volume key of its own.
    RecordKey::derive(KeySource::Container, &header.making.to_le_bytes(), id.as_bytes())
}

/// The keys that whoever has the passphrase can get at.
pub fn keys_of(disk: &Disk, setting: &Setting) -> RecordKeys {
    let mut keys = RecordKeys::default();
    if let Some(key) = container_key(disk, setting) {
        keys.hold(key);
    }
    keys
}

/// Who wrote the record that is believed.
pub fn who_wrote(machine: &Machine, setting: &Setting) -> Option<Authenticity> {
    let disk = &machine.disks[machine.target(setting)];
    let slots = [disk.slot(0), disk.slot(1)];
    let Choice::Believed { slot, .. } = choose([slots[0].as_deref(), slots[1].as_deref()]) else {
        return None;
    };
    let bytes = slots[slot].as_deref()?;
    Some(authenticity(
        bytes,
        machine.tmpfs.as_deref(),
        &keys_of(disk, setting),
    ))
}

impl SimWorld {
    /// What the target's own record says of the system.
    pub(super) async fn record_system(&mut self, revision: &Revision, again: bool) -> Result<(), Fault> {
        let record = record_text(&self.setting.plan, revision, &self.setting.system);
        if again && self.text(Fs::Root, "record") == Some(&*record) {
            return Ok(());
        }
        self.put("record the system", vec![("record", Some(record))])
            .await?;
        self.sync_unless(Bug::RecordUnsynced).await
    }

    /// Nix opens no repository of another account, unless it is told whose it is: a run before this one may have given the
    /// clone to its user.
    pub(super) fn open_clone(&self, order: &RealiseOrder) -> Result<(), Fault> {
        if self.text(Fs::Root, OWNER).is_none() || !self.has(Bug::CloneOfAnother) {
            return Ok(());
        }
        let what = format!("evaluation of {}", order.action.revision);
        let said = "error: repository path '/home/op/conf' is not owned by current user";
        Err(ended(Cause::Evaluation, what, "nix", said))
    }

    /// The container was seen to be ours and to open.
    pub fn container_opened(&mut self) {
        if let Some(key) = container_key(self.disk(), &self.setting) {
            self.record_keys.hold(key);
        }
    }

    /// What the remote names now for a payload.
    pub fn named(&self, payload: &Payload) -> Revision {
        match self.setting.moved {
            Moved::On | Moved::Away if !is_commit(payload) => self.setting.named_now(),
            Moved::No | Moved::On | Moved::Away => self.setting.revision_of(payload),
        }
    }

    /// What the remote says of a wish.
    pub async fn standing(&mut self, step: &CloneConfiguration) -> Result<Standing, Fault> {
        if !step.is_wish {
            return Ok(Standing::NotAsked);
        }
        if self.granted || self.has(Bug::PinFromRecord) {
            return Ok(Standing::Named);
        }
        if self.has(Bug::EvaluatedEarly) {
            self.uses(Some(&step.revision), None);
        }
        let asked = self.act("ask the remote", Act::Ask).await;
        self.came = None;
        asked?;
        let now = self.setting.named_now();
        let is_ancestor = self.setting.moved != Moved::Away && step.revision == self.setting.first;
        if step.revision == now || is_ancestor {
            self.granted = true;
            return Ok(Standing::Named);
        }
        Ok(Standing::Elsewhere { now, named_by: None })
    }

    /// The system that the target's own record names for a revision.
    pub fn noted(&self, revision: &Revision) -> Option<StorePath> {
        let text = self.text(Fs::Root, "record")?;
        let (_, system) = text.rsplit_once(' ')?;
        let system: StorePath = system.parse().ok()?;
        (text == record_text(&self.setting.plan, revision, &system)).then_some(system)
    }

    /// What somebody else than the configuration asked for is about to be evaluated or activated.
    pub fn uses(&mut self, revision: Option<&Revision>, system: Option<&StorePath>) {
        let evil = revision.is_some_and(|revision| revision.as_str().starts_with(EVIL_DIGIT));
        let strange = system.is_some_and(|system| *system != self.setting.system);
        if evil {
            self.checks
                .get_mut()
                .not_named("a commit that no reference names was evaluated");
        }
        if strange {
            self.checks
                .get_mut()
                .not_named("a system that no evaluation came to was activated");
        }
    }
}

/// How somebody without a key writes a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgery {
    /// With the code that stood there.
    OldCode,
    /// Without a code.
    NoCode,
}

/// Somebody has the disk for a while: both slots ask for a commit of his choice and count more attempts than anybody makes, all
/// digests right; and outside of a container the target names a system of his.
pub fn forge(disk: &mut Disk, setting: &Setting, how: Forgery) -> Result<(), String> {
    let slots = [disk.slot(0), disk.slot(1)];
    let Choice::Believed { record, slot, .. } = choose([slots[0].as_deref(), slots[1].as_deref()]) else {
        // There is nothing to be forged yet.
        return Ok(());
    };
    let mut record = Record {
        revision: revision(EVIL_DIGIT).ok_or("no revision")?,
        parent: None,
        ..*record
    };
    // Counts that no run makes, where nothing tells that they are forged.
    if how == Forgery::NoCode {
        for _ in 0..=setting.request.budget.phase_attempts_max {
            record.attempts.raise(Phase::Formatted);
        }
    }
    let old = slots[slot].clone().unwrap_or_default();
    let code = match how {
        Forgery::OldCode => old.get(SLOT_BYTES - CODE_LINE_BYTES..).unwrap_or_default(),
        Forgery::NoCode => &[],
    };
    let newer = record.sequence;
    record.sequence = newer.saturating_sub(1);
    let first = with_code(record.encode().map_err(|e| e.to_string())?, code);
    record.parent = Some(Record::digest_of(&first));
    record.sequence = newer;
    let second = with_code(record.encode().map_err(|e| e.to_string())?, code);
    disk.put_slots(&[first, second]);
    // What has landed is left alone, whoever changes it.
    let is_open =
        setting.plan.luks.is_none() && setting.case.mode == Mode::Flake && record.phase() != Phase::Landed;
    if is_open && let Some(Value::Text(making, _)) = disk.durable().get(&Key::File(Fs::Root, "record")) {
        let making = *making;
        let system = EVIL_SYSTEM.parse().map_err(|e| format!("{e}"))?;
        let text = record_text(&setting.plan, &setting.revision, &system);
        disk.put(Key::File(Fs::Root, "record"), Value::Text(making, text.into()));
    }
    Ok(())
}

/// A slot with this last line, and the digest over all of it.
fn with_code(mut slot: Vec<u8>, code: &[u8]) -> Vec<u8> {
    let at = slot.len().saturating_sub(code.len());
    slot.truncate(at);
    slot.extend_from_slice(code);
    let name = b"sha256=";
    let digest = slot.windows(name.len()).position(|window| window == name);
    if let Some(from) = digest.map(|at| at + name.len()) {
        let to = from + 64;
        let all = [&slot[..from], &slot[to..]].concat();
        slot[from..to].copy_from_slice(Digest::of(&all).as_str().as_bytes());
    }
    slot
}
