//! What is believed of a record, by who is known to have written it.

use super::*;

#[test]
fn unclean_unless_the_last_writer_said_so_and_is_known() {
    let stopped = Record {
        mark: Mark::Stopped,
        ..record(7)
    };
    let evidence = DiskEvidence {
        slots: slots(stopped),
        ..tabled()
    };
    let said = |authenticity| ResumePlan {
        authenticity,
        ..resume_plan(Bench::new(vec![evidence.clone()]).decide())
    };
    assert!(!said(Authenticity::Proved).unclean());
    assert!(said(Authenticity::Unproved).unclean(), "anybody can write a mark");
    assert!(said(Authenticity::Forged).unclean());
    let begun = ResumePlan {
        authenticity: Authenticity::Proved,
        ..resume_plan(Bench::new(vec![under_way()]).decide())
    };
    assert!(begun.unclean());
}

#[test]
fn a_record_on_a_disk_is_not_proved_by_its_place_and_one_in_memory_is() {
    assert_eq!(
        resume_plan(Bench::new(vec![under_way()]).decide()).authenticity,
        Authenticity::Unproved
    );
    let mut bench = Bench::new(vec![blank()]);
    let early = Record {
        claim: RecordedPhase::Planned,
        ..record(2)
    };
    bench.tmpfs = Some(early.encode().unwrap());
    assert_eq!(resume_plan(bench.decide()).authenticity, Authenticity::Proved);
}

/// A record that is whole in itself and of a later install than the table: nobody of us writes one. TrustedRecord, it would turn an install
/// that is under way into a new one, over which a consent in advance may erase it (I7).
#[test]
fn rule_5_a_record_of_a_later_install_than_the_table_s_is_not_trusted() {
    for nonce in [1, 3, NONCE_MAX, NONCE_MAX + 1, u32::MAX] {
        let later = Record {
            nonce,
            install: plan_at(nonce).install,
            ..record(7)
        };
        let evidence = DiskEvidence {
            slots: slots(later.clone()),
            ..tabled()
        };
        let mut bench = Bench::new(vec![evidence]);
        let decision = bench.decide();
        assert!(matches!(decision, Decision::Continue(_)), "{nonce}: {decision:?}");
        let found = resume_plan(decision);
        assert!(
            found.rules.contains(&Rule::Fork) && found.trusted.is_none(),
            "{nonce}"
        );
        assert_eq!(found.plan.nonce, 0);
        // Nor does it use up the numbers of the installs to come.
        bench.reinstall_requested = true;
        assert_eq!(resume_plan(bench.decide()).plan.nonce, 1, "{nonce}");
        // The control: without a table the number is what is known, as far as there are numbers.
        let alone = DiskEvidence {
            slots: slots(later),
            ..blank()
        };
        let trusted = resume_plan(Bench::new(vec![alone]).decide()).trusted.is_some();
        assert_eq!(trusted, nonce <= NONCE_MAX, "{nonce}");
    }
}

/// A revision in the configuration decides, whatever the record asks for.
#[test]
fn a_revision_that_the_configuration_names_decides() {
    let resume_plan = course_of(record(7), Authenticity::Unproved);
    let wish = record(7).revision;
    let branch = Reference::Branch("main".parse().unwrap());
    for reference in [Reference::Default, branch] {
        let pin = resume_plan.pin(&reference);
        assert_eq!(
            (pin.revision, pin.is_wish, pin.overruled),
            (Some(wish.clone()), true, None)
        );
    }
    let same = resume_plan.pin(&Reference::Revision(wish.clone()));
    assert_eq!(
        (same.revision, same.is_wish, same.overruled),
        (Some(wish.clone()), false, None)
    );
    let other = resume_plan.pin(&Reference::Revision("b".repeat(40).parse().unwrap()));
    assert_eq!(
        (other.revision, other.is_wish, other.overruled),
        (None, false, Some(wish))
    );
    let forged = course_of(record(7), Authenticity::Forged);
    assert_eq!(forged.pin(&Reference::Default), Pin::default());
}

fn course_of(record: Record, authenticity: Authenticity) -> ResumePlan {
    ResumePlan {
        authenticity,
        ..resume_plan(
            Bench::new(vec![DiskEvidence {
                slots: slots(record),
                ..tabled()
            }])
            .decide(),
        )
    }
}

/// Only the last attempts count is forged, to the highest number there is: no stop for ever. Proved counts are a run's own.
#[test]
fn counts_that_no_run_makes_count_for_nothing_unless_proved() {
    let budget = Budget::default();
    let counted = |count: u32| {
        let mut text = ron::to_string(&record(7).attempts).unwrap();
        text = text.replace("Planned:1", &format!("Cloned:{count}"));
        Record {
            attempts: ron::from_str(&text).unwrap(),
            ..record(7)
        }
    };
    let max = budget.phase_attempts_max;
    for (count, authenticity, left, told) in [
        (max, Authenticity::Unproved, max, None),
        (max + 1, Authenticity::Unproved, 0, Some(max + 1)),
        (u32::MAX, Authenticity::Unproved, 0, Some(u32::MAX)),
        (u32::MAX, Authenticity::Forged, 0, None),
        (max + 1, Authenticity::Proved, max + 1, None),
    ] {
        let (attempts, impossible) = course_of(counted(count), authenticity).attempts(&budget);
        assert_eq!(
            (attempts.of(Phase::Cloned), impossible),
            (left, told),
            "{count} {authenticity:?}"
        );
        assert_eq!(budget.admits(&attempts, Phase::Cloned).is_ok(), left < max);
    }
}

#[test]
fn what_a_record_asks_for_is_a_wish_and_a_forged_one_has_none() {
    for authenticity in [Authenticity::Proved, Authenticity::Unproved, Authenticity::Forged] {
        let resume_plan = course_of(record(7), authenticity);
        assert_eq!(resume_plan.wish().is_some(), authenticity != Authenticity::Forged);
        let vouched = resume_plan.vouched(&record(7).revision);
        assert_eq!(
            vouched.is_some(),
            authenticity == Authenticity::Proved,
            "{authenticity:?}"
        );
        assert_eq!(
            resume_plan.vouched(&"b".repeat(40).parse().unwrap()),
            None,
            "of another revision"
        );
    }
    let other = Record {
        payload: Digest::of(b"other"),
        ..record(7)
    };
    let resume_plan = course_of(other, Authenticity::Proved);
    assert_eq!(
        (resume_plan.wish(), resume_plan.vouched(&record(7).revision)),
        (None, None),
        "of another payload"
    );
}
