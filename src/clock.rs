//! The one clock: milliseconds since boot, suspended time included. Law: it never goes back, and nothing is decided by it
//! but waits and ages.

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
