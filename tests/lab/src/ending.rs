//! The laboratory's end.
//!
//! No machine and no program that was started here outlives it, whether it ends by itself, by SIGINT, SIGTERM or SIGHUP, or
//! by SIGKILL: the kernel ends them. What was being made in the cache is removed at the signals that can be caught; what
//! SIGKILL leaves there, the next start removes ([`crate::cache`]). Machines' folders are evidence and stay.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
use nix::unistd::{Pid, getpid, getppid};

use crate::removal;

/// Signals that end a laboratory.
const SIGNALS: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
/// How often what is being made is removed while somebody still makes it.
const REMOVALS: u32 = 20;

/// A program to start, the signal at the laboratory's end, and where the child goes.
type Order = (Command, Signal, Sender<io::Result<Child>>);

/// Starts a program that gets this signal when the laboratory ends.
///
/// The kernel sends it when the thread that started the program ends, and threads here come and go: one that stays starts them all.
pub fn spawn(command: Command, signal: Signal) -> io::Result<Child> {
    static STARTER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (sender, orders) = channel::<Order>();
        std::thread::spawn(move || {
            for (command, signal, back) in orders {
                // Nobody waits only where the laboratory ends, and then the child does so too.
                let _ = back.send(started(command, signal));
            }
        });
        Mutex::new(sender)
    });
    let (sender, child) = channel();
    let gone = || io::Error::other("the thread that starts programs has ended");
    lock(starter)
        .send((command, signal, sender))
        .map_err(|_| gone())?;
    child.recv().map_err(|_| gone())?
}

fn started(mut command: Command, signal: Signal) -> io::Result<Child> {
    let parent = getpid();
    // SAFETY: between fork and exec only two system calls are made, and nothing is allocated.
    unsafe {
        command.pre_exec(move || ends_with(parent, signal));
    }
    command.spawn()
}

/// The program that this starts has this descriptor open, and so has what that starts.
pub fn inherits(command: &mut Command, descriptor: Arc<OwnedFd>) {
    // SAFETY: between fork and exec one system call is made, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            fcntl(&*descriptor, FcntlArg::F_SETFD(FdFlag::empty()))?;
            Ok(())
        });
    }
}

/// The calling process gets this signal when its parent ends, and is not begun when that has ended already.
fn ends_with(parent: Pid, signal: Signal) -> io::Result<()> {
    set_pdeathsig(signal)?;
    if getppid() == parent {
        Ok(())
    } else {
        Err(Errno::ESRCH.into())
    }
}

/// Runs such a program to its end.
pub fn status(command: Command) -> io::Result<ExitStatus> {
    spawn(command, Signal::SIGTERM)?.wait()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Folders that are being made.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A folder that is being made: away at a signal, until this is dropped.
#[derive(Debug)]
pub struct Unfinished(PathBuf);

impl Unfinished {
    /// From now on.
    pub fn new(folder: &Path) -> Unfinished {
        lock(&UNFINISHED).insert(folder.to_owned());
        Unfinished(folder.to_owned())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        lock(&UNFINISHED).remove(&self.0);
    }
}

/// Where the handler writes.
static WAKE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn wake(signal: libc::c_int) {
    let byte = [signal as u8];
    // SAFETY: `write` may be called in a handler; the descriptor is never closed, and the byte lives here.
    unsafe { libc::write(WAKE.load(Ordering::SeqCst), byte.as_ptr().cast(), 1) };
}

/// Watches for the signals that end a laboratory; once.
pub fn watch() -> Result<()> {
    let (mut ours, theirs) = UnixStream::pair().context("a socket pair")?;
    WAKE.store(theirs.into_raw_fd(), Ordering::SeqCst);
    let action = SigAction::new(SigHandler::Handler(wake), SaFlags::SA_RESTART, SigSet::empty());
    for signal in SIGNALS {
        // SAFETY: the handler does nothing but what a handler may do.
        let before =
            unsafe { sigaction(signal, &action) }.with_context(|| format!("watching for {signal}"))?;
        // As `nohup`, and a shell for what runs in the background, have it.
        if matches!(before.handler(), SigHandler::SigIgn) {
            // SAFETY: what was there before.
            unsafe { sigaction(signal, &before) }.with_context(|| format!("ignoring {signal}"))?;
        }
    }
    std::thread::spawn(move || {
        let mut byte = [0];
        if ours.read_exact(&mut byte).is_ok() {
            end(i32::from(byte[0]));
        }
    });
    Ok(())
}

/// Removes what is being made, and ends by the signal as if it had not been caught.
fn end(number: i32) {
    // Held from here on: nothing new is begun.
    let unfinished = lock(&UNFINISHED);
    for folder in unfinished.iter() {
        remove(folder);
    }
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    let signal = Signal::try_from(number).unwrap_or(Signal::SIGTERM);
    // SAFETY: the default action is no code of ours.
    let ended = unsafe { sigaction(signal, &default) }.and_then(|_| raise(signal));
    // Whatever came of that, it ends.
    std::process::exit(128 + ended.map_or(number, |()| number));
}

/// Removes a folder into which somebody may still write.
fn remove(folder: &Path) {
    for _ in 0..REMOVALS {
        match removal::remove(folder) {
            Ok(()) => return,
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
    eprintln!(
        "lab: {} could not be removed; the next start does it",
        folder.display()
    );
}
