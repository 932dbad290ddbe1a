//! Promise: a byte that outlives a process means the same for every later landfall.
//!
//! For every format both directions are checked: what is written today is the golden file, byte for byte, and what reads it
//! gives the value it was made of. A golden file is never edited: `tests/golden/SHA256SUMS` has the digest of each, and a new
//! version of a format gets a new folder.
//!
//! `golden_settings` has the configuration; `any_bytes` and the formats' own tests have damage.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may end where it stands

#[path = "golden_formats/kit.rs"]
mod kit;
#[path = "golden_formats/listeners.rs"]
mod listeners;
#[path = "golden_formats/target.rs"]
mod target;

use fs_err as fs;
use kit::{disks, folder, golden, plan, record, system};
use landfall::formats::FORMATS;
use landfall_states::authentic::{Authenticity, KeySource, RecordKey, RecordKeys};
use landfall_states::checkpoint::{Mark, Record, SLOT_BYTES, authenticity};
use landfall_states::fault::{Cause, Ended, Fault, FaultClass, FaultRecord};
use landfall_states::image::ImageProgress;
use landfall_states::names::Digest;
use landfall_states::{Phase, RecordedPhase};
use std::collections::BTreeMap;

/// A slot: what is written is the file, and what reads the file gives the record; also the file that format 1 has of it.
fn slot(name: &str, record: &Record, read: &Record) -> Vec<u8> {
    let bytes = record.encode().unwrap();
    golden("checkpoint-2", name, &bytes);
    assert_eq!(bytes.len(), SLOT_BYTES);
    assert_eq!(Record::decode(&bytes).as_ref(), Ok(read), "{name}");
    let first = |name: &str| fs::read(folder().join("checkpoint-1").join(name)).unwrap();
    let old = Record {
        // The one before it has other bytes.
        parent: read
            .parent
            .as_ref()
            .map(|_| Record::digest_of(&first("chain-first.slot"))),
        ..read.clone()
    };
    assert_eq!(Record::decode(&first(name)), Ok(old), "{name}, format 1");
    assert_eq!(
        authenticity(&first(name), None, &keys()),
        Authenticity::Unproved,
        "format 1 has no codes"
    );
    bytes
}

/// Both keys.
fn keys() -> RecordKeys {
    let mut keys = RecordKeys::default();
    let id = record(1).install.uuid();
    for source in KeySource::ALL {
        keys.hold(RecordKey::derive(source, &[0x5A; 64], id.as_bytes()).unwrap());
    }
    keys
}

#[test]
fn codes_of_both_sources_in_a_slot() {
    let keys = keys();
    for source in KeySource::ALL {
        let bytes = record(7).encode_with(keys.of(source)).unwrap();
        golden("checkpoint-2", &format!("code-{}.slot", source.name()), &bytes);
        assert_eq!(Record::decode(&bytes), Ok(record(7)));
        assert_eq!(authenticity(&bytes, None, &keys), Authenticity::Proved);
        // The control: of another secret it is forged.
        let mut others = RecordKeys::default();
        others.hold(RecordKey::derive(source, &[0xA5; 64], b"").unwrap());
        assert_eq!(authenticity(&bytes, None, &others), Authenticity::Forged);
    }
}

fn claim(phase: Phase) -> RecordedPhase {
    match phase {
        Phase::Planned => RecordedPhase::Planned,
        Phase::Partitioned => RecordedPhase::Partitioned,
        Phase::Anchored => RecordedPhase::Anchored,
        Phase::Encrypted => RecordedPhase::Encrypted,
        Phase::Formatted => RecordedPhase::Formatted,
        Phase::Cloned => RecordedPhase::Cloned,
        Phase::Realised => RecordedPhase::Realised(system()),
        Phase::Installed => RecordedPhase::Installed(system()),
        Phase::Bootable => RecordedPhase::Bootable(system()),
        Phase::Provisioned => RecordedPhase::Provisioned(system()),
        Phase::Landed => RecordedPhase::Landed(system()),
    }
}

