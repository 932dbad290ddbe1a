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
        claim: RecordedPhase::Realised(
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
        image_progress: None,
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
    assert!(text.starts_with("LANDFALL-CHECKPOINT 2 seq=00000000000000000007 len="));
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
    let slot = seal(9, 3, b"(anything: else)", None).unwrap();
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
        Record::decode(&seal(2, 7, more.as_bytes(), None).unwrap()),
        Err(SlotError::Body(_))
    ));
    assert!(matches!(
        Record::decode(&seal(2, 8, body.as_bytes(), None).unwrap()),
        Err(SlotError::Body(_))
    ));
    assert!(
        Record::decode(&seal(2, 7, body.as_bytes(), None).unwrap()).is_ok(),
        "the control"
    );
}

#[test]
fn a_body_that_fills_the_slot_comes_back_and_one_byte_more_does_not_fit() {
    let room = SLOT_BYTES
        - CODE_LINE_BYTES
        - seal(2, 7, b"", None)
            .unwrap()
            .iter()
            .position(|&b| b == b'\n')
            .unwrap()
        - 1;
    let slot = seal(2, 7, &vec![b'x'; room], None).unwrap();
    assert_eq!(slot.len(), SLOT_BYTES);
    let body = open(&slot).unwrap();
    assert_eq!((body.sequence, body.text), (7, &*vec![b'x'; room]));
    assert_eq!(
        seal(2, 7, &vec![b'x'; room + 1], None),
        Err(EncodeError::TooLong(SLOT_BYTES + 1))
    );
    let short = seal(2, 7, b"(x)", None).unwrap();
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
        let Choice::Trusted {
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
    let Choice::Trusted {
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

fn keys(secret: u8) -> RecordKeys {
    let mut keys = RecordKeys::default();
    keys.hold(RecordKey::derive(KeySource::Container, &[secret; 64], b"id").unwrap());
    keys
}

/// What somebody does who can write the ESP and has no key: one field of the text, and the digest made right.
fn forged(slot: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(slot.to_vec()).unwrap();
    assert!(text.contains(from), "{from}");
    let mut text = text.replacen(from, to, 1).into_bytes();
    let digest = text.windows(7).position(|w| w == b"sha256=").unwrap() + 7;
    assert_eq!(text.len(), SLOT_BYTES, "only fields of equal length are changed");
    let (head, tail) = (text[..digest].to_vec(), text[digest + DIGEST_DIGITS..].to_vec());
    text[digest..digest + DIGEST_DIGITS].copy_from_slice(digest_around(&head, &tail).as_str().as_bytes());
    text
}

#[test]
fn a_code_tells_proved_from_unproved_from_forged() {
    let (own, other) = (keys(1), keys(2));
    let slot = record(7).encode_with(own.writing()).unwrap();
    assert_eq!((slot.len(), Record::decode(&slot)), (SLOT_BYTES, Ok(record(7))));
    let who = |slot: &[u8], keys: &RecordKeys| authenticity(slot, None, keys);
    assert_eq!(who(&slot, &own), Authenticity::Proved);
    assert_eq!(
        who(&slot, &RecordKeys::default()),
        Authenticity::Unproved,
        "the key is not at hand"
    );
    assert_eq!(who(&slot, &other), Authenticity::Forged, "of another container");
    // The attack: only the revision is changed, and every digest is right.
    let evil = forged(&slot, &"a".repeat(40), &"e".repeat(40));
    assert_eq!(Record::decode(&evil).unwrap().revision.as_str(), "e".repeat(40));
    assert_eq!(who(&evil, &own), Authenticity::Forged);
    // Without its code it is a record like one of before there were codes.
    let bare = Record {
        revision: "e".repeat(40).parse().unwrap(),
        ..record(7)
    }
    .encode()
    .unwrap();
    assert_eq!(who(&bare, &own), Authenticity::Unproved);
    // With a code that says to be of the other source nobody can look at it.
    let renamed = forged(&slot, "mac=container:", "mac=installer:");
    assert_eq!(who(&renamed, &own), Authenticity::Unproved);
    // This boot's own copy proves a record without a key, and nothing but itself.
    assert_eq!(authenticity(&bare, Some(&bare), &own), Authenticity::Proved);
    assert_eq!(authenticity(&evil, Some(&slot), &own), Authenticity::Forged);
    assert_eq!(authenticity(&bare, Some(&slot), &own), Authenticity::Unproved);
}

/// Every byte but the digest's own digits counts: whatever is changed with a right digest, the code is wrong, or gone.
#[test]
fn no_byte_of_a_slot_is_outside_its_code() {
    let own = keys(1);
    let slot = record(7).encode_with(own.writing()).unwrap();
    let digest = slot.windows(7).position(|w| w == b"sha256=").unwrap() + 7;
    for at in (0..SLOT_BYTES).filter(|at| !(digest..digest + DIGEST_DIGITS).contains(at)) {
        let mut bad = slot.clone();
        bad[at] = if bad[at] == b'0' { b'1' } else { b'0' };
        let (head, tail) = (bad[..digest].to_vec(), bad[digest + DIGEST_DIGITS..].to_vec());
        bad[digest..digest + DIGEST_DIGITS].copy_from_slice(digest_around(&head, &tail).as_str().as_bytes());
        assert_ne!(authenticity(&bad, None, &own), Authenticity::Proved, "byte {at}");
    }
}

#[test]
fn what_fits_does_not_depend_on_a_key() {
    let mut long = record(1);
    for bytes in 2_000..2_400 {
        long.boot = "b".repeat(bytes);
        let lengths = [None, keys(1).writing()].map(|key| long.encode_with(key).map(|slot| slot.len()));
        assert_eq!(lengths[0], lengths[1], "{bytes}");
    }
}

#[test]
fn a_slot_with_a_malformed_code_is_refused() {
    let slot = record(7).encode_with(keys(1).writing()).unwrap();
    for (from, to) in [
        ("mac=container:", "mac=elsewhere:"),
        ("mac=container:", "mac container:"),
    ] {
        let bad = forged(&slot, from, to);
        assert!(matches!(Record::decode(&bad), Err(SlotError::Body(_))), "{to}");
    }
}

/// The extreme values of every number in a record.
#[test]
fn no_number_in_a_record_makes_anything_panic() {
    let text = String::from_utf8(record(7).encode().unwrap()).unwrap();
    let body = text.split_once('\n').unwrap().1.trim_end().to_owned();
    let numbers = [
        ("sequence: 7", "sequence: 7"),
        ("nonce: 0", "nonce: 4294967295"),
        ("Planned: 1", "Planned: 4294967295"),
        ("size_bytes:", "size_bytes: 18446744073709551615, //"),
        ("sector_bytes:", "sector_bytes: 4294967295, //"),
        ("retry_after_s: None", "retry_after_s: Some(18446744073709551615)"),
    ];
    for (from, to) in numbers {
        assert!(body.contains(from), "{from} in {body}");
        let slot = seal(2, 7, body.replacen(from, to, 1).as_bytes(), None).unwrap();
        let mut one = Record::decode(&slot).unwrap();
        assert!(one.attempts.raise(Phase::Planned) >= 1);
        assert!(one.attempts.total() >= 1);
        assert_eq!(Record::decode(&one.encode().unwrap()), Ok(one.clone()), "{to}");
        assert!(!one.to_string().contains('\n'));
    }
    // One more than a number's type holds is no record.
    for (from, to) in [("nonce: 0", "nonce: 4294967296"), ("Planned: 1", "Planned: -1")] {
        let slot = seal(2, 7, body.replacen(from, to, 1).as_bytes(), None).unwrap();
        assert!(matches!(Record::decode(&slot), Err(SlotError::Body(_))), "{to}");
    }
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
