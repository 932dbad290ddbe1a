use super::*;
use crate::real::disk::proc::Dev;
use crate::real::mount::table::MountEntry;
use crate::relabel::facts::{Content, Entry, Swapping, fstab};

#[path = "making_kept_tests.rs"]
mod kept;

struct Machine(Facts);

impl Machine {
    /// A disk with an ESP, and a fstab that says this besides.
    fn new(lines: &str) -> Machine {
        let text = format!("/dev/disk/by-uuid/4A9B-11C2 /boot vfat defaults 0 2\n{lines}");
        let mut machine = Machine(Facts {
            fstab: fstab(&text),
            memory_bytes: 8 << 30,
            ..Facts::default()
        });
        machine.0.devices.push(Device {
            path: "/dev/sda".into(),
            node: "/dev/sda".into(),
            dev: (8, 0),
            kind: "disk".into(),
            carries: true,
            ..Device::default()
        });
        machine.partition(1, "vfat", "4A9B-11C2", Some("EFI"));
        machine.mounted((8, 1), "/boot", false);
        machine
    }

    fn partition(&mut self, number: u32, kind: &str, uuid: &str, label: Option<&str>) -> &mut Device {
        let text = |text: &str| Some(text.to_owned());
        self.0.devices.push(Device {
            path: format!("/dev/sda{number}").into(),
            node: format!("/dev/sda{number}").into(),
            dev: (8, number),
            kind: "part".into(),
            below: vec!["/dev/sda".into()],
            content: (!kind.is_empty()).then(|| Content {
                kind: kind.into(),
                version: (kind == "crypto_LUKS").then(|| "2".into()),
                uuid: text(uuid),
                label: label.map(Into::into),
                boot_label: label.filter(|_| kind == "vfat").map(Into::into),
            }),
            entry: Some(Entry {
                scheme: "gpt".into(),
                number,
                uuid: text(&format!("partuuid-{number}")),
                ..Entry::default()
            }),
            ..Device::default()
        });
        self.0.devices.last_mut().unwrap()
    }

    /// A mapping on a partition.
    fn mapping(&mut self, name: &str, on: u32, kind: &str, uuid: &str) {
        self.0.devices.push(Device {
            path: format!("/dev/mapper/{name}").into(),
            node: format!("/dev/dm-{on}").into(),
            dev: (253, on),
            kind: "crypt".into(),
            below: vec![format!("/dev/sda{on}").into()],
            content: Some(Content {
                kind: kind.into(),
                uuid: Some(uuid.into()),
                ..Content::default()
            }),
            ..Device::default()
        });
        if let Some(device) = self.0.devices.iter_mut().find(|one| one.dev == (8, on)) {
            device.carries = true;
        }
    }

    fn mounted(&mut self, dev: Dev, target: &str, read_only: bool) {
        let mount = MountEntry {
            device: (dev.0.into(), dev.1.into()),
            root: "/".into(),
            target: target.into(),
            read_only,
            stopped: false,
            kind: String::new(),
            source: String::new(),
        };
        self.0.mounts.push((mount, Some(dev)));
    }

    fn plan(&self, wanted: &Wanted) -> Result<Plan, Vec<Problem>> {
        plan(&self.0, wanted, &[])
    }

    fn problem(&self, wanted: &Wanted) -> String {
        let problems = self.plan(wanted).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        format!("{} → {}", problems[0], problems[0].remedy())
    }
}

fn web() -> Wanted {
    Wanted {
        host: "web".into(),
        ..Wanted::default()
    }
}

fn plain() -> Machine {
    let mut machine = Machine::new(
        "/dev/disk/by-uuid/8f1c / ext4 defaults 0 1\n/dev/disk/by-uuid/0c5e none swap defaults 0 0\n",
    );
    machine.partition(2, "ext4", "8f1c", None);
    machine.mounted((8, 2), "/", false);
    machine.partition(3, "swap", "0c5e", Some("old"));
    machine
}

fn encrypted() -> Machine {
    let mut machine = Machine::new("/dev/disk/by-uuid/8f1c / ext4 defaults 0 1\n");
    machine.partition(2, "crypto_LUKS", "d3b0", None);
    machine.mapping("cryptroot", 2, "ext4", "8f1c");
    machine.mounted((253, 2), "/", false);
    machine
}

