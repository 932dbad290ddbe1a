#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::super::sysfs::Partition;
use super::*;
use crate::real::disk::known_ids;
use landfall_states::actions::partition_disk::KernelPartition;
use landfall_states::plan::DiskIdentity;

const LUKS: Uuid = Uuid::from_u128(0x1111_2222_3333_4444_5555_6666_7777_8888);

fn block(name: &str, minor: u32) -> Block {
    Block {
        name: name.into(),
        dev: (8, minor),
        identity: DiskIdentity {
            wwn: None,
            serial: Some(name.into()),
            path: None,
            size_bytes: 8 << 30,
            sector_bytes: 512,
        },
        model: None,
        place: None,
        transport: "scsi",
        removable: false,
        read_only: false,
        hidden: false,
        holders: vec![],
        slaves: vec![],
        network: None,
        port: None,
        loop_file: None,
        mapping: None,
        partitions: vec![],
    }
}

fn disk(name: &str, minor: u32, partitions: u32) -> Block {
    Block {
        partitions: (1..=partitions)
            .map(|number| Partition {
                name: format!("{name}{number}"),
                dev: (8, minor + number),
                kernel: KernelPartition {
                    number,
                    first_lba: u64::from(number) * 2048,
                    sectors: 2048,
                },
                holders: vec![],
                partuuid: None,
            })
            .collect(),
        ..block(name, minor)
    }
}

fn mount(dev: Dev, point: &str, kind: &str) -> Mount {
    Mount {
        dev,
        point: point.into(),
        kind: kind.into(),
        source: "x".into(),
    }
}

fn mapping(name: &str, uuid: String, slave: &str, minor: u32) -> Block {
    Block {
        dev: (253, minor),
        mapping: Some((name.into(), uuid)),
        slaves: vec![slave.into()],
        ..block(&format!("dm-{minor}"), 0)
    }
}

fn own() -> Own {
    Own {
        partitions: vec![(1, 2048, 2048), (2, 4096, 2048)],
        luks: vec![LUKS],
    }
}

/// A machine with sda (two partitions) and sdb, changed by `change`; the uses of sda.
fn uses(own: &Own, change: impl FnOnce(&mut Machine)) -> Uses {
    let mut machine = Machine {
        blocks: vec![disk("sda", 0, 2), disk("sdb", 16, 1)],
        ..Machine::default()
    };
    change(&mut machine);
    machine.uses(&machine.blocks[0].clone(), own, &[])
}

#[test]
fn a_disk_at_rest_has_no_users() {
    assert_eq!(uses(&own(), |_| ()), Uses::default());
    // What others use is their business.
    assert_eq!(
        uses(&own(), |m| m.mounts.push(mount((8, 17), "/srv", "ext4"))),
        Uses::default()
    );
}

#[test]
fn mounts_by_anybody_and_swap_are_uses() {
    let mounted = uses(&own(), |m| m.mounts.push(mount((8, 2), "/srv", "ext4")));
    assert_eq!(mounted.foreign_users, ["partition 2 is mounted at /srv"]);
    let btrfs = uses(&own(), |m| {
        m.mounts.push(Mount {
            source: "/dev/sda2".into(),
            ..mount((0, 40), "/srv", "btrfs")
        });
        m.sources.insert("/dev/sda2".into(), (8, 2));
    });
    assert_eq!(btrfs.foreign_users, ["partition 2 is mounted at /srv"]);
    let swap = uses(&own(), |m| m.swaps.push(("/dev/sda1".into(), (8, 1))));
    assert_eq!(swap.foreign_users, ["swap is on it (/dev/sda1)"]);
}

#[test]
fn what_a_killed_run_left_is_told_apart() {
    let left = |own: &Own, point: &str, uuid: Uuid| {
        uses(own, |m| {
            m.blocks[0].partitions[1].holders.push("dm-0".into());
            m.blocks.push(mapping(
                "cryptroot",
                format!("CRYPT-LUKS2-{}-cryptroot", uuid.simple()),
                "sda2",
                0,
            ));
            m.mounts.push(mount((253, 0), point, "ext4"));
            m.mounts.push(mount((8, 1), "/mnt/boot", "vfat"));
            m.busy.extend(["sda".to_owned(), "sda1".into(), "sda2".into()]);
        })
    };
    let ours = left(&own(), "/mnt", LUKS);
    assert!(ours.foreign_users.is_empty(), "{:?}", ours.foreign_users);
    assert_eq!(ours.own.len(), 3, "{:?}", ours.own);
    // Another container, another mount point, or another table: all of them foreign users.
    assert_eq!(left(&own(), "/mnt", Uuid::nil()).foreign_users.len(), 2);
    assert_eq!(left(&own(), "/srv", LUKS).foreign_users.len(), 1);
    assert_eq!(left(&Own::default(), "/mnt", LUKS).foreign_users.len(), 3);
    assert_eq!(left(&own(), "/mnt-other", LUKS).foreign_users.len(), 1);
}

