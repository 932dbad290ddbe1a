//! When two machines are the same.
//!
//! Machines with equal hashes continue alike, whatever happens to them next. So a scenario that comes to a machine that
//! another one reached need not be run to its end again.
//!
//! Left out is what no verdict and no check looks at: sequence numbers (their order is kept), the ids of boots, the last
//! fault, the time, how often something was made (which file belongs to which making is kept), and attempts as long as the
//! budget is far away. The order of the disks is left out too, because nothing may find a disk by it; with a planted bug it
//! is kept. Hashes have 64 bits: among a million machines two are confused with a probability of 3 in 10⁸.
//!
//! `check` judges whether a machine is in order.

use crate::sim::check::watch::Checks;
use crate::sim::model::disk::{Disk, Held, Key, Region, SLOT_SECTORS, Value};
use crate::sim::model::evidence::keys_of;
use crate::sim::model::machine::Machine;
use crate::sim::model::setting::Setting;
use landfall_states::authentic::Authenticity;
use landfall_states::checkpoint::{Choice, MAGIC, Record, SlotError, authenticity, choose};
use landfall_states::fault::Budget;
use landfall_states::names::Digest;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

/// Attempts at one phase that a scenario after its last fault may still make; with more than this left, limits are far.
const PHASE_ATTEMPTS_FAR: u32 = 12;

/// The same for all phases together.
const TOTAL_ATTEMPTS_FAR: u32 = 48;

/// What two slots are taken for.
#[derive(Debug)]
struct Pair {
    hash: u64,
    trusted: Option<(u64, Digest)>,
}

/// Makes digests, and remembers what slots meant: reading them is the dear part.
#[derive(Debug)]
pub struct StateHasher {
    setting: Rc<Setting>,
    disk_order: bool,
    pairs: HashMap<[u64; 2], Rc<Pair>>,
    tmpfs: HashMap<u64, u64>,
    codes: HashMap<u64, Authenticity>,
}

