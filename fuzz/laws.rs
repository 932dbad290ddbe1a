//! What must hold of bytes that nobody of us wrote. Law: one function for each thing that reads such bytes; it returns when
//! what it promises held, and panics when not. The fuzz targets (`fuzz_targets/`) give these functions what a fuzzer
//! thinks of, and `tests/any_bytes.rs` gives them the seeds and what comes of changing them, with any compiler.
//!
//! A digest or a check sum is no obstacle that a fuzzer could take by chance: where one stands in the way, the law is
//! asked of the bytes as they are and of the bytes with their digest put right.
//!
//! Absent: the fuzzer, and the bytes.

use landfall::config::{Config, Notation};
use landfall::image::bytes::Bytes;
use landfall::image::ext4::{self, Superblock};
use landfall::image::manifest::{HEADER_BYTES, Header, Manifest, digest};
use landfall::image::open::Opened;
use landfall::image::{BLOCK_BYTES, CHUNK_BYTES_MAX, PACKED_BYTES_MAX};
use landfall::real::boot::{activation, bootspec, kernel_settings, loader};
use landfall::real::disk::contents::seen as on_disk;
use landfall::real::disk::{efi, lsblk, proc};
use landfall::real::fs::receipt;
use landfall::real::git::settings::{self, Judged, Of};
use landfall::real::mount::table;
use landfall::real::secret::{Secret, SecretText};
use landfall::real::secrets::passphrase;
use landfall::real::table::gpt;
use landfall::real::volume::{probe, slots};
use landfall::sim::explore::harness::Harness;
use landfall::sim::inject::schedule::Schedule;
use landfall::sim::model::case::Case;
use landfall_states::actions::partition_disk::GptCopy;
use landfall_states::checkpoint::{Choice, MAGIC, Record, SLOT_BYTES, choose};
use landfall_states::names::Digest;
use landfall_states::plan::{DiskIdentity, Layout, Machine, Payload, Plan};
use landfall_states::plan::{Reference, Repository, RepositorySource, SystemSource};
use landfall_states::recovery::{Decision, DiskEvidence, Situation, decide};
use landfall_states::untrusted_text::{self, Shown};
use landfall_states::{Phase, Probe};
use secrecy::ExposeSecret;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Cursor};
use std::sync::Arc;
use uuid::Uuid;

/// A law: what is asked of any bytes.
pub type Law = fn(&[u8]);

/// Every law by the name of its target.
pub const ALL: [(&str, Law); 11] = [
    ("checkpoint", checkpoint),
    ("recovery", recovery),
    ("slots", esp),
    ("gpt", table),
    ("contents", contents),
    ("image", image),
    ("configuration", configuration),
    ("firmware", firmware),
    ("tools", tools),
    ("schedule", schedule),
    ("foreign", foreign),
];

/// The law of a target.
pub fn law(name: &str) -> Law {
    let found = ALL.iter().find(|(target, _)| *target == name);
    found.unwrap_or_else(|| panic!("no law is called {name}")).1
}

/// Two slots. What decodes is what was encoded; what is believed was decoded; a fork tells the higher sequence number.
fn checkpoint(data: &[u8]) {
    let (first, second) = data.split_at(data.len().min(SLOT_BYTES));
    for (first, second) in [
        (first.to_vec(), second.to_vec()),
        (with_digest(first), with_digest(second)),
    ] {
        let (first, second) = (first.as_slice(), second.as_slice());
        for slot in [first, second] {
            if let Ok(record) = Record::decode(slot) {
                // Only the words of a fault give way, where an older format had more room.
                let again = record.encode().map(|bytes| Record::decode(&bytes));
                let bare = |record: Record| Record {
                    last_fault: None,
                    ..record
                };
                assert_eq!(
                    again.map(|read| read.map(bare)),
                    Ok(Ok(bare(record))),
                    "a record that does not come back"
                );
            }
        }
        match choose([Some(first), Some(second)]) {
            Choice::Trusted { record, slot, other } => {
                assert_eq!(Record::decode([first, second][slot]), Ok(*record));
                if let Some(why) = other {
                    assert_eq!(Record::decode([first, second][1 - slot]), Err(why));
                }
            }
            Choice::Neither(whys) => assert_eq!(whys.map(Err), [first, second].map(Record::decode)),
            Choice::Fork { why: _, sequence } => {
                assert_eq!(Some(sequence), highest_sequence(&[Some(first), Some(second)]));
            }
            Choice::Newer(_) => {}
        }
    }
}

