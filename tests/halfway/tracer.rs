//! A tracer: runs a program and everything that it starts, and stops each of them at the system calls that change something
//! that is watched.
//!
//! A call is counted once, in the order in which the kernel shows it. A death is SIGKILL, at the entry of a call, which then
//! does nothing, or at its exit. Nothing that was started outlives the tracer.
//!
//! A filter (seccomp) decides which calls stop: everything else runs at full speed. Writes to memory that is mapped from a
//! file are no system calls; they are seen in what the next call leaves. Only x86-64 is supported.
//!
//! `calls` says what a call does, and `points` what a death leaves.

use crate::calls::{CALLS, Call, OPENS, call, filter, group};
use crate::choice::Watch;
use nix::libc;
use std::collections::{HashMap, HashSet};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Who dies, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// Everything, before the call.
    Before,
    /// Everything, after the call.
    After,
    /// Everything, within a write: see [`Effect::half`].
    Half,
    /// The program that made the call, before it; who started it goes on.
    Alone,
}

/// How a traced run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this exit code.
    Exit(i32),
    /// At the point where it was to die.
    Killed,
    /// It took longer than it may.
    Late,
}

/// Longest traced run.
const LONGEST: Duration = Duration::from_secs(180);

fn last_error(what: &str) -> String {
    format!("{what}: {}", std::io::Error::last_os_error())
}

fn ptrace(request: libc::c_uint, pid: i32, address: usize, data: usize) -> Result<i64, String> {
    // SAFETY: the requests used here take numbers, or a pointer to a register set that outlives the call.
    let answer = unsafe { libc::ptrace(request, pid, address, data) };
    if answer == -1 {
        return Err(last_error("ptrace"));
    }
    Ok(answer)
}

fn registers(pid: i32) -> Result<libc::user_regs_struct, String> {
    // SAFETY: all zeros is a valid register set.
    let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    ptrace(
        libc::PTRACE_GETREGS,
        pid,
        0,
        std::ptr::from_mut(&mut registers) as usize,
    )?;
    Ok(registers)
}

