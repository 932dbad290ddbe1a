//! Promise: on the machines that there are, the right disk is chosen or none, each disk that can be named is called by a name
//! that chooses it and agrees to its erasure, and whoever does what a refusal says gets another answer. The machines are in
//! `tests/disks/machines.txt`, the verdicts in `tests/disks/verdicts.txt`, for a person to read.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

#[path = "shared/sparse.rs"]
mod sparse;

use camino::{Utf8Path, Utf8PathBuf};
use landfall::real::disk::controllers;
use landfall::real::disk::efi::{Firmware, HardDrive, LoadOption, Signature};
use landfall::real::disk::gather::{Gathered, Seen, judge, no_disk};
use landfall::real::disk::named;
use landfall::real::disk::proc::{BootMedium, Mount};
use landfall::real::disk::sysfs::{Block, Sysfs};
use landfall::real::disk::usage::Machine;
use landfall::real::disk::{DiskReport, contents, reports};
use landfall_states::fault::Fault;
use sparse::Sparse;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A machine, as its lines say it.
#[derive(Clone)]
struct Description {
    name: String,
    title: String,
    lines: Vec<Vec<String>>,
}

/// Words of a line; what is within quotes is one with what is before it.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quoted) = (vec![String::new()], false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words
}

fn descriptions() -> Vec<Description> {
    let path = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/disks/machines.txt");
    let text = fs_err::read_to_string(path).unwrap();
    text.split("\n\n")
        .filter(|block| !block.trim_start().starts_with('#'))
        .map(|block| {
            let mut lines = block.lines();
            let (name, title) = lines.next().unwrap().split_once(": ").unwrap();
            Description {
                name: name.to_owned(),
                title: title.to_owned(),
                lines: lines.map(words).collect(),
            }
        })
        .collect()
}

/// What Windows' setup leaves: an ESP, a reserved partition, NTFS.
fn windows() -> Sparse {
    let mut disk = sparse::load("gpt");
    // The type of the second partition, as sgdisk's 0c01 has it, and a boot sector of NTFS in it.
    let table = |disk: &mut Sparse| {
        let mut file = disk.clone();
        landfall::real::gpt::read(&mut file, 512).unwrap()
    };
    let second = table(&mut disk).table().unwrap().entries[1].first_lba;
    disk.put(second * 512, b"\xEB\x52\x90NTFS    ");
    disk
}

/// Bytes without any order, all over the disk.
fn noise(size: u64) -> Sparse {
    let mut disk = Sparse::new(size);
    let bytes: Vec<u8> = (0_u32..65_536)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    disk.put(0, &bytes);
    disk.put(size / 2, &bytes);
    disk
}

struct Tree {
    _keep: tempfile::TempDir,
    root: Utf8PathBuf,
}

impl Tree {
    fn put(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }
    fn link(&self, path: &str, to: &str) {
        let path = self.root.join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::os::unix::fs::symlink(to, path).unwrap();
    }
}

/// A machine that can be asked.
struct Built {
    tree: Tree,
    machine: Machine,
    contents: BTreeMap<String, Sparse>,
    entries: Vec<(String, String)>,
    named: Option<String>,
}

fn build(description: &Description) -> Built {
    let keep = tempfile::tempdir().unwrap();
    let root = Utf8PathBuf::from_path_buf(keep.path().canonicalize().unwrap()).unwrap();
    let tree = Tree { _keep: keep, root };
    let mut contents = BTreeMap::new();
    let (mut mounts, mut entries, mut named, mut holders) = (vec![], vec![], None, vec![]);
    let dev = |text: &str| {
        let (major, minor) = text.split_once(':').unwrap();
        (major.parse::<u32>().unwrap(), minor.parse::<u32>().unwrap())
    };
    for line in &description.lines {
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        match line[..] {
            ["disk", name, number, gib, place, ref rest @ ..] => {
                disk(&tree, name, number, gib, place, rest, &mut contents);
            }
            ["link", path, to] => tree.link(&format!("dev/disk/{path}"), &format!("../../{to}")),
            ["udev", number, text] => tree.put(&format!("run/udev/data/b{number}"), &format!("E:{text}\n")),
            ["usb", place, attribute] => {
                let (key, text) = attribute.split_once('=').unwrap();
                tree.put(&format!("sys/devices/{place}/{key}"), text);
            }
            ["ata", place, port] => {
                let ata = place.rsplit('/').next().unwrap();
                tree.put(&format!("sys/devices/{place}/ata_port/{ata}/port_no"), port);
            }
            ["fc", place, port] => {
                let rport = place.rsplit('/').next().unwrap();
                tree.put(
                    &format!("sys/devices/{place}/fc_remote_ports/{rport}/port_name"),
                    port,
                );
            }
            ["mount", number, point, kind] => mounts.push(Mount {
                dev: dev(number),
                point: point.into(),
                kind: kind.into(),
                source: "x".into(),
            }),
            ["holder", disk, name, mapping, uuid] => holders.push((disk, name, mapping, uuid)),
            ["pci", address, class, vendor, device, ref rest @ ..] => {
                let base = format!("sys/bus/pci/devices/{address}");
                for (key, text) in [("class", class), ("vendor", vendor), ("device", device)] {
                    tree.put(&format!("{base}/{key}"), text);
                }
                if rest == ["driver"] {
                    tree.put(&format!("{base}/driver/bind"), "");
                }
            }
            ["entry", file, disk] => entries.push((file.to_owned(), disk.to_owned())),
            ["named", name] => named = Some(name.to_owned()),
            ref other => panic!("{}: {other:?} is not understood", description.name),
        }
    }
    for (disk, name, mapping, uuid) in holders {
        tree.put(&format!("sys/block/{disk}/holders/{name}"), "");
        tree.put(&format!("sys/block/{name}/dev"), "253:0");
        tree.put(&format!("sys/block/{name}/slaves/{disk}"), "");
        if mapping != "-" {
            tree.put(&format!("sys/block/{name}/dm/name"), mapping);
            tree.put(&format!("sys/block/{name}/dm/uuid"), uuid);
        }
    }
    let blocks = Sysfs::below(tree.root.clone()).blocks().unwrap();
    Built {
        tree,
        machine: Machine {
            blocks,
            mounts,
            ..Machine::default()
        },
        contents,
        entries,
        named,
    }
}

