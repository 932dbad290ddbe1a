//! The checkpoint store: which slot is written next, with which sequence number and parent.
//!
//! The slot with the last acknowledged record is never the one being written, so that record survives whatever happens to the
//! write (I8, I9, I10). A save is acknowledged only after it was read back. A record gets a code as soon as there is a key.
//!
//! [`Media`] moves the bytes to a device, and `states::checkpoint` says what a record means.

use crate::world::Media;
use landfall_states::authentic::RecordKeys;
use landfall_states::checkpoint::{Record, SEQUENCE_COUNTED_MAX};
use landfall_states::fault::{Fault, Remedy};
use landfall_states::names::Digest;
use landfall_states::recovery::ResumePlan;

/// Where a record went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Only to this boot's tmpfs: there is no ESP yet.
    Tmpfs,
    /// To a slot on the ESP, and to tmpfs.
    Slot(usize),
}

/// An acknowledged save.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Saved {
    /// Its sequence number.
    pub sequence: u64,
    /// Where.
    pub place: Place,
}

/// See the module.
#[derive(Debug)]
pub struct Store {
    sequence: u64,
    parent: Option<Digest>,
    next_slot: usize,
    /// The other slot holds something that does not chain with ours: it is overwritten too, at once.
    repair_other: bool,
}

impl Store {
    /// A store that goes on where the believed record ended, or begins again behind everything seen.
    pub fn new(resume_plan: &ResumePlan) -> Store {
        match &resume_plan.trusted {
            // A number that no count of saves comes to: counting begins again, in both slots.
            Some(trusted) if trusted.record.sequence > SEQUENCE_COUNTED_MAX => Store {
                sequence: 0,
                parent: None,
                next_slot: trusted.slot.map_or(0, |slot| 1 - slot),
                repair_other: true,
            },
            Some(trusted) => Store {
                sequence: trusted.record.sequence,
                parent: Some(Record::digest_of(&trusted.bytes)),
                next_slot: trusted.slot.map_or(0, |slot| 1 - slot),
                // A record from tmpfs goes on over slots that may hold anything.
                repair_other: trusted.slot.is_none(),
            },
            None => Store {
                sequence: Some(resume_plan.sequence_seen)
                    .filter(|seen| *seen <= SEQUENCE_COUNTED_MAX)
                    .unwrap_or(0),
                parent: None,
                next_slot: 0,
                repair_other: true,
            },
        }
    }

    /// Saves. The record's sequence number and parent are the store's to fill in.
    ///
    /// # Errors
    /// A medium reports an error, or does not keep what was written. The other slot is as it was.
    pub async fn save<M: Media>(
        &mut self,
        media: &mut M,
        record: &Record,
        anchored: bool,
        keys: &RecordKeys,
    ) -> Result<Saved, Fault> {
        let saved = self.save_one(media, record, anchored, keys).await?;
        if !anchored || !self.repair_other {
            return Ok(saved);
        }
        self.repair_other = false;
        self.save_one(media, record, anchored, keys).await
    }

