//! Promise: `landfall relabel` changes labels on real devices, in use where that can be, and nothing else; stopped after any step, or
//! with a tool killed at any of its writes, it comes to the same end when it is run again.
// Long because: one disk with one of everything stands before every test.
//!
//! Needed: root, losetup, partx, mkfs.ext4, mkfs.xfs, mkfs.btrfs, mkfs.vfat, mkswap, cryptsetup, fatlabel, swaplabel; for tools that are
//! killed, strace. A kernel without FAT has the ESP unmounted here; the mount and its undoing are the laboratory's.
//!
//! Measured on loop devices, each tool killed at each of its writes (util-linux 2.38.1, e2fsprogs 1.47.0, dosfstools 4.2, xfsprogs 6.1,
//! btrfs-progs 6.2, cryptsetup 2.6.1, Linux 6.18):
//!
//! | tool | what it leaves |
//! |---|---|
//! | `tune2fs -L` on a mounted ext4 | the label in the kernel's memory; on the medium after a sync only |
//! | the same, unmounted | old or new; copies of the superblock first |
//! | `fatlabel` | boot sector new and root directory old between its writes; the next call ends it; a dirty FAT is not refused |
//! | `swaplabel` | old or new; on a swap that is on, "Text file busy" and nothing |
//! | `xfs_admin` on a mounted XFS | refused; `FS_IOC_SETFSLABEL` writes it at once |
//! | `btrfs filesystem label` | old or new |
//! | `cryptsetup config --label` | old or new, and always one whole header |
//! | `sfdisk --part-label`, `sgdisk -c` | a first copy that is not whole between two of their writes |

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may end where it stands

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use landfall::real::stop::Stop;
use landfall::relabel::RelabelError;
use landfall::relabel::apply::{Told, labels};
use landfall::relabel::facts::{Content, Device, Facts, fstab};
use landfall::relabel::label::Bearer;
use landfall::relabel::look::{Places, facts};
use landfall::relabel::making::plan;
use landfall::relabel::plan::{Plan, Wanted};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn run(program: &str, args: &[&str]) -> String {
    let ended = Command::new(program).args(args).output().unwrap();
    assert!(
        ended.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&ended.stderr)
    );
    String::from_utf8(ended.stdout).unwrap().trim().to_owned()
}

/// Without root no loop device can be made.
fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// What is mounted, and what it is.
const MOUNTED: [(u32, &str); 3] = [(3, "ext4"), (4, "xfs"), (5, "btrfs")];

/// A disk with one of everything, a part of it in use, and a thread that plays udev.
struct Disk {
    dir: tempfile::TempDir,
    device: String,
    tag: String,
    udev: Arc<AtomicBool>,
    player: Option<std::thread::JoinHandle<()>>,
    swap_is_on: bool,
}

impl Disk {
    /// `tag` makes the labels those of one test: others run beside it.
    fn new(tag: &str) -> Disk {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("disk.img");
        let at = image.to_str().unwrap();
        fs::File::create(&image).unwrap().set_len(800 << 20).unwrap();
        let table =
            "size=64M,type=U,name=ESP\nsize=32M,name=old\nsize=64M\nsize=320M\nsize=128M\nsize=32M,type=S\n";
        fs::write(dir.path().join("table"), table).unwrap();
        let script = format!(
            "sfdisk --quiet --label gpt {at} < {}",
            dir.path().join("table").display()
        );
        run("sh", &["-c", &script]);
        let device = attached(at);
        let disk = Disk {
            dir,
            device,
            tag: tag.into(),
            udev: Arc::new(AtomicBool::new(true)),
            player: None,
            swap_is_on: true,
        };
        run("mkfs.vfat", &["-F", "32", "-n", "OLD", &disk.part(1)]);
        let key = disk.dir.path().join("key");
        fs::write(&key, "passphrase").unwrap();
        let container = disk.part(2);
        let format = [
            "luksFormat",
            "--batch-mode",
            "--pbkdf",
            "pbkdf2",
            "--pbkdf-force-iterations",
            "1000",
        ];
        let format = [
            &format[..],
            &["--subsystem", "mine", &container, key.to_str().unwrap()],
        ]
        .concat();
        run("cryptsetup", &format);
        for (number, kind) in MOUNTED {
            run(&format!("mkfs.{kind}"), &["-q", "-L", "old", &disk.part(number)]);
            fs::create_dir(disk.mount(kind)).unwrap();
            run("mount", &[&disk.part(number), disk.mount(kind).as_str()]);
        }
        run("mkswap", &["-L", "old", &disk.part(6)]);
        run("swapon", &[&disk.part(6)]);
        disk.with_udev()
    }