fn kill(pid: i32) {
    // SAFETY: the process is one that this tracer started or that was started by one of its own, and not reaped yet.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// Runs a command below the tracer. `on_call` is asked at each changing call of what is watched, with its number, and may name
/// a death.
pub fn run(
    command: &mut Command,
    watch: &Watch,
    mut on_call: impl FnMut(usize, &Call) -> Option<Kill>,
) -> Result<Ended, String> {
    let mut rules = filter();
    let fprog = libc::sock_fprog {
        len: rules.len() as u16,
        filter: rules.as_mut_ptr(),
    };
    let fprog = (fprog.len, fprog.filter as usize);
    // SAFETY: between fork and exec only system calls are made; the rules were allocated before and live until after the exec.
    unsafe {
        command.pre_exec(move || {
            let program = libc::sock_fprog {
                len: fprog.0,
                filter: fprog.1 as *mut libc::sock_filter,
            };
            let made = libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
            if made {
                Ok(())
            } else {
                Err(std::io::Error::last_os_error())
            }
        });
    }
    let child = command.spawn().map_err(|e| format!("cannot trace: {e}"))?;
    drop(rules);
    let root = child.id() as i32;
    let over = Arc::new(AtomicBool::new(false));
    let late = Arc::new(AtomicBool::new(false));
    let timer = {
        let (over, late) = (over.clone(), late.clone());
        std::thread::spawn(move || {
            let began = Instant::now();
            while !over.load(Ordering::Relaxed) {
                if began.elapsed() > LONGEST {
                    late.store(true, Ordering::Relaxed);
                    kill(root);
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        })
    };
    let ended = follow(root, watch, &mut on_call);
    over.store(true, Ordering::Relaxed);
    timer.join().map_err(|_| "the timer fell".to_owned())?;
    let ended = ended?;
    Ok(if late.load(Ordering::Relaxed) {
        Ended::Late
    } else {
        ended
    })
}

/// The next stop or end of a child or a tracee, and its status; `None` when there are no more.
fn next_stop() -> Result<Option<(i32, i32)>, String> {
    loop {
        let mut status = 0;
        // SAFETY: the status lives on this stack; only this thread's own children and tracees are waited for.
        let pid = unsafe { libc::waitpid(-1, &mut status, libc::__WALL | libc::__WNOTHREAD) };
        if pid >= 0 {
            return Ok(Some((pid, status)));
        }
        let error = std::io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::ECHILD) => return Ok(None),
            _ => return Err(format!("waitpid: {error}")),
        }
    }
}

/// Makes the write that stopped one of so many bytes.
fn shorten(pid: i32, registers: &mut libc::user_regs_struct, bytes: u64) -> Result<(), String> {
    registers.rdx = bytes;
    let place = std::ptr::from_mut(registers) as usize;
    ptrace(libc::PTRACE_SETREGS, pid, 0, place).map(|_| ())
}

/// To the exit of the call that stopped.
fn finish_call(pid: i32) -> Result<(), String> {
    ptrace(libc::PTRACE_SYSCALL, pid, 0, 0)?;
    let mut status = 0;
    // SAFETY: the status lives on this stack; it is a tracee that is waited for.
    unsafe { libc::waitpid(pid, &mut status, libc::__WALL) };
    Ok(())
}

fn follow(
    root: i32,
    watch: &Watch,
    on_call: &mut impl FnMut(usize, &Call) -> Option<Kill>,
) -> Result<Ended, String> {
    const OPTIONS: i32 = libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACESECCOMP
        | libc::PTRACE_O_EXITKILL
        | libc::PTRACE_O_TRACESYSGOOD;
    let names: HashMap<i64, &'static str> = CALLS
        .iter()
        .copied()
        .chain(OPENS.iter().map(|(number, name, _)| (*number, *name)))
        .collect();
    let mut known: HashSet<i32> = HashSet::new();
    let mut ended = None;
    let mut all_die = false;
    let mut count = 0;
    while let Some((pid, status)) = next_stop()? {
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            known.remove(&pid);
            if pid == root {
                if !all_die {
                    ended = Some(Ended::Exit(if libc::WIFEXITED(status) {
                        libc::WEXITSTATUS(status)
                    } else {
                        128 + libc::WTERMSIG(status)
                    }));
                }
                // What outlives it would change the folder while somebody looks.
                all_die = true;
                known.iter().for_each(|pid| kill(*pid));
            }
            continue;
        }
        let is_new = known.insert(pid);
        if all_die {
            kill(pid);
            // It may be gone already.
            let _gone = ptrace(libc::PTRACE_CONT, pid, 0, 0);
            continue;
        }
        let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
        if is_new && pid == root {
            ptrace(libc::PTRACE_SETOPTIONS, pid, 0, OPTIONS as usize)?;
        }
        let mut pass = 0;
        if event == libc::PTRACE_EVENT_SECCOMP {
            let mut registers = registers(pid)?;
            let name = names.get(&(registers.orig_rax as i64)).copied().unwrap_or("?");
            if let Some(call) = call(pid, root, name, &registers, watch) {
                let death = on_call(count, &call);
                count += 1;
                match death {
                    None => {}
                    Some(Kill::Alone) => {
                        kill(group(pid));
                        let _gone = ptrace(libc::PTRACE_CONT, pid, 0, 0);
                        continue;
                    }
                    Some(death) => {
                        let half = call.effect.half().filter(|_| death == Kill::Half);
                        if let Some(half) = half {
                            shorten(pid, &mut registers, half as u64)?;
                        }
                        if death != Kill::Before {
                            finish_call(pid)?;
                        }
                        all_die = true;
                        ended = Some(Ended::Killed);
                        known.iter().for_each(|pid| kill(*pid));
                        let _gone = ptrace(libc::PTRACE_CONT, pid, 0, 0);
                        continue;
                    }
                }
            }
        } else if event == 0 && !(is_new && signal == libc::SIGSTOP) && signal != libc::SIGTRAP {
            pass = signal;
        }
        // It may have been killed while it was stopped: its end is the next thing that is told of it.
        let _gone = ptrace(libc::PTRACE_CONT, pid, 0, pass as usize);
    }
    ended.ok_or_else(|| "the traced program was lost".to_owned())
}