/// A first byte that says what the disk and the person are like, and two slots. Whatever the slots hold: a table of ours
/// is not begun over unless somebody asked, a disk without one is not continued, what is believed is a record of this
/// disk and host, and what is written next goes beyond every sequence number that was read (I7, I9).
fn recovery(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    let (first, second) = rest.split_at(rest.len().min(SLOT_BYTES));
    for slots in [
        [first.to_vec(), second.to_vec()],
        [with_digest(first), with_digest(second)],
    ] {
        decided(*kind, slots);
    }
}

fn decided(kind: u8, [first, second]: [Vec<u8>; 2]) {
    let plan = plan();
    let whole = || GptCopy::Complete(plan.table.clone());
    let (primary, backup) = match kind % 4 {
        0 => (GptCopy::Absent, GptCopy::Absent),
        1 => (whole(), whole()),
        2 => (whole(), GptCopy::Absent),
        _ => (GptCopy::Damaged("check sum".to_owned()), whole()),
    };
    let ours = !kind.is_multiple_of(4);
    let reinstall = u32::from(kind >> 4 & 1);
    let reinstall_requested = kind >> 5 & 1 == 1;
    let slots = [Some(first), (kind >> 6 & 1 == 0).then_some(second)];
    let evidence = DiskEvidence {
        disk: plan.disk.clone(),
        device: "/dev/vda".to_owned(),
        primary,
        backup,
        slots,
        slots_scanned: kind >> 3 & 1 == 1,
    };
    let (layout, payload) = (layout(), payload());
    let situation = Situation {
        host: &plan.host,
        layout: &layout,
        payload: &payload,
        reinstall,
        reinstall_requested,
        disks: std::slice::from_ref(&evidence),
        choice: &Ok(plan.disk.clone()),
        named: kind >> 2 & 1 == 1,
        tmpfs: None,
    };
    let decision = decide(&situation);
    assert_eq!(decision, decide(&situation), "the same facts, another decision");
    let resume_plan = match &decision {
        Decision::Begin(resume_plan) => {
            assert!(
                !ours || reinstall_requested || reinstall > 0,
                "begun over: {decision:?}"
            );
            resume_plan
        }
        Decision::Continue(resume_plan) => {
            assert!(ours, "continued without a table: {decision:?}");
            assert_eq!(resume_plan.plan.table, plan.table);
            resume_plan
        }
        Decision::Landed { record, .. } => {
            assert_eq!(record.phase(), Phase::Landed);
            assert!(!reinstall_requested);
            return;
        }
        Decision::Stop { .. } => return,
    };
    if let Some(trusted) = &resume_plan.trusted {
        assert_eq!(Record::decode(&trusted.bytes).as_ref(), Ok(&trusted.record));
        assert_eq!(trusted.record.disk, plan.disk);
        assert_eq!(trusted.record.host, plan.host);
    }
    let read = [evidence.slots[0].as_deref(), evidence.slots[1].as_deref()];
    assert!(
        Some(resume_plan.sequence_seen) >= highest_sequence(&read),
        "{resume_plan:?}"
    );
}

/// A partition that should be an ESP. Reading the slots ends within its bounds.
fn esp(data: &[u8]) {
    for thorough in [false, true] {
        let size = data.len() as u64;
        let slots = slots::read(&mut Cursor::new(data), 0, size, thorough).expect("memory has no errors");
        for slot in slots.bytes.iter().flatten() {
            assert!(slot.len() <= SLOT_BYTES);
        }
    }
}

const SECTOR: usize = 512;
/// Sectors of the disk.
pub const SECTORS: usize = 512;
/// Bytes that a copy of the table takes at its end of the disk, the protective MBR included.
const END: usize = 34 * SECTOR;

/// The two ends of a disk. A table that was read, written again and read again is the same table.
fn table(data: &[u8]) {
    let mut disk = vec![0; SECTORS * SECTOR];
    let (head, tail) = data.split_at(data.len().min(END));
    disk[..head.len()].copy_from_slice(head);
    let tail = &tail[..tail.len().min(END)];
    let at = disk.len() - tail.len();
    disk[at..].copy_from_slice(tail);
    read_and_written(disk.clone());
    put_checksums_right(&mut disk, SECTOR);
    let last = disk.len() - SECTOR;
    put_checksums_right(&mut disk, last);
    read_and_written(disk);
}

