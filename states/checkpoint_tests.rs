//! Tests of records and slots: bytes, order, what is torn, what is too long.

use super::*;
use crate::fault::{Fault, FaultClass};
use crate::plan::tests::plan;
use proptest::prelude::*;

pub fn record(sequence: u64) -> Record {
    let plan = plan(true, true);
    let mut attempts = Attempts::default();
    attempts.raise(Phase::Planned);
    Record {
        sequence,
        parent: None,
        host: plan.host.clone(),
        install: plan.install,
        nonce: 0,
        layout: plan.layout_digest.clone(),
        payload: plan.payload_digest.clone(),
        disk: plan.disk.clone(),
        revision: "a".repeat(40).parse().unwrap(),
        claim: Claim::Realised(
            "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-web"
                .parse()
                .unwrap(),
        ),
        mark: Mark::Begun,
        attempts,
        boot: "11111111-2222-3333-4444-555555555555".into(),
        last_fault: Some(
            Fault::injected(
                FaultClass::Transient,
                "clone of https://forge.example/o/r",
                "connection reset",
            )
            .record(),
        ),
        landing: None,
    }
}

pub fn chained(sequence: u64) -> [Vec<u8>; 2] {
    let older = record(sequence).encode().unwrap();
    let newer = Record {
        parent: Some(Record::digest_of(&older)),
        ..record(sequence + 1)
    }
    .encode()
    .unwrap();
    [older, newer]
}

fn both(slots: &[Vec<u8>; 2]) -> Choice {
    choose([Some(&slots[0]), Some(&slots[1])])
}

#[test]
fn a_slot_is_text_of_4096_bytes_and_comes_back() {
    let slot = record(7).encode().unwrap();
    assert_eq!(slot.len(), SLOT_BYTES);
    let text = std::str::from_utf8(&slot).unwrap();
    assert!(text.starts_with("LANDFALL-CHECKPOINT 1 seq=00000000000000000007 len="));
    assert!(text.contains("host: \"web\""));
    assert_eq!(Record::decode(&slot), Ok(record(7)));
}

#[test]
fn one_flipped_bit_anywhere_is_damage() {
    let slot = record(7).encode().unwrap();
    for byte in 0..slot.len() {
        for bit in 0..8 {
            let mut bad = slot.clone();
            bad[byte] ^= 1 << bit;
            let error = Record::decode(&bad).unwrap_err();
            assert!(
                !matches!(error, SlotError::Newer(_) | SlotError::Body(_)),
                "byte {byte} bit {bit}: {error:?}"
            );
        }
    }
}

#[test]
fn torn_at_every_byte_is_damage_or_one_of_the_two() {
    let [old, new] = chained(7);
    for cut in 0..=SLOT_BYTES {
        let torn = [&new[..cut], &old[cut..]].concat();
        match Record::decode(&torn) {
            Ok(whole) => assert!(torn == old || torn == new, "{whole} at {cut}"),
            Err(error) => assert!(!matches!(error, SlotError::Newer(_)), "{error:?}"),
        }
    }
}

#[test]
fn a_slot_of_a_newer_landfall_is_named() {
    let slot = seal(9, 3, b"(anything: else)").unwrap();
    assert_eq!(Record::decode(&slot), Err(SlotError::Newer(9)));
    assert_eq!(
        choose([Some(&slot), Some(&record(1).encode().unwrap())]),
        Choice::Newer(9)
    );
}

#[test]
fn unknown_fields_and_wrong_sequences_are_refused() {
    let body = String::from_utf8(record(7).encode().unwrap()).unwrap();
    let body = body.split_once('\n').unwrap().1.trim_end();
    let more = body.replacen("host:", "consent: true,\n  host:", 1);
    assert!(matches!(
        Record::decode(&seal(1, 7, more.as_bytes()).unwrap()),
        Err(SlotError::Body(_))
    ));
    assert!(matches!(
        Record::decode(&seal(1, 8, body.as_bytes()).unwrap()),
        Err(SlotError::Body(_))
    ));
    assert!(
        Record::decode(&seal(1, 7, body.as_bytes()).unwrap()).is_ok(),
        "the control"
    );
}

#[test]
fn a_body_that_fills_the_slot_comes_back_and_one_byte_more_does_not_fit() {
    let room = SLOT_BYTES - seal(1, 7, b"").unwrap().iter().position(|&b| b == b'\n').unwrap() - 1;
    let slot = seal(1, 7, &vec![b'x'; room]).unwrap();
    assert_eq!(slot.len(), SLOT_BYTES);
    let body = open(&slot).unwrap();
    assert_eq!((body.sequence, body.text), (7, &*vec![b'x'; room]));
    assert_eq!(
        seal(1, 7, &vec![b'x'; room + 1]),
        Err(EncodeError::TooLong(SLOT_BYTES + 1))
    );
    let short = seal(1, 7, b"(x)").unwrap();
    assert_eq!(
        open(&short).unwrap().text,
        b"(x)",
        "neither the header's end nor the padding is in it"
    );
}

#[test]
fn a_record_says_whose_it_is_and_how_far() {
    assert_eq!(
        record(7).to_string(),
        "Realised of web on serial LF0001 (record 7)"
    );
}

