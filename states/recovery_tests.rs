//! The recovery table, row by row, and what holds for every row.

use super::*;
use crate::authentic::Authenticity;
use crate::checkpoint::Mark;
use crate::checkpoint::tests::record;
use crate::fault::{Budget, FaultClass};
use crate::names::Digest;
use crate::phase::RecordedPhase;
use crate::plan::Reference;
use crate::plan::tests::{disk, layout, payload};
use proptest::prelude::*;

struct Bench {
    host: HostName,
    layout: Layout,
    payload: Payload,
    disks: Vec<DiskEvidence>,
    choice: Result<DiskIdentity, Fault>,
    named: bool,
    reinstall: u32,
    reinstall_requested: bool,
    tmpfs: Option<Vec<u8>>,
}

impl Bench {
    fn new(disks: Vec<DiskEvidence>) -> Bench {
        Bench {
            host: "web".parse().unwrap(),
            layout: layout(true, true),
            payload: payload(),
            choice: Ok(disks[0].disk.clone()),
            disks,
            named: false,
            reinstall: 0,
            reinstall_requested: false,
            tmpfs: None,
        }
    }

    fn decide(&self) -> Decision {
        decide(&Situation {
            host: &self.host,
            layout: &self.layout,
            payload: &self.payload,
            reinstall: self.reinstall,
            reinstall_requested: self.reinstall_requested,
            disks: &self.disks,
            choice: &self.choice,
            named: self.named,
            tmpfs: self.tmpfs.as_deref(),
        })
    }
}

fn plan_at(nonce: u32) -> Plan {
    Plan::derive(
        &"web".parse().unwrap(),
        &layout(true, true),
        &payload(),
        &disk(),
        nonce,
    )
    .unwrap()
}

fn blank() -> DiskEvidence {
    DiskEvidence {
        disk: disk(),
        device: "/dev/vda".into(),
        primary: GptCopy::Absent,
        backup: GptCopy::Absent,
        slots: [None, None],
        slots_scanned: false,
    }
}

fn tabled() -> DiskEvidence {
    let table = plan_at(0).table;
    DiskEvidence {
        primary: GptCopy::Complete(table.clone()),
        backup: GptCopy::Complete(table),
        ..blank()
    }
}

fn slots(first: Record) -> [Option<Vec<u8>>; 2] {
    let older = first.encode().unwrap();
    let newer = Record {
        sequence: first.sequence + 1,
        parent: Some(Record::digest_of(&older)),
        ..first
    };
    [Some(older), Some(newer.encode().unwrap())]
}

fn under_way() -> DiskEvidence {
    DiskEvidence {
        slots: slots(record(7)),
        ..tabled()
    }
}

fn resume_plan(decision: Decision) -> ResumePlan {
    match decision {
        Decision::Begin(resume_plan) | Decision::Continue(resume_plan) => resume_plan,
        other => panic!("{other:?}"),
    }
}

fn stopped_by(decision: Decision) -> (Rule, Fault) {
    match decision {
        Decision::Stop {
            rule: Some(rule),
            fault,
        } => (rule, fault),
        other => panic!("{other:?}"),
    }
}

#[test]
fn whole_slots_of_this_install_are_trusted() {
    let decision = Bench::new(vec![under_way()]).decide();
    assert_eq!(decision.name(), "continue");
    let sequence = decision.trusted().map(|record| record.sequence);
    let resume_plan = resume_plan(decision);
    assert_eq!(
        (resume_plan.claimed(), resume_plan.rules.as_slice()),
        (Some(Phase::Realised), &[][..])
    );
    assert_eq!(sequence, resume_plan.trusted.as_ref().map(|b| b.record.sequence));
    assert_eq!(resume_plan.trusted.unwrap().slot, Some(1));
}

#[test]
fn rule_1_one_bad_slot() {
    let mut evidence = under_way();
    evidence.slots[1].as_mut().unwrap()[3000] ^= 1;
    let resume_plan = resume_plan(Bench::new(vec![evidence]).decide());
    assert_eq!(resume_plan.rules, [Rule::OneSlotBad]);
    assert_eq!(resume_plan.trusted.unwrap().record.sequence, 7);
}