fn disk(
    tree: &Tree,
    name: &str,
    number: &str,
    gib: &str,
    place: &str,
    rest: &[&str],
    contents: &mut BTreeMap<String, Sparse>,
) {
    // There is no folder `block` between a controller of NVMe and its namespaces.
    let full = if place.ends_with(name) {
        format!("sys/devices/{place}")
    } else {
        format!("sys/devices/{place}/block/{name}")
    };
    let size = rest
        .iter()
        .find_map(|word| word.strip_prefix("mib="))
        .map_or(gib.parse::<u64>().unwrap() << 30, |mib| {
            mib.parse::<u64>().unwrap() << 20
        });
    tree.put(&format!("{full}/dev"), number);
    let device = full
        .trim_end_matches(name)
        .trim_end_matches('/')
        .trim_end_matches("/block")
        .to_owned();
    tree.link(&format!("sys/block/{name}"), tree.root.join(&full).as_str());
    tree.link(&format!("{full}/device"), tree.root.join(&device).as_str());
    tree.put(&format!("{full}/size"), &(size / 512).to_string());
    let mut holds = Sparse::new(size);
    for word in rest {
        match word.split_once('=') {
            None => tree.put(&format!("{full}/{word}"), "1"),
            Some(("mib", _)) => {}
            Some(("sector", bytes)) => tree.put(&format!("{full}/queue/logical_block_size"), bytes),
            Some(("holds", "windows")) => holds = windows(),
            Some(("holds", "noise")) => holds = noise(size),
            Some(("holds", fixture)) => holds = sparse::load(fixture),
            // Four bytes of header, then text.
            Some(("device/vpd_pg80", text)) => tree.put(
                &format!("{full}/device/vpd_pg80"),
                &format!("\0\u{0}\0\u{8}{text}"),
            ),
            Some((attribute, text)) => tree.put(&format!("{full}/{attribute}"), text),
        }
    }
    holds.resize(size);
    contents.insert(name.to_owned(), holds);
}

impl Built {
    fn gathered(&self) -> Gathered {
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
                contents: contents::seen(&mut self.contents[&block.name].clone(), &block.identity, None)
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
        Gathered {
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
        let gathered = self.gathered();
        let (disks, fault) = reports(&gathered, None, name.map(Utf8Path::new));
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
    assert!(all.len() >= 60, "{} machines", all.len());
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

#[test]
fn a_name_that_is_printed_chooses_its_disk_and_agrees_to_it() {
    let mut names = 0;
    for description in &descriptions() {
        let built = build(description);
        let (disks, _, _) = built.ask(None);
        for (index, disk) in disks.iter().enumerate() {
            let Some(name) = disk.name.as_deref().filter(|_| disk.can_be_named) else {
                continue;
            };
            for given in [install_disk(name), name.to_owned()] {
                let (again, fault, agreed) = built.ask(Some(&given));
                assert!(fault.is_none(), "{}: {given}: {fault:?}", description.name);
                assert!(again[index].chosen.is_some(), "{}: {given}", description.name);
                assert_eq!(agreed, Some(Ok(())), "{}: {given}", description.name);
            }
            names += 1;
        }
    }
    assert!(names > 60, "only {names} names");
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
    if next.contains("firmware's setup") || next.contains("has no driver") || next.contains("attach a disk") {
        keep(&mut after, &|line| line[0] == "pci");
        after.lines.push(words(
            "disk nvme9n1 259:9 238 pci0000:00/0000:00:1c.0/0000:09:00.0/nvme/nvme9/nvme9n1 nsid=1 wwid=eui.00253800000000a1",
        ));
    }
    if next.contains("detach all but one") {
        let last = after.lines.iter().rposition(|line| line[0] == "disk").unwrap();
        after.lines.remove(last);
    }
    for command in next.split(" && ").flat_map(|part| part.split(", then: ")) {
        match command.split(' ').collect::<Vec<_>>()[..] {
            ["umount", point] => keep(&mut after, &|line| line[0] == "mount" && line[2] == point),
            ["vgchange" | "mdadm" | "cryptsetup" | "dmsetup", ..] => {
                keep(&mut after, &|line| line[0] == "holder")
            }
            ["echo", "1", ">", path] => {
                let gone = path
                    .strip_prefix("/sys/block/")
                    .unwrap()
                    .split('/')
                    .next()
                    .unwrap()
                    .to_owned();
                keep(&mut after, &|line| line[0] == "disk" && line[1] == gone);
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
                            .contains("what it alone")
                            .then_some(())
                            .is_none_or(|()| d.name.as_deref().is_some_and(|name| next.contains(name)))
                })
                .filter_map(|d| d.name.as_deref().map(|name| Some(install_disk(name)))),
        );
        // Where none of those that are there can be, one was attached, which decides by itself.
        if names.is_empty() {
            names.push(None);
        }
    } else if next.contains("attach a disk") || next.contains("setup") || next.contains("no driver") {
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
fn whoever_does_what_a_refusal_says_gets_another_answer() {
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
    assert!(refusals > 12, "only {refusals} refusals");
}
