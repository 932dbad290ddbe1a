//! The machines of `tests/disks/machines.txt`, as trees of files that stand for sysfs, udev's database and `/dev/disk`, and the
//! contents of their disks. What each word means is said at the head of that file.

#![allow(dead_code, clippy::unwrap_used)] // every test that takes this in uses a part of it

use super::sparse::{self, Sparse};
use camino::{Utf8Path, Utf8PathBuf};
use landfall::real::disk::lsblk::Row;
use landfall::real::disk::proc::{Dev, Mount};
use landfall::real::disk::sysfs::Sysfs;
use landfall::real::disk::usage::Machine;
use landfall::real::table::gpt;
use landfall_states::plan::{GptEntry, GptTable};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A machine, as its lines say it.
#[derive(Clone)]
pub struct Description {
    pub name: String,
    pub title: String,
    pub lines: Vec<Vec<String>>,
}

impl Description {
    /// Whether its values come from a public dump.
    pub fn is_dump(&self) -> bool {
        self.title.contains("dump https://")
    }

    /// The links of `/dev/disk` that it tells, and the disks that ask for each: the one that has it first.
    pub fn links(&self) -> BTreeMap<String, Vec<String>> {
        let mut links: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in &self.lines {
            if let [kind, path, disk] = line.as_slice()
                && ["link", "claim"].contains(&kind.as_str())
            {
                let disks = links.entry(path.clone()).or_default();
                disks.insert(if kind == "link" { 0 } else { disks.len() }, disk.clone());
            }
        }
        links
    }
}

/// Words of a line; what is within quotes is one with what is before it.
pub fn words(line: &str) -> Vec<String> {
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

pub fn descriptions() -> Vec<Description> {
    let path = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/disks/machines.txt");
    let text = fs_err::read_to_string(path).unwrap();
    text.trim_end()
        .split("\n\n")
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
        gpt::read(&mut file, 512).unwrap()
    };
    let second = table(&mut disk).table().unwrap().entries[1].first_lba;
    disk.put(second * 512, b"\xEB\x52\x90NTFS    ");
    disk
}

/// Bytes without any order, all over the disk.
fn noise(size: u64) -> Sparse {
    let mut disk = Sparse::new(size);
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for at in (0..size.min(4 << 20)).step_by(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        disk.put(at, &state.to_le_bytes());
    }
    disk
}

/// A stand-in for what a dump calls by blkid's name of it: `None` where there is none.
fn stand_in(kind: &str, label: &str, size: u64) -> Option<Sparse> {
    let mut disk = Sparse::new(size);
    match kind {
        // A superblock of version 1.2, RAID 1 of two: magic, version, name, level, number of members.
        "linux_raid_member" => {
            disk.put(4096, &0xA92B_4EFC_u32.to_le_bytes());
            disk.put(4100, &1_u32.to_le_bytes());
            disk.put(4096 + 32, label.as_bytes());
            disk.put(4096 + 72, &1_u32.to_le_bytes());
            disk.put(4096 + 92, &2_u32.to_le_bytes());
        }
        "BitLocker" => disk.put(0, b"\xEB\x58\x90-FVE-FS-"),
        "isw_raid_member" => disk.put(size - 1024, b"Intel Raid ISM Cfg Sig. 1.3.00"),
        _ => {
            let fixture = match kind {
                "ext2" | "ext3" | "ext4" | "xfs" | "btrfs" | "vfat" | "ntfs" | "swap" | "bcache" | "udf" => {
                    kind
                }
                "iso9660" => "iso",
                "crypto_LUKS" => "luks2",
                "LVM2_member" => "lvm2",
                _ => return None,
            };
            disk.lay(0, &sparse::load(fixture), size);
        }
    }
    Some(disk)
}

/// A file system tree below a folder that goes away.
pub struct Tree {
    _keep: tempfile::TempDir,
    pub root: Utf8PathBuf,
}

impl Tree {
    fn new() -> Self {
        let keep = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(keep.path().canonicalize().unwrap()).unwrap();
        Tree { _keep: keep, root }
    }