    fn part(&self, number: u32) -> String {
        format!("{}p{number}", self.device)
    }

    fn mount(&self, name: &str) -> Utf8PathBuf {
        Utf8PathBuf::from_path_buf(self.dir.path().join(name)).unwrap()
    }

    fn places(&self) -> Places {
        Places {
            fstab: self.mount("fstab"),
            links: self.mount("links"),
        }
    }

    /// Links as udev makes them, of what is on the devices at each moment.
    fn with_udev(mut self) -> Disk {
        let (links, on) = (self.places().links, self.udev.clone());
        let parts: Vec<String> = (1..=6).map(|number| self.part(number)).collect();
        for folder in ["by-label", "by-partlabel"] {
            fs::create_dir_all(links.join(folder)).unwrap();
        }
        self.player = Some(std::thread::spawn(move || {
            while on.load(Ordering::Relaxed) {
                for part in &parts {
                    for (tag, folder) in [("LABEL", "by-label"), ("PART_ENTRY_NAME", "by-partlabel")] {
                        let value = probe(part, tag);
                        if !value.is_empty() {
                            // Made before, mostly.
                            drop(std::os::unix::fs::symlink(part, links.join(folder).join(value)));
                        }
                    }
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }));
        self
    }

    fn stop_udev(&mut self) {
        self.udev.store(false, Ordering::Relaxed);
        if let Some(player) = self.player.take() {
            player.join().unwrap();
        }
        fs::remove_dir_all(self.places().links).unwrap();
    }

    fn label(&self, what: &str) -> String {
        format!("{what}-{}", self.tag)
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            host: self.tag.clone(),
            more: [("/xfs", "xfs"), ("/btrfs", "btrfs")]
                .map(|(at, label)| (at.to_owned(), self.label(label)))
                .into(),
            ..Wanted::default()
        }
    }

    /// What the machine has, and a plan for it. Device-mapper is not needed: that a mapping lies on the container, and root in it, is
    /// put in by hand.
    fn plan(&self) -> (Facts, Plan) {
        let uuid = |number| run("blkid", &["-p", "-o", "value", "-s", "UUID", &self.part(number)]);
        let text = format!(
            "UUID={} / ext4 defaults 0 1\nUUID={} /boot vfat noauto 0 2\nUUID={} /xfs xfs defaults 0 2\nUUID={} /btrfs btrfs defaults 0 2\n\
             UUID={} none swap pri=7,nofail 0 0\n",
            uuid(3),
            uuid(1),
            uuid(4),
            uuid(5),
            uuid(6)
        );
        fs::write(self.places().fstab, &text).unwrap();
        let mut facts = block_on(facts(&self.places(), &[])).unwrap();
        assert_eq!(facts.fstab, fstab(&text));
        // Other tests have disks of their own, with the same UUIDs of nothing.
        facts
            .devices
            .retain(|device| device.node.as_str().starts_with(&self.device));
        facts.devices.push(Device {
            path: "/dev/mapper/cryptroot".into(),
            node: "/dev/dm-99".into(),
            dev: (253, 99),
            kind: "crypt".into(),
            below: vec![self.part(2).into()],
            content: Some(Content::default()),
            ..Device::default()
        });
        let root = facts
            .devices
            .iter_mut()
            .find(|device| device.path == self.part(3))
            .unwrap();
        root.below.push("/dev/dm-99".into());
        let plan = plan(&facts, &self.wanted(), &[]).unwrap_or_else(|problems| panic!("{problems:?}"));
        (facts, plan)
    }

    fn apply(&self, plan: &Plan, told: &mut dyn FnMut(Told<'_>)) -> Result<(), RelabelError> {
        self.apply_until(plan, &Stop::never(), told)
    }

    fn apply_until(
        &self,
        plan: &Plan,
        stop: &Stop,
        told: &mut dyn FnMut(Told<'_>),
    ) -> Result<(), RelabelError> {
        block_on(labels(plan, &self.places(), stop, told))
    }

    /// Everything that must never change: UUIDs, PARTUUIDs, the subsystem of the container.
    fn identities(&self) -> Vec<String> {
        let all = (1..=6).map(|number| {
            let part = self.part(number);
            format!(
                "{} {} {}",
                probe(&part, "UUID"),
                probe(&part, "PART_ENTRY_UUID"),
                probe(&part, "SUBSYSTEM")
            )
        });
        all.collect()
    }

    fn check(&self) {
        for (number, tag, label) in [
            (1, "LABEL", self.label("ESP").to_uppercase()),
            (1, "LABEL_FATBOOT", self.label("ESP").to_uppercase()),
            (1, "PART_ENTRY_NAME", "ESP".into()),
            (2, "LABEL", self.label("luks")),
            (2, "PART_ENTRY_NAME", self.label("luks")),
            (3, "LABEL", self.label("root")),
            (4, "LABEL", self.label("xfs")),
            (5, "LABEL", self.label("btrfs")),
            (6, "LABEL", self.label("swap")),
        ] {
            assert_eq!(probe(&self.part(number), tag), label, "partition {number}, {tag}");
        }
        let swaps = fs::read_to_string("/proc/swaps").unwrap();
        let swap = swaps
            .lines()
            .find(|line| line.starts_with(&self.part(6)))
            .expect("it is swapped to again");
        assert!(
            swap.split_whitespace().last() == Some("7") || !self.swap_is_on,
            "by its options: {swap}"
        );
        for (_, kind) in MOUNTED {
            run("mountpoint", &["-q", self.mount(kind).as_str()]);
        }
        run("sfdisk", &["--verify", &self.device]);
        run("fsck.vfat", &["-n", &self.part(1)]);
    }
}

/// A loop device with the partitions of an image. One may have partitions of an earlier image, or something else in the place of a node:
/// then another one is taken.
fn attached(image: &str) -> String {
    let mut unfit = vec![];
    let found = (0..8).find_map(|_| {
        let device = run("losetup", &["--find", "--show", image]);
        drop(Command::new("partx").args(["--delete", &device]).output());
        let added = Command::new("partx").args(["--add", &device]).output().unwrap();
        let is_node = |number: u32| {
            let node = fs::metadata(format!("{device}p{number}"));
            node.is_ok_and(|node| std::os::unix::fs::FileTypeExt::is_block_device(&node.file_type()))
        };
        if added.status.success() && (1..=6).all(is_node) {
            return Some(device);
        }
        unfit.push(device);
        None
    });
    for device in unfit {
        drop(Command::new("partx").args(["--delete", &device]).output());
        run("losetup", &["--detach", &device]);
    }
    found.expect("a loop device with partitions")
}

fn probe(device: &str, tag: &str) -> String {
    let ended = Command::new("blkid")
        .args(["-p", "-o", "value", "-s", tag, device])
        .output()
        .unwrap();
    String::from_utf8(ended.stdout).unwrap().trim().to_owned()
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.udev.store(false, Ordering::Relaxed);
        if let Some(player) = self.player.take() {
            drop(player.join());
        }
        let quiet = |program: &str, args: &[&str]| drop(Command::new(program).args(args).output());
        quiet("swapoff", &[&self.part(6)]);
        for (_, kind) in MOUNTED {
            quiet("umount", &[self.mount(kind).as_str()]);
        }
        quiet("partx", &["--delete", &self.device]);
        quiet("losetup", &["--detach", &self.device]);
    }
}

#[test]
fn every_label_is_made_in_use_and_nothing_else_changes() {
    if !is_root() {
        return;
    }
    let disk = Disk::new("all");
    let before = disk.identities();
    let (facts, plan) = disk.plan();
    assert_eq!(plan.changes.len(), 7, "{:?}", plan.changes);
    let mut seen = vec![];
    disk.apply(&plan, &mut |what| {
        seen.push(match what {
            Told::Label(change, made) => format!("{} {made}", change.bearer),
            Told::Link(link, _) => link.to_owned(),
            Told::PutBack(what) => format!("again {what}"),
            Told::File(_) => unreachable!(),
        });
    })
    .unwrap();
    assert_eq!(
        seen,
        [
            "ext4 true",
            "XFS true",
            "Btrfs true",
            "LUKS2 header true",
            "partition name true",
            "swap true",
            "FAT true",
            "/dev/disk/by-label/root-all",
            "/dev/disk/by-partlabel/luks-all",
            "/dev/disk/by-label/ESP-ALL",
            "/dev/disk/by-label/xfs-all",
            "/dev/disk/by-label/btrfs-all",
            "/dev/disk/by-label/swap-all",
        ],
        "labels before links"
    );
    disk.check();
    assert_eq!(disk.identities(), before);
    assert!(before[1].ends_with("mine"));
    // Again: nothing is left to do, and nothing is done.
    let (_, again) = disk.plan();
    assert!(again.changes.iter().all(|change| change.is_done()));
    disk.apply(&again, &mut |what| {
        if let Told::Label(change, made) = what {
            assert!(!made, "{}", change.what);
        }
    })
    .unwrap();
    assert_eq!(again.new_name_in_fstab(&facts, "/dev/mapper/cryptroot"), None);
}

#[test]
fn stopped_after_any_step_it_goes_on() {
    if !is_root() {
        return;
    }
    let disk = Disk::new("stop");
    let before = disk.identities();
    for steps in 1..=8 {
        let (_, plan) = disk.plan();
        let (wish, stop) = Stop::new();
        let mut labels_told = 0;
        let ended = disk.apply_until(&plan, &stop, &mut |what| {
            if matches!(what, Told::Label(..)) {
                labels_told += 1;
                if labels_told == steps {
                    wish.send_replace(Some("SIGTERM"));
                }
            }
        });
        assert_eq!(disk.identities(), before);
        match ended {
            Err(RelabelError::Stopped) => assert!(steps <= 7),
            Ok(()) => assert_eq!(steps, 8),
            Err(other) => panic!("{other}"),
        }
    }
    disk.check();
}

#[test]
fn what_a_killed_run_took_out_of_use_is_put_back_by_the_next() {
    if !is_root() {
        return;
    }
    let disk = Disk::new("back");
    // Between swapoff and swaplabel, and again between swaplabel and swapon.
    run("swapoff", &[&disk.part(6)]);
    let (_, plan) = disk.plan();
    disk.apply(&plan, &mut |_| {}).unwrap();
    disk.check();
    run("swapoff", &[&disk.part(6)]);
    let (_, plan) = disk.plan();
    let mut back = vec![];
    disk.apply(&plan, &mut |what| {
        if let Told::PutBack(what) = what {
            back.push(what.to_owned());
        }
    })
    .unwrap();
    assert_eq!(back, ["swap"]);
    disk.check();
}

#[test]
fn a_link_that_does_not_come_is_an_error_and_the_labels_stay_made() {
    if !is_root() {
        return;
    }
    let mut disk = Disk::new("link");
    disk.stop_udev();
    let (_, plan) = disk.plan();
    let error = disk.apply(&plan, &mut |_| {}).unwrap_err();
    assert!(
        matches!(&error, RelabelError::Link { link, .. } if link == "/dev/disk/by-label/root-link"),
        "{error}"
    );
    disk.check();
    // One that leads elsewhere is none.
    let by_label = disk.places().links.join("by-label");
    fs::create_dir_all(&by_label).unwrap();
    std::os::unix::fs::symlink(disk.part(4), by_label.join("root-link")).unwrap();
    let error = disk.apply(&plan, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("leads to device"), "{error}");
}

#[test]
fn what_is_in_doubt_or_in_use_is_refused_and_left_as_it_is() {
    if !is_root() {
        return;
    }
    let disk = Disk::new("busy");
    let esp = disk.part(1);
    let fails = || {
        let (_, plan) = disk.plan();
        disk.apply(&plan, &mut |_| {}).unwrap_err()
    };
    // Another filesystem came to lie over the mount since the plan was made.
    let (_, plan) = disk.plan();
    let over = disk.mount("ext4");
    run("mount", &["-t", "tmpfs", "none", over.as_str()]);
    let error = disk.apply(&plan, &mut |_| {}).unwrap_err();
    run("umount", &[over.as_str()]);
    assert!(
        matches!(&error, RelabelError::Moved(at) if *at == over),
        "{error}"
    );
    assert_eq!(probe(&disk.part(3), "LABEL"), "old");
    // Somebody else has the device.
    let holder = nix::fcntl::open(
        esp.as_str(),
        nix::fcntl::OFlag::O_RDWR | nix::fcntl::OFlag::O_EXCL,
        nix::sys::stat::Mode::empty(),
    )
    .unwrap();
    assert!(matches!(fails(), RelabelError::StillUsed { .. }));
    drop(holder);
    // It was not unmounted, once.
    let flag = |byte: u8| {
        use std::os::unix::fs::FileExt;
        let file = fs::OpenOptions::new().write(true).open(&esp).unwrap();
        file.file().write_all_at(&[byte], 0x41).unwrap();
        file.sync_all().unwrap();
    };
    flag(1);
    assert!(matches!(fails(), RelabelError::Dirty(_)));
    assert_eq!(probe(&esp, "LABEL"), "OLD");
    flag(0);
    disk.apply(&disk.plan().1, &mut |_| {}).unwrap();
    disk.check();
    // A device that is another one by now.
    let (_, mut plan) = disk.plan();
    for change in &mut plan.changes {
        change.new.push('2');
        if let Some(content) = &mut change.device.content {
            content.uuid = Some("another".into());
        }
    }
    assert!(matches!(
        disk.apply(&plan, &mut |_| {}),
        Err(RelabelError::Moved(_))
    ));
    disk.check();
}

/// How often a tool writes to a device.
fn writes(device: &str, program: &[&str]) -> usize {
    let trace = tempfile::NamedTempFile::new().unwrap();
    let at = trace.path().to_str().unwrap();
    run(
        "strace",
        &[
            &["-f", "-o", at, "-P", device, "-e", "trace=write,pwrite64"],
            program,
        ]
        .concat(),
    );
    fs::read_to_string(trace.path())
        .unwrap()
        .lines()
        .filter(|line| line.contains("write"))
        .count()
}

#[test]
fn a_tool_that_was_killed_at_any_write_is_finished_by_the_next_run() {
    if !is_root() || Command::new("strace").arg("-V").output().is_err() {
        return;
    }
    let disk = Disk::new("kill");
    let (esp, swap, luks) = (disk.part(1), disk.part(6), disk.part(2));
    run("swapoff", &[&swap]);
    let (new_esp, new_swap, new_luks) = ("ESP-KILL", "swap-kill", "luks-kill");
    let tools: [(&str, Vec<&str>, Vec<&str>); 3] = [
        (
            &esp,
            vec!["fatlabel", &esp, new_esp],
            vec!["fatlabel", &esp, "OLD"],
        ),
        (
            &swap,
            vec!["swaplabel", "--label", new_swap, &swap],
            vec!["swaplabel", "--label", "old", &swap],
        ),
        (
            &luks,
            vec![
                "cryptsetup",
                "config",
                &luks,
                "--label",
                new_luks,
                "--subsystem",
                "mine",
            ],
            vec![
                "cryptsetup",
                "config",
                &luks,
                "--label",
                "old",
                "--subsystem",
                "mine",
            ],
        ),
    ];
    let mut halves = 0;
    for (device, forth, back) in &tools {
        let count = writes(device, forth);
        assert!(count > 0, "{forth:?}");
        for at in 1..=count {
            run(back[0], &back[1..]);
            let inject = format!("inject=write,pwrite64:signal=KILL:when={at}");
            let traced = [
                &[
                    "-f",
                    "-o",
                    "/dev/null",
                    "-P",
                    device,
                    "-e",
                    "trace=write,pwrite64",
                    "-e",
                    &inject,
                ],
                &forth[..],
            ]
            .concat();
            assert!(
                !Command::new("strace")
                    .args(&traced)
                    .output()
                    .unwrap()
                    .status
                    .success()
            );
            halves += usize::from(probe(&esp, "LABEL") != probe(&esp, "LABEL_FATBOOT"));
            let (_, plan) = disk.plan();
            disk.apply(&plan, &mut |_| {}).unwrap();
            disk.check();
            run("swapoff", &[&swap]);
        }
    }
    assert!(
        halves > 0,
        "the control: fatlabel leaves half a label, which is not taken for a whole one"
    );
    run("swapon", &["--priority", "7", &swap]);
}

/// What is on the medium is what a power cut leaves: udev sees it before a journal is replayed.
#[test]
fn a_label_is_on_the_medium_and_not_in_memory_only() {
    if !is_root() {
        return;
    }
    let disk = Disk::new("cut");
    let image = disk.mount("disk.img");
    let (first, bytes) = (start(&disk, 3), 64 << 20);
    let on_medium = || {
        let part = disk.mount("part.img");
        let copy = format!(
            "dd if={image} of={part} bs=1M iflag=skip_bytes,count_bytes skip={first} count={bytes} status=none"
        );
        run("sh", &["-c", &copy]);
        probe(part.as_str(), "LABEL")
    };
    // The control: by tune2fs alone it is not.
    run("tune2fs", &["-L", "other", &disk.part(3)]);
    assert_eq!(
        (probe(&disk.part(3), "LABEL"), on_medium()),
        ("other".into(), "old".into())
    );
    let (_, plan) = disk.plan();
    assert_eq!(
        plan.changes
            .iter()
            .filter(|change| change.bearer == Bearer::Ext)
            .count(),
        1
    );
    disk.apply(&plan, &mut |_| {}).unwrap();
    assert_eq!(on_medium(), "root-cut");
}

/// Where a partition begins, in bytes.
fn start(disk: &Disk, number: u32) -> u64 {
    let name = Utf8Path::new(&disk.device).file_name().unwrap();
    let text = fs::read_to_string(format!("/sys/block/{name}/{name}p{number}/start")).unwrap();
    text.trim().parse::<u64>().unwrap() * 512
}

#[test]
fn the_command_says_where_it_belongs_and_what_it_takes() {
    let landfall = |args: &[&str]| {
        let ended = Command::new(env!("CARGO_BIN_EXE_landfall"))
            .arg("relabel")
            .args(args)
            .output()
            .unwrap();
        (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
    };
    let (code, said) = landfall(&["--label", "home-web"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("/home=home-web"), "{said}");
    if !is_root() {
        let (code, said) = landfall(&[]);
        assert_eq!(code, Some(6));
        assert!(said.contains("next: sudo landfall relabel"), "{said}");
        return;
    }
    let (code, said) = landfall(&["--file", "/nonexistent/hardware-configuration.nix"]);
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains("/nonexistent/hardware-configuration.nix"), "{said}");
    // On a machine without NixOS there is nothing to move.
    if !Utf8Path::new("/run/current-system").exists() {
        let (code, said) = landfall(&[]);
        assert_eq!(code, Some(6), "{said}");
        assert!(
            said.contains("this command changes the NixOS that it runs on"),
            "{said}"
        );
    }
}
