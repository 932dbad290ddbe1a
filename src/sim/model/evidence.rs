//! What a disk shows, computed without the states: tables, records, who wrote them.
//!
//! A few lines that look at slots and tables.
//!
//! `explore::operator` says what follows from it.

use crate::sim::model::disk::{Disk, Key, Region, Value};
use crate::sim::model::machine::Machine;
use crate::sim::model::setting::Setting;
use landfall_states::Phase;
use landfall_states::authentic::{Authenticity, KeySource, RecordKey, RecordKeys};
use landfall_states::checkpoint::{Choice, Record, authenticity, choose};
use landfall_states::plan::{GptTable, Plan};

/// What a disk says to whoever looks at it.
pub(crate) struct Seen {
    pub(crate) record: Option<Record>,
    pub(crate) tables: Vec<GptTable>,
}

impl Seen {
    pub(crate) fn on(disk: &Disk) -> Seen {
        let slots = [disk.slot(0), disk.slot(1)];
        // Slots are looked for where a table says that there is an ESP.
        let tables: Vec<GptTable> = [Key::Primary, Key::Backup]
            .iter()
            .filter_map(|key| disk.copy(*key).table().cloned())
            .collect();
        let record = match choose([slots[0].as_deref(), slots[1].as_deref()]) {
            Choice::Trusted { record, .. } if !tables.is_empty() => Some(*record),
            Choice::Trusted { .. } | Choice::Neither(_) | Choice::Fork { .. } | Choice::Newer(_) => None,
        };
        Seen { record, tables }
    }

    pub(crate) fn has_table_of(&self, plan: &Plan) -> bool {
        self.tables
            .iter()
            .any(|table| table.disk_guid == plan.table.disk_guid)
    }

    pub(crate) fn has_record_of(&self, plan: &Plan) -> bool {
        self.record
            .as_ref()
            .is_some_and(|record| record.install == plan.install)
    }

    pub(crate) fn carries(&self, plan: &Plan) -> bool {
        self.has_table_of(plan) || self.has_record_of(plan)
    }

    pub(crate) fn landed(&self, plan: &Plan) -> bool {
        self.has_record_of(plan)
            && self
                .record
                .as_ref()
                .is_some_and(|record| record.phase() == Phase::Landed)
    }
}

/// The key for the records of a container that is ours and opens.
pub(crate) fn container_key(disk: &Disk, setting: &Setting) -> Option<RecordKey> {
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
    let Choice::Trusted { slot, .. } = choose([slots[0].as_deref(), slots[1].as_deref()]) else {
        return None;
    };
    let bytes = slots[slot].as_deref()?;
    Some(authenticity(
        bytes,
        machine.tmpfs.as_deref(),
        &keys_of(disk, setting),
    ))
}
