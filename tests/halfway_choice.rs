//! Promise: the recorder of half-made states (`tests/halfway`) watches what it says, and of many points tries those that it says.
//! It has a `main` of its own; what is pure in it is tested here.

#![allow(clippy::indexing_slicing)] // a test may end where it stands

#[path = "halfway/choice.rs"]
mod choice;

use choice::{Point, Points, Watch, kind, spread};
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
fn a_point_is_a_call_or_a_write_and_what_happens() {
    for name in [
        "0:kill",
        "117:half",
        "3:cut-torn-4096-head",
        "12:cut-commit",
        "w7:cut-part",
        "w0:cut-seed-2",
    ] {
        let point: Point = name.parse().unwrap();
        assert_eq!(point.to_string(), name);
        assert_eq!(point.is_write, name.starts_with('w'));
    }
    for name in [
        "",
        ":",
        "5",
        "5:",
        ":kill",
        "kill:5",
        "-1:kill",
        "+1:kill",
        "w:cut-all",
        "5:Kill",
        "5:-",
        "5:kill x",
        "ww5:kill",
        "5 :kill",
        "99999999999999999999999:kill",
        "٣:kill",
    ] {
        let why = name.parse::<Point>().unwrap_err();
        assert!(why.contains("CALL:WHAT"), "{name}: {why}");
    }
}

#[test]
fn a_point_that_is_not_there_is_told_with_those_that_are() {
    let mut there = Points::default();
    for point in [
        "0:kill",
        "0:alone",
        "1:kill",
        "185:kill",
        "185:after",
        "w2:cut-all",
        "w9:cut-part",
    ] {
        there.there_is(point);
    }
    let point = |name: &str| name.parse::<Point>().unwrap();
    assert!(there.have(&point("185:after")) && !there.have(&point("185:half")));
    for (name, why) in [
        ("9999:kill", "no such point: 9999:kill; its calls are 0 to 185"),
        (
            "185:half",
            "no such point: 185:half; there are 185:after, 185:kill",
        ),
        ("w3:cut-all", "no such point: w3:cut-all; its writes are 2 to 9"),
        ("w2:cut-part", "no such point: w2:cut-part; there are w2:cut-all"),
    ] {
        assert_eq!(there.without(&point(name)), why);
    }
    assert!(
        Points::default()
            .without(&point("w0:cut-all"))
            .contains("no writes")
    );
}

#[test]
fn required_points_are_kept_and_the_rest_sampled_evenly() {
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
