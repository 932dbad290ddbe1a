//! Promise: landfall accepts any bytes from others without panicking. The properties of `fuzz/laws.rs` hold for every seed in
//! `fuzz/seeds/` and for changed seeds: bits, numbers, pieces of other seeds, words of the dictionary, a piece removed or
//! doubled.
//!
//! The changes are drawn from fixed numbers, so that two runs are the same run.
//!
//! `cargo lab fuzz` also looks at which code they reached and learns from it, but needs a C++ compiler.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may end where it stands

#[path = "../fuzz/laws.rs"]
mod laws;

use fs_err as fs;
use landfall::image::BLOCK_BYTES;
use landfall::image::manifest::{Chunk, Extent, HEADER_BYTES, Header, Manifest, digest};
use landfall::real::table::gpt;
use landfall_states::checkpoint::{Mark, Record};
use landfall_states::fault::{Attempts, Fault, FaultClass};
use landfall_states::names::Digest;
use landfall_states::{Phase, RecordedPhase};
use std::io::{Cursor, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Changed seeds for each target.
fn changes(target: &str) -> u64 {
    let times = std::env::var("LANDFALL_ANY_BYTES_TIMES").map_or(1, |times| times.parse().unwrap());
    times
        * match target {
            // A check sum over every entry, four times.
            "gpt" => 300,
            // Four looks at every byte of a small disk.
            "contents" => 60,
            "slots" => 1_000,
            // Two buffers of a chunk each, and a digest.
            "image" => 2_000,
            _ => 5_000,
        }
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = folder("seeds").join(target);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// The words of a dictionary in libFuzzer's notation: one in quotes on a line, with `\xAB`, `\\` and `\"`.
fn words(target: &str) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(folder("dictionaries").join(format!("{target}.dict"))).unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| word(line).unwrap_or_else(|| panic!("{target}.dict: {line}")))
        .collect()
}

fn word(line: &str) -> Option<Vec<u8>> {
    let mut rest = line.strip_prefix('"')?.strip_suffix('"')?.as_bytes();
    let mut word = vec![];
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        word.push(match (first, rest) {
            (b'\\', [b'x', high, low, more @ ..]) => {
                rest = more;
                u8::from_str_radix(std::str::from_utf8(&[*high, *low]).ok()?, 16).ok()?
            }
            (b'\\', [plain @ (b'\\' | b'"'), more @ ..]) => {
                rest = more;
                *plain
            }
            (b'\\' | b'"', _) => return None,
            (plain, _) => *plain,
        });
    }
    Some(word)
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below this one, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        (self.roll() % end as u64) as usize
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

/// One change of a kind that fuzzers know.
fn change(dice: &mut Dice, bytes: &mut Vec<u8>, seeds: &[Vec<u8>], words: &[Vec<u8>]) {
    let at = dice.below(bytes.len() + 1);
    let until = (at + dice.below(64)).min(bytes.len());
    let odd = [0, 1, 9, 10, 0x20, 0x2C, 0x30, 0x39, 0x7F, 0x80, 0xFE, 0xFF];
    match dice.below(9) {
        0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
        1 if at < bytes.len() => bytes[at] = *dice.pick(&odd),
        2 => {
            let number = dice.roll() >> dice.below(64);
            for (byte, new) in bytes[at..].iter_mut().zip(number.to_le_bytes()) {
                *byte = new;
            }
        }
        3 => drop(bytes.splice(at..at, dice.pick(words).iter().copied())),
        4 => {
            let word = dice.pick(words);
            let end = (at + word.len()).min(bytes.len());
            drop(bytes.splice(at..end, word.iter().copied()));
        }
        5 => drop(bytes.drain(at..until)),
        6 => drop(bytes.splice(at..at, bytes[at..until].to_vec())),
        7 => {
            let other = dice.pick(seeds);
            let from = dice.below(other.len() + 1);
            bytes.truncate(at);
            bytes.extend(&other[from..]);
        }
        _ => bytes.truncate(at),
    }
}

/// Asks a law; what it says when it does not hold.
fn asked(law: laws::Law, bytes: &[u8]) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| law(bytes))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
            .unwrap_or_default()
    })
}

