//! What a run writes where the order matters, and its flushes, for comparison with a recording of a real disk.
//!
//! An effect has a name that can be given from the disk's bytes alone. The inside of a container or a filesystem is left out,
//! because it cannot be seen from outside.

use crate::sim::model::disk::{Key, Region, Value};
use crate::sim::model::setting::Setting;
use landfall_states::Phase;
use landfall_states::checkpoint::{Mark, Record};
use std::fmt;

/// Something that can be seen on the disk's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A whole copy of the planned table.
    Table(&'static str),
    /// A volume under one of its two ids.
    Volume {
        /// The partition, from 1.
        partition: u32,
        /// Whether it is the planned id, and not the provisional one.
        planned: bool,
    },
    /// A checkpoint on the ESP.
    Checkpoint {
        /// What it claims.
        phase: Phase,
        /// How far that goes.
        mark: Mark,
    },
    /// The device made durable what it had.
    Flush,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Effect::Table(copy) => write!(f, "table {copy}"),
            Effect::Volume { partition, planned } => {
                let id = if *planned { "planned" } else { "provisional" };
                write!(f, "volume {partition} {id}")
            }
            Effect::Checkpoint { phase, mark } => write!(f, "checkpoint {phase:?} {mark:?}"),
            Effect::Flush => f.write_str("flush"),
        }
    }
}

impl Effect {
    /// What a write is, if it can be seen from outside.
    pub fn of(setting: &Setting, key: Key, value: Option<&Value>) -> Option<Effect> {
        match (key, value?) {
            (Key::Primary, Value::Table(_)) => Some(Effect::Table("primary")),
            (Key::Backup, Value::Table(_)) => Some(Effect::Table("backup")),
            (Key::Header(region), Value::Header(header)) => {
                let partition = match region {
                    Region::Esp => 1,
                    Region::Root => 2,
                    Region::Swap => 3,
                    Region::Inner => return None,
                };
                let (_, _, id, _) = setting.volume(region)?;
                Some(Effect::Volume {
                    partition,
                    planned: *header.id == *id,
                })
            }
            _ => None,
        }
    }

    /// What a slot's bytes are.
    pub fn of_slot(bytes: &[u8]) -> Option<Effect> {
        let record = Record::decode(bytes).ok()?;
        Some(Effect::Checkpoint {
            phase: record.phase(),
            mark: record.mark,
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::sim::explore::harness::Harness;

    #[test]
    fn a_run_tells_every_table_volume_and_checkpoint_in_order() {
        let harness = Harness::new("swap/prebuilt/blank/person".parse().unwrap()).unwrap();
        let effects: Vec<String> = harness.effects().iter().map(ToString::to_string).collect();
        let at = |what: &str| {
            let found = effects.iter().position(|t| t == what);
            found.unwrap_or_else(|| panic!("no {what:?} in {effects:#?}"))
        };
        for (first, then) in [
            ("table primary", "table backup"),
            ("table backup", "volume 1 provisional"),
            ("volume 1 provisional", "volume 1 planned"),
            ("volume 1 planned", "volume 2 provisional"),
            ("volume 2 provisional", "volume 2 planned"),
            ("volume 3 provisional", "volume 3 planned"),
        ] {
            let between = &effects[at(first)..at(then)];
            assert!(
                between.contains(&"flush".to_owned()),
                "{first} … {then}: {effects:#?}"
            );
        }
        for phase in ["Encrypted", "Formatted", "Realised", "Provisioned"] {
            at(&format!("checkpoint {phase} Begun"));
        }
        let last = effects
            .iter()
            .rposition(|t| t.starts_with("checkpoint "))
            .unwrap();
        assert_eq!(effects[last..last + 2], ["checkpoint Landed Reached", "flush"]);
    }
}