fn hash_of(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl StateHasher {
    /// For a case. `disk_order` keeps the order of kernel names.
    pub fn new(setting: &Rc<Setting>, disk_order: bool) -> StateHasher {
        StateHasher {
            setting: setting.clone(),
            disk_order,
            pairs: HashMap::new(),
            tmpfs: HashMap::new(),
            codes: HashMap::new(),
        }
    }

    /// The digest of a machine, with what the checks know of it.
    pub fn digest(&mut self, machine: &Machine, checks: &Checks) -> u64 {
        let mut hasher = DefaultHasher::new();
        let Machine {
            disks,
            tmpfs,
            boot: _,
            now_ms: _,
            mapped,
            mapping_empty,
            root_mounted,
            esp_mounted,
            foreign_mapping,
            kernel,
            nvram,
            child,
            clock_ms: _,
            gone,
            medium_gone,
            name_taken,
            late,
            root_damage,
            closed_until_ms,
            slot_times_ms,
            makings: _,
        } = machine;
        let target = machine.target(&self.setting);
        self.other_disks(disks, target, &mut hasher);
        let disk = machine.disk(target);
        let makings = makings(disk, *mapped);
        let rank = |making: u32| makings.binary_search(&making).map_or(0, |rank| rank + 1);
        (mapped.map(rank), mapping_empty, root_mounted, esp_mounted).hash(&mut hasher);
        (foreign_mapping, kernel.len(), nvram).hash(&mut hasher);
        (
            machine.clock_is_right(),
            gone,
            medium_gone,
            name_taken,
            late,
            root_damage,
        )
            .hash(&mut hasher);
        (machine.now_ms < *closed_until_ms).hash(&mut hasher);
        for (held, key, value) in child.iter().flat_map(|rest| rest.iter()) {
            (held, key).hash(&mut hasher);
            if let Some(value) = value {
                value_hash(value, &rank, &mut hasher);
            }
        }
        child.is_some().hash(&mut hasher);
        if self.disk_order {
            // Only a planted bug looks at times.
            slot_times_ms.hash(&mut hasher);
        }
        for (key, value) in disk.durable() {
            if !matches!(key, Key::Sector(..)) {
                key.hash(&mut hasher);
                value_hash(value, &rank, &mut hasher);
            }
        }
        let in_flight = self.pending(disk, &rank, &mut hasher);
        let pair = self.pair(disk, false);
        pair.hash.hash(&mut hasher);
        let seen = if in_flight {
            let seen = self.pair(disk, true);
            seen.hash.hash(&mut hasher);
            seen
        } else {
            pair
        };
        self.records(disk, tmpfs.as_deref(), &mut hasher);
        let trusted = seen
            .trusted
            .as_ref()
            .map(|(sequence, digest)| (*sequence, digest));
        checks.digest(trusted, &mut hasher);
        hasher.finish()
    }

    /// The disks that are not the target, and with the order of kernel names also where it is among them.
    fn other_disks(&self, disks: &[Rc<Disk>], target: usize, hasher: &mut DefaultHasher) {
        for (index, disk) in disks.iter().enumerate() {
            let known = self.setting.disks.iter().position(|before| before == disk);
            match known {
                _ if index == target => {}
                Some(known) if self.disk_order => (index, known).hash(hasher),
                // As it was before: nothing more to say.
                Some(_) => {}
                None => disk.hash(hasher),
            }
        }
        if self.disk_order {
            target.hash(hasher);
        }
    }

    /// Who wrote the slots, and what the record in memory says.
    fn records(&mut self, disk: &Disk, tmpfs: Option<&[u8]>, hasher: &mut DefaultHasher) {
        for slots in [
            [disk.durable_slot(0), disk.durable_slot(1)],
            [disk.slot(0), disk.slot(1)],
        ] {
            for bytes in slots.into_iter().flatten() {
                self.who_wrote(&bytes, tmpfs, disk).hash(hasher);
            }
        }
        if let Some(bytes) = tmpfs {
            let raw = hash_of(bytes);
            let budget = self.setting.request.budget;
            self.tmpfs
                .entry(raw)
                .or_insert_with(|| hash_of(Record::decode(bytes).ok().map(|r| record_hash(&r, &budget))))
                .hash(hasher);
        }
    }

    /// Who wrote a slot, as the next run will find.
    fn who_wrote(&mut self, slot: &[u8], own_copy: Option<&[u8]>, disk: &Disk) -> Authenticity {
        if own_copy == Some(slot) {
            return Authenticity::Proved;
        }
        let container = disk.header(Region::Root).map(|header| header.making);
        let setting = &self.setting;
        *self
            .codes
            .entry(hash_of((slot, container, disk.see(Key::Keyslot))))
            .or_insert_with(|| authenticity(slot, None, &keys_of(disk, setting)))
    }

    /// What is not durable. Says whether sectors of slots are among it.
    fn pending(&self, disk: &Disk, rank: &dyn Fn(u32) -> usize, hasher: &mut DefaultHasher) -> bool {
        let sectors: Vec<Key> = disk
            .pending()
            .iter()
            .filter(|p| matches!(p.key, Key::Sector(..)))
            .map(|p| p.key)
            .collect();
        // A sector that is on its way twice: which mixtures a cut can leave depends on the bytes.
        let twice = sectors
            .iter()
            .enumerate()
            .any(|(i, key)| sectors.iter().take(i).any(|before| before == key));
        for pending in disk.pending() {
            let held: Held = pending.held;
            (held, pending.key).hash(hasher);
            match &pending.value {
                Some(Value::Sector(bytes)) if twice => bytes.hash(hasher),
                // Old or new or a mixture: the old pair and the new one are hashed by themselves.
                Some(value @ Value::Sector(_)) => {
                    (disk.durable().get(&pending.key) == Some(value)).hash(hasher);
                }
                Some(value) => value_hash(value, rank, hasher),
                None => 0_u8.hash(hasher),
            }
        }
        !sectors.is_empty()
    }

    fn pair(&mut self, disk: &Disk, seen: bool) -> Rc<Pair> {
        let raw = [0, 1].map(|which| {
            let sector = |index| {
                let key = Key::Sector(which, index);
                if seen {
                    disk.see(key)
                } else {
                    disk.durable().get(&key)
                }
            };
            hash_of((0..SLOT_SECTORS).map(sector).collect::<Vec<_>>())
        });
        if let Some(pair) = self.pairs.get(&raw) {
            return pair.clone();
        }
        let slots = [0, 1].map(|which| {
            if seen {
                disk.slot(which)
            } else {
                disk.durable_slot(which)
            }
        });
        let pair = Rc::new(read(&slots, &self.setting.request.budget));
        self.pairs.insert(raw, pair.clone());
        pair
    }
}

/// The makings that a header names: whatever names another one belongs to nothing any more.
fn makings(disk: &Disk, mapped: Option<u32>) -> Vec<u32> {
    let pending = disk.pending().iter().filter_map(|p| p.value.as_ref());
    let mut makings: Vec<u32> = disk
        .durable()
        .values()
        .chain(pending)
        .filter_map(|value| match value {
            Value::Header(header) => Some(header.making),
            Value::Mbr
            | Value::Table(_)
            | Value::Of(_)
            | Value::Text(..)
            | Value::Sector(_)
            | Value::Torn => None,
        })
        .chain(mapped)
        .collect();
    makings.sort_unstable();
    makings.dedup();
    makings
}

fn value_hash(value: &Value, rank: &dyn Fn(u32) -> usize, hasher: &mut DefaultHasher) {
    std::mem::discriminant(value).hash(hasher);
    match value {
        Value::Header(header) => {
            (header.kind, &header.id, &header.label).hash(hasher);
            (rank(header.making), rank(header.within)).hash(hasher);
        }
        Value::Of(making) => rank(*making).hash(hasher),
        Value::Text(making, text) => (rank(*making), text).hash(hasher),
        Value::Mbr | Value::Torn | Value::Table(_) | Value::Sector(_) => value.hash(hasher),
    }
}

/// What a record means to a later run.
fn record_hash(record: &Record, budget: &Budget) -> u64 {
    let Record {
        sequence: _,
        parent: _,
        host,
        install,
        nonce,
        layout,
        payload,
        disk,
        revision,
        claim,
        mark,
        attempts,
        boot: _,
        last_fault: _,
        image_progress,
    } = record;
    let left = |max: u32, made: u32, far: u32| max.saturating_sub(made).min(far);
    let by_phase: Vec<u32> = landfall_states::Phase::ALL
        .into_iter()
        .map(|phase| left(budget.phase_attempts_max, attempts.of(phase), PHASE_ATTEMPTS_FAR))
        .collect();
    let total = left(budget.total_attempts_max, attempts.total(), TOTAL_ATTEMPTS_FAR);
    let place = (
        host.as_str(),
        install.uuid(),
        nonce,
        layout.as_str(),
        payload.as_str(),
    );
    hash_of((
        place,
        disk,
        revision.as_str(),
        format!("{claim:?} {mark:?} {image_progress:?}"),
        by_phase,
        total,
    ))
}

fn read(slots: &[Option<Vec<u8>>; 2], budget: &Budget) -> Pair {
    let kinds = slots.each_ref().map(|slot| match slot {
        None => (0_u8, 0),
        Some(bytes) => match Record::decode(bytes) {
            Ok(record) => (1, record_hash(&record, budget)),
            Err(SlotError::Newer(version)) => (2, u64::from(version)),
            // Without its magic it is not found by it.
            Err(_) if bytes.starts_with(MAGIC.as_bytes()) => (3, 0),
            Err(_) => (4, 0),
        },
    });
    let (choice, trusted) = match choose([slots[0].as_deref(), slots[1].as_deref()]) {
        Choice::Neither(_) => (9, None),
        Choice::Fork { .. } => (8, None),
        Choice::Newer(_) => (7, None),
        Choice::Trusted { record, slot, .. } => {
            let digest = Record::digest_of(slots.get(slot).and_then(Option::as_deref).unwrap_or_default());
            (slot, Some((record.sequence, digest)))
        }
    };
    Pair {
        hash: hash_of((kinds, choice)),
        trusted,
    }
}