#[test]
fn every_state_and_mark_in_a_slot() {
    for (number, phase) in Phase::ALL.into_iter().enumerate() {
        let record = Record {
            claim: claim(phase),
            ..record(number as u64)
        };
        let name = format!("state-{}.slot", phase.to_string().to_lowercase());
        slot(&name, &record, &record);
    }
    for (name, mark) in [
        ("mark-reached.slot", Mark::Reached),
        ("mark-begun.slot", Mark::Begun),
        ("mark-stopped.slot", Mark::Stopped),
    ] {
        let record = Record { mark, ..record(7) };
        slot(name, &record, &record);
    }
}

#[test]
fn every_other_field_of_a_slot() {
    let first = record(1);
    let bytes = slot("chain-first.slot", &first, &first);
    let second = Record {
        parent: Some(Record::digest_of(&bytes)),
        ..record(2)
    };
    slot("chain-second.slot", &second, &second);
    let attempts = |phases: &[Phase]| {
        let mut attempts = landfall_states::fault::Attempts::default();
        phases.iter().for_each(|phase| {
            attempts.raise(*phase);
        });
        attempts
    };
    let tried = Record {
        attempts: attempts(&[Phase::Planned, Phase::Cloned, Phase::Cloned, Phase::Provisioned]),
        nonce: 4_294_967_295,
        ..record(u64::MAX / 2)
    };
    slot("attempts.slot", &tried, &tried);
    let image_progress = Record {
        claim: RecordedPhase::Encrypted,
        image_progress: Some(ImageProgress {
            image: Digest::of(b"manifest"),
            chunks: 1_650,
        }),
        ..record(12)
    };
    slot("image-progress.slot", &image_progress, &image_progress);
    for (name, disk) in disks() {
        let record = Record { disk, ..record(3) };
        slot(&format!("disk-{name}.slot"), &record, &record);
    }
}

#[test]
fn faults_in_a_slot_whole_and_cut() {
    for (name, class) in [
        ("transient", FaultClass::Transient),
        ("needs-change", FaultClass::NeedsChange),
        ("permanent", FaultClass::Permanent),
        ("hardware", FaultClass::Hardware),
        ("unsafe", FaultClass::Unsafe),
        ("interrupted", FaultClass::Interrupted),
    ] {
        let record = Record {
            last_fault: Some(FaultRecord {
                class,
                what: "clone of https://forge.example/o/r".into(),
                why: "connection \"reset\" by \u{e9}\\peer".into(),
                next: "landfall resume".into(),
                wait_s: (class == FaultClass::Transient).then_some(90),
                ending: None,
            }),
            ..record(9)
        };
        slot(&format!("fault-{name}.slot"), &record, &record);
    }
    let ended = Ended {
        program: "nixos-install".into(),
        code: Some(1),
        last_lines: vec!["nobody has heard this before".into()],
        note: None,
    };
    let fault = Fault::ending(
        Cause::Unknown,
        "nixos-install of web",
        ended,
        "nobody has heard this before",
    );
    // Its mark; the words may change.
    let ending = Record {
        last_fault: Some(FaultRecord {
            what: "nixos-install of web".into(),
            why: "nobody has heard this before".into(),
            next: "landfall resume".into(),
            ..fault.record()
        }),
        ..record(9)
    };
    slot("fault-ending.slot", &ending, &ending);
    // The texts give way until the slot fits: to 600 bytes, to 200, to 60. A quotation mark takes two bytes of the slot.
    for (name, text, kept) in [
        ("fault-cut-600.slot", "\u{e9}".repeat(400), 600),
        ("fault-cut-200.slot", "\"".repeat(700), 200),
        ("fault-cut-60.slot", "\u{7f}".repeat(700), 60),
    ] {
        let fault = FaultRecord {
            class: FaultClass::Permanent,
            what: text.clone(),
            why: text.clone(),
            next: text,
            wait_s: None,
            ending: None,
        };
        let cut = Record {
            last_fault: Some(fault.abridged(kept)),
            ..record(9)
        };
        let whole = Record {
            last_fault: Some(fault),
            ..record(9)
        };
        slot(name, &whole, &cut);
    }
}

