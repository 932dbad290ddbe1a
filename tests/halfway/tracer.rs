//! A tracer: runs a program and everything that it starts, and stops each of them at the system calls that change something
//! below one folder. Law: a call is counted once, in the order in which the kernel shows it; a death is SIGKILL, at the
//! entry of a call, which then does nothing, or at its exit; nothing that was started outlives the tracer.
//!
//! A filter (seccomp) decides which calls stop: everything else runs at full speed. Writes to memory that is mapped from a
//! file are no system calls; they are seen in what the next call leaves.
//!
//! Absent: what a death leaves (`points`), other processors than x86-64.

use nix::libc;
use std::collections::{HashMap, HashSet};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a call does to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Writes these bytes at this place.
    Write { offset: u64, bytes: Vec<u8> },
    /// Zeros a range, or makes a hole of it.
    Zero { offset: u64, length: u64 },
    /// Sets the length.
    Length(u64),
    /// Brings the file, or all of its filesystem, to the disk.
    Flush,
    /// Names, modes, owners, a file made or emptied.
    Names,
}

impl Effect {
    /// How many bytes of a write are there when a kill interrupts it: the kernel looks for one between two pages.
    pub fn half(&self) -> Option<usize> {
        let Effect::Write { offset, bytes } = self else {
            return None;
        };
        let end = offset + bytes.len() as u64;
        let middle = (offset + bytes.len() as u64 / 2).next_multiple_of(PAGE);
        let first = (offset + 1).next_multiple_of(PAGE);
        [middle, first]
            .into_iter()
            .find(|at| at > offset && *at < end)
            .map(|at| (at - offset) as usize)
    }
}

/// A changing call.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its name.
    pub name: &'static str,
    /// The program that made it.
    pub program: String,
    /// Whether the traced program itself made it, and not one that it started.
    pub by_root: bool,
    /// What it changes; relative to the folder that is watched.
    pub path: String,
    /// What it does.
    pub effect: Effect,
}

/// Who dies, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
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

/// A page of the page cache.
const PAGE: u64 = 4096;
/// Longest traced run.
const LONGEST: Duration = Duration::from_secs(180);
/// `ioctl(2)` on block devices: BLKDISCARD, BLKSECDISCARD, BLKZEROOUT (linux/fs.h).
const BLOCK_CHANGES: [u64; 3] = [0x1277, 0x127d, 0x127f];

/// Calls that may change something.
const CALLS: &[(libc::c_long, &str)] = &[
    (libc::SYS_write, "write"),
    (libc::SYS_pwrite64, "pwrite64"),
    (libc::SYS_writev, "writev"),
    (libc::SYS_pwritev, "pwritev"),
    (libc::SYS_pwritev2, "pwritev2"),
    (libc::SYS_sendfile, "sendfile"),
    (libc::SYS_copy_file_range, "copy_file_range"),
    (libc::SYS_ftruncate, "ftruncate"),
    (libc::SYS_truncate, "truncate"),
    (libc::SYS_fallocate, "fallocate"),
    (libc::SYS_rename, "rename"),
    (libc::SYS_renameat, "renameat"),
    (libc::SYS_renameat2, "renameat2"),
    (libc::SYS_link, "link"),
    (libc::SYS_linkat, "linkat"),
    (libc::SYS_symlink, "symlink"),
    (libc::SYS_symlinkat, "symlinkat"),
    (libc::SYS_unlink, "unlink"),
    (libc::SYS_unlinkat, "unlinkat"),
    (libc::SYS_rmdir, "rmdir"),
    (libc::SYS_mkdir, "mkdir"),
    (libc::SYS_mkdirat, "mkdirat"),
    (libc::SYS_mknod, "mknod"),
    (libc::SYS_mknodat, "mknodat"),
    (libc::SYS_creat, "creat"),
    (libc::SYS_chmod, "chmod"),
    (libc::SYS_fchmod, "fchmod"),
    (libc::SYS_fchmodat, "fchmodat"),
    (libc::SYS_chown, "chown"),
    (libc::SYS_lchown, "lchown"),
    (libc::SYS_fchown, "fchown"),
    (libc::SYS_fchownat, "fchownat"),
    (libc::SYS_fsync, "fsync"),
    (libc::SYS_fdatasync, "fdatasync"),
    (libc::SYS_syncfs, "syncfs"),
    (libc::SYS_sync, "sync"),
    (libc::SYS_sync_file_range, "sync_file_range"),
    (libc::SYS_msync, "msync"),
    (libc::SYS_ioctl, "ioctl"),
];
/// These stop only when they make or empty a file.
const OPENS: &[(libc::c_long, &str, usize)] = &[(libc::SYS_open, "open", 1), (libc::SYS_openat, "openat", 2)];

