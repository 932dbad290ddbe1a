//! The one clock: milliseconds since boot, including the time in which the machine was suspended.
//!
//! It never goes back. Only waits and ages are decided by it.

/// Milliseconds since boot, suspend included: the same clock in every process, whatever the wall clock says.
pub fn since_boot_ms() -> u64 {
    match nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME) {
        Ok(time) => {
            let (seconds, nanos) = (time.tv_sec().max(0) as u64, time.tv_nsec().max(0) as u64);
            seconds * 1_000 + nanos / 1_000_000
        }
        // Linux has had this clock since 2.6.39; without one, ages are shown as 0.
        Err(_) => 0,
    }
}
