//! A recovery decision about a disk that a power cut left, and what can be seen on its bytes, for comparison with a recording
//! of a real disk.
//!
//! `explore::decisions` enumerates them.

use crate::sim::check::visible_effects::Effect;
use crate::sim::model::disk::Disk;
use crate::sim::model::setting::Setting;
use landfall_states::Phase;
use landfall_states::checkpoint::Record;
use landfall_states::recovery::Decision;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A decision, as far as it can be told apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Verdict {
    /// `begin`, `continue`, `landed` or `stop`.
    pub decision: &'static str,
    /// The numbers of the recovery rules that say so.
    pub rules: Vec<u8>,
    /// What the believed checkpoint claims.
    pub claimed: Option<Phase>,
}

impl Verdict {
    /// Of a decision.
    pub fn of(decision: &Decision) -> Verdict {
        Verdict {
            decision: decision.name(),
            rules: decision.rules().iter().map(|rule| rule.number()).collect(),
            claimed: decision.trusted().map(Record::phase),
        }
    }
}

/// By what can be seen, in order of the text: the decisions that it comes to. There are several where the bytes differ in what
/// is not seen, such as which of two records is the newer one.
pub type Decisions = BTreeMap<Vec<String>, BTreeSet<Verdict>>;

/// What somebody sees who has only the disk's bytes, in order of the text. Of the slots it is the newest that can be read: which
/// one lies beside it depends on how many attempts a step needed.
pub(crate) fn visible(setting: &Setting, disk: &Disk) -> Vec<String> {
    let newest = [0, 1]
        .into_iter()
        .filter_map(|which| {
            let bytes = disk.slot(which)?;
            Some((Record::decode(&bytes).ok()?.sequence, bytes))
        })
        .max();
    let mut seen: Vec<String> = disk
        .durable()
        .iter()
        .filter_map(|(key, value)| Effect::of(setting, *key, Some(value)))
        .chain(newest.and_then(|(_, bytes)| Effect::of_slot(&bytes)))
        .map(|effect| effect.to_string())
        .collect();
    seen.sort();
    seen
}
