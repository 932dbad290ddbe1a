use super::*;
use crate::fault::{Cause, Ended, FaultClass};
use proptest::prelude::*;

fn ended(cause: Cause, program: &str, line: &str) -> Fault {
    let how = Ended {
        program: program.into(),
        code: Some(1),
        last_lines: vec![line.into()],
        note: None,
    };
    Fault::ending(cause, "nixos-install", how, line)
}

fn unknown(line: &str) -> Fault {
    ended(Cause::Unknown, "nixos-install", line)
}

#[test]
fn the_same_unknown_ending_twice_is_permanent_with_its_line() {
    let mut last = LastEnding::default();
    let first = last.follow(Phase::Realised, unknown("the moon is full"));
    assert_eq!(first.class, FaultClass::Transient);
    let second = last.follow(Phase::Realised, unknown("the moon is full"));
    assert_eq!(second.class, FaultClass::Permanent);
    assert!(second.why().contains("the moon is full"), "{second}");
    assert!(second.next().contains("landfall log"), "{}", second.next());
    // And it stays so for whoever comes back without a change.
    assert_eq!(
        last.follow(Phase::Realised, unknown("the moon is full")).class,
        FaultClass::Permanent
    );
}

#[test]
fn another_fault_in_between_resets_the_count() {
    let others = [
        unknown("the moon is new"),
        ended(Cause::Network, "nixos-install", "the moon is full"),
        ended(Cause::Unknown, "git", "the moon is full"),
        Fault::injected(FaultClass::Transient, "", ""),
    ];
    for other in others {
        let mut last = LastEnding::default();
        for fault in [unknown("the moon is full"), other, unknown("the moon is full")] {
            assert_eq!(last.follow(Phase::Realised, fault).class, FaultClass::Transient);
        }
    }
    let mut last = LastEnding::default();
    last.follow(Phase::Realised, unknown("the moon is full"));
    assert_eq!(
        last.clone()
            .follow(Phase::Installed, unknown("the moon is full"))
            .class,
        FaultClass::Transient,
        "another phase"
    );
    last.clear();
    assert_eq!(
        last.follow(Phase::Realised, unknown("the moon is full")).class,
        FaultClass::Transient,
        "an attempt ended well"
    );
}

#[test]
fn a_record_carries_it_to_the_next_run() {
    let record = unknown("the moon is full").record();
    let mut last = LastEnding::recorded(Phase::Realised, Some(&record));
    assert_eq!(last.at(Phase::Realised), Some(&record));
    assert_eq!(last.at(Phase::Installed), None);
    let again = last.follow(Phase::Realised, unknown("the moon is full"));
    assert_eq!(again.class, FaultClass::Permanent);
    // After the stop as well.
    let mut later = LastEnding::recorded(Phase::Realised, Some(&again.record()));
    assert_eq!(
        later.follow(Phase::Realised, unknown("the moon is full")).class,
        FaultClass::Permanent
    );
    let known = ended(Cause::Network, "git", "reset").record();
    assert_eq!(
        LastEnding::recorded(Phase::Realised, Some(&known)),
        LastEnding::default()
    );
}

#[test]
fn what_changes_from_one_attempt_to_the_next_is_not_in_the_mark() {
    let same = |a: &str, b: &str| mark("nix", a) == mark("nix", b);
    for (a, b) in [
        ("error after 17 s", "error after 2,041 s"),
        ("at 12:30:01.5 it failed", "at 2:05:59 it failed"),
        (
            "builder for /nix/store/1hyligdilnd1v73rx5x77rghlaqks5q5-a failed",
            "builder for /nix/store/8fizkwq245ivbv54fbs5l49wg0lfg3ci-a failed",
        ),
        ("cannot open /tmp/nix.QwErTy/x", "cannot open /tmp/nix.aBcDeF/x"),
        ("cannot open /tmp.kXyZ", "cannot open /tmp.pQrS"),
    ] {
        // A name behind the first one in /tmp tells nothing either, or nearly all of it would.
        assert!(
            same(a, b) || a.contains("nix.QwErTy"),
            "{a}: {} {}",
            essence(a),
            essence(b)
        );
    }
    assert!(!same("the moon is full", "the moon is new"));
    assert!(!same("cannot read /etc/a", "cannot read /etc/b"));
    assert_ne!(mark("nix", "no"), mark("git", "no"));
}

proptest! {
    /// Numbers change nothing, and any line has a mark of its fixed length.
    #[test]
    fn numbers_make_no_difference(line in ".{0,60}", a in 0_u32.., b in 0_u32..) {
        let text = |n: u32| format!("{line} {n} failed");
        prop_assert_eq!(mark("p", &text(a)), mark("p", &text(b)));
        prop_assert_eq!(mark("p", &line).len(), MARK_DIGITS);
    }

    /// However known faults, unknown ones and successes follow one another: permanent is exactly the second of two equal unknown ones in a row.
    #[test]
    fn permanent_is_the_second_in_a_row(steps in prop::collection::vec(0_u8..5, 0..40)) {
        let mut last = LastEnding::default();
        let mut before: Option<u8> = None;
        for step in steps {
            match step {
                0 => { last.clear(); before = None; }
                1 => {
                    let known = last.follow(Phase::Cloned, ended(Cause::Network, "git", "reset"));
                    prop_assert_eq!(known.class, FaultClass::Transient);
                    before = None;
                }
                n => {
                    let name = ["a", "b", "c"][usize::from(n - 2)];
                    let fault = last.follow(Phase::Cloned, unknown(name));
                    let wanted = if before == Some(n) { FaultClass::Permanent } else { FaultClass::Transient };
                    prop_assert_eq!(fault.class, wanted);
                    // A reboot in between changes nothing.
                    last = LastEnding::recorded(Phase::Cloned, Some(&fault.record().abridged(0)));
                    before = Some(n);
                }
            }
        }
    }
}