    pub fn put(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    /// The same, behind what is there.
    fn add(&self, path: &str, text: &str) {
        let before = fs_err::read_to_string(self.root.join(path)).unwrap_or_default();
        self.put(path, &format!("{before}{text}"));
    }

    pub fn link(&self, path: &str, to: &str) {
        let path = self.root.join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::os::unix::fs::symlink(to, path).unwrap();
    }
}

/// A machine that can be asked.
pub struct Built {
    pub tree: Tree,
    pub machine: Machine,
    pub entries: Vec<(String, String)>,
    pub named: Option<String>,
    disks: BTreeMap<String, Disk>,
}

impl Built {
    /// What is on a disk.
    pub fn contents(&self, disk: &str) -> Sparse {
        contents(&self.disks[disk])
    }
}

/// What is gathered before contents can be laid out.
#[derive(Default)]
struct Disk {
    size: u64,
    sector: u64,
    /// Its folder in the tree.
    full: String,
    number: String,
    holds: Option<Sparse>,
    fs: Option<String>,
    pt: Option<String>,
    table: Option<(String, String)>,
    parts: Vec<Part>,
}

struct Part {
    number: u32,
    start: u64,
    sectors: u64,
    kind: String,
    uuid: Option<String>,
    name: String,
    active: bool,
    fs: Option<String>,
    label: String,
    in_table: bool,
}

fn dev(text: &str) -> Dev {
    let (major, minor) = text.split_once(':').unwrap();
    (major.parse().unwrap(), minor.parse().unwrap())
}

#[expect(
    clippy::too_many_lines,
    reason = "one row for each kind of line in a description"
)]
pub fn build(description: &Description) -> Built {
    let tree = Tree::new();
    let mut disks: BTreeMap<String, Disk> = BTreeMap::new();
    let (mut mounts, mut entries, mut named) = (vec![], vec![], None);
    let (mut holders, mut stands) = (vec![], vec![]);
    for line in &description.lines {
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        match line[..] {
            ["disk", name, number, gib, place, ref rest @ ..] => {
                let disk = disk(&tree, name, number, gib, place, rest);
                disks.insert(name.to_owned(), disk);
            }
            ["block", name, number, _, place, ref rest @ ..] => {
                block(&tree, name, number, place, rest);
                let below = rest.iter().find_map(|word| word.strip_prefix("slaves="));
                stands.extend(
                    below
                        .iter()
                        .flat_map(|all| all.split(','))
                        .map(|slave| (name, slave)),
                );
            }
            ["table", name, kind, id] => {
                disks.get_mut(name).unwrap().table = Some((kind.to_owned(), id.to_owned()));
            }
            ["part", name, number, index, start, sectors, ref rest @ ..] => {
                let part = part(&tree, name, number, index, start, sectors, rest);
                if let Some(disk) = disks.get_mut(name) {
                    disk.parts.push(part);
                }
            }
            ["link", path, to] => {
                tree.link(&format!("dev/disk/{path}"), &format!("../../{to}"));
                if let Some(disk) = disks.get(to) {
                    tree.add(
                        &format!("run/udev/data/b{}", disk.number),
                        &format!("S:disk/{path}\n"),
                    );
                }
            }
            ["claim", path, by] => {
                let number = &disks[by].number;
                tree.add(&format!("run/udev/data/b{number}"), &format!("S:disk/{path}\n"));
            }
            ["udev", number, text] => tree.add(&format!("run/udev/data/b{number}"), &format!("E:{text}\n")),
            ["usb" | "attr", place, attribute] => {
                let (key, text) = attribute.split_once('=').unwrap();
                tree.put(&format!("sys/devices/{place}/{key}"), text);
            }
            ["symlink", place, to] => {
                let to = tree.root.join(format!("sys/devices/{to}"));
                fs_err::create_dir_all(&to).unwrap();
                tree.link(&format!("sys/devices/{place}"), to.as_str());
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
    for (name, slave) in stands {
        tree.put(&format!("sys/block/{name}/slaves/{slave}"), "");
        let below = folder_of(&tree, slave);
        tree.put(&format!("{below}/holders/{name}"), "");
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
    let rows = disks.iter().flat_map(|(name, disk)| rows(name, disk)).collect();
    Built {
        machine: Machine {
            blocks,
            mounts,
            lsblk: rows,
            ..Machine::default()
        },
        tree,
        entries,
        named,
        disks,
    }
}

/// The folder of a block device in the tree.
fn full(name: &str, place: &str) -> String {
    // There is no folder `block` between a controller of NVMe and its namespaces.
    if place.ends_with(name) {
        format!("sys/devices/{place}")
    } else {
        format!("sys/devices/{place}/block/{name}")
    }
}

fn disk(tree: &Tree, name: &str, number: &str, gib: &str, place: &str, rest: &[&str]) -> Disk {
    let full = full(name, place);
    let word = |key: &str| rest.iter().find_map(|word| word.strip_prefix(key));
    let size = match (word("bytes="), word("mib=")) {
        (Some(bytes), _) => bytes.parse().unwrap(),
        (None, Some(mib)) => mib.parse::<u64>().unwrap() << 20,
        (None, None) => gib.parse::<u64>().unwrap() << 30,
    };
    tree.put(&format!("{full}/dev"), number);
    let device = full
        .trim_end_matches(name)
        .trim_end_matches('/')
        .trim_end_matches("/block")
        .to_owned();
    tree.link(&format!("sys/block/{name}"), tree.root.join(&full).as_str());
    tree.link(&format!("{full}/device"), tree.root.join(&device).as_str());
    tree.put(&format!("{full}/size"), &(size / 512).to_string());
    let mut disk = Disk {
        size,
        sector: 512,
        full: full.clone(),
        number: number.to_owned(),
        ..Disk::default()
    };
    for word in rest {
        match word.split_once('=') {
            None => tree.put(&format!("{full}/{word}"), "1"),
            Some(("mib" | "bytes", _)) => {}
            Some(("sector", bytes)) => {
                disk.sector = bytes.parse().unwrap();
                tree.put(&format!("{full}/queue/logical_block_size"), bytes);
            }
            Some(("fs", kind)) => disk.fs = Some(kind.to_owned()),
            Some(("pt", kind)) => disk.pt = Some(kind.to_owned()),
            Some(("holds", "windows")) => disk.holds = Some(windows()),
            Some(("holds", "noise")) => disk.holds = Some(noise(size)),
            Some(("holds", fixture)) => disk.holds = Some(sparse::load(fixture)),
            // Four bytes of header, then text.
            Some(("device/vpd_pg80", text)) => tree.put(
                &format!("{full}/device/vpd_pg80"),
                &format!("\0\u{0}\0\u{8}{text}"),
            ),
            Some((attribute, text)) => tree.put(&format!("{full}/{attribute}"), text),
        }
    }
    disk
}

/// A block device that is no disk: only that it is there, and what it stands upon.
fn block(tree: &Tree, name: &str, number: &str, place: &str, rest: &[&str]) {
    let full = full(name, place);
    tree.put(&format!("{full}/dev"), number);
    tree.link(&format!("sys/block/{name}"), tree.root.join(&full).as_str());
    for word in rest {
        match word.split_once('=') {
            None => tree.put(&format!("{full}/{word}"), "1"),
            Some(("bytes", bytes)) => {
                let bytes: u64 = bytes.parse().unwrap();
                tree.put(&format!("{full}/size"), &(bytes / 512).to_string());
            }
            // When all are there.
            Some(("slaves", _)) => {}
            Some(("dm", text)) => {
                let (mapping, uuid) = text.split_once(',').unwrap();
                tree.put(&format!("{full}/dm/name"), mapping);
                tree.put(&format!("{full}/dm/uuid"), uuid);
            }
            Some((attribute, text)) => tree.put(&format!("{full}/{attribute}"), text),
        }
    }
}

/// The folder of a disk or a partition that was laid out before, by its kernel name.
fn folder_of(tree: &Tree, name: &str) -> String {
    if tree.root.join(format!("sys/block/{name}")).exists() {
        return format!("sys/block/{name}");
    }
    let disks = tree.root.join("sys/block").read_dir_utf8().unwrap();
    for disk in disks.flatten() {
        if disk.path().join(name).is_dir() {
            return format!("sys/block/{}/{name}", disk.file_name());
        }
    }
    panic!("{name} stands on nothing");
}

fn part(
    tree: &Tree,
    disk: &str,
    number: &str,
    index: &str,
    start: &str,
    sectors: &str,
    rest: &[&str],
) -> Part {
    let word = |key: &str| {
        rest.iter()
            .find_map(|word| Some(word.strip_prefix(key)?.to_owned()))
    };
    let only = word("only=");
    if only.as_deref() != Some("table") {
        let digit = disk.ends_with(|c: char| c.is_ascii_digit());
        let name = format!("{disk}{}{index}", if digit { "p" } else { "" });
        let full = format!("sys/block/{disk}/{name}");
        for (key, text) in [
            ("partition", index),
            ("dev", number),
            ("start", start),
            ("size", sectors),
        ] {
            tree.put(&format!("{full}/{key}"), text);
        }
        if let Some(uuid) = word("uuid=") {
            tree.put(&format!("{full}/uevent"), &format!("PARTUUID={uuid}\n"));
        }
    }
    Part {
        number: index.parse().unwrap(),
        start: start.parse().unwrap(),
        sectors: word("length=").unwrap_or(sectors.to_owned()).parse().unwrap(),
        kind: word("type=").unwrap_or_default(),
        uuid: word("uuid="),
        name: word("name=").unwrap_or_default(),
        active: rest.contains(&"active"),
        fs: word("fs="),
        label: word("label=").unwrap_or_default(),
        in_table: only.as_deref() != Some("kernel"),
    }
}

/// What lsblk said of a disk.
fn rows(name: &str, disk: &Disk) -> Vec<Row> {
    let row = |name: String, kind: &str, fs: &Option<String>| Row {
        name,
        above: vec![],
        kind: kind.to_owned(),
        fstype: fs.clone(),
        label: None,
        model: None,
        pttype: disk.pt.clone(),
    };
    let digit = name.ends_with(|c: char| c.is_ascii_digit());
    let part = |part: &Part| format!("{name}{}{}", if digit { "p" } else { "" }, part.number);
    // Only where a dump has said it.
    if disk.fs.is_none() && disk.pt.is_none() && disk.parts.iter().all(|p| p.fs.is_none()) {
        return vec![];
    }
    let whole = row(name.to_owned(), "disk", &disk.fs);
    let parts = disk.parts.iter().map(|p| row(part(p), "part", &p.fs));
    [whole].into_iter().chain(parts).collect()
}

/// What is on a disk: what the line says that it holds, or what its table and its partitions make.
fn contents(disk: &Disk) -> Sparse {
    if let Some(holds) = &disk.holds {
        let mut holds = holds.clone();
        holds.resize(disk.size);
        return holds;
    }
    let mut made = Sparse::new(disk.size);
    match &disk.table {
        None => {}
        Some((kind, id)) if kind == "gpt" => lay_gpt(&mut made, disk, id),
        Some((_, id)) => lay_mbr(&mut made, disk, id),
    }
    if let Some(found) = disk.fs.as_deref().and_then(|kind| stand_in(kind, "", disk.size)) {
        made.lay(0, &found, disk.size);
    }
    for part in &disk.parts {
        let size = (part.sectors * 512).min(disk.size.saturating_sub(part.start * 512));
        if part.start > 0
            && let Some(found) = part
                .fs
                .as_deref()
                .and_then(|kind| stand_in(kind, &part.label, size))
        {
            made.lay(part.start * 512, &found, size);
        }
    }
    made
}

fn lay_gpt(made: &mut Sparse, disk: &Disk, id: &str) {
    let unit = disk.sector / 512;
    let last = disk.size / disk.sector - 34;
    let entry = |part: &Part| GptEntry {
        number: part.number,
        type_guid: part.kind.parse().unwrap(),
        partuuid: match &part.uuid {
            Some(uuid) => uuid.parse().unwrap(),
            None => Uuid::from_u128(u128::from(part.number)),
        },
        first_lba: part.start / unit,
        last_lba: (part.start / unit + (part.sectors / unit).max(1) - 1).min(last),
        name: part.name.clone(),
    };
    let table = GptTable {
        disk_guid: id.parse().unwrap(),
        sector_bytes: u32::try_from(disk.sector).unwrap(),
        entries: disk.parts.iter().filter(|p| p.in_table).map(entry).collect(),
    };
    let mut prepared = gpt::prepare(made, &table).unwrap();
    gpt::write(made, &mut prepared, |_| Ok(())).unwrap();
}

fn lay_mbr(made: &mut Sparse, disk: &Disk, id: &str) {
    let id = u32::from_str_radix(id.trim_start_matches("0x"), 16).unwrap();
    let kind = |part: &Part| u8::from_str_radix(&part.kind, 16).unwrap();
    let record = |made: &mut Sparse, at: u64, active: bool, kind: u8, start: u64, sectors: u64| {
        let number = |n: u64| u32::try_from(n).unwrap().to_le_bytes();
        made.put(
            at,
            &[
                if active { 0x80 } else { 0 },
                0xFE,
                0xFF,
                0xFF,
                kind,
                0xFE,
                0xFF,
                0xFF,
            ],
        );
        made.put(at + 8, &number(start));
        made.put(at + 12, &number(sectors));
    };
    // What Windows' dynamic disks have, whose partitions these only hide.
    if disk.parts.iter().any(|p| p.in_table && p.kind == "42") {
        made.put(6 * 512, b"PRIVHEAD");
    }
    made.put(440, &id.to_le_bytes());
    made.put(510, &[0x55, 0xAA]);
    let parts: Vec<&Part> = disk.parts.iter().filter(|p| p.in_table).collect();
    for part in parts.iter().filter(|p| p.number <= 4) {
        let at = 446 + u64::from(part.number - 1) * 16;
        record(made, at, part.active, kind(part), part.start, part.sectors);
    }
    let Some(extended) = parts.iter().find(|p| [0x05, 0x0F, 0x85].contains(&kind(p))) else {
        return;
    };
    let logical: Vec<&&Part> = parts.iter().filter(|p| p.number > 4).collect();
    // Each has a record of its own before it, and the place of the next one's.
    let before = |index: usize| match index {
        0 => extended.start,
        _ => logical[index].start - 1,
    };
    for (index, part) in logical.iter().enumerate() {
        let own = before(index);
        made.put(own * 512 + 510, &[0x55, 0xAA]);
        record(
            made,
            own * 512 + 446,
            part.active,
            kind(part),
            part.start - own,
            part.sectors,
        );
        if let Some(next) = logical.get(index + 1) {
            let place = before(index + 1);
            record(
                made,
                own * 512 + 462,
                false,
                0x05,
                place - extended.start,
                next.start + next.sectors - place,
            );
        }
    }
}