fn read_and_written(disk: Vec<u8>) {
    let seen = gpt::read(&mut Cursor::new(disk), SECTOR as u32).expect("memory has no errors");
    let Some(table) = seen.table() else { return };
    let mut fresh = Cursor::new(vec![0; SECTORS * SECTOR]);
    // A table of another disk's size does not fit; that is said, not written.
    let Ok(mut prepared) = gpt::prepare(&mut fresh, table) else {
        return;
    };
    gpt::write(&mut fresh, &mut prepared, |_| Ok(())).expect("memory has no errors");
    let again = gpt::read(&mut fresh, SECTOR as u32).expect("memory has no errors");
    assert_eq!(again.primary.table(), Some(table));
    assert_eq!(again.backup.table(), Some(table));
    assert!(again.protective_mbr);
}

/// Bytes of the disk that pieces are put on.
const DISK: usize = 4 << 20;

/// Pieces of a disk, each with its place (four bytes) and its length (two bytes) before it; everything else is zero. Looking ends,
/// says the same twice, and calls nothing blank that has a byte at its ends.
fn contents(data: &[u8]) {
    let mut disk = vec![0; DISK];
    let mut rest = data;
    while let Some((head, more)) = rest.split_at_checked(6) {
        let at = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize % DISK;
        let length = usize::from(u16::from_le_bytes([head[4], head[5]]));
        let (piece, more) = more.split_at(length.min(more.len()));
        let piece = &piece[..piece.len().min(DISK - at)];
        disk[at..at + piece.len()].copy_from_slice(piece);
        rest = more;
    }
    let plain = disk.iter().all(|byte| *byte == 0);
    for sector_bytes in [512, 4096] {
        let identity = DiskIdentity {
            wwn: None,
            serial: Some("LF0001".to_owned()),
            path: None,
            size_bytes: DISK as u64,
            sector_bytes,
        };
        let look = || {
            let seen = on_disk(&mut Cursor::new(&disk), &identity, None).expect("memory has no errors");
            (seen.blank, seen.lines, seen.unknown)
        };
        let (blank, lines, unknown) = look();
        assert_eq!(
            look(),
            (blank, lines.clone(), unknown),
            "the same disk, other lines"
        );
        assert!(
            !lines.iter().any(|line| line.contains('\n')),
            "two lines in one: {lines:?}"
        );
        assert!(!plain || blank, "zeros are blank");
        // On a disk of this size every byte is looked at; erased flash is 0xFF throughout a piece.
        let other = disk.iter().any(|byte| *byte != 0 && *byte != 0xFF);
        assert!(!(blank && other), "data is taken for blank: {lines:?}");
    }
}

/// Chunks of an image that are unpacked; more of them only take time.
const CHUNKS_MAX: usize = 4;

/// An image of a root filesystem, or its block 0. What opens says itself in one way only, has every block of its filesystem in
/// one of three lists, and gives no chunk whose digest is another; a superblock that is given an id has that id, and is else as
/// it was.
fn image(data: &[u8]) {
    for file in [data.to_vec(), with_manifest(data)] {
        opened(file);
    }
    for block in [data.to_vec(), with_superblock(data)] {
        let Ok(mut wanted) = Superblock::decode(&block) else {
            continue;
        };
        wanted.id = Uuid::from_u128(0x1F);
        let mut block = block;
        ext4::stamp(&mut block, &wanted.id, "root-web").expect("it was understood before");
        assert_eq!(Superblock::decode(&block).expect("a stamped superblock"), wanted);
    }
}

