//! What is left on the target and on the installer's medium: images, receipts, marks.

use crate::kit::{disks, golden, read, revision, system};
use landfall::flash::{keys_left, record as flash};
use landfall::image::bytes::Bytes;
use landfall::image::manifest::{Chunk, Extent, HEADER_BYTES, Header, Manifest, digest};
use landfall::image::open::Opened;
use landfall::real::boot::{activation, kernel_settings};
use landfall::real::fs::marks;
use landfall::real::fs::receipt::{FullReceipt, read_receipt, write_receipt};
use landfall::real::mount::hooks;
use landfall_states::actions::land::Receipt;
use landfall_states::image::ImageProgress;
use landfall_states::names::Digest;
use std::sync::Arc;

/// Two chunks of easy bytes; the second lies in two places.
fn plain() -> [Vec<u8>; 2] {
    [
        b"superblock ".iter().copied().cycle().take(4_096).collect(),
        b"files ".iter().copied().cycle().take(3 * 4_096).collect(),
    ]
}

fn manifest(packed: [u64; 2]) -> Manifest {
    let extent = |first, blocks| Extent { first, blocks };
    let [first, second] = plain();
    let at = HEADER_BYTES as u64;
    Manifest {
        system: system(),
        filesystem_bytes: 64 * 4_096,
        boot_bytes: 41_000_000,
        zero: vec![extent(1, 1), extent(9, 4)],
        chunks: vec![
            Chunk {
                at,
                packed_bytes: packed[0],
                digest: digest(&first),
                extents: vec![extent(0, 1)],
            },
            Chunk {
                at: at + packed[0],
                packed_bytes: packed[1],
                digest: digest(&second),
                extents: vec![extent(2, 1), extent(20, 2)],
            },
        ],
    }
}

#[test]
fn an_image_s_header_and_manifest() {
    let manifest = manifest([1_000, 2_000]);
    let text = manifest.encode();
    golden("image-1", "manifest.txt", text.as_bytes());
    assert_eq!(Manifest::decode(&text, 4_096 + 3_000).unwrap(), manifest);
    let header = Header {
        manifest_at: 7_096,
        manifest_bytes: text.len() as u64,
        manifest: Digest::of(text.as_bytes()),
    };
    golden("image-1", "header.page", &header.encode());
    assert_eq!(Header::decode(&read("image-1", "header.page")).unwrap(), header);
}

/// A file in memory.
struct Kept(Vec<u8>);

impl Bytes for Kept {
    fn length(&self) -> std::io::Result<u64> {
        Ok(self.0.len() as u64)
    }
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> std::io::Result<()> {
        let from = at as usize;
        let part = self
            .0
            .get(from..from + bytes.len())
            .ok_or(std::io::ErrorKind::UnexpectedEof)?;
        bytes.copy_from_slice(part);
        Ok(())
    }
    fn forget(&self, _at: u64, _bytes: u64) -> std::io::Result<()> {
        Ok(())
    }
    fn ahead(&self, _at: u64, _bytes: u64) {}
}

/// A whole image of the first release, chunks and all, is read. How it is compressed is libzstd's business, so it is not made
/// again here; `LANDFALL_GOLDEN=new` made it once.
#[test]
fn an_image_is_read() {
    let packed: Vec<Vec<u8>> = plain()
        .iter()
        .map(|bytes| zstd::bulk::compress(bytes, 9).unwrap())
        .collect();
    let manifest = manifest([packed[0].len() as u64, packed[1].len() as u64]);
    let text = manifest.encode();
    let chunks = packed.concat();
    let header = Header {
        manifest_at: (HEADER_BYTES + chunks.len()) as u64,
        manifest_bytes: text.len() as u64,
        manifest: Digest::of(text.as_bytes()),
    };
    let made = [header.encode(), chunks, text.into_bytes()].concat();
    if std::env::var_os("LANDFALL_GOLDEN").is_some_and(|value| value == "new") {
        golden("image-1", "two-chunks.image", &made);
    }
    let opened = Opened::open(Arc::new(Kept(read("image-1", "two-chunks.image")))).unwrap();
    let mut unpacker = zstd::bulk::Decompressor::new().unwrap();
    for (index, plain) in plain().iter().enumerate() {
        let mut packed = vec![0; 8_192];
        let mut room = vec![0; plain.len()];
        let length = opened.read_packed(index, &mut packed).unwrap();
        assert!(length > 0);
        assert_eq!(
            opened
                .unpack(index, &mut unpacker, &mut packed, &mut room)
                .unwrap(),
            plain.len()
        );
        assert_eq!(&room, plain, "chunk {index}");
    }
}

#[test]
fn how_far_an_image_has_come() {
    let image_progress = ImageProgress {
        image: Digest::of(b"manifest"),
        chunks: 1_650,
    };
    golden(
        "image-progress-1",
        "record.ron",
        image_progress.to_text().unwrap().as_bytes(),
    );
    let kept = String::from_utf8(read("image-progress-1", "record.ron")).unwrap();
    assert_eq!(ImageProgress::from_text(&kept), Ok(image_progress));
}

