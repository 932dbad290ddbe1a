//! Promise: on real machines the right disk is chosen or none; each disk that can be named is called by a name that chooses
//! it and agrees to its erasure; and a person who does what a refusal says gets another answer. The machines are in
//! `tests/disks/machines.txt`, the verdicts in `tests/disks/verdicts.txt`, for a person to read.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test that cannot go on fails

#[path = "shared/machines.rs"]
mod machines;
#[path = "shared/sparse.rs"]
mod sparse;

use camino::Utf8Path;
use clap::Parser as _;
use landfall::cli::{Cli, Command};
use landfall::real::disk::controllers;
use landfall::real::disk::efi::{Firmware, HardDrive, LoadOption, Signature};
use landfall::real::disk::kind::no_disk;
use landfall::real::disk::named::{self, Named, name_for};
use landfall::real::disk::proc::BootMedium;
use landfall::real::disk::scan::{ScanResult, Seen, judge};
use landfall::real::disk::sysfs::{Block, Sysfs};
use landfall::real::disk::{DiskReport, contents, reports};
use landfall_states::fault::Fault;
use landfall_states::plan::DiskIdentity;
use machines::{Built, Description, build, descriptions, words};
use std::collections::BTreeMap;
use std::fmt::Write as _;

impl Built {
    fn gathered(&self) -> ScanResult {
        let sysfs = Sysfs::below(self.tree.root.clone());
        let links = named::links(&sysfs).unwrap();
        let is_disk = |block: &&Block| no_disk(block).is_none();
        let seen: Vec<Seen> = self
            .machine
            .blocks
            .iter()
            .filter(is_disk)
            .map(|block| Seen {
                block: block.clone(),
                plans: vec![],
                contents: contents::seen(&mut self.contents(&block.name), &block.identity, None)
                    .map_err(|e| e.to_string()),
                failing: None,
            })
            .collect();
        let mut order = vec![];
        for (file, name) in &self.entries {
            let seen = seen.iter().find(|s| s.block.name == *name).unwrap();
            let table = seen.contents.as_ref().unwrap().on_disk.table().unwrap();
            order.push(LoadOption {
                active: true,
                description: file.clone(),
                partitions: vec![HardDrive {
                    number: 1,
                    first_lba: 2048,
                    sectors: 1,
                    signature: Signature::Gpt(table.entries[0].partuuid),
                }],
                file: Some(file.clone()),
            });
        }
        ScanResult {
            disks: judge(seen, &self.machine, &BootMedium::default(), &links),
            firmware: Firmware {
                order,
                ..Firmware::default()
            },
            hidden: controllers::hidden(&sysfs).unwrap(),
            rows: vec![],
        }
    }

    /// What is said when `name` is what was named, and whether that name agrees in advance.
    fn ask(&self, name: Option<&str>) -> (Vec<DiskReport>, Option<Fault>, Option<Result<(), String>>) {
        self.ask_of(&self.gathered(), name)
    }

    /// The same, of what was gathered before.
    fn ask_of(
        &self,
        gathered: &ScanResult,
        name: Option<&str>,
    ) -> (Vec<DiskReport>, Option<Fault>, Option<Result<(), String>>) {
        let (disks, fault) = reports(gathered, None, name.map(Utf8Path::new));
        let all = named::look(&Sysfs::below(self.tree.root.clone())).unwrap();
        let chosen = disks.iter().position(|d| d.chosen.is_some());
        let agreed = name.zip(chosen).map(|(name, index)| {
            let identity = gathered.disks[index].block.identity.clone();
            named::agrees(name, &identity, &all)
        });
        (disks, fault, agreed)
    }
}

/// The name, as `INSTALL_DISK` has it.
fn install_disk(name: &str) -> String {
    if name.starts_with('/') {
        name.to_owned()
    } else {
        format!("/dev/disk/by-id/{name}")
    }
}