/// How many of its chunks it gave, if it is an image.
pub fn opened(file: Vec<u8>) -> Option<usize> {
    let file = Arc::new(Memory(file));
    let image = Opened::open(file.clone()).ok()?;
    let manifest = &image.manifest;
    let text = manifest.encode();
    assert!(
        file.0.ends_with(text.as_bytes()),
        "a manifest that can be said in two ways"
    );
    let end = (file.0.len() - text.len()) as u64;
    assert_eq!(
        &Manifest::decode(&text, end).expect("it was read before"),
        &**manifest
    );
    let mut all = manifest.free();
    all.extend(&manifest.zero);
    all.extend(manifest.chunks.iter().flat_map(|chunk| &chunk.extents));
    all.sort_by_key(|extent| extent.first);
    let behind = all.iter().fold(0, |behind, extent| {
        assert_eq!(extent.first, behind, "a block twice, or nowhere");
        extent.end()
    });
    assert_eq!(behind * BLOCK_BYTES as u64, manifest.filesystem_bytes);
    let mut unpacker = zstd::bulk::Decompressor::new().expect("memory for it");
    let (mut packed, mut plain) = (vec![0; PACKED_BYTES_MAX], vec![0; CHUNK_BYTES_MAX]);
    let mut given = 0;
    for (index, chunk) in manifest.chunks.iter().enumerate().take(CHUNKS_MAX) {
        image
            .read_packed(index, &mut packed)
            .expect("it lies in the file");
        if let Ok(length) = image.unpack(index, &mut unpacker, &mut packed, &mut plain) {
            assert_eq!(length as u64, chunk.plain_bytes());
            assert_eq!(digest(&plain[..length]), chunk.digest);
            given += 1;
        }
    }
    Some(given)
}

/// An image in memory.
struct Memory(Vec<u8>);

impl Bytes for Memory {
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        let from = usize::try_from(at).map_err(io::Error::other)?;
        let found = from
            .checked_add(bytes.len())
            .and_then(|end| self.0.get(from..end));
        bytes.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn forget(&self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }
}

/// The file with a header that names its manifest, if it has one.
fn with_manifest(data: &[u8]) -> Vec<u8> {
    let begin = b"landfall-image-manifest 1\n";
    let found = data.windows(begin.len()).position(|window| window == begin);
    let Some(at) = found.filter(|at| *at >= HEADER_BYTES) else {
        return data.to_vec();
    };
    let header = Header {
        manifest_at: at as u64,
        manifest_bytes: (data.len() - at) as u64,
        manifest: Digest::of(&data[at..]),
    };
    [&header.encode(), &data[HEADER_BYTES..]].concat()
}

/// Block 0 with the check sum that its superblock has.
fn with_superblock(data: &[u8]) -> Vec<u8> {
    let mut block = data.to_vec();
    let superblock = ext4::SUPERBLOCK_AT..ext4::SUPERBLOCK_AT + ext4::SUPERBLOCK_BYTES;
    if let Some(superblock) = block.get_mut(superblock) {
        let (bytes, sum) = superblock.split_at_mut(ext4::SUPERBLOCK_BYTES - 4);
        sum.copy_from_slice(&ext4::crc32c(!0, bytes).to_le_bytes());
    }
    block
}

