//! Two slots of any bytes. Law: what decodes is what was encoded; what is believed was decoded; nothing panics.

#![no_main]

use landfall_states::checkpoint::{Choice, Record, SLOT_BYTES, choose};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (first, second) = data.split_at(data.len().min(SLOT_BYTES));
    for slot in [first, second] {
        if let Ok(record) = Record::decode(slot) {
            let again = record.encode().map(|bytes| Record::decode(&bytes));
            assert_eq!(again, Ok(Ok(record)), "a record that does not come back");
        }
    }
    match choose([Some(first), Some(second)]) {
        Choice::Believed { record, slot, other } => {
            assert_eq!(Record::decode([first, second][slot]), Ok(*record));
            if let Some(why) = other {
                assert_eq!(Record::decode([first, second][1 - slot]), Err(why));
            }
        }
        Choice::Neither(whys) => {
            assert_eq!(whys.map(Err), [first, second].map(Record::decode));
        }
        Choice::Fork { why: _, sequence } => {
            let highest = [first, second]
                .into_iter()
                .filter_map(|slot| Record::decode(slot).ok())
                .map(|record| record.sequence)
                .max();
            assert_eq!(highest, Some(sequence));
        }
        Choice::Newer(_) => {}
    }
});
