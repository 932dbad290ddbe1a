//! Folders that lose power, on a real ext4.
//!
//! The step runs on an ext4 on a loop device whose writes and flushes are recorded; a cut is what the disk held then, and the
//! kernel replays its journal as after a real cut.
//!
//! Two runs are recorded. In one, the journal is committed at every changing call, as its timer may do at any moment: names
//! are on the disk then, and file contents that were not yet written out are not, so that files are empty. In the other
//! nothing is done to it, and power goes at every write that reached the disk; of the writes after the last flush all are
//! kept, or a random part. A commit that falls into the middle of a call is not shown. landfall makes only ext4.

use crate::fuse::{Entry, Recorded};
use crate::tools::Tool;
use crate::{ending, points, tree};
use camino::{Utf8Path, Utf8PathBuf};
use nix::mount::{MntFlags, MsFlags};
use std::collections::HashMap;
use std::process::Command;

/// Bytes of the disk.
const DISK: u64 = 48 << 20;

fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let out = Command::new(program)
        .args(args)
        .output()
        .map_err(|e| format!("{program}: {e}"))?;
    if out.status.success() {
        Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
    } else {
        Err(format!(
            "{program} {args:?}: {}",
            String::from_utf8_lossy(&out.stderr)
        ))
    }
}

/// An ext4 that is mounted from a file; away when it ends.
struct Mounted {
    at: Utf8PathBuf,
}

impl Mounted {
    fn new(file: &Utf8Path, at: &Utf8Path) -> Result<Mounted, String> {
        fs_err::create_dir_all(at).map_err(|e| e.to_string())?;
        let device = run("losetup", &["--find", "--show", file.as_str()])?;
        let mounted = nix::mount::mount(
            Some(device.as_str()),
            at.as_std_path(),
            Some("ext4"),
            MsFlags::MS_NOATIME,
            Some("errors=remount-ro"),
        );
        // It stays for as long as it is mounted.
        run("losetup", &["--detach", &device])?;
        mounted.map_err(|e| format!("mount of {file}: {e}"))?;
        Ok(Mounted { at: at.to_owned() })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        for _ in 0..50 {
            match nix::mount::umount2(self.at.as_std_path(), MntFlags::empty()) {
                Err(nix::errno::Errno::EBUSY) => std::thread::sleep(std::time::Duration::from_millis(20)),
                Err(e) => {
                    eprintln!("{}: {e}", self.at);
                    return;
                }
                Ok(()) => return,
            }
        }
        eprintln!("{}: busy", self.at);
    }
}

/// Mounts of this process alone: they end with it, whatever ends it.
fn own_mounts() -> Result<(), String> {
    static ONCE: std::sync::OnceLock<Result<(), String>> = std::sync::OnceLock::new();
    ONCE.get_or_init(|| {
        // SAFETY: a number in, a number out; the main thread is the only one that mounts.
        if unsafe { nix::libc::unshare(nix::libc::CLONE_NEWNS) } != 0 {
            return Err(format!("own mounts: {}", std::io::Error::last_os_error()));
        }
        nix::mount::mount(
            None::<&str>,
            "/",
            None::<&str>,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            None::<&str>,
        )
        .map_err(|e| format!("own mounts: {e}"))
    })
    .clone()
}

/// Why a power cut cannot be shown here, if it cannot.
pub fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("power cuts need root, for a loop device".into());
    }
    ["/dev/fuse", "/dev/loop-control"]
        .into_iter()
        .find(|node| !Utf8Path::new(node).exists())
        .map(|node| format!("power cuts need {node}"))
}

fn replay(base: &[u8], log: &[Entry], keep: impl Fn(usize) -> bool) -> Vec<u8> {
    let mut bytes = base.to_vec();
    for (index, entry) in log.iter().enumerate() {
        if let Entry::Write(at, piece) = entry
            && keep(index)
        {
            bytes[*at as usize..*at as usize + piece.len()].copy_from_slice(piece);
        }
    }
    bytes
}

fn write_sparse(path: &Utf8Path, bytes: &[u8]) -> Result<(), String> {
    use std::os::unix::fs::FileExt;
    let io = |e: std::io::Error| e.to_string();
    let file = fs_err::File::create(path).map_err(io)?;
    file.set_len(bytes.len() as u64).map_err(io)?;
    for (index, block) in bytes.chunks(4096).enumerate() {
        if block.iter().any(|byte| *byte != 0) {
            file.file().write_all_at(block, index as u64 * 4096).map_err(io)?;
        }
    }
    Ok(())
}

/// A filesystem as landfall makes it, with the step's beginning in it.
fn base(place: &Utf8Path, pristine: &Utf8Path) -> Result<Vec<u8>, String> {
    let file = place.join("disk.img");
    write_sparse(&file, &vec![0; DISK as usize])?;
    run(
        "mkfs.ext4",
        &[
            "-F",
            "-q",
            "-b",
            "4096",
            "-I",
            "256",
            "-O",
            "metadata_csum,metadata_csum_seed,64bit,^orphan_file",
            file.as_str(),
        ],
    )?;
    {
        let mounted = Mounted::new(&file, &place.join("mnt"))?;
        tree::copy(pristine.as_std_path(), mounted.at.join("target").as_std_path())
            .map_err(|e| e.to_string())?;
    }
    fs_err::read(&file).map_err(|e| e.to_string())
}

