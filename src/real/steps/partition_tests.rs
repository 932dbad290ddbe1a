#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::config::{Config, SystemConfig};
use crate::event::Reporter;
use crate::image::disk::FileDisk;
use crate::real::disk::{Sysfs, known_ids};
use crate::real::mount::attached;
use crate::real::process::command::Program;
use crate::real::process::stop::Stop;
use crate::real::secrets::credentials;
use crate::real::test_support::block_on;
use landfall_states::actions::partition_disk::GptCopy;
use landfall_states::consent::{Consent, ConsentBy};
use landfall_states::fault::FaultClass;
use landfall_states::state::Planned;
use landfall_states::{Step, Verdict};
use std::io::{Cursor, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

/// A small configuration.
pub fn config(luks: bool) -> Config {
    let text = format!(
        r#"(host: "web", labels: (efi: "ESP-WEB", root: "root-web", luks: Some("luks-web")), esp_size: "260M",
            luks: (enable: {luks}), repository: (remote: Some("https://forge.example/o/r")), system: Flake)"#
    );
    let config: Config = ron::from_str(&text).unwrap();
    assert_eq!(config.system, SystemConfig::Flake);
    config
}

fn identity(size_bytes: u64) -> DiskIdentity {
    DiskIdentity {
        wwn: None,
        serial: Some("LF0001".into()),
        path: None,
        size_bytes,
        sector_bytes: 512,
    }
}

#[test]
fn ranges_are_merged_and_clipped() {
    assert_eq!(
        merge(vec![(5, 9), (0, 2), (1, 6), (20, 40), (50, 60), (7, 7)], 30),
        [(0, 9), (20, 30)]
    );
    assert!(merge(vec![(3, 3), (9, 4)], 30).is_empty());
}

#[test]
fn wiping_hits_both_ends_of_old_and_new_partitions_and_nothing_else() {
    let size = 2_u64 << 30;
    let disk = identity(size);
    let table = known_ids::all(&config(false), &disk)[0].table.clone();
    let mut old_table = table.clone();
    old_table.entries.truncate(1);
    old_table.entries[0].first_lba = 1_000_000;
    old_table.entries[0].last_lba = 1_999_999;
    let on_disk = gpt::OnDisk {
        primary: GptCopy::Absent,
        backup: GptCopy::Complete(old_table),
        protective_mbr: false,
        mbr: vec![],
        mbr_sector_bytes: 512,
        empty_mbr: false,
        mbr_signature: 0,
        other: None,
    };
    let old = contents::places(&on_disk, &disk);
    let tree = crate::real::disk::sysfs::tests::Tree::new();
    tree.disk("sda", "8:0", size / 512);
    let block = tree.sysfs().block("sda").unwrap().unwrap();
    let ranges = wipe_ranges(&disk, &table, &old, &block);
    let hit = |at: u64| ranges.iter().any(|(from, to)| (*from..*to).contains(&at));
    for at in [
        0,
        512,
        MIB,
        9 * MIB - 1,
        260 * MIB,
        261 * MIB + 5,
        size - 1,
        size - MIB,
    ] {
        assert!(hit(at), "{at} of {ranges:?}");
    }
    for at in [1_000_000 * 512, 2_000_000 * 512 - 1] {
        assert!(hit(at), "old partition at {at}");
    }
    for at in [9 * MIB, 200 * MIB, 1_500_000 * 512, 1_000_000 * 512 + MIB] {
        assert!(!hit(at), "{at}");
    }
    assert!(ranges.iter().map(|(from, to)| to - from).sum::<u64>() < 40 * MIB);
}