#[test]
fn rule_2_both_bad_and_our_table() {
    let decision = Bench::new(vec![tabled()]).decide();
    assert!(
        matches!(decision, Decision::Continue(_)),
        "never a fresh start over our own table"
    );
    let resume_plan = resume_plan(decision);
    assert_eq!(resume_plan.rules, [Rule::SlotsLost]);
    assert!(resume_plan.trusted.is_none() && resume_plan.unclean());
}

#[test]
fn rule_3_both_bad_and_no_table_of_ours() {
    let foreign = GptTableOf::other();
    for evidence in [
        blank(),
        DiskEvidence {
            primary: foreign.clone(),
            backup: foreign,
            ..blank()
        },
    ] {
        let decision = Bench::new(vec![evidence]).decide();
        assert!(matches!(decision, Decision::Begin(_)));
        assert_eq!((decision.name(), decision.trusted()), ("begin", None));
        assert_eq!(decision.rules(), [Rule::Fresh]);
    }
}

struct GptTableOf;
impl GptTableOf {
    fn other() -> GptCopy {
        let mut table = plan_at(0).table;
        table.disk_guid = uuid::Uuid::from_u128(1);
        GptCopy::Complete(table)
    }
}

#[test]
fn rule_4_copies_differ_and_one_is_ours() {
    for evidence in [
        DiskEvidence {
            backup: GptCopy::Absent,
            ..tabled()
        },
        DiskEvidence {
            primary: GptTableOf::other(),
            ..tabled()
        },
    ] {
        let decision = Bench::new(vec![evidence]).decide();
        assert!(matches!(decision, Decision::Continue(_)));
        assert!(decision.rules().contains(&Rule::HalfTable));
    }
}

#[test]
fn rule_5_a_fork_trusts_neither() {
    let mut evidence = under_way();
    evidence.slots[0] = Some(
        Record {
            boot: "another".into(),
            ..record(7)
        }
        .encode()
        .unwrap(),
    );
    let decision = Bench::new(vec![evidence]).decide();
    assert!(matches!(decision, Decision::Continue(_)));
    let resume_plan = resume_plan(decision);
    assert_eq!(resume_plan.rules, [Rule::Fork]);
    assert!(resume_plan.trusted.is_none());
    assert_eq!(
        resume_plan.sequence_seen, 8,
        "what is written next rises beyond both"
    );
}

#[test]
fn rule_5_a_record_of_a_former_install_says_nothing_of_the_one_whose_table_is_there() {
    // Install 0 had landed; install 1 has written its table, and the slots of install 0 are still to be seen.
    let mut landed = record(7);
    landed.claim = RecordedPhase::Landed(record(1).claim.system().unwrap().clone());
    let table = plan_at(1).table;
    let evidence = DiskEvidence {
        primary: GptCopy::Complete(table.clone()),
        backup: GptCopy::Complete(table),
        slots: slots(landed.clone()),
        ..blank()
    };
    let decision = Bench::new(vec![evidence]).decide();
    assert!(matches!(decision, Decision::Continue(_)), "{decision:?}");
    let resume_plan = resume_plan(decision);
    assert!(resume_plan.rules.contains(&Rule::Fork) && resume_plan.trusted.is_none());
    assert_eq!((resume_plan.plan.nonce, resume_plan.sequence_seen), (1, 8));
    // The control: behind its own table the same record is believed.
    let control = DiskEvidence {
        slots: slots(landed),
        ..tabled()
    };
    assert!(matches!(
        Bench::new(vec![control]).decide(),
        Decision::Landed { .. }
    ));
}

#[test]
fn rule_5_a_record_that_contradicts_itself_is_not_trusted() {
    let evidence = DiskEvidence {
        slots: slots(Record {
            nonce: 3,
            ..record(7)
        }),
        ..tabled()
    };
    let resume_plan = resume_plan(Bench::new(vec![evidence]).decide());
    assert!(resume_plan.rules.contains(&Rule::Fork) && resume_plan.trusted.is_none());
}

#[test]
fn rule_6_a_slot_of_another_disk_is_foreign_data() {
    let mut other = record(7);
    other.disk.serial = Some("elsewhere".into());
    let decision = Bench::new(vec![DiskEvidence {
        slots: slots(other),
        ..blank()
    }])
    .decide();
    assert!(
        matches!(decision, Decision::Begin(_)),
        "no progress and no stop on its word"
    );
    assert_eq!(decision.rules(), [Rule::OtherDisk, Rule::Fresh]);
}

