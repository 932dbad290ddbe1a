//! What a disk says to whoever looks at it, apart from the states. Law: a few lines that look at slots and tables.
//!
//! Absent: what follows from it (`between`).

use super::disk::{Disk, Key, Value};
use super::story::Story;
use landfall_states::Phase;
use landfall_states::checkpoint::{Choice, Record, choose};
use landfall_states::plan::{GptTable, Plan};
use std::rc::Rc;

/// What a disk says to whoever looks at it.
pub(super) struct Seen {
    pub(super) record: Option<Record>,
    pub(super) tables: Vec<GptTable>,
}

impl Seen {
    pub(super) fn on(disk: &Disk) -> Seen {
        let slots = [disk.slot(0), disk.slot(1)];
        // Slots are looked for where a table says that there is an ESP.
        let tables: Vec<GptTable> = [Key::Primary, Key::Backup]
            .iter()
            .filter_map(|key| disk.copy(*key).table().cloned())
            .collect();
        let record = match choose([slots[0].as_deref(), slots[1].as_deref()]) {
            Choice::Believed { record, .. } if !tables.is_empty() => Some(*record),
            Choice::Believed { .. } | Choice::Neither(_) | Choice::Fork { .. } | Choice::Newer(_) => None,
        };
        Seen { record, tables }
    }

    pub(super) fn has_table_of(&self, plan: &Plan) -> bool {
        self.tables
            .iter()
            .any(|table| table.disk_guid == plan.table.disk_guid)
    }

    pub(super) fn has_record_of(&self, plan: &Plan) -> bool {
        self.record
            .as_ref()
            .is_some_and(|record| record.install == plan.install)
    }

    pub(super) fn carries(&self, plan: &Plan) -> bool {
        self.has_table_of(plan) || self.has_record_of(plan)
    }

    pub(super) fn landed(&self, plan: &Plan) -> bool {
        self.has_record_of(plan)
            && self
                .record
                .as_ref()
                .is_some_and(|record| record.phase() == Phase::Landed)
    }
}

/// Whoever edits the table has a tool that writes both copies out.
pub(super) fn put_table(story: &mut Story, target: usize, table: GptTable) {
    let table = Rc::new(table);
    for key in [Key::Primary, Key::Backup] {
        story
            .machine
            .disk_mut(target)
            .put(key, Value::Table(table.clone()));
    }
    story.machine.read_table(target);
}
