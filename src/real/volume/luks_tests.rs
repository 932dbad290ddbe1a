//! Tests of containers in files, and of what a mapping is.

use super::*;
use crate::real::test_support::{self, block_on};

const CHEAP: Cost = Cost {
    time_ms: 0,
    memory_kib_max: 32,
    threads_max: 1,
    iterations: Some(4),
    memory_min: None,
};

fn image(dir: &tempfile::TempDir) -> Utf8PathBuf {
    let path = Utf8PathBuf::from_path_buf(dir.path().join("part")).unwrap();
    fs::File::create(&path).unwrap().set_len(64 << 20).unwrap();
    path
}

#[test]
fn a_container_is_made_on_a_plain_file_and_opens() {
    let dir = tempfile::tempdir().unwrap();
    let (device, volume) = (image(&dir), test_support::volume("luks-web"));
    let (right, wrong) = (SecretText::from("right horse"), SecretText::from("wrong"));
    block_on(async {
        assert_eq!(header(&device).await.unwrap(), None);
        format(&device, &volume, &right, CHEAP).await.unwrap();
        let begun = header(&device).await.unwrap().unwrap();
        assert_eq!((begun.uuid, begun.keyslots), (volume.provisional, 1));
        make(&device, &volume, &right, CHEAP).await.unwrap();
        let made = header(&device).await.unwrap().unwrap();
        assert_eq!(made.uuid, volume.id);
        let derivation = key_derivation::read(&device).unwrap().unwrap();
        assert_eq!(
            derivation.to_string(),
            "argon2id, 32 KiB of memory, 4 passes, 1 threads"
        );
        assert_eq!(made.label, "luks-web");
        assert!(opens(&device, &right).await.unwrap());
        assert!(!opens(&device, &wrong).await.unwrap());
        let seen = probe(
            &device,
            &crate::event::Reporter::default(),
            &crate::real::process::stop::Stop::never(),
        )
        .await
        .unwrap();
        let state = seen.compare(
            "crypto_LUKS",
            &volume.id.to_string(),
            &volume.provisional.to_string(),
            &volume.label,
        );
        assert_eq!(state, landfall_states::VolumeState::Complete);
    });
    let raw = fs::read(&device).unwrap();
    assert!(
        !raw.windows(11).any(|w| w == b"right horse"),
        "the passphrase is not in the container's file"
    );
}

/// The key for records comes from the volume key: another passphrase gives the same one, another container another one, and a wrong
/// passphrase none. A record that was written with it is proved by it, and not by the other.
#[test]
fn the_key_for_records_is_the_container_s_and_needs_the_passphrase() {
    use landfall_states::authentic::{Authenticity, RecordKeys};
    use landfall_states::checkpoint::authenticity;
    let volume = test_support::volume("luks-web");
    let (right, wrong) = (SecretText::from("right horse"), SecretText::from("wrong"));
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let keys = dirs.each_ref().map(|dir| {
        let device = image(dir);
        block_on(async {
            make(&device, &volume, &right, CHEAP).await.unwrap();
            assert!(record_key(&device, &volume.id, &wrong).await.unwrap().is_none());
            let key = record_key(&device, &volume.id, &right).await.unwrap().unwrap();
            let mut keys = RecordKeys::default();
            keys.hold(key);
            keys
        })
    });
    let slot = test_support::record().encode_with(keys[0].writing()).unwrap();
    assert_eq!(authenticity(&slot, None, &keys[0]), Authenticity::Proved);
    assert_eq!(
        authenticity(&slot, None, &keys[1]),
        Authenticity::Forged,
        "of another volume key"
    );
    // Asked again, it is the same one.
    let again = block_on(record_key(&image_of(&dirs[0]), &volume.id, &right))
        .unwrap()
        .unwrap();
    let mut held = RecordKeys::default();
    held.hold(again);
    assert_eq!(authenticity(&slot, None, &held), Authenticity::Proved);
}

fn image_of(dir: &tempfile::TempDir) -> Utf8PathBuf {
    Utf8PathBuf::from_path_buf(dir.path().join("part")).unwrap()
}