#[test]
fn rule_7_another_host_stops() {
    let other = Record {
        host: "db".parse().unwrap(),
        ..record(7)
    };
    let mut bench = Bench::new(vec![DiskEvidence {
        slots: slots(other),
        ..blank()
    }]);
    let (rule, fault) = stopped_by(bench.decide());
    assert_eq!(rule, Rule::OtherHost);
    assert!(fault.why().contains("host db"));
    bench.reinstall_requested = true;
    assert!(
        matches!(bench.decide(), Decision::Begin(_)),
        "a person may ask for it"
    );
}

#[test]
fn rule_8_another_layout_stops_and_names_the_install() {
    let other = Record {
        layout: Digest::of(b"other"),
        ..record(7)
    };
    let (rule, fault) = stopped_by(
        Bench::new(vec![DiskEvidence {
            slots: slots(other.clone()),
            ..tabled()
        }])
        .decide(),
    );
    assert_eq!(rule, Rule::OtherLayout);
    assert!(fault.why().contains(&other.install.to_string()));
    let mut bench = Bench::new(vec![DiskEvidence {
        slots: slots(other),
        ..tabled()
    }]);
    bench.reinstall_requested = true;
    assert_eq!(
        resume_plan(bench.decide()).plan.nonce,
        1,
        "a person may ask for another install"
    );
}

#[test]
fn rule_9_a_newer_format_stops() {
    let text = String::from_utf8(record(7).encode().unwrap()).unwrap();
    let newer = text.replacen("CHECKPOINT 2", "CHECKPOINT 3", 1);
    // The control: with the old digest it is damage, not news.
    let mut bench = Bench::new(vec![DiskEvidence {
        slots: [Some(newer.clone().into_bytes()), None],
        ..tabled()
    }]);
    assert_eq!(bench.decide().rules(), [Rule::SlotsLost]);
    let head = newer.find("sha256=").unwrap() + 7;
    let digest = Digest::of([&newer[..head], &newer[head + 64..]].concat().as_bytes());
    let sealed = format!("{}{digest}{}", &newer[..head], &newer[head + 64..]);
    bench.disks[0].slots[0] = Some(sealed.into_bytes());
    let decision = bench.decide();
    assert_eq!((decision.name(), decision.trusted()), ("stop", None));
    let (rule, fault) = stopped_by(decision);
    assert_eq!(rule, Rule::Newer);
    assert!(fault.why().contains("version 3"));
}

#[test]
fn rule_11_a_table_edited_by_hand_stops() {
    let mut table = plan_at(0).table;
    table.entries[1].last_lba -= 1;
    let evidence = DiskEvidence {
        primary: GptCopy::Complete(table.clone()),
        backup: GptCopy::Complete(table),
        ..under_way()
    };
    let (rule, fault) = stopped_by(Bench::new(vec![evidence]).decide());
    assert_eq!(rule, Rule::Edited);
    assert!(fault.why().contains("partition 2"));
}

fn second(serial: &str) -> (DiskIdentity, Plan) {
    let identity = DiskIdentity {
        serial: Some(serial.into()),
        ..disk()
    };
    let plan = Plan::derive(
        &"web".parse().unwrap(),
        &layout(true, true),
        &payload(),
        &identity,
        0,
    )
    .unwrap();
    (identity, plan)
}

#[test]
fn rule_12_two_disks_need_a_name() {
    let (identity, plan) = second("LF0002");
    let other = DiskEvidence {
        disk: identity.clone(),
        device: "/dev/vdb".into(),
        primary: GptCopy::Complete(plan.table.clone()),
        backup: GptCopy::Complete(plan.table),
        slots: [None, None],
        slots_scanned: false,
    };
    let mut bench = Bench::new(vec![under_way(), other]);
    let (rule, fault) = stopped_by(bench.decide());
    assert_eq!(rule, Rule::TwoDisks);
    assert!(fault.why().contains("/dev/vda") && fault.why().contains("/dev/vdb"));
    assert_eq!(fault.class, FaultClass::Unsafe);
    // That none could be chosen is no better reason than that there are two.
    bench.choice = Err(Fault::injected(FaultClass::NeedsChange, "disk", "a tie"));
    assert_eq!(stopped_by(bench.decide()).0, Rule::TwoDisks);
    bench.named = true;
    bench.choice = Ok(identity.clone());
    let named = resume_plan(bench.decide());
    assert_eq!((named.plan.disk, named.rules[0]), (identity, Rule::TwoDisks));
    bench.disks[0] = blank();
    let alone = resume_plan(bench.decide());
    assert!(
        !alone.rules.contains(&Rule::TwoDisks),
        "the other one carries nothing"
    );
}