/// Runs the step on a recorded disk; gives the log, and where in it each changing call began.
fn recorded(
    tool: &dyn Tool,
    place: &Utf8Path,
    base: &[u8],
    commits: bool,
) -> Result<(Vec<Entry>, Vec<usize>), String> {
    let disk = Recorded::serve(&place.join("fuse"), base.to_vec())?;
    let mut calls = vec![];
    {
        let mounted = Mounted::new(&disk.file(), &place.join("mnt"))?;
        let tick = mounted.at.join("tick");
        let mut failed = None;
        points::record(tool, place, &mounted.at.join("target"), |number| {
            if commits {
                // The journal is one for all files: a flush of this one commits what was done to the names of the others, and
                // leaves their contents where they are.
                let ticked = fs_err::write(&tick, number.to_string())
                    .and_then(|()| fs_err::File::open(&tick))
                    .and_then(|file| file.sync_all());
                if let Err(e) = ticked {
                    failed = Some(e.to_string());
                }
            }
            calls.push(disk.entries());
            Ok(())
        })?;
        if let Some(failed) = failed {
            return Err(failed);
        }
        calls.push(disk.entries());
    }
    Ok((disk.log(), calls))
}

/// A moment at which the power goes: a disk takes much memory, so it is made when it is looked at.
struct Cut {
    name: String,
    /// Which of the two recordings.
    commits: bool,
    /// Entries of its log until then.
    until: usize,
    /// Of those behind this one only a part is kept.
    part_from: Option<usize>,
}

impl Cut {
    fn bytes(&self, base: &[u8], logs: &[Vec<Entry>; 2]) -> Vec<u8> {
        let log = &logs[usize::from(!self.commits)][..self.until];
        replay(base, log, |at| {
            self.part_from
                .is_none_or(|from| at < from || random((self.until * 4096 + at) as u64) & 64 != 0)
        })
    }
}

fn random(seed: u64) -> u64 {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    x ^= x << 13;
    x ^= x >> 7;
    x ^ x << 17
}

/// The moments of both recordings, and their logs.
fn cuts(
    tool: &dyn Tool,
    place: &Utf8Path,
    base: &[u8],
    wanted: &dyn Fn(usize, &str) -> bool,
    each: &mut impl FnMut(Found<'_>),
) -> Result<(Vec<Cut>, [Vec<Entry>; 2]), String> {
    let mut cuts: Vec<Cut> = vec![];
    let (committed, calls) = recorded(tool, place, base, true)?;
    for (number, until) in calls.into_iter().enumerate() {
        cuts.push(Cut {
            name: format!("{number}:cut-commit"),
            commits: true,
            until,
            part_from: None,
        });
    }
    let (log, _calls) = recorded(tool, place, base, false)?;
    let mut flushed = 0;
    for (index, entry) in log.iter().enumerate() {
        if matches!(entry, Entry::Flush) {
            flushed = index;
            continue;
        }
        for (how, part_from) in [("all", None), ("part", Some(flushed))] {
            cuts.push(Cut {
                name: format!("w{index}:cut-{how}"),
                commits: false,
                until: index + 1,
                part_from,
            });
        }
    }
    cuts.iter().for_each(|cut| each(Found::There(&cut.name)));
    let mut index = 0..;
    cuts.retain(|cut| index.next().is_some_and(|index| wanted(index, &cut.name)));
    Ok((cuts, [committed, log]))
}

/// What is told of the cuts.
pub enum Found<'a> {
    /// There is this one.
    There(&'a str),
    /// It was tried: its name, what is left, and whether the next run goes on.
    Tried(&'a str, &'a str, &'a Result<(), String>),
}

/// Every cut that is wanted by its place among all and its name: what is left of it, and whether the next run goes on.
pub fn folders(
    tool: &dyn Tool,
    place: &Utf8Path,
    pristine: &Utf8Path,
    wanted: &dyn Fn(usize, &str) -> bool,
    mut each: impl FnMut(Found<'_>),
) -> Result<(), String> {
    if let Some(why) = missing() {
        println!("skipped\t{}\t{why}", tool.name());
        return Ok(());
    }
    own_mounts()?;
    let base = base(place, pristine)?;
    let file = place.join("disk.img");
    let mut images: HashMap<[u8; 32], (String, Result<(), String>)> = HashMap::new();
    let (cuts, logs) = cuts(tool, place, &base, wanted, &mut each)?;
    for cut in cuts {
        ending::may_begin()?;
        write_sparse(&file, &cut.bytes(&base, &logs))?;
        // As landfall does before it mounts what was not unmounted.
        let ended = Command::new("e2fsck")
            .args(["-p", file.as_str()])
            .output()
            .map_err(|e| e.to_string())?;
        if !matches!(ended.status.code(), Some(0 | 1)) {
            let why = format!("e2fsck -p: {}", String::from_utf8_lossy(&ended.stdout));
            each(Found::Tried(&cut.name, "ext4: not to be mended", &Err(why)));
            continue;
        }
        let mounted = Mounted::new(&file, &place.join("mnt"))?;
        let subject = mounted.at.join("target");
        let digest = tree::digest(subject.as_std_path()).map_err(|e| e.to_string())?;
        let (state, went) = match images.get(&digest) {
            Some(known) => known.clone(),
            None => {
                let state = tool.state(place, &subject)?;
                let went = points::later(tool, place, &subject);
                images.insert(digest, (state.clone(), went.clone()));
                (state, went)
            }
        };
        each(Found::Tried(&cut.name, &state, &went));
    }
    Ok(())
}