#[test]
fn ids_and_digests() {
    let mut text = String::new();
    for (name, disk) in disks() {
        for (luks, swap) in [(false, false), (true, false), (true, true)] {
            for nonce in [0, 1, 32] {
                let plan = plan(luks, swap, &disk, nonce);
                text += &format!("disk {name} luks {luks} swap {swap} nonce {nonce}\n");
                text += &format!("  install {}\n  gpt {}\n", plan.install, plan.table.disk_guid);
                text += &format!("  layout {}\n", plan.layout_digest);
                for entry in &plan.table.entries {
                    text += &format!("  partition {} {}\n", entry.number, entry.partuuid);
                }
                let volumes = [
                    Some(&plan.esp),
                    plan.luks.as_ref(),
                    Some(&plan.root),
                    plan.swap.as_ref(),
                ];
                for volume in volumes.into_iter().flatten() {
                    text += &format!("  {} {} {}\n", volume.label, volume.provisional, volume.id);
                }
            }
        }
    }
    for (name, payload) in kit::payloads() {
        text += &format!("payload {name} {}\n", payload.digest());
    }
    golden("ids-1", "ids.txt", text.as_bytes());
}

/// What is wrong with the golden files against the list of their digests.
fn complaints(list: &str, files: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let mut listed = BTreeMap::new();
    let mut complaints = Vec::new();
    for line in list.lines() {
        match line.split_once("  ") {
            Some((digest, name)) => {
                listed.insert(name.to_owned(), digest.to_owned());
            }
            None => complaints.push(format!("SHA256SUMS: {line:?} is no line of it")),
        }
    }
    for (name, bytes) in files {
        let digest = Digest::of(bytes);
        match listed.remove(name) {
            None => complaints.push(format!("{name} is not in SHA256SUMS: add the line `{digest}  {name}`")),
            Some(known) if known != digest.as_str() => complaints.push(format!(
                "{name} was edited. A golden file is what a released landfall wrote and is never edited: put it back \
                 (git checkout), raise the version of the format in src/formats.rs, and give the new version a folder of its own"
            )),
            Some(_) => {}
        }
    }
    complaints.extend(
        listed
            .into_keys()
            .map(|name| format!("{name} is gone; a golden file stays for ever")),
    );
    complaints
}

#[test]
fn no_golden_file_was_edited() {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let dir = entry.unwrap().path();
        if !dir.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder()).unwrap().to_str().unwrap().to_owned();
            files.insert(name, fs::read(&path).unwrap());
        }
    }
    let list = fs::read_to_string(folder().join("SHA256SUMS")).unwrap();
    let found = complaints(&list, &files);
    assert!(found.is_empty(), "\n{}", found.join("\n"));
    // The controls: an edited file, a file that is not listed, and one that is gone are seen.
    let one = |text: &str| BTreeMap::from([("a-1/x".to_owned(), text.as_bytes().to_vec())]);
    let line = format!("{}  a-1/x\n", Digest::of(b"first"));
    assert_eq!(complaints(&line, &one("first")), Vec::<String>::new());
    assert!(complaints(&line, &one("second"))[0].contains("was edited"));
    assert!(complaints("", &one("first"))[0].contains("add the line"));
    assert!(complaints(&line, &BTreeMap::new())[0].contains("is gone"));
}

#[test]
fn every_format_of_the_table_has_its_golden_files() {
    for format in FORMATS {
        for version in 1..=format.version {
            let dir = folder().join(format!("{}-{version}", format.name));
            let files = fs::read_dir(&dir).unwrap_or_else(|e| panic!("{e}: what version {version} wrote"));
            assert!(files.count() > 0, "{}", dir.display());
        }
        let code = kit::root().join(format.code);
        assert!(code.is_file(), "{}", code.display());
    }
    // And no folder without a format.
    let mut known: Vec<String> = FORMATS
        .iter()
        .flat_map(|f| (1..=f.version).map(|version| format!("{}-{version}", f.name)))
        .collect();
    let mut found: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    known.sort();
    found.sort();
    assert_eq!(known, found);
}