#[test]
fn swap_for_a_build_is_told_apart() {
    let left = |own: &Own, uuid: &str| {
        uses(own, |m| {
            m.blocks[0].partitions[1].holders.push("dm-0".into());
            m.blocks
                .push(mapping("landfall-swap", uuid.to_owned(), "sda2", 0));
            m.swaps.push(("/dev/dm-0".into(), (253, 0)));
            m.busy.extend(["sda".to_owned(), "sda2".into()]);
        })
    };
    let ours = left(&own(), "CRYPT-PLAIN-landfall-swap");
    assert!(ours.foreign_users.is_empty(), "{:?}", ours.foreign_users);
    assert_eq!(ours.own.len(), 2, "{:?}", ours.own);
    // Another mapping, or another table; and what would end it then.
    assert_eq!(left(&own(), "CRYPT-PLAIN-swap").foreign_users.len(), 2);
    let other = left(&Own::default(), "CRYPT-PLAIN-landfall-swap");
    assert_eq!(other.foreign_users.len(), 2, "{other:?}");
    assert_eq!(
        other.release,
        ["swapoff /dev/dm-0", "cryptsetup close landfall-swap"]
    );
}

#[test]
fn something_stacked_upon_our_mapping_is_a_stranger() {
    let found = uses(&own(), |m| {
        m.blocks[0].partitions[1].holders.push("dm-0".into());
        let mut ours = mapping(
            "cryptroot",
            format!("CRYPT-LUKS2-{}-cryptroot", LUKS.simple()),
            "sda2",
            0,
        );
        ours.holders.push("dm-1".into());
        m.blocks.push(ours);
        m.blocks.push(mapping("vg-root", "LVM-x".into(), "dm-0", 1));
        m.mounts.push(mount((253, 1), "/mnt", "ext4"));
    });
    assert_eq!(found.foreign_users.len(), 2, "{found:?}");
}

#[test]
fn the_boot_medium_is_found_through_loop_and_squashfs() {
    let found = uses(&own(), |m| {
        let mut squash = block("loop0", 0);
        squash.dev = (7, 0);
        squash.loop_file = Some("/iso/nix-store.squashfs".into());
        m.blocks.push(squash);
        m.loops.insert("loop0".into(), (8, 0));
        m.mounts.push(mount((7, 0), "/nix/.ro-store", "squashfs"));
    });
    assert_eq!(
        found.boot,
        ["this system runs from it (the disk holds /nix/.ro-store)"]
    );
    let iso = uses(&own(), |m| m.mounts.push(mount((8, 0), "/iso", "iso9660")));
    assert_eq!(iso.boot.len(), 1);
    assert_eq!(iso.foreign_users, ["the disk is mounted at /iso"]);
}

#[test]
fn a_loop_device_on_a_hidden_mount_or_on_the_disk_itself_counts() {
    let found = uses(&own(), |m| {
        let mut squash = block("loop0", 0);
        squash.dev = (7, 0);
        m.blocks.push(squash);
        m.loops.insert("loop0".into(), (8, 1));
    });
    assert_eq!(found.foreign_users, ["loop0 is on partition 1"]);
}

#[test]
fn holders_members_and_what_only_the_kernel_knows() {
    let md = uses(&own(), |m| m.blocks[0].holders.push("md0".into()));
    assert_eq!(md.foreign_users, ["the disk is held by md0"]);
    let lsblk = uses(&own(), |m| {
        m.lsblk.push(Row {
            name: "sda2".into(),
            above: vec!["sda".into()],
            kind: "part".into(),
            fstype: Some("ddf_raid_member".into()),
            label: None,
            model: None,
            pttype: None,
        });
    });
    assert_eq!(lsblk.members, ["partition 2 is a member of a firmware RAID"]);
    assert!(lsblk.foreign_users.is_empty(), "nothing uses it");
    let busy = uses(&own(), |m| m.busy.extend(["sda".to_owned(), "sda2".into()]));
    assert!(
        busy.foreign_users[0].contains("partition 2 is in use"),
        "{busy:?}"
    );
    assert_eq!(
        uses(&own(), |m| m.busy.extend(["sda".to_owned()]))
            .foreign_users
            .len(),
        1
    );
    // Our own mount on one partition does not hide a stranger on the other.
    let both = uses(&own(), |m| {
        m.mounts.push(mount((8, 1), "/mnt/boot", "vfat"));
        m.busy.extend(["sda".to_owned(), "sda1".into(), "sda2".into()]);
    });
    assert_eq!((both.own.len(), both.foreign_users.len()), (1, 1), "{both:?}");
    let members = Machine::default().uses(
        &disk("sda", 0, 2),
        &own(),
        &[(
            Some(2),
            vec![Signature {
                member_of: Some("an LVM physical volume"),
                ..Signature::of("LVM2_member")
            }],
        )],
    );
    assert_eq!(members.members, ["partition 2 is an LVM physical volume"]);
    assert!(members.foreign_users.is_empty() && members.release.is_empty());
}

