//! The end by a signal.
//!
//! At SIGINT, SIGTERM or SIGHUP no further step is begun, the running one is killed, and everything that was made is undone
//! as at the end of a step. The exit code says which signal it was. What SIGKILL leaves, the next start removes: a work
//! folder that no living process holds.
//!
//! `points` has the steps' own ends.

use crate::tree;
use camino::Utf8Path;
use nix::fcntl::{Flock, FlockArg};
use nix::libc;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

/// How the rooms of this program are called.
pub const ROOM: &str = "landfall-halfway-";
/// How long undoing may take.
const UNDO_MAX: Duration = Duration::from_secs(30);
/// The signal that came.
static SIGNAL: AtomicI32 = AtomicI32::new(0);

/// The exit code, when a signal came.
pub fn code() -> Option<u8> {
    let signal = SIGNAL.load(Ordering::SeqCst);
    (signal != 0).then(|| 128_u8.wrapping_add(signal as u8))
}

/// Writes a line, where anybody still reads it.
pub fn say(to: &mut dyn std::io::Write, words: std::fmt::Arguments<'_>) {
    let _nobody_reads = to.write_fmt(format_args!("{words}\n"));
}

/// Nothing is begun any more when a signal came.
pub fn may_begin() -> Result<(), String> {
    match SIGNAL.load(Ordering::SeqCst) {
        0 => Ok(()),
        signal => Err(format!("ended by signal {signal}")),
    }
}

/// Whether a signal is left alone, as `nohup` has it.
fn is_ignored(number: i32) -> bool {
    // SAFETY: all zeros is a valid set of actions, and it is only written to.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to the line above; no action is given.
    unsafe { libc::sigaction(number, std::ptr::null(), &raw mut now) };
    now.sa_sigaction == libc::SIG_IGN
}

/// Watches for the signals that end this program.
pub fn watch() -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    for number in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        if is_ignored(number) {
            continue;
        }
        let kind = tokio::signal::unix::SignalKind::from_raw(number);
        let stream = {
            let _within = runtime.enter();
            tokio::signal::unix::signal(kind)
        };
        let mut stream = stream.map_err(|e| format!("signal {number}: {e}"))?;
        runtime.spawn(async move {
            stream.recv().await;
            // The first one counts.
            let _ = SIGNAL.compare_exchange(0, number, Ordering::SeqCst, Ordering::SeqCst);
        });
    }
    std::thread::spawn(move || {
        runtime.block_on(async {
            while may_begin().is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        // The main thread undoes what there is, and ends. Steps are killed until then.
        let began = Instant::now();
        while began.elapsed() < UNDO_MAX {
            kill_workers();
            std::thread::sleep(Duration::from_millis(50));
        }
        eprintln!("undoing took longer than {} s", UNDO_MAX.as_secs());
        std::process::exit(i32::from(code().unwrap_or(1)));
    });
    Ok(())
}

/// Kills the steps that this program carries out, and all that they started.
fn kill_workers() {
    let mut parents = BTreeMap::new();
    for entry in fs_err::read_dir("/proc").into_iter().flatten().flatten() {
        if let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>()
            && let Some(parent) = parent(pid)
        {
            parents.insert(pid, parent);
        }
    }
    let me = std::process::id() as i32;
    let is_worker = |pid: i32| parents.get(&pid) == Some(&me) && is_step(pid);
    for pid in parents.keys() {
        let mut above = Some(*pid);
        let mut below = false;
        while let Some(one) = above {
            below |= is_worker(one);
            above = parents.get(&one).copied().filter(|_| one != me && !below);
        }
        if below {
            // SAFETY: numbers in, a number out. It is a child of this program, or was started by one.
            unsafe { libc::kill(*pid, libc::SIGKILL) };
        }
    }
}

/// By its arguments: what is not yet another program, because it was started this moment, has those of this one.
fn is_step(pid: i32) -> bool {
    let line = fs_err::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).nth(1) == Some(b"worker")
}

fn parent(pid: i32) -> Option<i32> {
    let status = fs_err::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok()
}

/// Holds a room for as long as the answer lives.
pub fn hold(room: &Utf8Path) -> Result<Flock<std::fs::File>, String> {
    let folder = fs_err::File::open(room).map_err(|e| e.to_string())?;
    Flock::lock(folder.into_parts().0, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, errno)| format!("{room}: {errno}"))
}

/// Removes rooms in a folder that no living process holds.
pub fn sweep(folder: &Utf8Path) -> Result<(), String> {
    for entry in fs_err::read_dir(folder).map_err(|e| e.to_string())? {
        let name = entry.map_err(|e| e.to_string())?.file_name();
        let name = name.to_string_lossy();
        let Some(number) = name.strip_prefix(ROOM).and_then(|rest| rest.split('-').next()) else {
            continue;
        };
        // Made, and not held yet; or of a program of another age, which holds nothing.
        let alive = number.parse().is_ok_and(is_one_of_us);
        let room = folder.join(name.as_ref());
        if alive || !room.is_dir() || room.is_symlink() {
            continue;
        }
        if let Ok(_held) = hold(&room) {
            eprintln!("removing {room}, which a killed run left");
            tree::remove(room.as_std_path()).map_err(|e| format!("{room}: {e}"))?;
        }
    }
    Ok(())
}

/// Whether a process of this number is a program as this one.
fn is_one_of_us(pid: u32) -> bool {
    fs_err::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.starts_with("halfway"))
}