#[test]
fn how_far_a_stick_has_come() {
    let [(_, disk), ..] = disks();
    let record = flash::Record {
        version: flash::VERSION,
        image: Digest::of(b"image").to_string(),
        stick: disk,
        flushed: 412,
    };
    golden("flash-progress-1", "record.json", &record.encode().unwrap());
    assert_eq!(
        flash::Record::decode(&read("flash-progress-1", "record.json")),
        Some(record)
    );
}

#[test]
fn where_a_stick_has_keys() {
    let said = keys_left::encode(248 << 20, 8 << 20);
    golden("flash-keys-1", "block.bin", &said);
    let kept = read("flash-keys-1", "block.bin");
    assert_eq!(keys_left::decode(&kept), Some((248 << 20, 8 << 20)));
    for at in [0, 14, 16, 24, 63] {
        let mut other = kept.clone();
        other[at] ^= 1;
        assert_eq!(keys_left::decode(&other), None, "{at}");
    }
    assert_eq!(keys_left::decode(&kept[..63]), None);
}

#[test]
fn receipts() {
    let [(_, disk), ..] = disks();
    let whole = FullReceipt {
        landfall: "0.1.0".into(),
        host: "web".into(),
        install: "9f774443-12a5-557d-9994-86e1f0f1c80c".into(),
        disk: disk.to_string(),
        repository: "ssh://git@forge.example/o/r".into(),
        revision: revision().to_string(),
        system: system().to_string(),
        volumes: vec![
            (
                "disk GUID".into(),
                String::new(),
                "789d69a2-30da-571a-a5dc-94a9147176cf".into(),
            ),
            ("esp".into(), "ESP-WEB".into(), "8432-278F".into()),
        ],
        started_unix_s: Some(1_790_000_000),
        ended_unix_s: 1_790_000_321,
        phases: vec![("Partitioned".into(), 812), ("Anchored".into(), 1_404)],
        activation_failures: vec![],
    };
    let bare = FullReceipt {
        volumes: vec![],
        started_unix_s: None,
        phases: vec![],
        ..whole.clone()
    };
    let failed = FullReceipt {
        activation_failures: vec!["users".into(), "agenixInstall".into()],
        ..whole.clone()
    };
    for (name, receipt) in [
        ("whole.ron", whole),
        ("bare.ron", bare),
        ("activation.ron", failed),
    ] {
        golden("receipt-1", name, write_receipt(&receipt).unwrap().as_bytes());
        let text = String::from_utf8(read("receipt-1", name)).unwrap();
        assert_eq!(
            read_receipt(&text),
            Some(Receipt {
                install: receipt.install.clone(),
                system: receipt.system.clone()
            })
        );
        assert_eq!(ron::from_str::<FullReceipt>(&text).unwrap(), receipt);
    }
}

#[test]
fn marks_on_the_target() {
    let host = "web".parse().unwrap();
    golden(
        "marks-1",
        "system",
        marks::system_record(&revision(), &host, &system()).as_bytes(),
    );
    let text = String::from_utf8(read("marks-1", "system")).unwrap();
    assert_eq!(marks::recorded_system(&text, &revision(), &host), Some(system()));
    golden("marks-1", "activated", marks::activated(&system()).as_bytes());
    let text = String::from_utf8(read("marks-1", "activated")).unwrap();
    assert!(marks::is_activated(&text, &system()));
    golden("marks-1", "git-key", marks::CLONE_KEY.as_bytes());
    golden("marks-1", "git-revision-key", marks::REVISION_KEY.as_bytes());
    let tries = format!("{}={}\n", marks::TRIES_KEY, marks::tries(1));
    golden("marks-1", "git-tries", tries.as_bytes());
    let kept = String::from_utf8(read("marks-1", "git-tries")).unwrap();
    let value = kept.trim_end().split_once('=').unwrap().1;
    assert_eq!(marks::tries_of(value), 1);
    let ran = hooks::ran_line(0, "9f774443-12a5-557d-9994-86e1f0f1c80c", "touch /mnt/hook");
    golden("marks-1", "hooks", format!("{ran}\n").as_bytes());
    assert_eq!(marks::tries_of("one"), 0, "another form counts for nothing");
    let failed = ["users".to_owned(), "agenixInstall".to_owned()];
    golden(
        "marks-1",
        "activation-failures",
        activation::text(&failed).as_bytes(),
    );
    let text = String::from_utf8(read("marks-1", "activation-failures")).unwrap();
    assert_eq!(activation::parse(&text), failed);
}

#[test]
fn settings_of_the_running_kernel() {
    let kept = [
        ("/proc/sys/kernel/modprobe", "/sbin/modprobe".to_owned()),
        ("/sys/module/firmware_class/parameters/path", String::new()),
    ];
    golden(
        "kernel-settings-1",
        "kept",
        kernel_settings::text(&kept).as_bytes(),
    );
    let text = String::from_utf8(read("kernel-settings-1", "kept")).unwrap();
    assert_eq!(kernel_settings::parse(&text), kept);
}