#[test]
fn the_verdicts_of_all_machines() {
    let all = descriptions();
    assert!(all.len() >= 150, "{} machines", all.len());
    let mut text = String::new();
    for description in &all {
        let built = build(description);
        let name = built.named.as_deref().map(install_disk);
        let (disks, fault, agreed) = built.ask(name.as_deref());
        writeln!(text, "{}: {}", description.name, description.title).unwrap();
        for disk in &disks {
            let identity = [
                disk.wwn.as_ref().map(|w| format!("wwn {w}")),
                disk.serial.as_ref().map(|s| format!("serial {s}")),
                disk.path.clone(),
            ];
            let identity: Vec<String> = identity.into_iter().flatten().collect();
            writeln!(
                text,
                "  {} [{}] {}",
                disk.device,
                disk.transport,
                identity.join(", ")
            )
            .unwrap();
            writeln!(text, "    named: {}", disk.name.as_deref().unwrap_or("-")).unwrap();
            writeln!(text, "    holds: {}", disk.contents.join("; ")).unwrap();
            if let Err(reasons) = &disk.candidate {
                let strength = if disk.can_be_named {
                    "only when named"
                } else {
                    "never"
                };
                writeln!(text, "    {strength}: {}", reasons.join("; ")).unwrap();
            }
        }
        if let Some(name) = &built.named {
            writeln!(text, "  somebody names {name}").unwrap();
        }
        match (&fault, disks.iter().find(|d| d.chosen.is_some())) {
            (None, Some(disk)) => {
                writeln!(text, "  → {}: {}", disk.device, disk.chosen.as_ref().unwrap()).unwrap();
            }
            (fault, _) => {
                let fault = fault.as_ref().unwrap();
                writeln!(text, "  → none: {}", fault.reasons().0).unwrap();
                writeln!(text, "    next: {}", fault.next()).unwrap();
            }
        }
        match agreed {
            None => {}
            Some(Ok(())) => writeln!(text, "    the name agrees to its erasure").unwrap(),
            Some(Err(why)) => writeln!(text, "    not agreed: {why}").unwrap(),
        }
        writeln!(text).unwrap();
    }
    expect_test::expect_file!["disks/verdicts.txt"].assert_eq(&text);
}

/// The identity that `landfall plan` has of a disk that is described by these options.
fn described(options: &[String]) -> Result<DiskIdentity, String> {
    let line = ["landfall", "plan"].map(str::to_owned);
    let parsed = Cli::try_parse_from(line.iter().chain(options)).map_err(|e| e.to_string())?;
    let Command::Plan(plan) = parsed.command else {
        panic!("{options:?}");
    };
    plan.disk.identity(None)
}

/// An option with a value that may begin with a hyphen.
fn option(name: &str, value: &str) -> String {
    format!("--disk-{name}={value}")
}

#[test]
fn what_is_printed_of_a_disk_gives_its_identity_on_another_computer() {
    let (mut disks, mut seats, mut units) = (0, 0, 0);
    for description in &descriptions() {
        let (reports, _, _) = build(description).ask(None);
        for report in reports {
            let identity = DiskIdentity {
                wwn: report.wwn.clone(),
                serial: report.serial.clone(),
                path: report.path.clone(),
                size_bytes: report.size_bytes,
                sector_bytes: report.sector_bytes,
            };
            if !identity.is_nameable() || ![512, 4096].contains(&report.sector_bytes) {
                continue;
            }
            let about = format!("{}: {}", description.name, report.device);
            let mut options = vec![
                option("size", &report.size_bytes.to_string()),
                format!("--sector-bytes={}", report.sector_bytes),
            ];
            let numbers = [("wwn", &report.wwn), ("serial", &report.serial)];
            let numbers = numbers
                .iter()
                .filter_map(|(name, value)| Some(option(name, value.as_deref()?)));
            options.extend(numbers);
            match identity.unit() {
                Some(unit) => options.push(option("unit", unit.strip_prefix("lun ").unwrap())),
                None => options.extend(report.path.as_deref().map(|path| option("address", path))),
            }
            assert_eq!(described(&options), Ok(identity.clone()), "{about}: {options:?}");
            disks += 1;
            units += usize::from(identity.unit().is_some());
            // The name to use, where it says what sits there.
            let Some(name) = report.name.filter(|name| name.contains('=')) else {
                continue;
            };
            let mut options = vec![
                option("address", &name),
                option("size", &report.size_bytes.to_string()),
                format!("--sector-bytes={}", report.sector_bytes),
            ];
            options.extend(report.wwn.as_deref().map(|wwn| option("wwn", wwn)));
            assert_eq!(described(&options), Ok(identity.clone()), "{about}: {options:?}");
            if name.contains(',') && report.sector_bytes == 512 && report.wwn.is_none() {
                assert_eq!(
                    described(&[option("address", &name)]),
                    Ok(identity),
                    "{about}: {name}"
                );
                seats += 1;
            }
        }
    }
    assert!(
        disks >= 150 && seats >= 10 && units >= 10,
        "{disks} {seats} {units}"
    );
}