/// The ids are derived, so that a root filesystem which the same install made on this disk before has the ones that it gets now. What
/// is left of it behind its wiped start must not be taken for a finished one.
#[test]
fn nothing_of_a_former_root_proves_that_the_new_one_is_finished() {
    use crate::event::Reporter;
    use crate::real::process::stop::Stop;
    use crate::real::test_support::{self, block_on};
    use crate::real::volume::{filesystems, superblock};
    use landfall_states::plan::Role;
    use std::os::unix::fs::FileExt;
    let size = 2_u64 << 30;
    let disk = identity(size);
    let plan = &known_ids::all(&config(false), &disk)[0];
    let entry = plan.partition(Role::Root).unwrap();
    let (first, length) = (entry.first_lba * 512, entry.sectors() * 512);
    let tree = crate::real::disk::sysfs::tests::Tree::new();
    tree.disk("sda", "8:0", size / 512);
    let block = tree.sysfs().block("sda").unwrap().unwrap();
    let (reporter, stop) = (Reporter::default(), Stop::never());
    let dir = tempfile::tempdir().unwrap();
    let proves = |ranges: &[(u64, u64)]| {
        let device = test_support::image(&dir, "part", length);
        block_on(filesystems::make_ext4(&device, &plan.root, &reporter, &stop)).unwrap();
        let file = File::options().write(true).open(&device).unwrap();
        for (from, to) in ranges {
            let (from, to) = ((*from).max(first), (*to).min(first + length));
            for at in (from..to).step_by(4096) {
                file.write_all_at(&[0; 4096], at - first).unwrap();
            }
        }
        block_on(superblock::torn(&device, &plan.root, &reporter, &stop)).unwrap()
    };
    let ranges = wipe_ranges(&disk, &plan.table, &[], &block);
    assert_eq!(proves(&ranges), None);
    // The control: with its copies it would.
    let without: Vec<(u64, u64)> = ranges.into_iter().filter(|(from, to)| to - from > 4096).collect();
    assert!(proves(&without).is_some());
}

#[test]
fn the_old_table_goes_before_what_it_describes() {
    let table = known_ids::all(&config(false), &identity(2 << 30))[0]
        .table
        .clone();
    assert_eq!(table.sector_bytes, 512);
    let mut image = Cursor::new(vec![0xFF_u8; 64 * 512]);
    let mut epochs: Vec<Vec<usize>> = vec![];
    wipe_all(&mut image, &table, &[(0, 1024), (5_000, 5_002)], |disk| {
        let zeros = |(at, byte): (usize, &u8)| (*byte == 0).then_some(at);
        epochs.push(disk.get_ref().iter().enumerate().filter_map(zeros).collect());
        Ok(())
    })
    .unwrap();
    let backup: Vec<usize> = (63 * 512..64 * 512).collect();
    let headers: Vec<usize> = (512..1024).chain(backup.clone()).collect();
    let all: Vec<usize> = (0..1024).chain([5_000, 5_001]).chain(backup.clone()).collect();
    assert_eq!(epochs, [backup, headers, all]);
}

/// A loop device over a file of its own; gone when dropped.
struct Loop {
    name: String,
    _file: tempfile::NamedTempFile,
    image: camino::Utf8PathBuf,
}

async fn run(program: &str, args: &[&str]) -> String {
    let ended = Program::new(program)
        .args(args.iter().copied())
        .run(&Reporter::default(), &Stop::never())
        .await
        .unwrap();
    assert!(ended.success(), "{}", ended.how());
    ended.stdout.trim().to_owned()
}

impl Loop {
    async fn new(bytes: u64, sector: &str) -> Loop {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(bytes).unwrap();
        let image = camino::Utf8PathBuf::from_path_buf(file.path().to_owned()).unwrap();
        let device = run("losetup", &["-f", "--show", "-b", sector, image.as_str()]).await;
        Loop {
            name: device.trim_start_matches("/dev/").to_owned(),
            _file: file,
            image,
        }
    }
    async fn detach(&self) {
        run("losetup", &["-d", &format!("/dev/{}", self.name)]).await;
    }
}

fn real(held: HeldDisk, luks: bool) -> Real {
    Real {
        config: config(luks),
        install_disk: None,
        labels: vec![],
        reporter: Reporter::default(),
        stop: Stop::never(),
        plan: None,
        held: Some(held),
        attached: attached::Attached::default(),
        progress: crate::real::volume::root_image::Progress::default(),
        credentials: credentials::Credentials::default(),
        keys: Default::default(),
        granted: None,
        evaluated: None,
    }
}

/// The action for a held loop device. Loops have no serial number; the plan is made as if it had one, and then put on it.
fn action(held: &HeldDisk, consent: Option<Consent>) -> PartitionDisk {
    let named = DiskIdentity {
        serial: Some("LF0001".into()),
        ..held.identity().clone()
    };
    let mut plan = known_ids::all(&config(false), &named).remove(0);
    plan.disk = held.identity().clone();
    Planned::new(plan, "0".repeat(40).parse().unwrap(), None, false).action(consent)
}