    async fn save_one<M: Media>(
        &mut self,
        media: &mut M,
        record: &Record,
        anchored: bool,
        keys: &RecordKeys,
    ) -> Result<Saved, Fault> {
        let sequence = self.sequence.saturating_add(1);
        let record = Record {
            sequence,
            parent: self.parent.clone(),
            ..record.clone()
        };
        let bytes = record.encode_with(keys.writing()).map_err(|e| {
            Fault::defect("checkpoint", e.to_string()).with_next(Remedy::words(
                "report this as a defect of landfall, with your configuration",
            ))
        })?;
        let place = if anchored {
            media.write_slot(self.next_slot, &bytes).await?;
            if media.read_slot(self.next_slot).await? != bytes {
                return Err(Fault::read_back(
                    format!("checkpoint slot {} on the ESP", self.next_slot),
                    "what was read back is not what was written",
                ));
            }
            Place::Slot(self.next_slot)
        } else {
            Place::Tmpfs
        };
        media.write_tmpfs(&bytes).await?;
        // Acknowledged: only now the other slot becomes the next one to be written.
        self.sequence = sequence;
        self.parent = Some(Record::digest_of(&bytes));
        if anchored {
            self.next_slot = 1 - self.next_slot;
        }
        Ok(Saved { sequence, place })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_states::authentic::{Authenticity, KeySource, RecordKey};
    use landfall_states::checkpoint::{Choice, Mark, SLOT_BYTES, authenticity, choose};
    use landfall_states::fault::{Attempts, FaultClass};
    use landfall_states::plan::*;
    use landfall_states::recovery::TrustedRecord;
    use landfall_states::{RecordedPhase, plan::Plan};

    #[derive(Default)]
    struct Memory {
        slots: [Option<Vec<u8>>; 2],
        tmpfs: Option<Vec<u8>>,
        /// Bytes of the next slot write that reach the medium before the power goes.
        cut_after: Option<usize>,
        /// The medium answers reads with its old contents.
        lies: bool,
        writes: Vec<usize>,
    }

    impl Media for Memory {
        async fn read_tmpfs(&mut self) -> Result<Option<Vec<u8>>, Fault> {
            Ok(self.tmpfs.clone())
        }
        async fn write_tmpfs(&mut self, bytes: &[u8]) -> Result<(), Fault> {
            self.tmpfs = Some(bytes.to_vec());
            Ok(())
        }
        async fn write_slot(&mut self, which: usize, bytes: &[u8]) -> Result<(), Fault> {
            assert_eq!(bytes.len(), SLOT_BYTES);
            self.writes.push(which);
            if self.lies {
                return Ok(());
            }
            let slot = self.slots[which].get_or_insert_with(|| vec![b'\n'; SLOT_BYTES]);
            let reach = self.cut_after.take();
            slot[..reach.unwrap_or(SLOT_BYTES)].copy_from_slice(&bytes[..reach.unwrap_or(SLOT_BYTES)]);
            match reach {
                Some(_) => Err(Fault::injected(FaultClass::Hardware, "slot", "power cut")),
                None => Ok(()),
            }
        }
        async fn read_slot(&mut self, which: usize) -> Result<Vec<u8>, Fault> {
            Ok(self.slots[which].clone().unwrap_or_default())
        }
    }

    fn resume_plan(trusted: Option<TrustedRecord>) -> ResumePlan {
        let layout = Layout {
            esp_label: "ESP".parse().unwrap(),
            esp_size: "1G".parse().unwrap(),
            root_label: "root".parse().unwrap(),
            luks_label: None,
            swap: None,
            machine: Machine::X86_64,
        };
        let payload = Payload {
            repository: Repository {
                source: RepositorySource::Remote("/srv/r".parse().unwrap()),
                reference: Reference::Default,
                clone_path: "/mnt/nix-config".parse().unwrap(),
            },
            system: SystemSource::Flake,
        };
        let disk = DiskIdentity {
            wwn: None,
            serial: Some("S".into()),
            path: None,
            size_bytes: 8 << 30,
            sector_bytes: 512,
        };
        let plan = Plan::derive(&"web".parse().unwrap(), &layout, &payload, &disk, 0).unwrap();
        ResumePlan {
            plan: Box::new(plan),
            trusted: trusted.map(Box::new),
            rules: vec![],
            why: String::new(),
            sequence_seen: 0,
            authenticity: Authenticity::Unproved,
        }
    }

    fn record() -> Record {
        let plan = resume_plan(None).plan;
        Record {
            sequence: 0,
            parent: None,
            host: plan.host.clone(),
            install: plan.install,
            nonce: 0,
            layout: plan.layout_digest.clone(),
            payload: plan.payload_digest.clone(),
            disk: plan.disk.clone(),
            revision: "a".repeat(40).parse().unwrap(),
            claim: RecordedPhase::Anchored,
            mark: Mark::Reached,
            attempts: Attempts::default(),
            boot: "b".into(),
            last_fault: None,
            image_progress: None,
        }
    }

    fn block<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(future)
    }

    fn chosen(memory: &Memory) -> Choice {
        choose([memory.slots[0].as_deref(), memory.slots[1].as_deref()])
    }

    fn trusted(memory: &Memory) -> TrustedRecord {
        let Choice::Trusted { record, slot, .. } = chosen(memory) else {
            panic!("{:?}", chosen(memory))
        };
        TrustedRecord {
            record: *record,
            bytes: memory.slots[slot].clone().unwrap(),
            slot: Some(slot),
        }
    }

    #[test]
    fn saves_alternate_and_chain() {
        let (mut memory, mut store) = (Memory::default(), Store::new(&resume_plan(None)));
        let first = block(store.save(&mut memory, &record(), true, &RecordKeys::default())).unwrap();
        assert_eq!(
            memory.writes,
            [0, 1],
            "the first save replaces whatever either slot held"
        );
        for step in 1..6 {
            let saved = block(store.save(&mut memory, &record(), true, &RecordKeys::default())).unwrap();
            assert_eq!(saved.sequence, first.sequence + step);
            assert_eq!(trusted(&memory).record.sequence, saved.sequence);
        }
        assert_eq!(memory.writes, [0, 1, 0, 1, 0, 1, 0]);
        assert_eq!(memory.tmpfs, memory.slots[0]);
    }

    #[test]
    fn an_acknowledged_record_survives_a_cut_at_every_byte() {
        for cut in 0..=SLOT_BYTES {
            let (mut memory, mut store) = (Memory::default(), Store::new(&resume_plan(None)));
            let saved = block(store.save(&mut memory, &record(), true, &RecordKeys::default())).unwrap();
            memory.cut_after = Some(cut);
            assert!(block(store.save(&mut memory, &record(), true, &RecordKeys::default())).is_err());
            let after = trusted(&memory);
            assert!(after.record.sequence >= saved.sequence, "cut at {cut}");
            // And the run that follows goes on from there.
            let mut again = Store::new(&resume_plan(Some(after.clone())));
            let next = block(again.save(&mut memory, &record(), true, &RecordKeys::default())).unwrap();
            assert_eq!(next.sequence, after.record.sequence + 1);
            assert_eq!(trusted(&memory).record.sequence, next.sequence);
        }
    }