/// As umount of util-linux 2.38.1 did it: with something mounted below, `umount` says that the target is busy; `umount -R` takes the last
/// mount at that place and all below it; and a mount under a covered folder is `no mount point specified`.
#[test]
fn what_is_mounted_over_or_below_goes_first() {
    let released = |mounts: &[(Dev, &str)]| {
        let found = uses(&own(), |m| {
            m.mounts
                .extend(mounts.iter().map(|(dev, point)| mount(*dev, point, "x")));
        });
        found.release
    };
    let (mine, second, other) = ((8, 1), (8, 2), (0, 5));
    assert_eq!(
        released(&[(mine, "/srv"), (other, "/srv2")]),
        ["umount /srv"],
        "the control"
    );
    assert_eq!(
        released(&[
            (mine, "/srv"),
            (other, "/srv/proc"),
            (other, "/srv/sys/efi"),
            (second, "/srv/boot")
        ]),
        ["umount /srv/boot", "umount -R /srv"]
    );
    // Another one at the same place, twice.
    assert_eq!(
        released(&[
            (mine, "/srv"),
            (other, "/srv"),
            (other, "/srv/x"),
            (other, "/srv")
        ]),
        ["umount /srv", "umount -R /srv", "umount /srv"]
    );
    // Under a folder that was covered later.
    assert_eq!(
        released(&[(other, "/a"), (mine, "/a/b"), (other, "/a")]),
        ["umount /a", "umount /a/b"]
    );
    assert_eq!(released(&[(mine, "/srv"), (other, "/")]), ["umount /srv"]);
    let found = uses(&own(), |m| {
        m.mounts.push(mount(mine, "/srv", "ext4"));
        m.swaps.push(("/srv/swap file".into(), (8, 1)));
    });
    assert_eq!(found.release, ["swapoff -- '/srv/swap file'", "umount /srv"]);
}

#[test]
fn a_name_that_looks_like_an_option_is_an_operand() {
    for (name, uuid, command) in [
        ("--force", "CRYPT-LUKS2-1-x", "cryptsetup close -- '--force'"),
        ("a b", "CRYPT-LUKS2-1-x", "cryptsetup close -- 'a b'"),
        ("-f'x", "", "dmsetup remove -- '-f'\\''x'"),
        ("--f-x", "LVM-abc", "vgchange --activate n -- '-f'"),
        ("plain-1", "CRYPT-LUKS2-1-x", "cryptsetup close plain-1"),
    ] {
        let found = uses(&own(), |m| {
            m.blocks[0].partitions[0].holders.push("dm-0".into());
            m.blocks.push(mapping(name, uuid.into(), "sda1", 0));
        });
        assert_eq!(found.release, [command], "{name}");
    }
}

#[test]
fn what_is_active_is_released_by_the_command_of_its_kind() {
    let found = uses(&own(), |m| {
        m.blocks[0].partitions[0].holders.push("dm-0".into());
        let mut volume = mapping("my--group-home", "LVM-abc".into(), "sda1", 0);
        volume.holders.push("dm-1".into());
        m.blocks.push(volume);
        m.blocks
            .push(mapping("secret", "CRYPT-LUKS2-1-secret".into(), "dm-0", 1));
        m.mounts.push(mount((253, 1), "/srv/my films", "ext4"));
        m.blocks[0].partitions[1].holders.push("md127".into());
        m.swaps.push(("/dev/sda2".into(), (8, 2)));
    });
    assert_eq!(
        found.release,
        [
            "swapoff /dev/sda2",
            "umount -- '/srv/my films'",
            "cryptsetup close secret",
            "vgchange --activate n my-group",
            "mdadm --stop /dev/md127"
        ]
    );
    let machine = Machine {
        blocks: vec![disk("sda", 0, 2)],
        busy: ["sda".to_owned(), "sda2".into()].into(),
        ..Machine::default()
    };
    let pool = Signature {
        label: Some("tank".into()),
        member_of: Some("a member of a ZFS pool"),
        words: Some("ZFS pool tank".into()),
        ..Signature::of("zfs_member")
    };
    let busy = machine.uses(&machine.blocks[0], &own(), &[(Some(2), vec![pool])]);
    assert_eq!(busy.release, ["zpool export tank"]);
    assert_eq!(
        busy.members,
        ["partition 2 is a member of a ZFS pool (ZFS pool tank)"]
    );
}

