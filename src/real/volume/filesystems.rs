//! The root filesystem and swap.
//!
//! A volume is made under its provisional id, flushed and checked. Only then it gets its planned id, which is the commit
//! record, and is flushed again.
//!
//! `volume::esp` makes the ESP, `volume::luks` the container around the root, and `mount::attached` mounts.

use crate::event::Reporter;
use crate::image::ext4::{is_between_ids, is_sound};
use crate::real::fs::target_root::Root;
use crate::real::process::command::{self, OnStop, Program};
use crate::real::process::stop::Stop;
use crate::real::volume::block_io::{flush, read_page, tool_fault, unless_read_only};
use crate::real::volume::probe::probe;
use crate::real::volume::superblock;
use camino::Utf8Path;
use landfall_states::fault::{Fault, Os};
use landfall_states::plan::Volume;
use landfall_states::{Probe, Signature};
use nix::libc;
use std::time::Duration;
use uuid::Uuid;

/// Longest run of a program that makes or checks an empty filesystem.
const DEADLINE: Duration = Duration::from_secs(1_800);
/// Longest check of a root filesystem with files in it.
const CHECK_MAX: Duration = Duration::from_secs(4 * 3_600);

async fn tool(
    what: &str,
    program: Program<'_>,
    reporter: &Reporter,
    stop: &Stop,
) -> Result<command::Ended, Fault> {
    program
        .deadline(DEADLINE)
        .run(reporter, stop)
        .await?
        .or_fault(|how| tool_fault(what, how))
}

/// Makes the root filesystem on a device or a file.
///
/// # Errors
/// A program fails, or the device reports an error.
pub async fn make_ext4(
    device: &Utf8Path,
    volume: &Volume,
    reporter: &Reporter,
    stop: &Stop,
) -> Result<(), Fault> {
    let what = format!("root filesystem {} on {device}", volume.label);
    reporter.step(format!("mkfs.ext4 {}", volume.label));
    superblock::forget(device)?;
    // metadata_csum_seed: the seed of all checksums is stored, so that the later change of the UUID touches superblocks
    //   only (Linux 4.4); without it tune2fs would rewrite every block of metadata, and a cut in the middle would leave
    //   neither id valid. ^orphan_file: rescue systems with e2fsprogs older than 1.47 can still check it.
    // lazy_itable_init=1: group descriptors with checksums say which inode tables were never used, so that their old bytes
    //   are never read; zeroing them here would write 1.6 % of the disk.
    // lazy_journal_init=0: the journal is zeroed here. The ids are derived, so an earlier life of this same filesystem had
    //   the same journal id and sequence numbers, and its leftover transactions would look like new ones.
    // nodiscard: bytes and time do not depend on what a drive does with a discard; `fstrim` does it later.
    // hash_seed: derived, so that the same plan gives the same directories.
    let seed = Uuid::new_v5(&volume.id, b"ext4 directory hash seed");
    let extended = format!("hash_seed={seed},lazy_itable_init=1,lazy_journal_init=0,nodiscard");
    let provisional = volume.provisional.to_string();
    let make = Program::new("mkfs.ext4")
        .args(["-F", "-q", "-b", "4096", "-I", "256"])
        .args([
            "-O",
            "metadata_csum,metadata_csum_seed,64bit,^orphan_file",
            "-E",
            &extended,
        ])
        .args(["-L", &volume.label, "-U", &provisional, device.as_str()]);
    tool(&what, make, reporter, stop).await?;
    flush(device)?;
    tool(
        &what,
        Program::that_looks("e2fsck").args(["-f", "-n", device.as_str()]),
        reporter,
        stop,
    )
    .await?;
    let id = volume.id.to_string();
    let commit = Program::new("tune2fs").args(["-U", &id, device.as_str()]);
    tool(&what, commit, reporter, stop).await?;
    flush(device)
}