#[test]
fn an_address_that_no_disk_has_is_refused() {
    let size = option("size", "8589934592");
    let usb = "pci-0000:00:14.0-usb-0:3:1.0-scsi-0:0:0:0";
    for right in [
        "pci-0000:00:05.0",
        "pci-0000:00:1f.2-ata-1.0",
        "platform-fe330000.mmc",
        "acpi-VMBUS:00-vmbus-f8b3781a1e824818a1c363d806ec15bb-lun-1",
        "ccw-0.0.1234",
        "xen-vbd-51712",
        "/dev/disk/by-path/pci-0000:01:00.0-nvme-1",
        usb,
        &format!("{usb}=8589934592"),
        &format!("{usb}=MSFT30A1B2C3D4,8589934592"),
        &format!("{usb}=MSFT30A1B2C3D4"),
    ] {
        let identity = described(&[option("address", right), size.clone()]);
        assert!(identity.is_ok(), "{right}: {identity:?}");
    }
    for wrong in [
        "pci-",
        "pci-hello",
        "pci-0000:00:1F.2",
        "pci-0000:00:05.0-",
        "pci-0000:00:1f.2-ata-1",
        "pci-0000:00:05.0-part1",
        "pci-0000:00:14.0-usbv2-0:3:1.0-scsi-0:0:0:0",
        "virtio-pci-0000:00:05.0",
        "pci-0000:00:05.0 ",
        "pci-0000:00:05.0/x",
        "platform-",
        "sda",
        &format!("{usb}="),
        &format!("{usb}=MSFT30A1B2C3D4,8589934593"),
        &format!("{usb}=8589934593"),
        &format!("{usb}=000000,8589934592"),
        &format!("{usb}=99999999999999999999999,8589934592"),
    ] {
        let refused = described(&[option("address", wrong), size.clone()]);
        assert!(
            refused.as_ref().is_err_and(|why| why.contains("--disk-address")),
            "{wrong}: {refused:?}"
        );
    }
    // What does not fit together.
    let seat = option("address", &format!("{usb}=MSFT30A1B2C3D4,8589934592"));
    for (more, says) in [
        (option("serial", "S4EVNX0M123456"), "has \"MSFT30A1B2C3D4\""),
        (option("size", "9G"), "8589934592"),
    ] {
        let why = described(&[seat.clone(), more]).unwrap_err();
        assert!(why.contains(says) && why.contains("next: "), "{why}");
    }
    for alone in [
        vec![option("address", usb)],
        vec![option("unit", "0:0:1"), size.clone()],
    ] {
        let why = described(&alone).unwrap_err();
        assert!(why.contains("next: add --disk-"), "{alone:?}: {why}");
    }
    for unit in ["", "x", "0:0", "0:0:01", "-1", "0:0:0:0"] {
        let of = [
            size.clone(),
            option("serial", "S4EVNX0M123456"),
            option("unit", unit),
        ];
        assert!(described(&of).is_err(), "{unit}");
    }
}

#[test]
fn a_name_that_is_printed_chooses_its_disk_and_agrees_to_it() {
    let mut names = 0;
    for description in &descriptions() {
        let built = build(description);
        let gathered = built.gathered();
        let (disks, _, _) = built.ask_of(&gathered, None);
        for (index, disk) in disks.iter().enumerate() {
            let Some(name) = disk.name.as_deref().filter(|_| disk.can_be_named) else {
                continue;
            };
            for given in [install_disk(name), name.to_owned()] {
                let (again, fault, agreed) = built.ask_of(&gathered, Some(&given));
                assert!(fault.is_none(), "{}: {given}: {fault:?}", description.name);
                assert!(again[index].chosen.is_some(), "{}: {given}", description.name);
                assert_eq!(agreed, Some(Ok(())), "{}: {given}", description.name);
            }
            names += 1;
        }
    }
    assert!(names > 170, "only {names} names");
}

/// The machine without a disk, and without what was told of it.
fn detach(description: &mut Description, disk: &str) {
    description.lines.retain(|line| {
        let of_it = match line[0].as_str() {
            "disk" | "table" | "part" => line[1] == disk,
            "link" | "claim" => line[2] == disk,
            _ => false,
        };
        !of_it
    });
}