#[test]
fn the_laws_hold_of_every_seed_and_of_what_comes_of_changing_it() {
    let mut broken = vec![];
    for (target, _) in laws::ALL {
        let (law, seeds, words) = (laws::law(target), seeds(target), words(target));
        assert!(!seeds.is_empty() && !words.is_empty(), "{target}");
        let mut dice = Dice(target.len() as u64);
        let began = std::time::Instant::now();
        let changes = changes(target);
        for index in 0..changes {
            let mut bytes = seeds[index as usize % seeds.len()].clone();
            // The first round is of the seeds as they are.
            if index >= seeds.len() as u64 {
                for _ in 0..=dice.below(4) {
                    change(&mut dice, &mut bytes, &seeds, &words);
                }
            }
            if let Err(why) = asked(law, &bytes) {
                let place = std::env::temp_dir().join(format!("landfall-{target}-{index}"));
                fs::write(&place, &bytes).unwrap();
                broken.push(format!("{target}: {} breaks its law: {why}", place.display()));
                break;
            }
        }
        // `cargo lab fuzz --smoke` reads these lines where there is no fuzzer.
        println!("asked\t{target}\t{changes}\t{:.2}", began.elapsed().as_secs_f64());
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_target_has_its_file_its_seeds_and_its_dictionary_and_nothing_else_has() {
    let names = |name: &str, ends: &str| {
        let entries = fs::read_dir(folder(name)).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.map(|name| name.replace(ends, "")).collect();
        names.sort();
        names
    };
    let mut targets = laws::ALL.map(|(target, _)| target.to_owned());
    targets.sort();
    assert_eq!(names("fuzz_targets", ".rs"), targets);
    assert_eq!(names("dictionaries", ".dict"), targets);
    assert_eq!(names("seeds", "/"), targets);
    let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
    for target in &targets {
        assert!(
            manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")),
            "{target}"
        );
        let text = fs::read_to_string(folder("fuzz_targets").join(format!("{target}.rs"))).unwrap();
        assert!(text.contains(&format!("laws::law(\"{target}\")")), "{target}");
    }
}

/// The control: a law that does not hold is told, and the seeds get behind the digests and check sums that would
/// otherwise keep every changed byte out.
#[test]
fn a_broken_law_is_told_and_the_seeds_are_read() {
    assert_eq!(asked(|_| panic!("not so"), b""), Err("not so".to_owned()));
    for seed in seeds("checkpoint").iter().take(1) {
        assert!(Record::decode(&seed[..4_096]).is_ok());
    }
    let configuration = seeds("configuration");
    let read = |text: &[u8], notation| {
        let text = std::str::from_utf8(text).unwrap();
        landfall::config::Config::parse(text, notation).is_ok()
    };
    for notation in [landfall::config::Notation::Ron, landfall::config::Notation::Json] {
        assert!(
            configuration.iter().any(|seed| read(seed, notation)),
            "{notation:?}"
        );
    }
    // An image opens and gives its chunks; a superblock is understood.
    let images = seeds("image");
    assert!(images.iter().any(|seed| laws::opened(seed.clone()) == Some(2)));
    assert!(
        images
            .iter()
            .any(|seed| landfall::image::ext4::Superblock::decode(seed).is_ok())
    );
    let scenarios = seeds("schedule");
    assert!(scenarios.iter().all(|s| {
        let text = std::str::from_utf8(&s[1..]).unwrap();
        text.parse::<landfall::sim::inject::schedule::Schedule>().is_ok()
    }));
}

fn record(sequence: u64, parent: Option<&[u8]>) -> Vec<u8> {
    let plan = laws::plan();
    let mut attempts = Attempts::default();
    attempts.raise(Phase::Planned);
    attempts.raise(Phase::Cloned);
    let record = Record {
        sequence,
        parent: parent.map(Record::digest_of),
        host: plan.host.clone(),
        install: plan.install,
        nonce: 0,
        layout: plan.layout_digest.clone(),
        payload: plan.payload_digest.clone(),
        disk: plan.disk.clone(),
        revision: "a".repeat(40).parse().unwrap(),
        claim: RecordedPhase::Realised(
            "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-web"
                .parse()
                .unwrap(),
        ),
        mark: Mark::Begun,
        attempts,
        boot: "11111111-2222-3333-4444-555555555555".to_owned(),
        last_fault: Some(Fault::injected(FaultClass::Transient, "clone", "connection reset").record()),
        image_progress: None,
    };
    record.encode().unwrap()
}

/// An ESP as small as a FAT can be, with both slots.
fn small_esp(slots: [&[u8]; 2]) -> Vec<u8> {
    let mut fat = Cursor::new(vec![0; 48 << 10]);
    fatfs::format_volume(&mut fat, fatfs::FormatVolumeOptions::new().bytes_per_cluster(512)).unwrap();
    fat.set_position(0);
    let esp = fatfs::FileSystem::new(&mut fat, fatfs::FsOptions::new()).unwrap();
    let efi = esp.root_dir().create_dir("EFI").unwrap();
    let folder = efi.create_dir("LANDFALL").unwrap();
    for (name, slot) in ["CKPT0.BIN", "CKPT1.BIN"].into_iter().zip(slots) {
        folder.create_file(name).unwrap().write_all(slot).unwrap();
    }
    drop((folder, efi));
    esp.unmount().unwrap();
    fat.into_inner()
}

/// Both ends of a small disk with a table.
fn small_table() -> Vec<u8> {
    let mut table = laws::plan().table;
    for (entry, (first, last)) in table.entries.iter_mut().zip([(64, 255), (256, 470)]) {
        (entry.first_lba, entry.last_lba) = (first, last);
    }
    let mut disk = Cursor::new(vec![0; laws::SECTORS * 512]);
    let mut prepared = gpt::prepare(&mut disk, &table).unwrap();
    gpt::write(&mut disk, &mut prepared, |_| Ok(())).unwrap();
    let disk = disk.into_inner();
    [&disk[..34 * 512], &disk[disk.len() - 34 * 512..]].concat()
}

/// An image of two chunks, with something to be zeroed and something that does not count.
fn small_image() -> Vec<u8> {
    let mut file = vec![0; HEADER_BYTES];
    let mut chunk = |extents: &[(u64, u64)], fill: u8| {
        let extents: Vec<_> = extents
            .iter()
            .map(|&(first, blocks)| Extent { first, blocks })
            .collect();
        let blocks: u64 = extents.iter().map(|extent| extent.blocks).sum();
        let plain = vec![fill; blocks as usize * BLOCK_BYTES];
        let packed = zstd::bulk::compress(&plain, 1).unwrap();
        let at = file.len() as u64;
        file.extend(&packed);
        Chunk {
            at,
            packed_bytes: packed.len() as u64,
            digest: digest(&plain),
            extents,
        }
    };
    let manifest = Manifest {
        system: "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-web"
            .parse()
            .unwrap(),
        filesystem_bytes: 8 * BLOCK_BYTES as u64,
        boot_bytes: 1,
        chunks: vec![chunk(&[(0, 1), (2, 1)], b'a'), chunk(&[(5, 2)], b'b')],
        zero: vec![Extent { first: 3, blocks: 1 }],
    };
    let text = manifest.encode();
    let header = Header {
        manifest_at: file.len() as u64,
        manifest_bytes: text.len() as u64,
        manifest: Digest::of(text.as_bytes()),
    };
    file[..HEADER_BYTES].copy_from_slice(&header.encode());
    file.extend(text.as_bytes());
    file
}

/// Block 0 of a filesystem as images have it.
fn small_filesystem() -> Vec<u8> {
    let keep = tempfile::NamedTempFile::new().unwrap();
    keep.as_file().set_len(16 << 20).unwrap();
    let id = "00000000-0000-0000-0000-00000000001f";
    let made = std::process::Command::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-U", id])
        .args(["-O", "metadata_csum,metadata_csum_seed,64bit", "-E"])
        .arg(format!("hash_seed={id}"))
        .arg(keep.path())
        .status()
        .unwrap();
    assert!(made.success());
    fs::read(keep.path()).unwrap()[..BLOCK_BYTES].to_vec()
}

/// The seeds that have a digest, a check sum or a filesystem are what is written in earnest today. The others were written
/// by hand or are what real programs printed. `UPDATE_EXPECT=1 cargo test --test any_bytes` writes them again.
#[test]
fn the_seeds_with_check_sums_are_those_of_today() {
    let anew = std::env::var_os("UPDATE_EXPECT").is_some();
    let held = |target: &str, name: &str, bytes: &[u8], is_same: fn(&[u8], &[u8]) -> bool| {
        let path = folder("seeds").join(target).join(name);
        if anew {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, bytes).unwrap();
        }
        let there = fs::read(&path).unwrap();
        assert!(is_same(&there, bytes), "{} is another one", path.display());
    };
    let same = |target: &str, name: &str, bytes: &[u8]| held(target, name, bytes, |a, b| a == b);
    // What a filesystem's maker writes has the time in it.
    let timed = |target: &str, name: &str, bytes: &[u8]| held(target, name, bytes, |a, b| a.len() == b.len());
    let older = record(7, None);
    let newer = record(8, Some(&older));
    let gap = record(9, Some(&older));
    let next = String::from_utf8(older.clone())
        .unwrap()
        .replacen("CHECKPOINT 2", "CHECKPOINT 3", 1);
    let both = [older.clone(), newer.clone()].concat();
    same("checkpoint", "chained", &both);
    same("checkpoint", "gap", &[older.clone(), gap.clone()].concat());
    same(
        "checkpoint",
        "newer-format",
        &[next.into_bytes(), older.clone()].concat(),
    );
    for (name, kind) in [
        ("blank", 0_u8),
        ("ours", 1),
        ("half", 2),
        ("asked-anew", 0x21),
        ("raised", 0x11),
    ] {
        same("recovery", name, &[&[kind][..], &both].concat());
    }
    same("recovery", "one-slot", &[&[0x41][..], &newer].concat());
    same("recovery", "gap", &[&[1][..], &older, &gap].concat());
    timed("slots", "directory", &small_esp([&older, &newer]));
    same("slots", "scan", &[&[b'x'; 512][..], &older, &newer].concat());
    same("gpt", "table", &small_table());
    same("image", "two-chunks", &small_image());
    timed("image", "superblock", &small_filesystem());
    for name in ["generated.json", "plain.ron", "luks-prebuilt.ron"] {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples");
        same("configuration", name, &fs::read(examples.join(name)).unwrap());
    }
}
