//! Promise: `landfall plan --disk-image` says what a run would decide about an image, by the code that a run decides with, and
//! changes nothing. The laboratory puts every crash state of a recorded install to it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test that cannot go on fails

use camino::{Utf8Path, Utf8PathBuf};
use landfall::config::Config;
use landfall::real::table::gpt;
use landfall_states::checkpoint::{Mark, Record};
use landfall_states::fault::Attempts;
use landfall_states::plan::{DiskIdentity, Machine, Plan};
use landfall_states::{Phase, RecordedPhase};
use std::fs::File;
use std::os::unix::fs::FileExt;

const SERIAL: &str = "S4EVNX0R123456";

struct Image {
    _keep: tempfile::TempDir,
    path: Utf8PathBuf,
    plan: Plan,
}

fn config() -> Utf8PathBuf {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/plain.ron")
}

impl Image {
    fn blank() -> Image {
        let keep = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(keep.path()).unwrap().join("disk.raw");
        let file = fs_err::File::create(&path).unwrap();
        file.set_len(16 << 30).unwrap();
        let config = Config::read(&config()).unwrap();
        let disk = DiskIdentity {
            wwn: None,
            serial: Some(SERIAL.into()),
            path: None,
            size_bytes: 16 << 30,
            sector_bytes: 512,
        };
        let plan = Plan::derive(
            &config.host,
            &config.layout(Machine::native()).unwrap(),
            &config.payload().unwrap(),
            &disk,
            config.reinstall,
        )
        .unwrap();
        Image {
            _keep: keep,
            path,
            plan,
        }
    }

    fn file(&self) -> File {
        File::options().read(true).write(true).open(&self.path).unwrap()
    }

    fn tabled() -> Image {
        let image = Image::blank();
        let mut file = image.file();
        let mut prepared = gpt::prepare(&mut file, &image.plan.table).unwrap();
        gpt::write(&mut file, &mut prepared, |_| Ok(())).unwrap();
        image
    }

    /// A slot where the search for the magic finds it.
    fn slot(&self, at: u64, record: &Record) -> Vec<u8> {
        let bytes = record.encode().unwrap();
        let esp = self.plan.table.entries[0].first_lba * 512;
        self.file().write_all_at(&bytes, esp + at).unwrap();
        bytes
    }

    fn record(&self, sequence: u64) -> Record {
        Record {
            sequence,
            parent: None,
            host: self.plan.host.clone(),
            install: self.plan.install,
            nonce: self.plan.nonce,
            layout: self.plan.layout_digest.clone(),
            payload: self.plan.payload_digest.clone(),
            disk: self.plan.disk.clone(),
            revision: "0".repeat(40).parse().unwrap(),
            claim: RecordedPhase::Formatted,
            mark: Mark::Begun,
            attempts: Attempts::default(),
            boot: "boot".into(),
            last_fault: None,
            image_progress: None,
        }
    }

    fn judged(&self) -> serde_json::Value {
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_landfall"))
            .args(["plan", "--json", "--disk-serial", SERIAL, "--config"])
            .arg(config())
            .arg("--disk-image")
            .arg(&self.path)
            .env_remove("REPO_REMOTE")
            .env_remove("INSTALL_DISK")
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let whole: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        whole["decision"].clone()
    }
}

#[test]
fn a_blank_image_is_a_beginning() {
    let seen = Image::blank().judged();
    assert_eq!(seen["decision"], "begin");
    assert_eq!(seen["rules"], serde_json::json!([3]));
    assert!(seen["claimed"].is_null() && seen["sequence"].is_null());
}

#[test]
fn our_table_without_a_slot_is_gone_on_with() {
    let seen = Image::tabled().judged();
    assert_eq!(seen["decision"], "continue");
    assert_eq!(seen["rules"], serde_json::json!([2]));
}

#[test]
fn a_slot_is_trusted_when_the_disk_is_the_one_it_names() {
    let image = Image::tabled();
    let older = image.slot(1 << 20, &image.record(7));
    let newer = Record {
        parent: Some(Record::digest_of(&older)),
        ..image.record(8)
    };
    image.slot((1 << 20) + 4096, &newer);
    let seen = image.judged();
    assert_eq!(seen["decision"], "continue", "{seen}");
    assert_eq!(
        (&seen["claimed"], &seen["sequence"]),
        (&Phase::Formatted.to_string().into(), &8.into())
    );
}

#[test]
fn a_table_edited_by_hand_is_a_stop_and_the_image_stays_as_it_is() {
    let image = Image::blank();
    let mut edited = image.plan.table.clone();
    edited.entries[1].last_lba -= 2_048;
    let mut file = image.file();
    let mut prepared = gpt::prepare(&mut file, &edited).unwrap();
    gpt::write(&mut file, &mut prepared, |_| Ok(())).unwrap();
    let before = gpt::read(&mut file, 512).unwrap();
    let modified = fs_err::metadata(&image.path).unwrap().modified().unwrap();
    let seen = image.judged();
    assert_eq!(seen["decision"], "stop", "{seen}");
    assert_eq!(seen["rules"], serde_json::json!([11]));
    assert!(seen["why"].as_str().unwrap().contains("partition 2"), "{seen}");
    assert_eq!(gpt::read(&mut file, 512).unwrap(), before);
    assert_eq!(
        fs_err::metadata(&image.path).unwrap().modified().unwrap(),
        modified
    );
}