#[test]
fn a_disk_is_a_carrier_by_its_own_record_of_this_host() {
    let (identity, _) = second("LF0002");
    let found = DiskEvidence {
        disk: identity.clone(),
        device: "/dev/vdb".into(),
        ..blank()
    };
    let with = |record: Record| {
        let carrier = DiskEvidence {
            slots: slots(record),
            ..blank()
        };
        let mut bench = Bench::new(vec![carrier, found.clone()]);
        bench.choice = Ok(identity.clone());
        resume_plan(bench.decide()).plan.disk
    };
    assert_eq!(with(record(7)), disk(), "also without its table");
    let other_host = Record {
        host: "db".parse().unwrap(),
        ..record(7)
    };
    assert_eq!(with(other_host), identity, "another host's is none of ours");
    let mut other_disk = record(7);
    other_disk.disk.serial = Some("elsewhere".into());
    assert_eq!(
        with(other_disk),
        identity,
        "a record that was copied here makes no carrier"
    );
}

#[test]
fn a_named_disk_that_is_not_there_is_not_replaced_by_another() {
    let mut bench = Bench::new(vec![under_way()]);
    bench.named = true;
    let absent = Fault::injected(FaultClass::NeedsChange, "disk LF0009", "no disk has this name");
    for choice in [Err(absent.clone()), Ok(second("LF0009").0)] {
        bench.choice = choice;
        match bench.decide() {
            Decision::Stop { rule: None, fault } => assert!(fault == absent || fault.what() == "disk"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_install_under_way_wins_over_a_disk_that_was_only_found() {
    let (identity, _) = second("LF0002");
    let other = DiskEvidence {
        disk: identity.clone(),
        device: "/dev/vdb".into(),
        ..blank()
    };
    let mut bench = Bench::new(vec![under_way(), other]);
    bench.choice = Ok(identity);
    assert_eq!(resume_plan(bench.decide()).plan.disk, disk());
    bench.choice = Err(Fault::injected(FaultClass::NeedsChange, "disk", "a tie"));
    assert_eq!(resume_plan(bench.decide()).plan.disk, disk());
}

#[test]
fn rule_13_a_copied_disk_stops() {
    let (identity, _) = second("LF0002");
    let copy = DiskEvidence {
        disk: identity,
        device: "/dev/vdb".into(),
        ..under_way()
    };
    let mut bench = Bench::new(vec![under_way(), copy]);
    assert_eq!(stopped_by(bench.decide()).0, Rule::Clone);
    bench.named = true;
    assert_eq!(
        stopped_by(bench.decide()).0,
        Rule::Clone,
        "even when one is named: labels would still collide"
    );
}

#[test]
fn copies_of_somebody_else_s_disk_are_nothing_to_us() {
    let foreign = |device: &str, serial: &str| DiskEvidence {
        disk: second(serial).0,
        device: device.into(),
        primary: GptTableOf::other(),
        backup: GptTableOf::other(),
        ..blank()
    };
    let mut bench = Bench::new(vec![foreign("/dev/vda", "A"), foreign("/dev/vdb", "B"), blank()]);
    bench.choice = Ok(disk());
    let decision = bench.decide();
    assert!(matches!(decision, Decision::Begin(_)), "{decision:?}");
}

#[test]
fn rule_13_a_copy_is_known_by_its_slots_alone() {
    let slotted = |device: &str, serial: &str| DiskEvidence {
        disk: second(serial).0,
        device: device.into(),
        slots: slots(record(7)),
        ..blank()
    };
    let mut bench = Bench::new(vec![slotted("/dev/vda", "LF0001"), slotted("/dev/vdb", "LF0002")]);
    let (rule, fault) = stopped_by(bench.decide());
    assert_eq!(rule, Rule::Clone);
    assert!(
        fault.why().contains("/dev/vda") && fault.why().contains("/dev/vdb"),
        "{fault}"
    );
    // Of an install that could be of no disk here, nobody can say whose copy it is.
    let mut alien = record(7);
    alien.install = second("LF0009").1.install;
    for evidence in &mut bench.disks {
        evidence.slots = slots(alien.clone());
    }
    assert!(!bench.decide().rules().contains(&Rule::Clone));
}

#[test]
fn a_decision_names_its_rules_and_rules_their_numbers() {
    assert_eq!(Rule::Clone.to_string(), "rule 13 (Clone)");
    assert_eq!([Rule::OneSlotBad, Rule::RawSlots].map(Rule::number), [1, 18]);
    let copy = DiskEvidence {
        disk: second("LF0002").0,
        ..under_way()
    };
    let stop = Bench::new(vec![under_way(), copy]).decide();
    assert_eq!(stop.rules(), [Rule::Clone]);
    assert_eq!(Bench::new(vec![blank()]).decide().rules(), [Rule::Fresh]);
    let mut nothing = Bench::new(vec![blank()]);
    nothing.choice = Err(Fault::injected(FaultClass::NeedsChange, "disk", "none"));
    assert_eq!(nothing.decide().rules(), []);
}

#[test]
fn rule_14_a_checkpoint_without_its_table_needs_consent_again() {
    let decision = Bench::new(vec![DiskEvidence {
        slots: slots(record(7)),
        ..blank()
    }])
    .decide();
    assert!(matches!(decision, Decision::Begin(_)));
    assert!(decision.rules().contains(&Rule::Behind));
    assert_eq!(
        resume_plan(decision).claimed(),
        Some(Phase::Realised),
        "the claim stays, to make judging stricter"
    );
}

#[test]
fn rule_15_a_table_that_is_there_before_its_record_is_told() {
    let mut bench = Bench::new(vec![tabled()]);
    let told = |bench: &Bench| resume_plan(bench.decide()).rules.contains(&Rule::Ahead);
    for (claim, ahead) in [
        (RecordedPhase::Planned, true),
        (RecordedPhase::Partitioned, false),
    ] {
        let record = Record { claim, ..record(1) };
        bench.tmpfs = Some(record.encode().unwrap());
        assert_eq!(told(&bench), ahead, "{:?}", record.claim);
    }
    // One copy is no durable table: then the disk is not ahead of anything.
    bench.tmpfs = Some(
        Record {
            claim: RecordedPhase::Planned,
            ..record(1)
        }
        .encode()
        .unwrap(),
    );
    bench.disks[0].backup = GptCopy::Absent;
    assert!(!told(&bench));
}

#[test]
fn rule_18_slots_found_by_their_magic_are_trusted_and_told() {
    let decision = Bench::new(vec![DiskEvidence {
        slots_scanned: true,
        ..under_way()
    }])
    .decide();
    let found = resume_plan(decision);
    assert_eq!(found.rules, [Rule::RawSlots]);
    assert_eq!(found.claimed(), Some(Phase::Realised));
    // A search that finds nothing is no reason to name it.
    let lost = Bench::new(vec![DiskEvidence {
        slots_scanned: true,
        ..tabled()
    }]);
    assert_eq!(resume_plan(lost.decide()).rules, [Rule::SlotsLost]);
}

#[test]
fn rule_16_landed_is_left_alone_until_asked() {
    let done = Record {
        claim: RecordedPhase::Landed(record(1).claim.system().unwrap().clone()),
        ..record(7)
    };
    let mut bench = Bench::new(vec![DiskEvidence {
        slots: slots(done),
        ..tabled()
    }]);
    let landed = bench.decide();
    assert!(matches!(landed, Decision::Landed { .. }));
    assert_eq!((landed.name(), landed.rules()), ("landed", vec![Rule::Landed]));
    assert_eq!(landed.trusted().map(|record| record.sequence), Some(8));
    bench.payload.repository.reference = Reference::Branch("next".parse().unwrap());
    assert!(
        matches!(bench.decide(), Decision::Landed { .. }),
        "a new payload is no reason either"
    );
    bench.reinstall_requested = true;
    assert_eq!(resume_plan(bench.decide()).plan.nonce, 1);
    bench.reinstall_requested = false;
    bench.reinstall = 4;
    assert_eq!(resume_plan(bench.decide()).plan.nonce, 4);
}

#[test]
fn a_reinstall_that_was_cut_off_is_found_by_its_nonce() {
    let table = plan_at(3).table;
    let evidence = DiskEvidence {
        primary: GptCopy::Complete(table.clone()),
        backup: GptCopy::Complete(table),
        ..blank()
    };
    let decision = Bench::new(vec![evidence]).decide();
    assert!(matches!(decision, Decision::Continue(_)));
    assert_eq!(resume_plan(decision).plan.nonce, 3);
}

#[test]
fn no_install_is_begun_with_a_number_that_would_not_be_recognised() {
    let carrying = |nonce| {
        let table = plan_at(nonce).table;
        let mut bench = Bench::new(vec![DiskEvidence {
            primary: GptCopy::Complete(table.clone()),
            backup: GptCopy::Complete(table),
            ..blank()
        }]);
        bench.reinstall_requested = true;
        bench.decide()
    };
    assert_eq!(resume_plan(carrying(NONCE_MAX - 1)).plan.nonce, NONCE_MAX);
    match carrying(NONCE_MAX) {
        Decision::Stop { rule: None, fault } => {
            assert_eq!(fault.class, FaultClass::NeedsChange);
            assert!(fault.why().contains("reinstalled here 255 times"), "{fault}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_record_of_this_boot_keeps_attempts_and_pin_before_the_esp_exists() {
    let early = Record {
        claim: RecordedPhase::Planned,
        ..record(2)
    };
    let mut bench = Bench::new(vec![blank()]);
    bench.tmpfs = Some(early.encode().unwrap());
    assert_eq!(resume_plan(bench.decide()).trusted.unwrap().record.sequence, 2);
    bench.tmpfs = Some(record(9).encode().unwrap());
    assert!(
        resume_plan(bench.decide()).trusted.is_none(),
        "from Anchored on only the ESP's word counts"
    );
    let mut foreign_users = [early.clone(), early];
    foreign_users[0].install = plan_at(1).install;
    foreign_users[1].disk.serial = Some("LF0002".into());
    for stranger in foreign_users {
        bench.tmpfs = Some(stranger.encode().unwrap());
        assert!(resume_plan(bench.decide()).trusted.is_none(), "{stranger}");
    }
}

#[test]
fn without_a_disk_the_fault_of_the_choice_is_reported() {
    let mut bench = Bench::new(vec![blank()]);
    bench.choice = Err(Fault::injected(FaultClass::NeedsChange, "disk", "none"));
    let Decision::Stop { rule: None, fault } = bench.decide() else {
        panic!()
    };
    assert_eq!(fault.why(), "none");
}

proptest! {
    /// I7 at its root: whatever the slots hold, a table that is ours is never begun over without being asked, and a
    /// disk without our table is never continued.
    #[test]
    fn no_slot_bytes_turn_a_table_of_ours_into_a_fresh_start(
        a in slot_bytes(), b in slot_bytes(), ours: bool,
    ) {
        let evidence = DiskEvidence { slots: [a, b], ..if ours { tabled() } else { blank() } };
        let decision = Bench::new(vec![evidence]).decide();
        match decision {
            Decision::Begin(_) => prop_assert!(!ours),
            Decision::Continue(_) => prop_assert!(ours),
            Decision::Landed { .. } | Decision::Stop { .. } => {}
        }
    }
}

/// Random bytes, damaged records, whole records of all kinds, or nothing.
fn slot_bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    let whole = (0_u64..20, 0_u32..3, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(sequence, nonce, host, layout, landed)| {
            let mut one = Record {
                nonce,
                ..record(sequence)
            };
            if host {
                one.host = "db".parse().unwrap();
            }
            if layout {
                one.layout = Digest::of(b"other");
            }
            if landed {
                one.claim = RecordedPhase::Landed(one.claim.system().unwrap().clone());
            }
            Some(one.encode().unwrap())
        },
    );
    prop_oneof![
        Just(None),
        proptest::collection::vec(any::<u8>(), 0..64).prop_map(Some),
        whole.clone(),
        (whole, any::<prop::sample::Index>()).prop_map(|(slot, at)| slot.map(|mut bytes| {
            let at = at.index(bytes.len());
            bytes[at] ^= 0x20;
            bytes
        })),
    ]
}

#[path = "recovery_trust_tests.rs"]
mod trust;