/// Makes an ESP whose second slot tells of a finished install; the slot.
async fn esp_with_landed_slot(esp: &camino::Utf8Path) -> Vec<u8> {
    run("mkfs.vfat", &["-F", "32", "-n", "ESP-WEB", esp.as_str()]).await;
    let mut slot = b"LANDFALL-CHECKPOINT 1\nstate: Landed(\"/nix/store/x\")\n".to_vec();
    slot.resize(slots::SLOT_BYTES, b' ');
    let at = tempfile::tempdir().unwrap();
    let point = at.path().to_str().unwrap();
    run("mount", &["-t", "vfat", esp.as_str(), point]).await;
    fs_err::create_dir_all(at.path().join("EFI/LANDFALL")).unwrap();
    fs_err::write(at.path().join("EFI/LANDFALL/CKPT1.BIN"), &slot).unwrap();
    run("umount", &[point]).await;
    slot
}

#[test]
#[ignore = "run by: cargo lab scenario real-tools"]
fn a_real_device_is_partitioned_once() {
    block_on(async {
        for sector in ["512", "4096"] {
            let device = Loop::new(1 << 30, sector).await;
            let mut world = real(HeldDisk::open_name(&device.name).unwrap(), false);
            let step = action(world.held.as_ref().unwrap(), None);
            let facts = world.observe(&step).await.unwrap();
            assert_eq!(facts.contents, ["no partition table"]);
            assert!(facts.in_use.is_empty(), "{:?}", facts.in_use);
            let Verdict::NeedsConsent(erasure) = step.judge(&facts) else {
                panic!("{facts:?}")
            };
            let step = action(
                world.held.as_ref().unwrap(),
                Consent::to(&erasure, ConsentBy::Person),
            );
            let facts = world.observe(&step).await.unwrap();
            let Verdict::Todo(order) = step.judge(&facts) else {
                panic!("{facts:?}")
            };
            world.perform(&step, order.clone()).await.unwrap();
            let facts = world.observe(&step).await.unwrap();
            assert!(matches!(step.judge(&facts), Verdict::Done(_)), "{facts:#?}");
            let read = || {
                let mut bytes = vec![];
                fs_err::File::open(&device.image)
                    .unwrap()
                    .take(1 << 20)
                    .read_to_end(&mut bytes)
                    .unwrap();
                bytes
            };
            let once = read();
            world.perform(&step, order).await.unwrap();
            assert!(once == read(), "written twice, the same bytes");

            // A second witness: sgdisk, and what mkfs.vfat and the kernel make of the ESP.
            let verified = run("sgdisk", &["-v", &format!("/dev/{}", device.name)]).await;
            assert!(verified.contains("No problems found"), "{verified}");
            let esp = world
                .held
                .as_ref()
                .unwrap()
                .partition_device(&step.table.entries[0])
                .await
                .unwrap();
            let slot = esp_with_landed_slot(&esp).await;
            let (_, contents, _) = world.look_at_held().await.unwrap();
            assert_eq!(contents.slots.bytes, [None, Some(slot)]);
            assert!(
                contents.lines.iter().any(|l| l.contains("a finished install")),
                "{:?}",
                contents.lines
            );
            assert!(world.observe(&step).await.unwrap().finished_work);

            // The partitions are found below this device.
            let held = world.held.as_ref().unwrap();
            let node = held.partition_device(&step.table.entries[1]).await.unwrap();
            assert_eq!(node, format!("/dev/{}p2", device.name));
            let mut other = step.table.entries[1].clone();
            other.partuuid = uuid::Uuid::nil();
            assert_eq!(
                held.partition_device(&other).await.unwrap_err().class,
                FaultClass::Unsafe
            );

            // The kernel forgets; it is told again, and the table is not written.
            held.tell_kernel(&[]).await.unwrap();
            let facts = world.observe(&step).await.unwrap();
            let Verdict::Todo(order @ TableOrder::TellKernel { .. }) = step.judge(&facts) else {
                panic!("{facts:?}")
            };
            world.perform(&step, order).await.unwrap();
            assert!(once == read(), "the table was written");
            let held = world.held.as_ref().unwrap();
            held.tell_kernel(&[]).await.unwrap();
            drop(world);
            device.detach().await;
        }
    });
}