#[test]
fn a_container_that_costs_less_than_the_least_stays_provisional() {
    let dir = tempfile::tempdir().unwrap();
    let (device, volume) = (image(&dir), test_support::volume("luks-web"));
    let passphrase = SecretText::from("right horse");
    let with = |memory_min: &str| Cost {
        memory_min: Some(memory_min.parse().unwrap()),
        ..CHEAP
    };
    block_on(async {
        let fault = make(&device, &volume, &passphrase, with("1M")).await.unwrap_err();
        assert!(
            fault.why().contains("32 KiB") && fault.next().contains("luks.memory_min"),
            "{fault}"
        );
        let left = header(&device).await.unwrap().unwrap();
        assert_eq!(left.uuid, volume.provisional, "it is made anew");
        let enough = Cost {
            memory_kib_max: 2048,
            ..with("1M")
        };
        make(&device, &volume, &passphrase, enough).await.unwrap();
    });
}

#[test]
fn a_torn_primary_header_is_read_from_its_copy() {
    use std::io::Write;
    let dir = tempfile::tempdir().unwrap();
    let (device, volume) = (image(&dir), test_support::volume("luks-web"));
    let passphrase = SecretText::from("p");
    block_on(async {
        make(&device, &volume, &passphrase, CHEAP).await.unwrap();
        let mut file = fs::OpenOptions::new().write(true).open(&device).unwrap();
        file.seek(SeekFrom::Start(4096)).unwrap();
        file.write_all(&[0; 512]).unwrap();
        drop(file);
        assert_eq!(header(&device).await.unwrap().unwrap().uuid, volume.id);
        assert!(opens(&device, &passphrase).await.unwrap());
    });
}

fn mapped(uuid: &str, has_table: bool, suspended: bool, slaves: &[&str]) -> Mapped {
    let mapping = device_mapper::Mapping {
        uuid: uuid.to_owned(),
        has_table,
        suspended,
        opened: 0,
        slaves: slaves.iter().map(|s| (*s).to_owned()).collect(),
    };
    Mapped::of(Some(&mapping), "cryptroot", &Uuid::from_u128(0xa), (8, 2))
}

#[test]
fn only_our_mapping_on_our_device_is_ours() {
    let ours = format!("CRYPT-LUKS2-{}-cryptroot", Uuid::from_u128(0xa).simple());
    let other = format!("CRYPT-LUKS2-{}-cryptroot", Uuid::from_u128(0xc).simple());
    assert_eq!(mapped(&ours, true, false, &["8:2"]), Mapped::Open);
    for (uuid, slaves) in [
        (&ours, &["8:18"][..]),
        (&ours, &["8:2", "8:3"]),
        (&other, &["8:2"]),
        (&String::new(), &["8:2"]),
        (&"LVM-x".to_owned(), &["8:2"]),
    ] {
        for suspended in [false, true] {
            assert_eq!(
                mapped(uuid, true, suspended, slaves),
                Mapped::Foreign,
                "{uuid} {slaves:?}"
            );
        }
    }
    let none = Mapped::of(None, "cryptroot", &Uuid::from_u128(0xa), (8, 2));
    assert_eq!(none, Mapped::Nothing);
}

#[test]
fn what_a_killed_activation_leaves_is_ours_to_remove() {
    let ours = format!("CRYPT-LUKS2-{}-cryptroot", Uuid::from_u128(0xa).simple());
    for suspended in [false, true] {
        for (uuid, slaves) in [(ours.as_str(), &[][..]), ("", &[]), (&ours, &["8:2"])] {
            let found = mapped(uuid, false, suspended, slaves);
            assert!(matches!(found, Mapped::Left(_)), "{uuid} {slaves:?}: {found:?}");
        }
        assert_eq!(mapped("LVM-x", false, suspended, &[]), Mapped::Foreign);
        assert_eq!(mapped("", false, suspended, &["8:18"]), Mapped::Foreign);
    }
    assert!(matches!(mapped(&ours, true, true, &["8:2"]), Mapped::Left(_)));
}

#[test]
fn temporary_names_outlive_their_process() {
    let lives = |pid: &str| pid == "77";
    assert!(is_left_behind("temporary-cryptsetup-78", lives));
    assert!(is_left_behind("temporary-cryptsetup-78-1", lives));
    for name in [
        "temporary-cryptsetup-77",
        "temporary-cryptsetup-",
        "temporary-cryptsetup-x",
        "cryptroot",
    ] {
        assert!(!is_left_behind(name, lives), "{name}");
    }
}