fn last_error(what: &str) -> String {
    format!("{what}: {}", std::io::Error::last_os_error())
}

/// The filter: `SECCOMP_RET_TRACE` for what is listed, `SECCOMP_RET_ALLOW` for the rest.
fn filter() -> Vec<libc::sock_filter> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let say = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = vec![say(LOAD, 0, 0, 0)];
    for (number, _) in CALLS {
        program.push(say(EQUAL, 0, 1, *number as u32));
        program.push(say(RETURN, 0, 0, libc::SECCOMP_RET_TRACE));
    }
    for (number, _, argument) in OPENS {
        program.push(say(EQUAL, 0, 4, *number as u32));
        program.push(say(LOAD, 0, 0, 16 + 8 * *argument as u32));
        program.push(say(ANY_BIT, 0, 1, (libc::O_CREAT | libc::O_TRUNC) as u32));
        program.push(say(RETURN, 0, 0, libc::SECCOMP_RET_TRACE));
        program.push(say(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW));
    }
    program.push(say(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW));
    program
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

fn memory(pid: i32, address: u64, length: usize) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; length];
    let read = fs_err::File::open(format!("/proc/{pid}/mem"))
        .and_then(|file| file.file().read_at(&mut bytes, address))
        .unwrap_or(0);
    bytes.truncate(read);
    bytes
}