fn shown(plan: &Plan) -> Vec<String> {
    let change = |change: &Change| {
        let old = change.old.as_deref().unwrap_or("-");
        format!(
            "{} {} ({}): {old} → {}",
            change.what, change.device.path, change.bearer, change.new
        )
    };
    plan.changes.iter().map(change).collect()
}

fn left(plan: &Plan) -> String {
    let lines: Vec<String> = plan
        .left
        .iter()
        .map(|left| format!("{}: {}", left.what, left.why))
        .collect();
    lines.join("\n")
}

#[test]
fn a_plain_machine_gets_its_labels_and_its_links() {
    let machine = plain();
    let plan = machine.plan(&web()).unwrap();
    assert_eq!(
        shown(&plan),
        [
            "/ /dev/sda2 (ext4): - → root-web",
            "swap /dev/sda3 (swap): old → swap-web",
            "/boot /dev/sda1 (FAT): EFI → ESP-WEB",
        ],
        "the ESP last"
    );
    let name = |spec: &str| plan.new_name_in_fstab(&machine.0, spec).unwrap_or_default();
    assert_eq!(name("/dev/disk/by-uuid/8f1c"), "/dev/disk/by-label/root-web");
    assert_eq!(
        name("/dev/disk/by-uuid/4a9b-11c2"),
        "/dev/disk/by-label/ESP-WEB",
        "whatever its case"
    );
    assert_eq!(name("/dev/sda3"), "/dev/disk/by-label/swap-web");
    assert_eq!(name("PARTUUID=partuuid-2"), "/dev/disk/by-label/root-web");
    assert_eq!(name("/dev/disk/by-label/root-web"), "");
    assert_eq!(name("/dev/sdb1") + &name("tmpfs"), "");
    assert_eq!(left(&plan), "");
    // By hand, where no file says it.
    assert_eq!(
        plan.by_hand(&machine.0, &[]),
        [
            "fileSystems.\"/boot\".device = \"/dev/disk/by-label/ESP-WEB\";",
            "fileSystems.\"/\".device = \"/dev/disk/by-label/root-web\";",
            "swapDevices = [ { device = \"/dev/disk/by-label/swap-web\"; } ];",
        ]
    );
}

#[test]
fn a_container_is_named_by_its_partition_and_in_its_header() {
    let machine = encrypted();
    let plan = machine.plan(&web()).unwrap();
    assert_eq!(
        shown(&plan),
        [
            "/ /dev/mapper/cryptroot (ext4): - → root-web",
            "the container cryptroot /dev/sda2 (LUKS2 header): - → luks-web",
            "the container cryptroot /dev/sda2 (partition name): - → luks-web",
            "/boot /dev/sda1 (FAT): EFI → ESP-WEB",
        ]
    );
    let luks = Place::Luks("cryptroot".into());
    assert_eq!(
        plan.new_name(&machine.0, &luks, "/dev/disk/by-uuid/d3b0")
            .as_deref(),
        Some("/dev/disk/by-partlabel/luks-web")
    );
    // A mapping keeps the name that it has from the configuration.
    assert_eq!(plan.new_name_in_fstab(&machine.0, "/dev/mapper/cryptroot"), None);
    // A name of the container is none of the filesystem.
    assert_eq!(plan.new_name_in_fstab(&machine.0, "/dev/disk/by-uuid/d3b0"), None);
    assert_eq!(plan.new_name(&machine.0, &luks, "/dev/disk/by-uuid/8f1c"), None);
    assert_eq!(
        plan.containers(),
        [("/dev/disk/by-partlabel/luks-web".to_owned(), "d3b0".to_owned())]
    );
}

#[test]
fn a_container_without_a_gpt_is_named_by_its_header_if_that_has_a_label() {
    let mut machine = encrypted();
    let container = machine
        .0
        .devices
        .iter_mut()
        .find(|one| one.dev == (8, 2))
        .unwrap();
    container.entry.as_mut().unwrap().scheme = "dos".into();
    let plan = machine.plan(&web()).unwrap();
    assert_eq!(plan.containers()[0].0, "/dev/disk/by-label/luks-web");
    let container = machine
        .0
        .devices
        .iter_mut()
        .find(|one| one.dev == (8, 2))
        .unwrap();
    container.content.as_mut().unwrap().version = Some("1".into());
    let plan = machine.plan(&web()).unwrap();
    assert!(plan.containers().is_empty());
    assert!(
        left(&plan).contains("a LUKS1 header has no label"),
        "{}",
        left(&plan)
    );
}