/// Makes swap on a device or a file.
///
/// # Errors
/// A program fails, or the device reports an error.
pub async fn make_swap(
    device: &Utf8Path,
    volume: &Volume,
    reporter: &Reporter,
    stop: &Stop,
) -> Result<(), Fault> {
    let what = format!("swap {} on {device}", volume.label);
    reporter.step(format!("mkswap {}", volume.label));
    let (provisional, id) = (volume.provisional.to_string(), volume.id.to_string());
    let make = Program::new("mkswap").args(["-L", &volume.label, "-U", &provisional, device.as_str()]);
    tool(&what, make, reporter, stop)
        .await
        .map_err(|fault| unless_read_only(device, fault))?;
    flush(device)?;
    let commit = Program::new("swaplabel").args(["-U", &id, device.as_str()]);
    tool(&what, commit, reporter, stop).await?;
    flush(device)
}

/// What is on the device of swap, or of root where that may be mounted.
///
/// # Errors
/// The device cannot be read, or `blkid` fails.
pub async fn observe_volume(
    device: &Utf8Path,
    volume: &Volume,
    reporter: &Reporter,
    stop: &Stop,
) -> Result<Probe, Fault> {
    // A process that was killed between the last write and its flush leaves the flush to us.
    flush(device)?;
    let seen = probe(device, reporter, stop).await?;
    let planned = volume.id.to_string();
    match seen {
        // The id is there and its checksum is not: the kernel takes that for no filesystem. The commit did not come to its end.
        Probe::Found(found)
            if found.kind == "ext4"
                && found.id.as_ref() == Some(&planned)
                && is_between_ids(&read_page(device, 0)?, &volume.provisional) =>
        {
            Ok(Probe::Found(Signature {
                id: Some(volume.provisional.to_string()),
                ..found
            }))
        }
        other => Ok(other),
    }
}

/// What a check of a root filesystem came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Checked {
    /// Nothing is wrong any more.
    Sound,
    /// The kernel met an error in it. The repair, which may take files away, waits until it is asked for.
    Damaged,
}

/// Replays the journal, and with `repair` repairs what the superblock says to be wrong. A check without being asked would take files
/// away already: `e2fsck -p` clears the names of lost inodes, and reports that as a success. It must not be mounted. Ended in the
/// middle, it leaves what a power cut leaves.
///
/// # Errors
/// `e2fsck` cannot check or cannot repair, or the device cannot be read.
pub async fn check_root(
    device: &Utf8Path,
    repair: bool,
    reporter: &Reporter,
    stop: &Stop,
) -> Result<Checked, Fault> {
    /// e2fsck(8): errors were left uncorrected.
    const LEFT: i32 = 4;
    let e2fsck = async |args: &[&str]| {
        let ended = Program::new("e2fsck")
            .args(args.iter().copied())
            .args([device.as_str()])
            .deadline(CHECK_MAX)
            .on_stop(OnStop::End)
            .run(reporter, stop)
            .await?;
        match ended.code {
            Some(0 | superblock::CORRECTED) => Ok(true),
            Some(LEFT) if args.contains(&"-p") => Ok(false),
            Some(_) | None => Err(tool_fault(format!("root filesystem {device}"), ended.how())),
        }
    };
    let replayed = e2fsck(&["-p", "-E", "journal_only"]).await?;
    if replayed && is_sound(&read_page(device, 0)?) {
        return Ok(Checked::Sound);
    }
    if !repair {
        return Ok(Checked::Damaged);
    }
    reporter.step(format!("e2fsck: repair of root filesystem {device}"));
    e2fsck(&["-f", "-y"]).await?;
    flush(device)?;
    Ok(Checked::Sound)
}

/// The root filesystem is damaged, and the next look repairs it.
pub fn damaged_root(device: &Utf8Path) -> Fault {
    damaged(
        format!("root filesystem {device}"),
        "the kernel met an error in it earlier; landfall repairs it and verifies what is on it".to_owned(),
    )
}

fn damaged(on: String, said: String) -> Fault {
    let os = Os {
        doing: None,
        errno: Some(libc::EUCLEAN),
        said,
    };
    Fault::os(on, os)
}

/// The same of the ESP.
pub fn stopped_esp(met: &Fault) -> Fault {
    damaged(
        "ESP".to_owned(),
        format!(
            "the kernel met an error in it and takes no more writes; landfall checks and repairs it ({met})"
        ),
    )
}