    #[test]
    fn a_failed_save_is_tried_again_in_the_same_slot() {
        let (mut memory, mut store) = (Memory::default(), Store::new(&resume_plan(None)));
        block(store.save(&mut memory, &record(), true, &RecordKeys::default())).unwrap();
        memory.cut_after = Some(100);
        assert!(block(store.save(&mut memory, &record(), true, &RecordKeys::default())).is_err());
        block(store.save(&mut memory, &record(), true, &RecordKeys::default())).unwrap();
        assert_eq!(
            memory.writes,
            [0, 1, 0, 0],
            "the slot with the last acknowledged record is never the one written"
        );
    }

    #[test]
    fn a_medium_that_does_not_keep_what_it_acknowledges_is_a_hardware_fault() {
        let (mut memory, mut store) = (Memory::default(), Store::new(&resume_plan(None)));
        memory.lies = true;
        let fault = block(store.save(&mut memory, &record(), true, &RecordKeys::default())).unwrap_err();
        assert_eq!(fault.class, landfall_states::fault::FaultClass::Hardware);
    }

    #[test]
    fn before_the_esp_exists_nothing_touches_a_slot() {
        let (mut memory, mut store) = (Memory::default(), Store::new(&resume_plan(None)));
        let saved = block(store.save(&mut memory, &record(), false, &RecordKeys::default())).unwrap();
        assert_eq!((saved.place, memory.writes.len()), (Place::Tmpfs, 0));
        assert!(Record::decode(&memory.tmpfs.unwrap()).is_ok());
    }

    #[test]
    fn after_a_fork_both_slots_are_replaced() {
        let alien = Record {
            sequence: 9,
            ..record()
        }
        .encode()
        .unwrap();
        let mut memory = Memory {
            slots: [Some(alien.clone()), Some(alien)],
            ..Memory::default()
        };
        assert!(matches!(chosen(&memory), Choice::Fork { .. }));
        let mut store = Store::new(&ResumePlan {
            sequence_seen: 9,
            ..resume_plan(None)
        });
        block(store.save(&mut memory, &record(), true, &RecordKeys::default())).unwrap();
        assert_eq!(trusted(&memory).record.sequence, 11);
    }

    /// The extreme values: what is written next is read again, whatever number stands on the disk.
    #[test]
    fn no_sequence_on_the_disk_ends_the_counting() {
        let read_max = u64::MAX / 2;
        for (seen, next) in [
            (SEQUENCE_COUNTED_MAX, SEQUENCE_COUNTED_MAX + 1),
            (SEQUENCE_COUNTED_MAX + 1, 2),
            (read_max, 2),
        ] {
            let older = Record {
                sequence: seen - 1,
                ..record()
            }
            .encode()
            .unwrap();
            let newer = Record {
                sequence: seen,
                parent: Some(Record::digest_of(&older)),
                ..record()
            }
            .encode()
            .unwrap();
            let mut memory = Memory {
                slots: [Some(older), Some(newer)],
                ..Memory::default()
            };
            let mut store = Store::new(&resume_plan(Some(trusted(&memory))));
            let saved = block(store.save(&mut memory, &record(), true, &RecordKeys::default())).unwrap();
            assert_eq!(saved.sequence, next, "behind {seen}");
            assert_eq!(trusted(&memory).record.sequence, next, "behind {seen}");
            // And behind slots that contradict one another.
            let mut store = Store::new(&ResumePlan {
                sequence_seen: seen,
                ..resume_plan(None)
            });
            block(store.save(&mut memory, &record(), true, &RecordKeys::default())).unwrap();
            let after = trusted(&memory).record.sequence;
            assert_eq!(
                after,
                if next == 2 { 2 } else { seen + 2 },
                "behind a fork of {seen}"
            );
        }
    }

    #[test]
    fn records_have_a_code_as_soon_as_there_is_a_key() {
        let (mut memory, mut store) = (Memory::default(), Store::new(&resume_plan(None)));
        let mut keys = RecordKeys::default();
        block(store.save(&mut memory, &record(), true, &keys)).unwrap();
        let who = |memory: &Memory, keys: &RecordKeys| authenticity(&trusted(memory).bytes, None, keys);
        assert_eq!(who(&memory, &keys), Authenticity::Unproved);
        keys.hold(RecordKey::derive(KeySource::Container, &[1; 64], b"id").unwrap());
        assert_eq!(
            who(&memory, &keys),
            Authenticity::Unproved,
            "the key makes no proof of what was written without it"
        );
        block(store.save(&mut memory, &record(), true, &keys)).unwrap();
        assert_eq!(who(&memory, &keys), Authenticity::Proved);
        assert_eq!(who(&memory, &RecordKeys::default()), Authenticity::Unproved);
    }
}
