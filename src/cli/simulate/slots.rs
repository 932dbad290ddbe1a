//! `landfall simulate --slot-states`: tests only the checkpoint.
//!
//! It reads the states that power cuts leave in the two slots, and counts them per second and thread. The states come from
//! `sim::explore::slots`.

use super::workers::{Shared, ended, lock, progress};
use crate::cli::{Failure, SimulateArgs};
use crate::exit::Exit;
use crate::sim::explore::slots::{self, Saved};
use crate::sim::model::case::Case;
use crate::sim::model::setting::{Setting, Subject};
use serde_json::json;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The checkpoint alone.
pub(super) fn checkpoint(
    subject: &Subject,
    case: Case,
    states: u64,
    args: &SimulateArgs,
    shared: &Shared,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let began = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let (total, broken) = (Mutex::new(Saved::default()), Mutex::new(None));
    let done = AtomicBool::new(false);
    let one = |thread: u64| -> Result<Saved, String> {
        let setting = Setting::of(case, subject.clone())?;
        let seed = args.seed.unwrap_or(0).wrapping_mul(threads).wrapping_add(thread);
        let told = AtomicU64::new(0);
        slots::enumerate(&setting, seed, states.div_ceil(threads), &|states| {
            shared
                .done
                .fetch_add(states - told.swap(states, Ordering::Relaxed), Ordering::Relaxed);
            shared.goes_on()
        })
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let (one, total, broken) = (&one, &total, &broken);
                scope.spawn(move || match one(thread) {
                    Ok(saved) => lock(total).add(saved),
                    Err(why) => *lock(broken) = Some(why),
                })
            })
            .collect();
        scope.spawn(|| progress(shared, &done, "states read"));
        for worker in workers {
            if worker.join().is_err() {
                *lock(&broken) =
                    Some("a thread of the simulation crashed; this is a defect of landfall".to_owned());
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    if let Some(why) = broken.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(Failure::new(Exit::Internal, why));
    }
    let saved = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    let interrupted = shared.stop.load(Ordering::Relaxed);
    let seconds = began.elapsed().as_secs_f64();
    let rate = saved.states as f64 / seconds.max(0.001) / threads as f64;
    if args.json {
        let breaches: Vec<String> = saved.breaches.iter().map(ToString::to_string).collect();
        let value = json!({
            "version": env!("CARGO_PKG_VERSION"), "seed": args.seed.unwrap_or(0), "interrupted": interrupted,
            "states": saved.states, "saves": saved.saves, "restarts": saved.restarts, "newer": saved.newer,
            "failed": saved.failed, "breaches": breaches, "seconds": seconds, "states_per_second_and_thread": rate,
        });
        writeln!(out, "{value}")?;
    } else {
        for breach in &saved.breaches {
            writeln!(out, "broken: {breach}")?;
        }
        let so_far = if interrupted { "interrupted; so far: " } else { "" };
        writeln!(
            out,
            "{so_far}{saved} in {seconds:.1} s ({rate:.0} states/s on each of {threads} threads)"
        )?;
    }
    Ok(ended(saved.failed, interrupted))
}
