use super::*;
use proptest::prelude::*;

/// util-linux 2.38.1, shortened: a disk with LUKS, and a RAID on two disks.
const LSBLK: &str = r#"{
   "blockdevices": [
      {"name":"/dev/nvme0n1","kname":"/dev/nvme0n1","type":"disk","maj:min":"259:0",
         "children": [
            {"name":"/dev/nvme0n1p1","kname":"/dev/nvme0n1p1","type":"part","maj:min":"259:1"},
            {"name":"/dev/nvme0n1p2","kname":"/dev/nvme0n1p2","type":"part","maj:min":"259:2",
               "children": [
                  {"name":"/dev/mapper/cryptroot","kname":"/dev/dm-0","type":"crypt","maj:min":"253:0"}
               ]
            }
         ]
      },
      {"name":"/dev/sda","kname":"/dev/sda","type":"disk","maj:min":"8:0",
         "children": [ {"name":"/dev/md0","kname":"/dev/md0","type":"raid1","maj:min":"9:0"} ]
      },
      {"name":"/dev/sdb","kname":"/dev/sdb","type":"disk","maj:min":"8:16",
         "children": [ {"name":"/dev/md0","kname":"/dev/md0","type":"raid1","maj:min":"9:0"} ]
      }
   ]
}"#;

#[test]
fn devices_are_listed_once_with_what_they_lie_on() {
    let devices = devices(LSBLK).unwrap();
    let shown: Vec<String> = devices
        .iter()
        .map(|one| {
            let below: Vec<&str> = one.below.iter().map(|node| node.as_str()).collect();
            format!(
                "{} {} on [{}] {}",
                one.path,
                one.kind,
                below.join(" "),
                one.carries
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "/dev/nvme0n1 disk on [] true",
            "/dev/nvme0n1p1 part on [/dev/nvme0n1] false",
            "/dev/nvme0n1p2 part on [/dev/nvme0n1] true",
            "/dev/mapper/cryptroot crypt on [/dev/nvme0n1p2] false",
            "/dev/sda disk on [] true",
            "/dev/md0 raid1 on [/dev/sda /dev/sdb] false",
            "/dev/sdb disk on [] true",
        ]
    );
    assert!(super::devices("").unwrap().is_empty());
    assert!(super::devices("{}").is_err() && super::devices("lsblk: error").is_err());
}

#[test]
fn what_blkid_prints_is_understood() {
    // util-linux 2.38.1, on a partition of a loop device.
    let fat = "DEVNAME=/dev/loop0p1\nLABEL_FATBOOT=EFI\\ A\nLABEL=EFI\\ A\nUUID=4A9B-11C2\nVERSION=FAT32\nTYPE=vfat\nUSAGE=filesystem\nPART_ENTRY_SCHEME=gpt\nPART_ENTRY_NAME=ESP\nPART_ENTRY_UUID=1e871f6a-2427-4646-b07f-0d9e11223344\nPART_ENTRY_TYPE=c12a7328-f81f-11d2-ba4b-00a0c93ec93b\nPART_ENTRY_NUMBER=1\n";
    let (content, entry) = content(fat);
    let (content, entry) = (content.unwrap(), entry.unwrap());
    assert_eq!(
        (content.kind.as_str(), content.label.as_deref()),
        ("vfat", Some("EFI A"))
    );
    assert_eq!((entry.number, entry.name.as_deref()), (1, Some("ESP")));
    let device = |boot_label: Option<&str>| Device {
        content: Some(Content {
            boot_label: boot_label.map(Into::into),
            ..content.clone()
        }),
        ..Device::default()
    };
    assert_eq!(device(Some("EFI A")).label(), Some("EFI A"));
    // fatlabel, killed between its two writes.
    assert_eq!(
        device(Some("OTHER")).label(),
        None,
        "a FAT has its label in two places, or not at all"
    );
    assert_eq!(super::content("DEVNAME=/dev/sda\nPTTYPE=gpt\n"), (None, None));
}

#[test]
fn an_fstab_is_understood() {
    let text = "# made by NixOS\n\n/dev/disk/by-uuid/8f1c / ext4 x-initrd.mount 0 1\n/dev/disk/by-uuid/a\\040b /a\\040b ext4 defaults,nofail 0 2\n/dev/disk/by-uuid/0c5e none swap defaults\nshort line\n";
    let lines = fstab(text);
    assert_eq!(lines.len(), 3);
    assert_eq!(
        (lines[1].spec.as_str(), lines[1].target.as_str()),
        ("/dev/disk/by-uuid/a b", "/a b")
    );
    assert_eq!(lines[1].options, ["defaults", "nofail"]);
}

#[test]
fn swap_and_memory_are_understood() {
    let text = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/dev/dm-1                               partition\t8388604\t\t1024\t\t-2\n";
    let expected = Swapping {
        path: "/dev/dm-1".into(),
        used_bytes: 1 << 20,
        priority: -2,
    };
    assert_eq!(swaps(text).unwrap(), [expected]);
    assert!(swaps("Filename\nhalf a line\n").is_err());
    assert_eq!(
        memory_available("MemTotal: 9 kB\nMemAvailable:     2048 kB\n"),
        Some(2 << 20)
    );
    assert_eq!(memory_available(""), None);
}

fn device(path: &str, dev: Dev, kind: &str, uuid: &str, label: Option<&str>) -> Device {
    Device {
        path: path.into(),
        node: path.into(),
        dev,
        kind: "part".into(),
        content: Some(Content {
            kind: kind.into(),
            uuid: Some(uuid.into()),
            label: label.map(Into::into),
            ..Content::default()
        }),
        ..Device::default()
    }
}

#[test]
fn a_name_that_two_devices_have_means_neither() {
    let mut facts = Facts {
        devices: vec![
            device("/dev/sda1", (8, 1), "ext4", "aa-bb", Some("one")),
            device("/dev/sdb1", (8, 17), "ext4", "AA-BB", Some("two")),
        ],
        ..Facts::default()
    };
    assert!(
        facts.named("/dev/disk/by-uuid/aa-bb").is_none(),
        "a copy of a disk"
    );
    assert_eq!(facts.named("LABEL=two").unwrap().path, "/dev/sdb1");
    assert_eq!(facts.named("/dev/sda1").unwrap().path, "/dev/sda1");
    assert!(facts.named("/dev/disk/by-id/x").is_none());
    facts.links.insert("/dev/disk/by-id/x".into(), (8, 17));
    assert_eq!(facts.named("/dev/disk/by-id/x").unwrap().path, "/dev/sdb1");
    for one in &mut facts.devices {
        one.content.as_mut().unwrap().kind = "btrfs".into();
        one.content.as_mut().unwrap().uuid = Some("aa-bb".into());
    }
    assert!(facts.named("UUID=aa-bb").is_some(), "one Btrfs on two devices");
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in "[-a-z0-9/=\\\\ \t\n\"{}:,]{0,200}") {
        let shown = (devices(&text).is_ok(), content(&text), fstab(&text), swaps(&text).is_ok(), memory_available(&text));
        prop_assert!(shown.2.len() <= text.len());
    }
}