#[test]
fn a_volume_group_is_released_after_its_users() {
    // The container is on a volume, and the group on an array: what was found first is not what goes first.
    let found = uses(&own(), |m| {
        m.blocks[0].partitions[0].holders.push("md0".into());
        let mut array = block("md0", 0);
        array.slaves = vec!["sda1".into()];
        array.holders = vec!["dm-0".into(), "dm-1".into()];
        m.blocks.push(array);
        m.blocks.push(mapping("vg-a", "LVM-a".into(), "md0", 0));
        let mut below = mapping("vg-b", "LVM-b".into(), "md0", 1);
        below.holders.push("dm-2".into());
        m.blocks.push(below);
        m.blocks
            .push(mapping("safe", "CRYPT-LUKS2-1-safe".into(), "dm-1", 2));
    });
    assert_eq!(
        found.release,
        [
            "cryptsetup close safe",
            "vgchange --activate n vg",
            "mdadm --stop /dev/md0"
        ]
    );
}

#[test]
fn a_pool_at_the_end_of_a_partition_is_not_the_whole_disks() {
    let row = |name: &str, fstype: &str| Row {
        name: name.into(),
        above: vec![],
        kind: "disk".into(),
        fstype: Some(fstype.into()),
        label: None,
        model: None,
        pttype: None,
    };
    let members = |signatures: &[(Option<u32>, Vec<Signature>)]| {
        let machine = Machine {
            blocks: vec![disk("sda", 0, 2)],
            lsblk: vec![row("sda", "zfs_member")],
            ..Machine::default()
        };
        machine.uses(&machine.blocks[0], &own(), signatures).members
    };
    assert_eq!(members(&[(Some(1), vec![])]), Vec::<String>::new());
    assert_eq!(members(&[]).len(), 1);
}

#[test]
fn a_ring_of_devices_ends() {
    let found = uses(&own(), |m| {
        let mut a = mapping("a", "x".into(), "dm-1", 0);
        a.slaves.push("sda1".into());
        m.blocks.push(a);
        m.blocks.push(mapping("b", "y".into(), "dm-0", 1));
        m.mounts.push(mount((253, 1), "/srv", "ext4"));
    });
    assert_eq!(found.foreign_users, ["partition 1 is mounted at /srv"]);
}

#[test]
fn own_ids_come_from_the_plan_and_only_with_its_table() {
    let config = crate::real::steps::partition::tests::config(true);
    let plans = known_ids::all(&config, &block("sda", 0).identity);
    assert_eq!(
        plans.len() as u32,
        landfall_states::recovery::NONCE_MAX + 1,
        "the one bound"
    );
    let plan = &plans[3];
    assert_eq!(plan.nonce, 3);
    let own = Own::of(Some(plan), Some(plan.table.disk_guid));
    assert_eq!((own.partitions.len(), own.luks.len()), (2, 2));
    assert!(own.maps(&format!(
        "CRYPT-LUKS2-{}-cryptroot",
        plan.luks.as_ref().unwrap().id.simple()
    )));
    assert!(!own.maps(&format!(
        "CRYPT-LUKS2-{}",
        plan.luks.as_ref().unwrap().id.simple()
    )));
    assert_eq!(Own::of(Some(plan), Some(Uuid::nil())), Own::default());
    assert_eq!(Own::of(None, None), Own::default());
}

/// As bash reads it (tried with bash 5.2: `printf %s` gives the word again).
#[test]
fn a_quoted_word_is_one_word_and_one_line() {
    for (word, shown) in [
        ("/dev/sda", "/dev/sda"),
        ("", "''"),
        ("a b", "'a b'"),
        ("it's", r"'it'\''s'"),
        ("a\nb", r"$'a\nb'"),
        ("tab\there", r"$'tab\there'"),
        ("\u{1b}[31m'\\n", r"$'\u001b[31m\'\\n'"),
        ("\u{e4}\u{7f}", "$'\u{e4}\\u007f'"),
        ("$HOME `id`", "'$HOME `id`'"),
    ] {
        assert_eq!(shell(word), shown);
    }
}