#[test]
fn what_has_its_label_is_done_and_what_waits_for_use_is_seen() {
    let mut machine = plain();
    for device in &mut machine.0.devices {
        if let Some(content) = &mut device.content {
            let label = match content.kind.as_str() {
                "ext4" => "root-web",
                "swap" => "swap-web",
                _ => "ESP-WEB",
            };
            content.label = Some(label.into());
            content.boot_label = (content.kind == "vfat").then(|| label.into());
        }
    }
    machine.0.swaps.push(Swapping {
        path: "/dev/sda3".into(),
        used_bytes: 0,
        priority: -2,
    });
    let plan = machine.plan(&web()).unwrap();
    assert!(
        plan.changes
            .iter()
            .all(|change| change.is_done() && !change.waits_for_use())
    );
    // A run was killed while the ESP was unmounted and the swap off.
    machine.0.swaps.clear();
    machine.0.mounts.retain(|(mount, _)| mount.target != "/boot");
    let plan = machine.plan(&web()).unwrap();
    let waiting: Vec<&str> = plan
        .changes
        .iter()
        .filter(|one| one.waits_for_use())
        .map(|one| one.what.as_str())
        .collect();
    assert_eq!(waiting, ["swap", "/boot"]);
    for line in &mut machine.0.fstab {
        line.options = vec!["noauto".into()];
    }
    let plan = machine.plan(&web()).unwrap();
    assert!(
        !plan.changes.iter().any(Change::waits_for_use),
        "nobody wants it mounted"
    );
}

#[test]
fn half_a_label_of_a_fat_is_none() {
    let mut machine = plain();
    let esp = machine
        .0
        .devices
        .iter_mut()
        .find(|one| one.dev == (8, 1))
        .unwrap();
    let content = esp.content.as_mut().unwrap();
    (content.label, content.boot_label) = (Some("EFI".into()), Some("ESP-WEB".into()));
    let plan = machine.plan(&web()).unwrap();
    assert!(
        !plan
            .changes
            .iter()
            .find(|one| one.what == "/boot")
            .unwrap()
            .is_done()
    );
    // The one in the root directory is what is looked for.
    machine.0.fstab[0].spec = "LABEL=EFI".into();
    let wanted = Wanted {
        esp: Some("ESP-WEB".into()),
        ..web()
    };
    assert!(machine.problem(&wanted).contains("is used at boot by"));
}

#[test]
fn a_label_that_something_boots_by_is_never_taken_away() {
    let mut machine = plain();
    machine
        .0
        .devices
        .iter_mut()
        .find(|one| one.dev == (8, 2))
        .unwrap()
        .content
        .as_mut()
        .unwrap()
        .label = Some("nixos".into());
    machine.0.fstab[1].spec = "/dev/disk/by-label/nixos".into();
    // Unless another one is asked for, it is kept.
    let plan = machine.plan(&web()).unwrap();
    assert_eq!(shown(&plan)[0], "/ /dev/sda2 (ext4): nixos → nixos");
    let wanted = Wanted {
        root: Some("root-web".into()),
        ..web()
    };
    assert_eq!(
        machine.problem(&wanted),
        "/ (/dev/sda2): its label \"nixos\" is used at boot by the running system (its fstab, for /), which would not boot with another label → keep the label: --root nixos"
    );
    // So does what the kernel was told, such as where it resumes from.
    let mut machine = plain();
    machine.0.kernel_words = vec!["quiet".into(), "resume=LABEL=old".into()];
    assert!(
        machine
            .problem(&web())
            .contains("is used at boot by the running system (its kernel parameter resume=LABEL=old)")
    );
    // Likewise a container that a file names by its partition, which the fstab does not show.
    let mut machine = encrypted();
    machine
        .0
        .devices
        .iter_mut()
        .find(|one| one.dev == (8, 2))
        .unwrap()
        .entry
        .as_mut()
        .unwrap()
        .name = Some("crypt".into());
    let files = [InFile {
        file: "hardware-configuration.nix".into(),
        line: 7,
        place: Place::Luks("cryptroot".into()),
        device: Ok("/dev/disk/by-partlabel/crypt".into()),
    }];
    let kept = plan_with(&machine, &web(), &files).unwrap();
    assert_eq!(kept.containers()[0].0, "/dev/disk/by-partlabel/crypt");
    let wanted = Wanted {
        luks: Some("luks-web".into()),
        ..web()
    };
    let problems = plan_with(&machine, &wanted, &files).unwrap_err();
    assert!(
        matches!(&problems[..], [Problem::BootsByIt { old, .. }] if old == "crypt"),
        "{problems:?}"
    );
}

