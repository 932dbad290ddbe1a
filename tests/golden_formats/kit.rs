//! Values that the golden files are made of, and the comparison with a file.

use fs_err as fs;
use landfall_states::RecordedPhase;
use landfall_states::checkpoint::{Mark, Record};
use landfall_states::fault::Attempts;
use landfall_states::image::Image;
use landfall_states::names::{Digest, Revision, StorePath};
use landfall_states::plan::{
    DiskIdentity, Layout, Machine, Payload, Plan, Reference, Repository, RepositorySource, SystemSource,
};
use std::path::PathBuf;

/// The tree under test; cargo says it at run time too, so that a built test can look at another checkout.
pub fn root() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into()))
}

pub fn folder() -> PathBuf {
    root().join("tests/golden")
}

/// Compares with a golden file. A file that is not there yet is made with `LANDFALL_GOLDEN=new`; one that is there is never
/// written.
pub fn golden(format: &str, name: &str, bytes: &[u8]) {
    let path = folder().join(format).join(name);
    if !path.exists() && std::env::var_os("LANDFALL_GOLDEN").is_some_and(|value| value == "new") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
    }
    let kept = read(format, name);
    assert!(
        kept == bytes,
        "{}: today's landfall writes other bytes than the one that made this file. A format changes with its version \
         (src/formats.rs), and its old files stay.\n--- kept\n{}\n--- written today\n{}",
        path.display(),
        String::from_utf8_lossy(&kept).trim_end(),
        String::from_utf8_lossy(bytes).trim_end()
    );
}

/// The bytes of a golden file.
pub fn read(format: &str, name: &str) -> Vec<u8> {
    let path = folder().join(format).join(name);
    fs::read(&path).unwrap_or_else(|e| {
        panic!("{e}; LANDFALL_GOLDEN=new makes files of a new format, never edited afterwards")
    })
}

pub fn system() -> StorePath {
    "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-web"
        .parse()
        .unwrap()
}

pub fn revision() -> Revision {
    "0123456789abcdef0123456789abcdef01234567".parse().unwrap()
}

fn disk() -> DiskIdentity {
    DiskIdentity {
        wwn: None,
        serial: None,
        path: None,
        size_bytes: 8 << 30,
        sector_bytes: 512,
    }
}

/// A disk of every way in which one is named.
pub fn disks() -> [(&'static str, DiskIdentity); 4] {
    [
        (
            "wwn",
            DiskIdentity {
                wwn: Some("eui.0025388b71b2c3d4".into()),
                serial: Some("S4EVNX0M".into()),
                path: Some("pci-0000:01:00.0-nvme-1".into()),
                ..disk()
            },
        ),
        (
            "serial",
            DiskIdentity {
                serial: Some("LF0001 with spaces".into()),
                ..disk()
            },
        ),
        (
            "path",
            DiskIdentity {
                path: Some("virtio-pci-0000:00:04.0".into()),
                ..disk()
            },
        ),
        (
            "4096",
            DiskIdentity {
                serial: Some("LF4096".into()),
                size_bytes: 512_110_190_592,
                sector_bytes: 4_096,
                ..disk()
            },
        ),
    ]
}

fn layout(luks: bool, swap: bool) -> Layout {
    Layout {
        esp_label: "ESP-WEB".parse().unwrap(),
        esp_size: "1G".parse().unwrap(),
        root_label: "root-web".parse().unwrap(),
        luks_label: luks.then(|| "luks-web".parse().unwrap()),
        swap: swap.then(|| ("swap-web".parse().unwrap(), "512M".parse().unwrap())),
        machine: Machine::X86_64,
    }
}

/// Payloads of every source, reference and system.
pub fn payloads() -> Vec<(&'static str, Payload)> {
    let remote = || RepositorySource::Remote("ssh://git@forge.example/o/r".parse().unwrap());
    let bundle = |origin: Option<&str>| RepositorySource::Bundle {
        file: "/iso/landfall/config.bundle".into(),
        origin: origin.map(|text| text.parse().unwrap()),
    };
    let image = Image {
        file: "/iso/landfall/root.image".into(),
        digest: Digest::of(b"manifest"),
        system: system(),
        filesystem_bytes: 1 << 30,
        plain_bytes: 1 << 29,
        boot_bytes: 40 << 20,
        chunks: 128,
    };
    let payload = |source, reference, system| Payload {
        repository: Repository {
            source,
            reference,
            clone_path: "/mnt/etc/nixos".parse().unwrap(),
        },
        system,
    };
    vec![
        (
            "remote",
            payload(remote(), Reference::Default, SystemSource::Flake),
        ),
        (
            "https-with-a-token",
            payload(
                RepositorySource::Remote(
                    "https://u:t0ken@forge.example/o/r?private_token=t0ken"
                        .parse()
                        .unwrap(),
                ),
                Reference::Default,
                SystemSource::Flake,
            ),
        ),
        (
            "branch",
            payload(
                remote(),
                Reference::Branch("release/26.11".parse().unwrap()),
                SystemSource::Flake,
            ),
        ),
        (
            "revision",
            payload(
                bundle(None),
                Reference::Revision(revision()),
                SystemSource::Prebuilt(system()),
            ),
        ),
        (
            "image",
            payload(
                bundle(Some("https://forge.example/o/r")),
                Reference::Default,
                SystemSource::Image(Box::new(image)),
            ),
        ),
    ]
}

pub fn plan(luks: bool, swap: bool, disk: &DiskIdentity, nonce: u32) -> Plan {
    let [(_, payload), ..] = &payloads()[..] else {
        panic!("no payload");
    };
    Plan::derive(&"web".parse().unwrap(), &layout(luks, swap), payload, disk, nonce).unwrap()
}

/// A record with nothing in it that need not be.
pub fn record(sequence: u64) -> Record {
    let [_, (_, disk), ..] = disks();
    let plan = plan(true, true, &disk, 0);
    Record {
        sequence,
        parent: None,
        host: plan.host.clone(),
        install: plan.install,
        nonce: 0,
        layout: plan.layout_digest.clone(),
        payload: plan.payload_digest.clone(),
        disk,
        revision: revision(),
        claim: RecordedPhase::Formatted,
        mark: Mark::Begun,
        attempts: Attempts::default(),
        boot: "11111111-2222-3333-4444-555555555555".into(),
        last_fault: None,
        image_progress: None,
    }
}
