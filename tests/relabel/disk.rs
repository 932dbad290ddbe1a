//! A disk with one of everything, on a loop device, a part of it in use.
//!
//! The process that made it removes it when it is dropped.
//!
//! `relabel` changes it.

use camino::Utf8PathBuf;
use fs_err as fs;
use landfall::real::process::stop::Stop;
use landfall::relabel::RelabelError;
use landfall::relabel::apply::{Told, labels};
use landfall::relabel::facts::{Content, Device, Facts, fstab};
use landfall::relabel::look::{Places, facts};
use landfall::relabel::making::plan;
use landfall::relabel::plan::{Plan, Wanted};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub fn run(program: &str, args: &[&str]) -> String {
    let ended = Command::new(program).args(args).output().unwrap();
    assert!(
        ended.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&ended.stderr)
    );
    String::from_utf8(ended.stdout).unwrap().trim().to_owned()
}

/// Without root no loop device can be made.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// What is mounted, and what it is.
pub const MOUNTED: [(u32, &str); 3] = [(3, "ext4"), (4, "xfs"), (5, "btrfs")];

/// A disk with one of everything, a part of it in use, and a thread that plays udev.
pub struct Disk {
    dir: PathBuf,
    /// Not there in a process that only works on the disk of another.
    keep: Option<tempfile::TempDir>,
    pub device: String,
    tag: String,
    udev: Arc<AtomicBool>,
    player: Option<std::thread::JoinHandle<()>>,
    pub swap_is_on: bool,
}

impl Disk {
    /// `tag` makes the labels those of one test: others run beside it.
    pub fn new(tag: &str) -> Disk {
        Disk::without_udev(tag).with_udev()
    }

    /// The disk of another process.
    pub fn of_another(dir: &str, device: &str, tag: &str) -> Disk {
        Disk {
            dir: dir.into(),
            keep: None,
            device: device.into(),
            tag: tag.into(),
            udev: Arc::new(AtomicBool::new(true)),
            player: None,
            swap_is_on: true,
        }
    }

    /// What [`Disk::of_another`] takes.
    pub fn handed_over(&self) -> [&str; 3] {
        [self.dir.to_str().unwrap(), &self.device, &self.tag]
    }

    /// The same, where nobody makes links.
    pub fn without_udev(tag: &str) -> Disk {
        let keep = tempfile::tempdir().unwrap();
        let dir = keep.path();
        let image = dir.join("disk.img");
        let at = image.to_str().unwrap();
        fs::File::create(&image).unwrap().set_len(800 << 20).unwrap();
        let table =
            "size=64M,type=U,name=ESP\nsize=32M,name=old\nsize=64M\nsize=320M\nsize=128M\nsize=32M,type=S\n";
        fs::write(dir.join("table"), table).unwrap();
        let script = format!(
            "sfdisk --quiet --label gpt {at} < {}",
            dir.join("table").display()
        );
        run("sh", &["-c", &script]);
        let device = attached(at);
        let mut disk = Disk::of_another(dir.to_str().unwrap(), &device, tag);
        disk.keep = Some(keep);
        run("mkfs.vfat", &["-F", "32", "-n", "OLD", &disk.part(1)]);
        let key = disk.dir.join("key");
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
        disk
    }

    pub fn part(&self, number: u32) -> String {
        format!("{}p{number}", self.device)
    }

    pub fn mount(&self, name: &str) -> Utf8PathBuf {
        Utf8PathBuf::from_path_buf(self.dir.join(name)).unwrap()
    }

    pub fn places(&self) -> Places {
        Places {
            fstab: self.mount("fstab"),
            links: self.mount("links"),
            root: self.mount("root"),
        }
    }

    /// Links as udev makes them, of what is on the devices at each moment.
    pub fn with_udev(mut self) -> Disk {
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

    pub fn stop_udev(&mut self) {
        self.udev.store(false, Ordering::Relaxed);
        if let Some(player) = self.player.take() {
            player.join().unwrap();
        }
        fs::remove_dir_all(self.places().links).unwrap();
    }

    pub fn label(&self, what: &str) -> String {
        format!("{what}-{}", self.tag)
    }

    pub fn wanted(&self) -> Wanted {
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
    pub fn plan(&self) -> (Facts, Plan) {
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

    pub fn apply(&self, plan: &Plan, told: &mut dyn FnMut(Told<'_>)) -> Result<(), RelabelError> {
        self.apply_until(plan, &Stop::never(), told)
    }

    pub fn apply_until(
        &self,
        plan: &Plan,
        stop: &Stop,
        told: &mut dyn FnMut(Told<'_>),
    ) -> Result<(), RelabelError> {
        block_on(labels(plan, &self.places(), stop, told))
    }

    /// Everything that must never change: UUIDs, PARTUUIDs, the subsystem of the container.
    pub fn identities(&self) -> Vec<String> {
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

    pub fn check(&self) {
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
pub fn attached(image: &str) -> String {
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

pub fn probe(device: &str, tag: &str) -> String {
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
        if self.keep.is_none() {
            return;
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