fn plan_with(machine: &Machine, wanted: &Wanted, files: &[InFile]) -> Result<Plan, Vec<Problem>> {
    plan(&machine.0, wanted, files)
}

#[test]
fn a_label_that_another_device_has_or_that_is_too_long_is_a_problem() {
    let mut machine = plain();
    let other = machine.partition(9, "ext4", "7777", Some("root-web"));
    other.path = "/dev/sdb1".into();
    assert_eq!(
        machine.problem(&web()),
        "/ (/dev/sda2): its new label \"root-web\" is already on /dev/sdb1, and /dev/disk/by-label has one link for each label → choose another label (--root)"
    );
    let wanted = |root: &str, esp: &str| Wanted {
        root: Some(root.into()),
        esp: Some(esp.into()),
        ..web()
    };
    let machine = plain();
    assert!(
        machine
            .problem(&wanted("r".repeat(17).as_str(), "ESP"))
            .contains("1 to 16 characters")
    );
    assert!(
        machine
            .problem(&wanted("root", "esp"))
            .contains("FAT keeps upper case only")
    );
    assert!(
        machine
            .problem(&wanted("SAME", "SAME"))
            .contains("both would get the label \"SAME\"")
    );
    // A name of a partition and a label of a filesystem do not meet.
    let mut machine = plain();
    machine.partition(9, "", "", None).entry.as_mut().unwrap().name = Some("root-web".into());
    assert!(machine.plan(&web()).is_ok());
    // Of a Btrfs on two devices both have it.
    let mut machine = Machine::new("/dev/disk/by-uuid/8f1c / btrfs defaults 0 1\n");
    machine.partition(2, "btrfs", "8f1c", Some("root-web"));
    machine.partition(3, "btrfs", "8f1c", Some("root-web"));
    machine.mounted((8, 3), "/", false);
    assert!(
        machine
            .plan(&web())
            .unwrap()
            .changes
            .iter()
            .any(|one| one.bearer == Bearer::Btrfs && one.is_done())
    );
}

#[test]
fn one_filesystem_with_many_mounts_gets_one_label() {
    let mut machine = Machine::new(
        "/dev/disk/by-uuid/8f1c / btrfs subvol=root 0 1\n/dev/disk/by-uuid/8f1c /home btrfs subvol=home 0 1\n",
    );
    machine.partition(2, "btrfs", "8f1c", None);
    machine.mounted((8, 2), "/", false);
    machine.mounted((8, 2), "/home", false);
    let plan = machine.plan(&web()).unwrap();
    assert_eq!(plan.changes.len(), 2, "{:?}", shown(&plan));
    let by_hand = plan.by_hand(&machine.0, &[]);
    assert!(
        by_hand
            .iter()
            .any(|line| line.starts_with("fileSystems.\"/home\"")),
        "{by_hand:?}"
    );
}

#[test]
fn what_cannot_be_written_to_or_taken_out_of_use_is_a_problem() {
    let mut machine = plain();
    machine
        .0
        .mounts
        .iter_mut()
        .for_each(|(mount, _)| mount.read_only = true);
    assert_eq!(
        machine.problem(&web()),
        "/ (/dev/sda2): it is mounted read-only at / → mount -o remount,rw /"
    );
    let mut machine = plain();
    machine.mounted((8, 1), "/efi", false);
    assert_eq!(
        machine.problem(&web()),
        "/boot (/dev/sda1): it must be unmounted for the change, and it is mounted in several places: /boot and /efi → umount /efi"
    );
    let mut machine = plain();
    machine.0.swaps.push(Swapping {
        path: "/dev/sda3".into(),
        used_bytes: 7 << 30,
        priority: 1,
    });
    assert!(machine.problem(&web()).starts_with(
        "swap (/dev/sda3): it must be switched off for the change, but it holds 7516192768 bytes"
    ));
    machine.0.swaps[0].used_bytes = 1 << 30;
    assert!(machine.plan(&web()).is_ok());
    let mut machine = plain();
    // blkid names neither of two signatures; udev's link is from before.
    let root = machine
        .0
        .devices
        .iter_mut()
        .find(|one| one.dev == (8, 2))
        .unwrap();
    (root.content, root.doubt) = (None, Some("ext4 and xfs".into()));
    assert!(
        machine
            .problem(&web())
            .contains("landfall finds no device for it")
    );
    machine.0.links.insert("/dev/disk/by-uuid/8f1c".into(), (8, 2));
    assert!(machine.problem(&web()).contains("not clear: ext4 and xfs"));
}

