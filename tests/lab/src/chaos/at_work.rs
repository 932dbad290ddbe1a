//! Whether a run makes progress.
//!
//! A run is stuck if it prints nothing for a long time, or if it does not end, whatever it prints. A run that is slow because
//! the processor has other work is not stuck.
//!
//! `chaos::trial` reads what a run prints, and detects a run that tries the same again and again.

use std::time::Duration;

/// Longest silence of a run. The slowest of its steps are told of every few seconds on a processor that is free.
pub const SILENCE_MAX: Duration = Duration::from_secs(300);
/// Longest run, whatever it says: an install takes a minute or two on a processor that is free.
pub const RUN_MAX: Duration = Duration::from_secs(1800);

/// What was heard of a run.
#[derive(Debug, Default)]
pub struct Heard {
    bytes: usize,
    at: Duration,
}

impl Heard {
    /// Why a run is stuck that has said so many bytes after this time, if it is.
    pub fn stuck(&mut self, bytes: usize, after: Duration) -> Option<String> {
        if bytes != self.bytes {
            *self = Heard { bytes, at: after };
        }
        let silence = after.saturating_sub(self.at);
        if silence >= SILENCE_MAX {
            return Some(format!("a run has said nothing for {} s", silence.as_secs()));
        }
        (after >= RUN_MAX).then(|| format!("a run was still at work after {} s", after.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn slow_is_not_stuck_and_silent_is() {
        let mut heard = Heard::default();
        for minute in 1..20 {
            assert_eq!(heard.stuck(minute, s(60 * minute as u64)), None);
        }
        let last = 60 * 19;
        assert_eq!(heard.stuck(19, s(last + 299)), None);
        assert!(
            heard
                .stuck(19, s(last + 300))
                .unwrap()
                .contains("nothing for 300 s")
        );
        // From the start, and for ever.
        assert!(Heard::default().stuck(0, s(300)).is_some());
        assert!(heard.stuck(20, s(1800)).unwrap().contains("still at work"));
    }
}