/// What a person does who reads the answer: the machine afterwards, and what is named then.
fn follow(
    description: &Description,
    fault: &Fault,
    disks: &[DiskReport],
) -> Vec<(Description, Option<String>)> {
    let next = fault.next();
    let mut after = description.clone();
    let keep =
        |after: &mut Description, gone: &dyn Fn(&[String]) -> bool| after.lines.retain(|line| !gone(line));
    let mut names: Vec<Option<String>> = vec![];
    if next.contains("firmware's setup")
        || next.contains("has no driver")
        || next.contains("attach a suitable disk")
    {
        keep(&mut after, &|line| line[0] == "pci");
        after.lines.push(words(
            "disk nvme9n1 259:9 238 pci0000:00/0000:00:1c.0/0000:09:00.0/nvme/nvme9/nvme9n1 nsid=1 wwid=eui.00253800000000a1",
        ));
    }
    if next.contains("detach all but one") {
        let last = after.lines.iter().rfind(|line| line[0] == "disk").unwrap()[1].clone();
        detach(&mut after, &last);
    }
    // Where any of several can be freed, the list says how.
    let why = fault.why();
    let told = next.starts_with("free the right disk").then_some(&why);
    let told = told.into_iter().flat_map(|why| why.split("to free it: ").skip(1));
    let all = told.map(|rest| rest.split(['\n', ';']).next().unwrap().to_owned());
    let all: Vec<String> = all.chain([next.clone()]).collect();
    for command in all
        .iter()
        .flat_map(|part| part.split(" && "))
        .flat_map(|part| part.split(", then: "))
    {
        match command.split(' ').collect::<Vec<_>>()[..] {
            ["umount", point] => keep(&mut after, &|line| line[0] == "mount" && line[2] == point),
            ["vgchange" | "mdadm" | "cryptsetup" | "dmsetup" | "multipath", ..] | ["echo", "1", ">", _]
                if !command.ends_with("/delete") =>
            {
                keep(&mut after, &|line| line[0] == "holder" || line[0] == "block");
            }
            ["echo", "1", ">", path] => {
                let gone = path
                    .strip_prefix("/sys/block/")
                    .unwrap()
                    .split('/')
                    .next()
                    .unwrap()
                    .to_owned();
                detach(&mut after, &gone);
            }
            _ => {}
        }
    }
    if next.contains("NAME") {
        names.extend(
            disks
                .iter()
                .filter(|d| {
                    d.can_be_named
                        && next
                            .contains("unique name")
                            .then_some(())
                            .is_none_or(|()| d.name.as_deref().is_some_and(|name| next.contains(name)))
                })
                .filter_map(|d| d.name.as_deref().map(|name| Some(install_disk(name)))),
        );
        // Where none of those that are there can be, one was attached, which decides by itself.
        if names.is_empty() {
            names.push(None);
        }
    } else if next.contains("attach a suitable disk") || next.contains("setup") || next.contains("no driver")
    {
        names.push(None);
    } else {
        names.push(
            after
                .lines
                .iter()
                .find(|l| l[0] == "named")
                .map(|l| install_disk(&l[1])),
        );
    }
    names.into_iter().map(|name| (after.clone(), name)).collect()
}

#[test]
fn following_a_refusal_gives_another_answer() {
    let mut refusals = 0;
    for description in &descriptions() {
        let built = build(description);
        let name = built.named.as_deref().map(install_disk);
        let (disks, fault, _) = built.ask(name.as_deref());
        let Some(fault) = fault else { continue };
        refusals += 1;
        assert!(
            !disks
                .iter()
                .any(|d| fault.next().contains(&format!("INSTALL_DISK={}", d.device))),
            "a device to be copied: {}",
            fault.next()
        );
        let ways = follow(description, &fault, &disks);
        assert!(
            !ways.is_empty(),
            "{}: nothing to do: {}",
            description.name,
            fault.next()
        );
        for (after, name) in ways {
            let (_, again, _) = build(&after).ask(name.as_deref());
            assert_ne!(
                again.as_ref().map(|f| (f.why(), f.next())),
                Some((fault.why(), fault.next())),
                "{} with {name:?}",
                description.name
            );
        }
    }
    assert!(refusals > 30, "only {refusals} refusals");
}

/// The address that udev gave a disk, among its links: not the older form for virtio, nor the one with the version of USB.
fn addresses<'a>(links: &'a BTreeMap<String, Vec<String>>, disk: &str) -> Vec<&'a str> {
    let of_disk = links.iter().filter(|(_, disks)| disks.iter().any(|d| d == disk));
    of_disk
        .filter_map(|(path, _)| path.strip_prefix("by-path/"))
        .filter(|path| !path.starts_with("virtio-") && !path.contains("-usbv"))
        .collect()
}

