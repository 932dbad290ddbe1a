//! System calls that change something: which they are, and what each does.
//!
//! A call is understood at its entry, from the registers and the memory of the program that makes it, and nothing else looks
//! at it. What it names is given as the tracer's own root sees it, even if the program has another root or mounts of its own.
//! Only x86-64 is supported.
//!
//! `tracer` stops the program and kills it.

use crate::choice::Watch;
use nix::libc;

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
    /// What the kernel knows of mappings or of mounts.
    Attachment(Attachment),
}

/// What is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attachment {
    /// A mapping of device-mapper's.
    Mapping,
    /// A mount.
    Mount,
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

/// A page of the page cache.
const PAGE: u64 = 4096;
/// `ioctl(2)` on block devices: BLKDISCARD, BLKSECDISCARD, BLKZEROOUT (linux/fs.h).
const BLOCK_CHANGES: [u64; 3] = [0x1277, 0x127d, 0x127f];
/// `FS_IOC_SETFLAGS`: a variable of the firmware is made one that may be removed (linux/fs.h).
const SET_FLAGS: u64 = 0x4008_6602;
/// `ioctl(2)` on device-mapper that change a mapping, by the last byte of their number (linux/dm-ioctl.h).
const MAPPING_CHANGES: [(u64, &str); 6] = [
    (3, "dm-create"),
    (4, "dm-remove"),
    (5, "dm-rename"),
    (6, "dm-suspend-or-resume"),
    (9, "dm-load-table"),
    (10, "dm-clear-table"),
];
/// Where the name of a mapping lies in what is passed, and its length.
const MAPPING_NAME: (u64, usize) = (48, 128);

/// Calls that may change something.
pub const CALLS: &[(libc::c_long, &str)] = &[
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
    (libc::SYS_mount, "mount"),
    (libc::SYS_umount2, "umount2"),
    (libc::SYS_move_mount, "move_mount"),
    (libc::SYS_mount_setattr, "mount_setattr"),
];
/// These stop only when they make or empty a file.
pub const OPENS: &[(libc::c_long, &str, usize)] =
    &[(libc::SYS_open, "open", 1), (libc::SYS_openat, "openat", 2)];

/// The filter: `SECCOMP_RET_TRACE` for what is listed, `SECCOMP_RET_ALLOW` for the rest.
pub fn filter() -> Vec<libc::sock_filter> {
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
        let root = link(format!("/proc/{pid}/root"));
        return format!("{}{name}", root.trim_end_matches('/'));
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
#[expect(clippy::too_many_lines, reason = "one row for each call of the system")]
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
        "ioctl" if r.rsi == SET_FLAGS => (fd(), Effect::Names),
        "mount" => (named(pid, None, r.rsi), Effect::Attachment(Attachment::Mount)),
        "umount2" => (named(pid, None, r.rdi), Effect::Attachment(Attachment::Mount)),
        "move_mount" => (
            named(pid, Some(r.rdx), r.r10),
            Effect::Attachment(Attachment::Mount),
        ),
        "mount_setattr" => (
            named(pid, Some(r.rdi), r.rsi),
            Effect::Attachment(Attachment::Mount),
        ),
        _ => return None,
    })
}

/// A change of a mapping: what it is called, and the mapping's name.
fn mapping_change(pid: i32, r: &libc::user_regs_struct) -> Option<(&'static str, String)> {
    if r.rsi >> 8 & 0xff != 0xfd || of_descriptor(pid, r.rdi) != "/dev/mapper/control" {
        return None;
    }
    let (_, name) = MAPPING_CHANGES
        .into_iter()
        .find(|(number, _)| *number == r.rsi & 0xff)?;
    let bytes = memory(pid, r.rdx + MAPPING_NAME.0, MAPPING_NAME.1);
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    Some((name, String::from_utf8_lossy(&bytes[..end]).into_owned()))
}

/// A call that stopped, if it changes something that is watched.
pub fn call(
    pid: i32,
    root: i32,
    name: &'static str,
    registers: &libc::user_regs_struct,
    watch: &Watch,
) -> Option<Call> {
    let (name, path, effect) = match mapping_change(pid, registers).filter(|_| name == "ioctl") {
        Some((name, mapping)) => (name, mapping, Effect::Attachment(Attachment::Mapping)),
        None => {
            let (path, effect) = understand(pid, name, registers)?;
            (name, path, effect)
        }
    };
    let path = match effect {
        Effect::Attachment(Attachment::Mapping) => watch.mappings.then_some(path),
        Effect::Attachment(Attachment::Mount) => {
            let mounts = |pid: &str| link(format!("/proc/{pid}/ns/mnt"));
            let seen = watch.mounts && mounts(&pid.to_string()) == mounts("self");
            seen.then_some(path)
        }
        Effect::Flush if path == "/" && !watch.below.is_empty() => Some(String::new()),
        Effect::Write { .. } | Effect::Zero { .. } | Effect::Length(_) | Effect::Flush | Effect::Names => {
            watch.called(&path)
        }
    }?;
    Some(Call {
        name,
        program: program(pid),
        by_root: group(pid) == root,
        path,
        effect,
    })
}

pub fn group(pid: i32) -> i32 {
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
