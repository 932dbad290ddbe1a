//! Promise: `landfall relabel --apply`, killed at any moment together with the tools that it runs, leaves a disk with the
//! same UUIDs and a complete partition table, and the same call comes to the same end.
//!
//! The real steps are run in a process of their own, on a loop device with mounted filesystems and a swap that is on, below a
//! tracer. They die at each call that writes to the disk, before it and after it, and between the steps. Needed: what
//! `relabel_devices.rs` needs.
//!
//! The scenario relabel-every-step has power cuts.

#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may end where it stands

#[path = "halfway/calls.rs"]
#[allow(dead_code)]
mod calls;
#[path = "halfway/choice.rs"]
#[allow(dead_code)]
mod choice;
#[path = "relabel/disk.rs"]
#[allow(dead_code)]
mod disk;
#[path = "halfway/tracer.rs"]
#[allow(dead_code)]
mod tracer;

use choice::Watch;
use disk::{Disk, is_root, probe, run};
use fs_err as fs;
use landfall::relabel::apply::Told;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use tracer::{Ended, Kill};

/// The disk of another process, for [`applies_to_the_disk_of_another_process`].
const HANDED_OVER: &str = "LANDFALL_TEST_DISK";

/// What the killed process does.
#[test]
fn applies_to_the_disk_of_another_process() {
    let Ok(disk) = std::env::var(HANDED_OVER) else {
        return;
    };
    let words: Vec<&str> = disk.split('\n').collect();
    let disk = Disk::of_another(words[0], words[1], words[2]);
    let (_, plan) = disk.plan();
    disk.apply(&plan, &mut |what| match what {
        Told::Label(change, made) => println!("told: label {} {made}", change.bearer),
        Told::Link(link, _) => println!("told: link {link}"),
        Told::PutBack(what) => println!("told: put back {what}"),
        Told::File(file) => println!("told: file {file}"),
    })
    .unwrap();
    println!("told: end");
}

fn other_process(disk: &Disk) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "applies_to_the_disk_of_another_process",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(HANDED_OVER, disk.handed_over().join("\n"));
    command
}

/// Links as udev will make them: each leads where it should before the label is there.
fn links(disk: &Disk) {
    let links = disk.places().links;
    for (folder, name, part) in [
        ("by-label", disk.label("root"), 3),
        ("by-partlabel", disk.label("luks"), 2),
        ("by-label", disk.label("ESP").to_uppercase(), 1),
        ("by-label", disk.label("xfs"), 4),
        ("by-label", disk.label("btrfs"), 5),
        ("by-label", disk.label("swap"), 6),
    ] {
        fs::create_dir_all(links.join(folder)).unwrap();
        std::os::unix::fs::symlink(disk.part(part), links.join(folder).join(name)).unwrap();
    }
}

/// Old labels on everything, as it was made.
fn as_before(disk: &Disk) {
    let quiet = |program: &str, args: &[&str]| drop(Command::new(program).args(args).output());
    quiet("swapoff", &[&disk.part(6)]);
    run("swaplabel", &["--label", "old", &disk.part(6)]);
    run("swapon", &["--priority", "7", &disk.part(6)]);
    run("fatlabel", &[&disk.part(1), "OLD"]);
    run("tune2fs", &["-L", "old", &disk.part(3)]);
    for (kind, number) in [("xfs", 4), ("btrfs", 5)] {
        let at = disk.mount(kind);
        match kind {
            "btrfs" => drop(run("btrfs", &["filesystem", "label", at.as_str(), "old"])),
            _ => {
                run("umount", &[at.as_str()]);
                run("xfs_admin", &["-L", "old", &disk.part(number)]);
                run("mount", &[&disk.part(number), at.as_str()]);
            }
        }
    }
    run(
        "cryptsetup",
        &["config", &disk.part(2), "--label", "old", "--subsystem", "mine"],
    );
    run(
        "sfdisk",
        &[
            "--quiet",
            "--no-reread",
            "--force",
            "--part-label",
            &disk.device,
            "2",
            "old",
        ],
    );
}

/// After a kill: what may never change has not, everything can still be used, and the next run ends it.
fn judged(disk: &Disk, identities: &[String], point: &str) {
    assert_eq!(disk.identities(), identities, "{point}: UUIDs");
    run("sfdisk", &["--verify", &disk.device]);
    for (number, old) in [(2, "old"), (3, "old"), (4, "old"), (5, "old"), (6, "old")] {
        let label = probe(&disk.part(number), "LABEL");
        assert!(
            label == old || label.ends_with(disk.handed_over()[2]),
            "{point}: partition {number} has the label {label:?}, neither the old nor the new"
        );
    }
    let ended = other_process(disk).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(
        ended.status.success() && said.contains("told: end"),
        "{point}: the next run: {said}{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    disk.check();
    assert_eq!(disk.identities(), identities, "{point}: UUIDs at the end");
}

#[test]
fn killed_at_any_write_it_is_finished_by_the_next_run() {
    if !is_root() {
        return;
    }
    let disk = Disk::without_udev("sig");
    links(&disk);
    let identities = disk.identities();
    let watch = Watch {
        below: (1..=6)
            .map(|number| disk.part(number))
            .chain([disk.device.clone()])
            .collect(),
        ..Watch::default()
    };
    let traced = |at: Option<(usize, Kill)>| {
        let mut calls = vec![];
        let mut command = other_process(&disk);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let ended = tracer::run(&mut command, &watch, |n, call| {
            calls.push(format!("{} {} {}", call.program, call.name, call.path));
            at.filter(|(at, _)| *at == n).map(|(_, kill)| kill)
        });
        (ended.unwrap(), calls)
    };
    as_before(&disk);
    let (ended, calls) = traced(None);
    assert_eq!(ended, Ended::Exit(0), "{calls:#?}");
    disk.check();
    // The control: tools and landfall itself write, to several devices.
    assert!(calls.len() > 10, "{calls:#?}");
    for program in ["fatlabel", "swaplabel", "relabel_killed"] {
        assert!(
            calls.iter().any(|call| call.starts_with(program)),
            "{program}: {calls:#?}"
        );
    }
    let mut deaths = 0;
    for n in 0..calls.len() {
        // What is after a call is what is before the next one, but for the last call of a step.
        let after = (n % 4 == 3).then_some(Kill::After);
        for kill in [Some(Kill::Before), after].into_iter().flatten() {
            as_before(&disk);
            let (ended, calls) = traced(Some((n, kill)));
            let point = format!("{n} {kill:?} {}", calls.last().unwrap());
            if ended == Ended::Killed {
                deaths += 1;
                judged(&disk, &identities, &point);
            } else {
                assert_eq!(ended, Ended::Exit(0), "{point}");
            }
        }
    }
    println!("{} calls that write, {deaths} deaths", calls.len());
    assert!(deaths > calls.len() / 2, "{deaths}");
}

#[test]
fn killed_between_any_two_steps_it_is_finished_by_the_next_run() {
    if !is_root() {
        return;
    }
    let disk = Disk::without_udev("gap");
    links(&disk);
    let identities = disk.identities();
    let mut last = 0;
    for step in 1.. {
        as_before(&disk);
        let mut child = other_process(&disk)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut told = 0;
        let mut is_ended = false;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            told += usize::from(line.contains("told: "));
            is_ended |= line.contains("told: end");
            if told == step {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        judged(&disk, &identities, &format!("after step {step}"));
        if is_ended {
            last = step;
            break;
        }
    }
    assert!(last > 10, "{last}");
}