#[test]
fn an_address_is_the_one_that_udev_gave() {
    let mut compared = 0;
    for description in descriptions().iter().filter(|d| d.is_dump()) {
        let links = description.links();
        let built = build(description);
        for block in built.machine.blocks.iter().filter(|b| no_disk(b).is_none()) {
            let known = addresses(&links, &block.name);
            if known.is_empty() {
                continue;
            }
            let place = block.place.as_deref().unwrap_or("none");
            // udev before 246 did not tell a port's devices apart.
            let port = place.find("-ata-").and_then(|at| {
                let end = place[at + 5..].find('.')?;
                place.get(..at + 5 + end)
            });
            assert!(
                known.iter().any(|link| *link == place || Some(*link) == port),
                "{}: {} is at {place}, udev says {known:?}",
                description.name,
                block.name
            );
            compared += 1;
        }
    }
    assert!(compared > 60, "only {compared} addresses");
}

#[test]
fn a_link_asked_for_by_two_disks_names_neither() {
    let (mut followed, mut refused) = (0, 0);
    for description in &descriptions() {
        let built = build(description);
        let gathered = built.gathered();
        let is_there = |name: &String| gathered.disks.iter().any(|d| d.block.name == *name);
        for (path, mut disks) in description.links() {
            disks.retain(is_there);
            let given = format!("/dev/disk/{path}");
            let plain = path.split('/').next_back().unwrap();
            let (all, fault, agreed) = built.ask_of(&gathered, Some(&given));
            let chosen = all.iter().find(|d| d.chosen.is_some());
            match disks.as_slice() {
                [] => {}
                // Whoever writes it down on one machine finds another disk on the next one.
                [_] if [
                    "wwn-0x0000000000000064",
                    "scsi-30000000000000064",
                    "ata-KINGSTON_SA400S37120G",
                ]
                .contains(&plain)
                    || plain.starts_with("nvme-nvme.1ae0-6e766d655f63617264") =>
                {
                    // On this machine it may choose.
                    assert!(
                        !matches!(agreed, Some(Ok(()))),
                        "{}: {given}: {agreed:?}",
                        description.name
                    );
                }
                [only] => {
                    let report = all.iter().find(|d| d.device == format!("/dev/{only}")).unwrap();
                    assert_eq!(
                        chosen.map(|d| &d.device),
                        report.can_be_named.then_some(&report.device),
                        "{}: {given}: {fault:?}",
                        description.name
                    );
                    // It chooses, and agrees to nothing, where it is made of what a bridge or a whole kind says, or of a port.
                    let made_of = |why: &String| {
                        ["the link is made from", "the disk does not report"]
                            .iter()
                            .any(|said| why.contains(said))
                    };
                    let agreed_rightly = match &agreed {
                        None => true,
                        Some(Ok(())) => !path.starts_with("by-path/") || !path.contains("-usb-"),
                        Some(Err(why)) if path.starts_with("by-id/") => made_of(why),
                        Some(Err(why)) => why.contains("another disk can be put into that port"),
                    };
                    assert!(agreed_rightly, "{}: {given}: {agreed:?}", description.name);
                    followed += 1;
                }
                several => {
                    assert!(
                        chosen.is_none() && agreed.is_none(),
                        "{}: {given} is asked for by {several:?}, and leads to {chosen:?}",
                        description.name
                    );
                    let all = named::look(&Sysfs::below(built.tree.root.clone())).unwrap();
                    for disk in &gathered.disks {
                        let agreed = named::agrees(&given, &disk.block.identity, &all);
                        assert!(agreed.is_err(), "{}: {given}", description.name);
                    }
                    refused += 1;
                }
            }
        }
    }
    assert!(
        followed > 150 && refused > 5,
        "{followed} followed, {refused} refused"
    );
}

#[test]
fn a_disk_has_one_name_with_udev_and_without() {
    for description in descriptions().iter().filter(|d| d.is_dump()) {
        let mut without = description.clone();
        without
            .lines
            .retain(|line| !["link", "claim", "udev"].contains(&line[0].as_str()));
        let names = |description: &Description| -> Vec<(String, Option<String>)> {
            let built = build(description);
            let all = named::look(&Sysfs::below(built.tree.root.clone())).unwrap();
            let name = |(index, disk): (usize, &Named)| (disk.device.clone(), name_for(index, &all));
            all.iter().enumerate().map(name).collect()
        };
        assert_eq!(names(description), names(&without), "{}", description.name);
    }
}