#[test]
fn empty_slots_are_empty() {
    assert_eq!(
        choose([None, None]),
        Choice::Neither([SlotError::Empty, SlotError::Empty])
    );
    assert_eq!(Record::decode(&[b'\n'; SLOT_BYTES]), Err(SlotError::Empty));
    assert_eq!(Record::decode(&[0; SLOT_BYTES]), Err(SlotError::Empty));
    assert_eq!(Record::decode(b""), Err(SlotError::Empty));
    assert_eq!(Record::decode(b"LANDFALL-CHECKPOINT 1"), Err(SlotError::Length));
}

#[test]
fn the_newer_of_a_chain_wins_in_either_slot() {
    let [old, new] = chained(7);
    for (slots, slot) in [([old.clone(), new.clone()], 1), ([new, old], 0)] {
        let Choice::Believed {
            record,
            slot: chosen,
            other: None,
        } = both(&slots)
        else {
            panic!()
        };
        assert_eq!((record.sequence, chosen), (8, slot));
    }
}

#[test]
fn a_bad_slot_leaves_the_other() {
    let [old, new] = chained(7);
    let mut torn = new.clone();
    torn[2000] ^= 1;
    let Choice::Believed {
        record,
        slot: 0,
        other: Some(SlotError::Digest),
    } = both(&[old, torn])
    else {
        panic!()
    };
    assert_eq!(record.sequence, 7);
}

#[test]
fn fork_gap_and_foreign_parent_are_forks() {
    let [old, new] = chained(7);
    let alien = Record {
        host: "db".parse().unwrap(),
        ..record(8)
    }
    .encode()
    .unwrap();
    let mut other_install = record(8);
    other_install.install = InstallId::derive(
        &"db".parse().unwrap(),
        &crate::plan::tests::layout(true, true),
        &crate::plan::tests::disk(),
        0,
    );
    let mut other_disk = record(8);
    other_disk.disk.serial = Some("other".into());
    let [_, far] = chained(8);
    for (what, slots) in [
        ("parent", [old.clone(), alien]),
        ("gap", [old.clone(), far]),
        ("same sequence", [new.clone(), new]),
        ("install", [old.clone(), other_install.encode().unwrap()]),
        ("disk", [old, other_disk.encode().unwrap()]),
    ] {
        let highest = slots.iter().map(|s| Record::decode(s).unwrap().sequence).max();
        let Choice::Fork { why: _, sequence } = both(&slots) else {
            panic!("{what}")
        };
        assert_eq!(
            Some(sequence),
            highest,
            "{what}: what is written next must go beyond both"
        );
    }
}

#[test]
fn a_sequence_that_leaves_no_room_is_refused() {
    assert!(Record::decode(&record(SEQUENCE_MAX).encode().unwrap()).is_ok());
    assert_eq!(
        Record::decode(&record(SEQUENCE_MAX + 1).encode().unwrap()),
        Err(SlotError::Header)
    );
}

#[test]
fn a_long_fault_is_cut_to_fit() {
    let mut long = record(1);
    long.last_fault =
        Some(Fault::injected(FaultClass::Transient, "w".repeat(9_000), "é".repeat(9_000)).record());
    let back = Record::decode(&long.encode().unwrap()).unwrap();
    let fault = back.last_fault.clone().unwrap();
    assert!(fault.why.len() < 1_000);
    assert!(fault.why.len() > 500, "no more is cut than has to be");
    assert_eq!((fault.class, back.sequence), (long.last_fault.unwrap().class, 1));
    // Nothing else may be cut: then there is no room, and the least that it would have taken is told.
    let bare = Record {
        last_fault: None,
        boot: "b".repeat(4_000),
        ..record(1)
    };
    let faulty = Record {
        last_fault: Some(Fault::injected(FaultClass::Transient, "w".repeat(900), "y".repeat(900)).record()),
        ..bare.clone()
    };
    let [Err(EncodeError::TooLong(least)), Err(EncodeError::TooLong(more))] =
        [bare, faulty].map(|r| r.encode())
    else {
        panic!("neither fits")
    };
    assert!(least > SLOT_BYTES && more < least + 300, "{least} {more}");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
        prop_assert!(Record::decode(&bytes).is_err());
    }

    #[test]
    fn no_header_makes_it_panic(version in 0_u64..u64::MAX, seq in ".{0,30}", len in ".{0,12}", tail in any::<u8>()) {
        let mut slot = format!("{MAGIC} {version} seq={seq} len={len} sha256={}\n", "0".repeat(64)).into_bytes();
        slot.resize(SLOT_BYTES, tail);
        prop_assert!(Record::decode(&slot).is_err());
    }

    #[test]
    fn sequence_and_marks_come_back(sequence in 0..=SEQUENCE_MAX, raised in 0_u32..40, which in 0_usize..11) {
        let mut one = record(sequence);
        for _ in 0..raised { one.attempts.raise(Phase::ALL[which]); }
        one.mark = [Mark::Reached, Mark::Begun, Mark::Stopped][which % 3];
        prop_assert_eq!(Record::decode(&one.encode().unwrap()), Ok(one));
    }
}