fn text(pid: i32, address: u64) -> String {
    let bytes = memory(pid, address, 4096);
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn link(path: String) -> String {
    std::path::Path::new(&path)
        .read_link()
        .map(|p| p.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn of_descriptor(pid: i32, fd: u64) -> String {
    link(format!("/proc/{pid}/fd/{}", fd as i32))
}

fn named(pid: i32, directory: Option<u64>, address: u64) -> String {
    let name = text(pid, address);
    if name.starts_with('/') {
        return name;
    }
    let base = match directory {
        Some(fd) if fd as i32 != libc::AT_FDCWD => of_descriptor(pid, fd),
        _ => link(format!("/proc/{pid}/cwd")),
    };
    format!("{base}/{name}")
}

/// Where a plain `write` goes.
fn position(pid: i32, fd: u64) -> u64 {
    let info = fs_err::read_to_string(format!("/proc/{pid}/fdinfo/{}", fd as i32)).unwrap_or_default();
    let field = |name: &str| info.lines().find_map(|l| l.strip_prefix(name)).map(str::trim);
    let flags = field("flags:")
        .and_then(|f| u32::from_str_radix(f, 8).ok())
        .unwrap_or(0);
    if flags & libc::O_APPEND as u32 != 0 {
        let path = format!("/proc/{pid}/fd/{}", fd as i32);
        return std::fs::metadata(path).map(|m| m.len()).unwrap_or(0);
    }
    field("pos:").and_then(|p| p.parse().ok()).unwrap_or(0)
}

fn vectors(pid: i32, address: u64, count: u64) -> Vec<u8> {
    let raw = memory(pid, address, 16 * count.min(1024) as usize);
    let mut bytes = vec![];
    for one in raw.chunks_exact(16) {
        let number = |at: usize| u64::from_le_bytes(one[at..at + 8].try_into().unwrap_or([0; 8]));
        bytes.extend(memory(pid, number(0), number(8) as usize));
    }
    bytes
}

/// The path and the effect of a call that stopped; `None` when it changes nothing.
fn understand(pid: i32, name: &str, r: &libc::user_regs_struct) -> Option<(String, Effect)> {
    let fd = || of_descriptor(pid, r.rdi);
    Some(match name {
        "write" => {
            let bytes = memory(pid, r.rsi, r.rdx as usize);
            (
                fd(),
                Effect::Write {
                    offset: position(pid, r.rdi),
                    bytes,
                },
            )
        }
        "pwrite64" => (
            fd(),
            Effect::Write {
                offset: r.r10,
                bytes: memory(pid, r.rsi, r.rdx as usize),
            },
        ),
        "writev" => (
            fd(),
            Effect::Write {
                offset: position(pid, r.rdi),
                bytes: vectors(pid, r.rsi, r.rdx),
            },
        ),
        "pwritev" | "pwritev2" => (
            fd(),
            Effect::Write {
                offset: r.r10,
                bytes: vectors(pid, r.rsi, r.rdx),
            },
        ),
        // The bytes come from another file; what they are is seen in the folder.
        "sendfile" => (
            fd(),
            Effect::Write {
                offset: position(pid, r.rdi),
                bytes: vec![],
            },
        ),
        "copy_file_range" => (
            of_descriptor(pid, r.rdx),
            Effect::Write {
                offset: 0,
                bytes: vec![],
            },
        ),
        "ftruncate" => (fd(), Effect::Length(r.rsi)),
        "truncate" => (named(pid, None, r.rdi), Effect::Length(r.rsi)),
        "fallocate" => {
            let zeroes = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE;
            if r.rsi as i32 & zeroes == 0 {
                (fd(), Effect::Names)
            } else {
                (
                    fd(),
                    Effect::Zero {
                        offset: r.rdx,
                        length: r.r10,
                    },
                )
            }
        }
        "rename" | "link" => (named(pid, None, r.rsi), Effect::Names),
        "renameat" | "renameat2" | "linkat" => (named(pid, Some(r.rdx), r.r10), Effect::Names),
        "symlink" => (named(pid, None, r.rsi), Effect::Names),
        "symlinkat" => (named(pid, Some(r.rsi), r.rdx), Effect::Names),
        "unlink" | "rmdir" | "mkdir" | "mknod" | "creat" | "chmod" | "chown" | "lchown" | "open" => {
            (named(pid, None, r.rdi), Effect::Names)
        }
        "unlinkat" | "mkdirat" | "mknodat" | "fchmodat" | "fchownat" | "openat" => {
            (named(pid, Some(r.rdi), r.rsi), Effect::Names)
        }
        "fchmod" | "fchown" => (fd(), Effect::Names),
        "fsync" | "fdatasync" | "syncfs" | "sync_file_range" => (fd(), Effect::Flush),
        "sync" | "msync" => ("/".into(), Effect::Flush),
        "ioctl" if BLOCK_CHANGES.contains(&r.rsi) => {
            let range = memory(pid, r.rdx, 16);
            let number = |at: usize| {
                range
                    .get(at..at + 8)
                    .and_then(|b| b.try_into().ok())
                    .map_or(0, u64::from_le_bytes)
            };
            (
                fd(),
                Effect::Zero {
                    offset: number(0),
                    length: number(8),
                },
            )
        }
        _ => return None,
    })
}

fn group(pid: i32) -> i32 {
    let status = fs_err::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|l| l.strip_prefix("Tgid:"))
        .and_then(|id| id.trim().parse().ok())
        .unwrap_or(pid)
}

fn program(pid: i32) -> String {
    fs_err::read_to_string(format!("/proc/{}/comm", group(pid)))
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn kill(pid: i32) {
    // SAFETY: the process is one that this tracer started or that was started by one of its own, and not reaped yet.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// Runs a command below the tracer. `on_call` is asked at each changing call below `folder`, with its number, and may name
/// a death.
pub fn run(
    command: &mut Command,
    folder: &str,
    mut on_call: impl FnMut(usize, &Call) -> Option<Death>,
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
    let watch = {
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
    let ended = follow(root, folder, &mut on_call);
    over.store(true, Ordering::Relaxed);
    watch.join().map_err(|_| "the watch fell".to_owned())?;
    let ended = ended?;
    Ok(if late.load(Ordering::Relaxed) {
        Ended::Late
    } else {
        ended
    })
}

fn follow(
    root: i32,
    folder: &str,
    on_call: &mut impl FnMut(usize, &Call) -> Option<Death>,
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
    loop {
        let mut status = 0;
        // SAFETY: the status lives on this stack; only this thread's own children and tracees are waited for.
        let pid = unsafe { libc::waitpid(-1, &mut status, libc::__WALL | libc::__WNOTHREAD) };
        if pid < 0 {
            let error = std::io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR) => continue,
                Some(libc::ECHILD) => break,
                _ => return Err(format!("waitpid: {error}")),
            }
        }
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
            let below = understand(pid, name, &registers)
                .filter(|(path, effect)| below(path, folder) || (path == "/" && *effect == Effect::Flush));
            if let Some((path, effect)) = below {
                let call = Call {
                    name,
                    program: program(pid),
                    by_root: group(pid) == root,
                    path: path.trim_start_matches(folder).trim_start_matches('/').to_owned(),
                    effect,
                };
                let death = on_call(count, &call);
                count += 1;
                match death {
                    None => {}
                    Some(Death::Alone) => {
                        kill(group(pid));
                        let _gone = ptrace(libc::PTRACE_CONT, pid, 0, 0);
                        continue;
                    }
                    Some(death) => {
                        if let (Death::Half, Some(half)) = (death, call.effect.half()) {
                            registers.rdx = half as u64;
                            ptrace(
                                libc::PTRACE_SETREGS,
                                pid,
                                0,
                                std::ptr::from_mut(&mut registers) as usize,
                            )?;
                        }
                        if death != Death::Before {
                            // To the exit of this one call.
                            ptrace(libc::PTRACE_SYSCALL, pid, 0, 0)?;
                            // SAFETY: as above.
                            unsafe { libc::waitpid(pid, &mut status, libc::__WALL) };
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

fn below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