#[test]
#[ignore = "run by: cargo lab scenario real-tools"]
fn a_device_in_use_is_not_written() {
    block_on(async {
        let device = Loop::new(1 << 30, "512").await;
        let mut world = real(HeldDisk::open_name(&device.name).unwrap(), false);
        let step = action(world.held.as_ref().unwrap(), None);
        // Somebody has it exclusively, and no list says so.
        let other = exclusive(world.held.as_ref().unwrap()).await.unwrap();
        let facts = world.observe(&step).await.unwrap();
        assert!(facts.in_use[0].contains("in use"), "{facts:?}");
        assert!(matches!(
            step.judge(&facts),
            Verdict::NeedsConsent(_) | Verdict::Refuse(_)
        ));
        let order = TableOrder::Write {
            disk: step.disk.clone(),
            table: step.table.clone(),
            wipe: true,
        };
        let fault = world.perform(&step, order.clone()).await.unwrap_err();
        assert!(
            fault.why().contains("in use") && fault.what().contains(&device.name),
            "{fault}"
        );
        drop(other);
        // An order for another disk.
        let wrong = TableOrder::Write {
            disk: identity(1 << 30),
            table: step.table.clone(),
            wipe: true,
        };
        assert_eq!(
            world.perform(&step, wrong).await.unwrap_err().class,
            FaultClass::Unsafe
        );
        // A filesystem on it, mounted.
        run(
            "mkfs.ext4",
            &["-q", "-L", "photos", &format!("/dev/{}", device.name)],
        )
        .await;
        let dir = tempfile::tempdir().unwrap();
        let point = dir.path().to_str().unwrap();
        run("mount", &[&format!("/dev/{}", device.name), point]).await;
        let facts = world.observe(&step).await.unwrap();
        assert_eq!(facts.in_use, [format!("the disk is mounted at {point}")]);
        assert_eq!(
            facts.contents,
            ["no partition table", "whole disk: ext4 \"photos\""]
        );
        assert!(
            world
                .perform(&step, order.clone())
                .await
                .unwrap_err()
                .why()
                .contains("mounted at")
        );
        run("umount", &[point]).await;
        world.perform(&step, order).await.unwrap();
        let facts = world.observe(&step).await.unwrap();
        assert!(matches!(step.judge(&facts), Verdict::Done(_)), "{facts:#?}");
        world.held.as_ref().unwrap().tell_kernel(&[]).await.unwrap();
        drop(world);
        device.detach().await;
    });
}

/// Puts another file behind a loop device that is open, which the kernel does for one that is read-only.
mod swap {
    nix::ioctl_write_int_bad!(
        /// `LOOP_CHANGE_FD` of linux/loop.h.
        loop_change_fd,
        0x4C06
    );
}

#[test]
#[ignore = "run by: cargo lab scenario real-tools"]
fn a_disk_that_became_another_behind_its_name_is_not_written() {
    block_on(async {
        // Another size: between the question and the answer somebody exchanged it.
        let device = Loop::new(1 << 30, "512").await;
        let path = format!("/dev/{}", device.name);
        let mut world = real(HeldDisk::open_name(&device.name).unwrap(), false);
        let step = action(world.held.as_ref().unwrap(), None);
        let confirmed = step.disk.clone();
        let order = TableOrder::Write {
            disk: confirmed.clone(),
            table: step.table.clone(),
            wipe: true,
        };
        let resize = async |bytes: u64| {
            let image = fs_err::OpenOptions::new()
                .write(true)
                .open(&device.image)
                .unwrap();
            image.set_len(bytes).unwrap();
            run("losetup", &["-c", &path]).await;
        };
        resize(2 << 30).await;
        let faults = [
            world.perform(&step, order.clone()).await.unwrap_err(),
            world.permit(&confirmed).await.unwrap_err(),
        ];
        for fault in faults {
            assert_eq!(fault.class, FaultClass::Unsafe, "{fault}");
            assert!(fault.why().contains("a different disk"), "{fault}");
        }
        // A file that nothing was written to has no block.
        let blocks = || fs_err::metadata(&device.image).unwrap().blocks();
        assert_eq!(blocks(), 0);
        // The control: put back, it is written to.
        resize(1 << 30).await;
        world.permit(&confirmed).await.unwrap();
        world.permit_ends(Ok(())).await.unwrap();
        world.perform(&step, order).await.unwrap();
        assert!(blocks() > 0);
        world.held.as_ref().unwrap().tell_kernel(&[]).await.unwrap();
        drop(world);
        device.detach().await;

        // Another file of the same size: nothing differs but the kernel's running number of the disk.
        let [first, second] = [(); 2].map(|()| tempfile::NamedTempFile::new().unwrap());
        for file in [&first, &second] {
            file.as_file().set_len(64 << 20).unwrap();
        }
        let path = run("losetup", &["-r", "-f", "--show", first.path().to_str().unwrap()]).await;
        let held = HeldDisk::open_name(path.trim_start_matches("/dev/")).unwrap();
        let confirmed = held.identity().clone();
        held.confirm(&confirmed).unwrap();
        let open = held.file().unwrap();
        // SAFETY: both descriptors are open, and the kernel takes a reference of its own.
        unsafe { swap::loop_change_fd(open.as_raw_fd(), second.as_file().as_raw_fd()) }.unwrap();
        let fault = held.confirm(&confirmed).unwrap_err();
        assert!(fault.why().contains("now belongs to another device"), "{fault}");
        drop((held, open));
        run("losetup", &["-d", &path]).await;
    });
}