/// The kernel stopped the root filesystem, which is why a step failed. Attached again, it is checked; where it was its device,
/// the check or the next attempt says so.
pub fn stopped_root(met: &Fault) -> Fault {
    damaged(
        format!("root filesystem at {}", Root::target().as_arg()),
        format!(
            "the kernel met an error in it and takes no more writes; landfall checks and repairs it ({met})"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real::test_support::{self, block_on};
    use fs_err as fs;
    use landfall_states::VolumeState;

    fn make_root(device: &Utf8Path) {
        block_on(make_ext4(
            device,
            &test_support::volume("root-web"),
            &Reporter::default(),
            &Stop::never(),
        ))
        .unwrap();
    }

    fn state(device: &Utf8Path, kind: &str) -> VolumeState {
        let volume = test_support::volume("root-web");
        block_on(probe(device, &Reporter::default(), &Stop::never()))
            .unwrap()
            .compare(
                kind,
                &volume.id.to_string(),
                &volume.provisional.to_string(),
                &volume.label,
            )
    }

    /// A directory's block, and a block of the table of inodes: `e2fsck -p` gives up at the first (4), and of the second clears the names
    /// that have lost their inodes and calls that corrected (1), measured with 1.47.0.
    #[test]
    fn a_damaged_root_is_repaired_when_that_is_asked_for_and_never_before() {
        let lost_block = |image: &dyn Fn(&str) -> String| -> [u64; 2] {
            let directory = image("blocks nixos").trim().parse().unwrap();
            let inode = image("imap nixos/f9");
            let table = inode.split("at block ").nth(1).unwrap();
            let table = table.split(',').next().unwrap();
            [directory, table.trim().parse().unwrap()]
        };
        for which in [0, 1] {
            let dir = tempfile::tempdir().unwrap();
            let device = test_support::image(&dir, "part", 160 << 20);
            make_root(&device);
            let debugfs = |request: &str| {
                let program = Program::new("debugfs").args(["-w", "-R", request, device.as_str()]);
                block_on(tool("x", program, &Reporter::default(), &Stop::never()))
                    .unwrap()
                    .stdout
            };
            let check =
                |repair| block_on(check_root(&device, repair, &Reporter::default(), &Stop::never())).unwrap();
            // A name that was cleared has inode 0.
            let is_file = |line: &&str| line.contains("/f") && !line.starts_with("/0/");
            let names = || debugfs("ls -p nixos").lines().filter(is_file).count();
            debugfs("mkdir nixos");
            // Two blocks of the table have sixteen inodes each.
            for file in 0..32 {
                debugfs(&format!("write /etc/hostname nixos/f{file}"));
            }
            assert_eq!((check(false), names()), (Checked::Sound, 32));
            let block = lost_block(&debugfs)[which];
            let file = fs_err::OpenOptions::new().write(true).open(&device).unwrap();
            std::os::unix::fs::FileExt::write_all_at(file.file(), &[0; 4096], block * 4096).unwrap();
            assert_eq!(
                check(false),
                Checked::Sound,
                "nothing says yet that it is damaged"
            );
            // As the kernel marks it when it meets the damage.
            debugfs("ssv state 2");
            let before = fs::read(&device).unwrap();
            for _ in 0..2 {
                assert_eq!(check(false), Checked::Damaged);
            }
            assert!(
                fs::read(&device).unwrap() == before,
                "nothing is taken away unasked"
            );
            assert_eq!(check(true), Checked::Sound);
            assert_eq!(check(false), Checked::Sound);
            assert!(names() < 32, "block {which}: {}", debugfs("ls -p nixos"));
        }
    }

    #[test]
    fn root_is_made_and_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let device = test_support::image(&dir, "part", 160 << 20);
        assert_eq!(state(&device, "ext4"), VolumeState::Blank);
        for _ in 0..2 {
            make_root(&device);
            assert_eq!(state(&device, "ext4"), VolumeState::Complete);
        }
    }

    #[test]
    fn the_commit_changes_superblocks_only() {
        let dir = tempfile::tempdir().unwrap();
        let device = test_support::image(&dir, "part", 160 << 20);
        make_root(&device);
        let whole = fs::read(&device).unwrap();
        let id = test_support::volume("root-web").provisional.to_string();
        let back = Program::new("tune2fs").args(["-U", &id, device.as_str()]);
        block_on(tool("x", back, &Reporter::default(), &Stop::never())).unwrap();
        assert_eq!(state(&device, "ext4"), VolumeState::Incomplete);
        let begun = fs::read(&device).unwrap();
        let changed: Vec<usize> = (0..whole.len() / 4096)
            .filter(|i| whole[i * 4096..][..4096] != begun[i * 4096..][..4096])
            .collect();
        assert_eq!(changed, [0, 32768], "the superblock and its copy");
    }

    #[test]
    fn an_id_without_its_checksum_is_no_commit() {
        use crate::image::ext4::stamp;
        let dir = tempfile::tempdir().unwrap();
        let device = test_support::image(&dir, "part", 160 << 20);
        let volume = test_support::volume("root-web");
        make_root(&device);
        let seen = || {
            block_on(observe_volume(
                &device,
                &volume,
                &Reporter::default(),
                &Stop::never(),
            ))
            .unwrap()
            .compare(
                "ext4",
                &volume.id.to_string(),
                &volume.provisional.to_string(),
                "root-web",
            )
        };
        assert_eq!(seen(), VolumeState::Complete);
        let mut begun = fs::read(&device).unwrap()[..4096].to_vec();
        let whole = begun.clone();
        stamp(&mut begun, &volume.provisional, "root-web").unwrap();
        // Where the checksum of a superblock lies: at the end of its 1,024 bytes.
        let mut between = whole.clone();
        between[2044..2048].copy_from_slice(&begun[2044..2048]);
        let put = |block: &[u8]| {
            use std::io::Write;
            let mut file = fs::OpenOptions::new().write(true).open(&device).unwrap();
            file.write_all(block).unwrap();
        };
        put(&between);
        assert_eq!(seen(), VolumeState::Incomplete);
        make_root(&device);
        assert_eq!(seen(), VolumeState::Complete);
        // Damage of another kind is no commit that was cut off: nothing is made again because of it.
        let mut damaged = whole;
        damaged[2044] ^= 1;
        put(&damaged);
        assert_ne!(seen(), VolumeState::Incomplete);
    }

    /// The bytes of a filesystem that was in use: mounted by the kernel and written to; unmounted then, or not.
    fn used(device: &Utf8Path, files: u32, cut: bool) -> Vec<u8> {
        let place = device.with_file_name("mounted");
        fs::create_dir_all(&place).unwrap();
        let run = |program: &'static str, args: &[&str]| {
            let program = Program::new(program).args(args.iter().copied());
            block_on(tool("x", program, &Reporter::default(), &Stop::never())).unwrap();
        };
        run("mount", &["-o", "loop", device.as_str(), place.as_str()]);
        for file in 0..files {
            fs::write(place.join(format!("file{file}")), format!("{file}")).unwrap();
        }
        run("sync", &["-f", place.as_str()]);
        let alive = fs::read(device).unwrap();
        run("umount", &[place.as_str()]);
        if cut { alive } else { fs::read(device).unwrap() }
    }

    #[test]
    fn a_torn_superblock_of_a_finished_root_is_repaired_and_nothing_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let device = test_support::image(&dir, "part", 320 << 20);
        let volume = test_support::volume("root-web");
        let (reporter, stop) = (Reporter::default(), Stop::never());
        let compare = |probe: Probe| {
            probe.compare(
                "ext4",
                &volume.id.to_string(),
                &volume.provisional.to_string(),
                "root-web",
            )
        };
        let torn = || superblock::torn(&device, &volume, &reporter, &stop);
        let seen = || {
            let looked = async {
                if let Some(copy) = torn().await? {
                    superblock::repair(&device, &volume, copy, &reporter, &stop).await?;
                }
                observe_volume(&device, &volume, &reporter, &stop).await
            };
            block_on(looked).map(compare).unwrap()
        };
        make_root(&device);
        let made = fs::read(&device).unwrap()[..4096].to_vec();
        for cut in [false, true] {
            let after = used(&device, 40, cut);
            for new_first in [false, true] {
                let mut torn = after.clone();
                // The two sectors of the superblock, one of each life.
                let old = if new_first { 1536..2048 } else { 1024..1536 };
                torn[old.clone()].copy_from_slice(&made[old]);
                fs::write(&device, &torn).unwrap();
                assert!(!crate::image::ext4::is_between_ids(
                    &torn[..4096],
                    &volume.provisional
                ));
                assert_eq!(seen(), VolumeState::Complete, "cut {cut}, new first {new_first}");
                let check = Program::that_looks("e2fsck").args(["-f", "-n", device.as_str()]);
                block_on(tool("x", check, &Reporter::default(), &Stop::never())).unwrap();
                let list = Program::new("debugfs").args(["-R", "ls -p /", device.as_str()]);
                let names = block_on(tool("x", list, &Reporter::default(), &Stop::never()))
                    .unwrap()
                    .stdout;
                assert_eq!(names.matches("/file").count(), 40, "{names}");
            }
        }

        // What somebody else made there since is not repaired over; without it the copies prove what they did before.
        let finished = fs::read(&device).unwrap();
        let swap = Program::new("mkswap").args([device.as_str()]);
        block_on(tool("x", swap, &reporter, &stop)).unwrap();
        let theirs = fs::read(&device).unwrap();
        assert!(theirs[1024..2048] != finished[1024..2048]);
        assert_eq!(block_on(torn()).unwrap(), None);
        assert_eq!(seen(), VolumeState::Foreign);
        assert!(fs::read(&device).unwrap() == theirs, "it was written on");
        let mut gone = theirs;
        gone[..4096].fill(0);
        fs::write(&device, &gone).unwrap();
        assert_eq!(block_on(torn()).unwrap(), Some(32_768));
        fs::write(&device, &finished).unwrap();

        // The controls: a copy that has another id, or none, proves nothing, and nothing is repaired.
        let mut gone = fs::read(&device).unwrap();
        gone[1024..2048].fill(0);
        fs::write(&device, &gone).unwrap();
        superblock::forget(&device).unwrap();
        assert_eq!(seen(), VolumeState::Blank);
        make_root(&device);
        let begun = volume.provisional.to_string();
        let back = Program::new("tune2fs").args(["-U", &begun, device.as_str()]);
        block_on(tool("x", back, &Reporter::default(), &Stop::never())).unwrap();
        let mut gone = fs::read(&device).unwrap();
        gone[1024..2048].fill(0);
        fs::write(&device, &gone).unwrap();
        assert_eq!(seen(), VolumeState::Blank);
    }

    #[test]
    fn swap_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let device = test_support::image(&dir, "part", 16 << 20);
        block_on(make_swap(
            &device,
            &test_support::volume("root-web"),
            &Reporter::default(),
            &Stop::never(),
        ))
        .unwrap();
        assert_eq!(state(&device, "swap"), VolumeState::Complete);
    }

    #[test]
    fn two_signatures_are_ambivalent() {
        use std::io::Write;
        let dir = tempfile::tempdir().unwrap();
        let device = test_support::image(&dir, "part", 160 << 20);
        make_root(&device);
        let other = device.with_file_name("fat");
        fs::File::create(&other).unwrap().set_len(160 << 20).unwrap();
        let make = Program::new("mkfs.vfat").args(["-F", "32", other.as_str()]);
        block_on(tool("x", make, &Reporter::default(), &Stop::never())).unwrap();
        let boot = fs::read(&other).unwrap()[..1024].to_vec();
        let mut file = fs::OpenOptions::new().write(true).open(&device).unwrap();
        file.write_all(&boot).unwrap();
        drop(file);
        let seen = block_on(probe(&device, &Reporter::default(), &Stop::never())).unwrap();
        assert!(matches!(seen, Probe::Ambiguous(_)), "{seen:?}");
    }
}