/// A configuration in RON or JSON. It is refused or understood, and what is understood says the same when it is shown.
fn configuration(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for notation in [Notation::Ron, Notation::Json] {
        match Config::parse(&text, notation) {
            Ok(config) => {
                let shown = serde_json::to_string(&config).expect("a configuration can be shown");
                assert_eq!(
                    Config::parse(&shown, Notation::Json).as_ref(),
                    Ok(&config),
                    "{shown}"
                );
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

/// What firmware, the ESP's loader and an earlier install left.
fn firmware(data: &[u8]) {
    if let Ok(option) = efi::parse_load_option(data) {
        assert!(data.len() >= 10, "{option:?}");
    }
    if let Ok(numbers) = efi::parse_numbers(data) {
        assert!(numbers.len() * 2 + 4 <= data.len());
    }
    drop(efi::parse_device_path(data));
    loader::is_pe(data);
    let text = String::from_utf8_lossy(data);
    let file = text.lines().next().unwrap_or_default();
    let entry = loader::Entry::parse(file, &text);
    assert!(loader::order(&entry, &entry).is_eq());
    let conf = loader::LoaderConf::parse(&text);
    let variables = loader::Variables {
        default: Some(text.clone().into_owned()),
        ..loader::Variables::default()
    };
    assert!(loader::chosen(&[&entry], &conf, &variables).is_some());
    drop(bootspec::parse(&text));
    activation::failures(&text);
    activation::missing_passwords(&text);
    kernel_settings::parse(&text);
    receipt::read_receipt(&text);
    receipt::timings(&text);
}

/// What programs and the kernel print: lsblk, blkid, mountinfo, swaps, the command line, Git; and Git's settings.
fn tools(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(rows) = lsblk::parse(&text) {
        for row in &rows {
            let above = row.above.last();
            assert!(above.is_none_or(|above| rows.iter().any(|r| &r.name == above)));
        }
    }
    // "Blank" lets a partition be formatted: no other line may be among those that say it.
    if probe::parse(&text) == Some(Probe::Blank) {
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let idle = ["PART_ENTRY_", "DEVNAME=", "TYPE=", "USAGE="];
            assert!(
                idle.iter().any(|start| line.starts_with(start)),
                "{line:?} is not blank"
            );
        }
        assert!(text.contains("PART_ENTRY_"));
    }
    drop(table::parse_mountinfo(&text));
    drop(proc::parse_mountinfo(&text));
    proc::parse_swaps(&text);
    proc::parse_cmdline(&text);
    proc::parse_dev(&text);
    let said = landfall_states::remote::redact(&text);
    assert_eq!(
        landfall_states::remote::redact(&said),
        said,
        "what is hidden stays as it is"
    );
    settings(data);
}

/// A repository's settings, on the target: what is taken for Git's own writing names no program and no file to be read.
fn settings(data: &[u8]) {
    let Ok(settings) = settings::read(data) else {
        return;
    };
    for setting in &settings {
        settings::shown(setting);
        for of in [Of::Submodule, Of::Clone { origin: None }] {
            if settings::judge(setting, of) != Judged::Ours {
                continue;
            }
            let known = [
                "core.",
                "extensions.",
                "remote.origin.",
                "branch.",
                "submodule.",
                "landfall.",
            ];
            assert!(
                known.iter().any(|start| setting.name.starts_with(start)),
                "{setting:?}"
            );
            let value = setting.value.as_deref().expect("a name alone is strange");
            assert!(!value.starts_with(['!', '-']), "{setting:?}");
            assert!(
                !setting.name.ends_with("url") || !value.contains("::"),
                "{setting:?}"
            );
        }
    }
}

/// Text of others, as it is shown: bounded, one line, nothing in it that steers or hides, and the same when it is shown again. And a
/// secret of others: what is taken for a passphrase is the bytes that were given, and no others.
fn foreign(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let is_plain = |c: char| {
        !c.is_control() && !matches!(u32::from(c), 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F)
    };
    let most = untrusted_text::LINE_CHARS_MAX + 40;
    for shown in [Shown::line(&text), Shown::name(&text), Shown::bytes(data)] {
        assert!(shown.as_str().chars().all(is_plain) && shown.as_str().chars().count() <= most);
        assert_eq!(Shown::line(shown.as_str()), shown, "it is shown the same again");
    }
    let lines = Shown::text(&text);
    assert!(lines.as_str().chars().all(|c| c == '\n' || is_plain(c)));
    let quoted = landfall_states::names::quoted(&text);
    assert!(quoted.chars().all(is_plain) && quoted.chars().count() <= 10 * most);
    let Ok(secret) = Secret::copy_of(data) else { return };
    assert_eq!(secret.bytes(), data);
    if let Ok(line) = passphrase::line(&secret, "x") {
        let line: &str = line.expose_secret();
        assert!(data.starts_with(line.as_bytes()) && data.len() - line.len() <= 2);
    }
    match secret.into_text() {
        Ok(text) => assert_eq!(
            <SecretText as ExposeSecret<str>>::expose_secret(&text).as_bytes(),
            data
        ),
        Err(secret) => assert!(std::str::from_utf8(secret.bytes()).is_err(), "text was refused"),
    }
}

/// Faults that are told in one scenario; more of them only take time.
const SHOTS_MAX: usize = 4;

/// A first byte that names a case, and the text of a schedule. It is refused or reads back; the scenario that it tells ends,
/// ends again alike, and breaks no invariant.
fn schedule(data: &[u8]) {
    let Some((which, text)) = data.split_first() else {
        return;
    };
    let Ok(mut schedule) = String::from_utf8_lossy(text).parse::<Schedule>() else {
        return;
    };
    assert_eq!(schedule.to_string().parse::<Schedule>().as_ref(), Ok(&schedule));
    schedule.0.truncate(SHOTS_MAX);
    let cases = Case::all();
    let case = usize::from(*which) % cases.len();
    HARNESSES.with_borrow_mut(|harnesses| {
        let harness = harnesses
            .entry(case)
            .or_insert_with(|| Harness::new(cases[case]).expect("a case of our own"));
        let report = harness.run(&schedule, false);
        assert_eq!(report.breaches, [], "{} with {schedule}", cases[case]);
        assert_eq!(harness.run(&schedule, false).trace, report.trace, "{schedule}");
    });
}

thread_local! {
    static HARNESSES: RefCell<BTreeMap<usize, Harness>> = const { RefCell::new(BTreeMap::new()) };
}

/// The install that the seeds are of.
pub fn plan() -> Plan {
    let disk = DiskIdentity {
        wwn: None,
        serial: Some("LF0001".to_owned()),
        path: None,
        size_bytes: 8 << 30,
        sector_bytes: 512,
    };
    Plan::derive(&named("web"), &layout(), &payload(), &disk, 0).expect("it fits")
}

fn layout() -> Layout {
    Layout {
        esp_label: named("ESP-WEB"),
        esp_size: named("1G"),
        root_label: named("root-web"),
        luks_label: Some(named("luks-web")),
        swap: None,
        machine: Machine::X86_64,
    }
}

fn payload() -> Payload {
    Payload {
        repository: Repository {
            source: RepositorySource::Remote(named("https://forge.example/o/r")),
            reference: Reference::Default,
            clone_path: named("/mnt/nix-config"),
        },
        system: SystemSource::Flake,
    }
}

fn named<T: std::str::FromStr>(text: &str) -> T {
    let value = text.parse().ok();
    value.unwrap_or_else(|| panic!("{text:?} obeys its rule"))
}

fn highest_sequence(slots: &[Option<&[u8]>]) -> Option<u64> {
    let read = slots
        .iter()
        .flatten()
        .filter_map(|slot| Record::decode(slot).ok());
    read.map(|record| record.sequence).max()
}

/// The slot with the digest that its other bytes have, at the place where a slot has one.
fn with_digest(slot: &[u8]) -> Vec<u8> {
    let mut slot = slot.to_vec();
    if slot.starts_with(MAGIC.as_bytes()) {
        slot.resize(SLOT_BYTES, b'\n');
    }
    let end = slot.iter().take(200).position(|b| *b == b'\n');
    let Some(head) = end.and_then(|end| end.checked_sub(64)) else {
        return slot;
    };
    let digest = Digest::of(&[&slot[..head], &slot[head + 64..]].concat());
    slot[head..head + 64].copy_from_slice(digest.as_str().as_bytes());
    slot
}

/// Puts the check sums of a GPT header and of the entries that it points at right, if there is one at this place.
fn put_checksums_right(disk: &mut [u8], at: usize) {
    if !disk[at..].starts_with(b"EFI PART") {
        return;
    }
    let number = |disk: &[u8], offset: usize, bytes: usize| {
        let field = &disk[at + offset..at + offset + bytes];
        field
            .iter()
            .rev()
            .fold(0_usize, |sum, b| sum << 8 | usize::from(*b))
    };
    let from = number(disk, 72, 8).saturating_mul(SECTOR);
    let bytes = number(disk, 80, 4).saturating_mul(number(disk, 84, 4));
    if let Some(entries) = disk.get(from..from.saturating_add(bytes)) {
        let sum = crc32(entries);
        disk[at + 88..at + 92].copy_from_slice(&sum.to_le_bytes());
    }
    disk[at + 16..at + 20].fill(0);
    let length = number(disk, 12, 4).min(SECTOR);
    let sum = crc32(&disk[at..at + length]);
    disk[at + 16..at + 20].copy_from_slice(&sum.to_le_bytes());
}

/// CRC-32 as in UEFI (ISO 3309), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |sum: u32, _| {
        if sum & 1 == 1 {
            sum >> 1 ^ 0xEDB8_8320
        } else {
            sum >> 1
        }
    };
    let add = |sum: u32, byte: &u8| (0..8).fold(sum ^ u32::from(*byte), step);
    !bytes.iter().fold(!0, add)
}