#[test]
fn root_has_to_be_known() {
    let machine = Machine::new("/dev/disk/by-uuid/gone / ext4 defaults 0 1\n");
    assert!(machine.problem(&web()).contains("by-uuid/gone"));
    let machine = Machine::new("");
    assert!(machine.problem(&web()).contains("has no line for it"));
    // Root in memory, or on ZFS, is known to be no device.
    for line in ["none / tmpfs size=2G 0 0\n", "rpool/root / zfs zfsutil 0 0\n"] {
        let machine = Machine::new(line);
        let wanted = Wanted {
            root: Some("root-web".into()),
            ..web()
        };
        let plan = machine.plan(&wanted).unwrap();
        assert_eq!(plan.changes.len(), 1);
        assert!(left(&plan).contains("label root-web: this machine has no filesystem at / to relabel"));
    }
}

#[test]
fn what_is_not_asked_for_or_not_understood_is_named_and_left_alone() {
    let mut machine = Machine::new(
        "/dev/disk/by-uuid/8f1c / ext4 defaults 0 1\n/dev/disk/by-uuid/77aa /data ext4 nofail 0 2\n\
         /dev/disk/by-uuid/gone /usb ext4 nofail 0 2\n/dev/disk/by-uuid/f2f2 /fast f2fs defaults 0 2\n\
         /dev/dm-5 none swap defaults 0 0\n/swapfile none swap defaults 0 0\n/data/srv /srv none bind 0 0\n",
    );
    machine.partition(2, "linux_raid_member", "m", None);
    machine.0.devices.push(Device {
        path: "/dev/md0".into(),
        node: "/dev/md0".into(),
        dev: (9, 0),
        kind: "raid1".into(),
        below: vec!["/dev/sda2".into()],
        content: Some(Content {
            kind: "ext4".into(),
            uuid: Some("8f1c".into()),
            ..Content::default()
        }),
        ..Device::default()
    });
    machine.mounted((9, 0), "/", false);
    machine.partition(3, "ext4", "77aa", None);
    machine.mounted((8, 3), "/data", false);
    machine.partition(4, "f2fs", "f2f2", None);
    machine.partition(5, "", "", None);
    machine.mapping("dev-sda5", 5, "swap", "new-each-time");
    let plan = machine.plan(&web()).unwrap();
    assert_eq!(plan.changes.len(), 2, "{:?}", shown(&plan));
    expect_test::expect![[r#"
        /dev/sda2: it is a member of a Linux RAID (md)
        /data (/dev/sda3): it keeps /dev/disk/by-uuid/77aa; to give it a label: --label /data=LABEL
        /usb: no attached device is /dev/disk/by-uuid/gone
        /fast (/dev/sda4): this command does not relabel f2fs
        swap (/dev/mapper/dev-sda5): it is swap with a random key, which is made again at each boot
        /swapfile: a swap file has no label"#]]
    .assert_eq(&left(&plan));
    let wanted = Wanted {
        more: [("/data".to_owned(), "data-web".to_owned())].into(),
        ..web()
    };
    let plan = machine.plan(&wanted).unwrap();
    assert!(shown(&plan).iter().any(|line| line.ends_with("data-web")));
    for (what, why) in [
        ("/nowhere", "the fstab does not have this mount point"),
        ("/fast", "cannot give a label"),
    ] {
        let wanted = Wanted {
            more: [(what.to_owned(), "x".to_owned())].into(),
            ..web()
        };
        let problem = machine.problem(&wanted);
        assert!(
            problem.contains(&format!("{what}=x")) && problem.contains(why),
            "{problem}"
        );
    }
}