#[test]
#[ignore = "run by: cargo lab scenario real-tools"]
fn a_mounted_device_takes_no_image() {
    block_on(async {
        let device = Loop::new(64 << 20, "512").await;
        let path = format!("/dev/{}", device.name);
        run("mkfs.ext4", &["-q", &path]).await;
        let dir = tempfile::tempdir().unwrap();
        let point = dir.path().to_str().unwrap();
        let opened = |alone| FileDisk::open(path.as_str().into(), alone);
        // The control: at rest it is opened.
        drop(opened(true).unwrap());
        run("mount", &[&path, point]).await;
        let error = opened(true).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ResourceBusy, "{error}");
        drop(opened(false).unwrap());
        run("umount", &[point]).await;
        drop(opened(true).unwrap());
        device.detach().await;
    });
}

#[test]
#[ignore = "run by: cargo lab scenario real-tools"]
fn the_lock_keeps_others_off_and_ends() {
    block_on(async {
        let device = Loop::new(64 << 20, "512").await;
        let mut held = HeldDisk::open_name(&device.name).unwrap();
        held.lock().await.unwrap();
        held.lock().await.unwrap();
        let try_lock = || {
            let file = fs_err::File::open(format!("/dev/{}", device.name))
                .unwrap()
                .into_file();
            nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockSharedNonblock).is_ok()
        };
        assert!(!try_lock());
        held.unlock(&Reporter::default(), &Stop::never()).await.unwrap();
        assert!(try_lock());
        drop(held);
        device.detach().await;
    });
}

#[test]
#[ignore = "run by: cargo lab scenario real-tools"]
fn a_medium_is_found_behind_a_loop_even_when_its_mount_is_hidden() {
    block_on(async {
        let stick = Loop::new(64 << 20, "512").await;
        let device = format!("/dev/{}", stick.name);
        run("mkfs.ext4", &["-q", &device]).await;
        let dir = tempfile::tempdir().unwrap();
        let point = dir.path().to_str().unwrap().to_owned();
        run("mount", &[&device, &point]).await;
        let file = format!("{point}/nix-store.squashfs");
        fs_err::File::create(&file).unwrap().set_len(1 << 20).unwrap();
        let upper = run("losetup", &["-f", "--show", &file]).await;
        let uses = async || {
            let sysfs = Sysfs::real();
            let machine = scan::machine(&sysfs, &Reporter::default(), &Stop::never())
                .await
                .unwrap();
            let block = sysfs.block(&stick.name).unwrap().unwrap();
            machine.uses(&block, &Own::default(), &[]).foreign_users
        };
        assert_eq!(uses().await, [format!("the disk is mounted at {point}")]);
        // As after stage 1: the mount cannot be seen any more, the loop device still reads from it.
        run("umount", &["-l", &point]).await;
        let seen = uses().await;
        assert!(seen.iter().any(|l| l.contains("is on the disk")), "{seen:?}");
        run("losetup", &["-d", &upper]).await;
        stick.detach().await;
    });
}

#[test]
fn a_missing_disk_and_two_of_a_kind_are_told() {
    let fault = HeldDisk::hold(&DiskIdentity {
        serial: Some("no such disk".into()),
        ..identity(1)
    })
    .unwrap_err();
    assert_eq!(fault.class, FaultClass::NeedsChange);
    assert!(fault.what().contains("no such disk"), "{fault}");
    assert!(Sysfs::real().block("no-such-name").unwrap().is_none());
}
