//! Tests of the budget.

use super::*;

#[test]
fn only_transient_faults_are_retried() {
    let budget = Budget::default();
    for class in [
        FaultClass::NeedsChange,
        FaultClass::Permanent,
        FaultClass::Hardware,
        FaultClass::Unsafe,
        FaultClass::Interrupted,
    ] {
        assert_eq!(
            budget.after(&Fault::injected(class, "", ""), 0, 1),
            AfterFault::Stop,
            "{class}"
        );
    }
    assert!(matches!(
        budget.after(&Fault::injected(FaultClass::Transient, "", ""), 0, 1),
        AfterFault::RetryIn(_)
    ));
}

#[test]
fn waits_grow_are_bounded_and_obey_the_server() {
    let budget = Budget::default();
    let wait = |fault: &Fault, retry| match budget.after(fault, retry, 7) {
        AfterFault::RetryIn(wait) => wait.as_millis() as u64,
        other => panic!("{other:?}"),
    };
    let plain = Fault::injected(FaultClass::Transient, "", "");
    for retry in 0..budget.retries_per_run_max {
        let full = (1_000 << retry).min(60_000);
        assert!((full / 2..=full).contains(&wait(&plain, retry)), "retry {retry}");
    }
    let asked = Fault {
        wait_s: Some(90),
        ..plain.clone()
    };
    assert_eq!(wait(&asked, 0), 90_000);
    assert!(matches!(
        budget.after(&plain, budget.retries_per_run_max, 7),
        AfterFault::Exhausted(_)
    ));
}

#[test]
fn the_budget_ends_by_phase_and_in_total() {
    let budget = Budget {
        phase_attempts_max: 2,
        total_attempts_max: 3,
        ..Budget::default()
    };
    let mut attempts = Attempts::default();
    assert!(budget.admits(&attempts, Phase::Formatted).is_ok());
    attempts.raise(Phase::Formatted);
    assert_eq!(attempts.raise(Phase::Formatted), 2);
    assert!(budget.admits(&attempts, Phase::Formatted).is_err());
    assert!(budget.admits(&attempts, Phase::Cloned).is_ok());
    attempts.raise(Phase::Cloned);
    assert!(budget.admits(&attempts, Phase::Realised).is_err());
    attempts.reset();
    assert!(budget.admits(&attempts, Phase::Formatted).is_ok());
}

/// The waits of one retry over many seeds.
fn waits(budget: &Budget, fault: &Fault, retry: u32) -> Vec<u64> {
    let wait = |seed| match budget.after(fault, retry, seed) {
        AfterFault::RetryIn(wait) => wait.as_millis() as u64,
        other => panic!("{other:?}"),
    };
    (0..64).map(wait).collect()
}

#[test]
fn a_wait_is_half_fixed_and_half_spread_by_seed_and_retry() {
    let short = Budget {
        backoff_first_ms: 2,
        backoff_max_ms: 2,
        ..Budget::default()
    };
    let plain = Fault::injected(FaultClass::Transient, "", "");
    let mut seen = waits(&short, &plain, 0);
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(
        seen,
        [1, 2],
        "both ends of the spread are reached, and nothing beyond them"
    );
    // Peers that failed together, and one peer's retries at the longest wait, differ.
    let budget = Budget::default();
    assert_ne!(waits(&budget, &plain, 6)[7], waits(&budget, &plain, 7)[7]);
    assert_ne!(waits(&budget, &plain, 0)[1], waits(&budget, &plain, 0)[2]);
}

#[test]
fn a_server_is_obeyed_for_a_quarter_of_an_hour_at_most() {
    let asked = |s| Fault {
        wait_s: Some(s),
        ..Fault::injected(FaultClass::Transient, "", "")
    };
    let budget = Budget::default();
    assert_eq!(waits(&budget, &asked(900), 0)[0], 900_000);
    assert_eq!(waits(&budget, &asked(u64::MAX), 0)[0], 900_000);
    assert!(
        waits(&budget, &asked(1), 6)[0] >= 30_000,
        "a short wish shortens nothing"
    );
}

#[test]
fn the_mixing_is_the_published_one() {
    // The first numbers of SplitMix64 for the seeds 0 and 1234567.
    assert_eq!(splitmix(0), 0xE220_A839_7B1D_CDAF);
    assert_eq!(splitmix(1_234_567), 6_457_827_717_110_365_317);
}

#[test]
fn attempts_are_counted_by_phase() {
    let mut attempts = Attempts::default();
    for phase in [Phase::Formatted, Phase::Planned, Phase::Formatted] {
        attempts.raise(phase);
    }
    let counts: Vec<_> = attempts.iter().collect();
    assert_eq!(counts, [(Phase::Planned, 1), (Phase::Formatted, 2)]);
    assert_eq!(
        (
            attempts.of(Phase::Formatted),
            attempts.of(Phase::Cloned),
            attempts.total()
        ),
        (2, 0, 3)
    );
}

#[test]
fn a_limit_that_is_reached_says_how_to_go_on() {
    let mut attempts = Attempts::default();
    attempts.raise(Phase::Cloned);
    let budget = Budget {
        phase_attempts_max: 1,
        ..Budget::default()
    };
    let fault = budget.admits(&attempts, Phase::Cloned).unwrap_err();
    assert_eq!(fault.class, FaultClass::Permanent);
    assert_eq!(
        fault.to_string(),
        "attempt limit (Cloned): 1 attempts at this phase were made, the limit is 1"
    );
    assert!(fault.next().contains("landfall resume --reset-attempts"));
}
