//! Promise: the recorder of half-made states (`tests/halfway`) watches what it says, and of many points tries those that it says.
//! It has a `main` of its own; what is pure in it is tested here.

#[path = "halfway/choice.rs"]
mod choice;

use choice::{Watch, kind, spread};
use std::collections::BTreeSet;

#[test]
fn of_two_folders_the_longer_one_counts() {
    let watch = Watch {
        below: [
            "/mnt",
            "/mnt/sys/firmware/efi/efivars",
            "/sys/firmware/efi/efivars",
        ]
        .map(str::to_owned)
        .to_vec(),
        except: ["/mnt/sys", "/mnt/dev"].map(str::to_owned).to_vec(),
        ..Watch::default()
    };
    for (path, name) in [
        ("/mnt", Some("mnt")),
        ("/mnt/etc/passwd", Some("mnt/etc/passwd")),
        ("/mnt/dev/null", None),
        ("/mnt/devices", Some("mnt/devices")),
        ("/mnt/sys/power/state", None),
        (
            "/mnt/sys/firmware/efi/efivars/Boot0001",
            Some("mnt/sys/firmware/efi/efivars/Boot0001"),
        ),
        (
            "/sys/firmware/efi/efivars/BootOrder",
            Some("sys/firmware/efi/efivars/BootOrder"),
        ),
        ("/mnt2/etc", None),
        ("pipe:[77]", None),
    ] {
        assert_eq!(watch.called(path).as_deref(), name, "{path}");
    }
    let one = Watch::folder("/dev/shm/subject");
    assert_eq!(one.called("/dev/shm/subject/a/b").as_deref(), Some("a/b"));
    assert_eq!(one.called("/dev/shm/subject").as_deref(), Some(""));
    assert!(!one.mappings && !one.mounts, "a folder is files alone");
    assert_eq!(Watch::default().called("/"), None);
}

#[test]
fn calls_that_differ_in_a_number_are_alike() {
    let first = kind("mv", "rename", "mnt/boot/EFI/nixos/k.efia1b2c3d4.tmp");
    assert_eq!(
        first,
        kind("mv", "rename", "mnt/boot/EFI/nixos/k.efi00112233.tmp")
    );
    assert_ne!(first, kind("mv", "rename", "mnt/boot/loader/loader.tmp"));
    assert_ne!(
        first,
        kind("cat", "rename", "mnt/boot/EFI/nixos/k.efia1b2c3d4.tmp")
    );
}

#[test]
fn what_must_be_taken_is_and_the_rest_is_spread() {
    let first = BTreeSet::from([0, 3]);
    let taken = |wanted| -> Vec<usize> {
        let taken = spread(10, &first, wanted);
        (0..10).filter(|index| taken[*index]).collect()
    };
    assert_eq!(taken(0), [0, 3]);
    assert_eq!(taken(4), [0, 1, 3, 6]);
    assert_eq!(taken(10), (0..10).collect::<Vec<_>>());
    assert_eq!(taken(99), (0..10).collect::<Vec<_>>());
    assert_eq!(spread(0, &BTreeSet::new(), 5), [false; 0]);
}
