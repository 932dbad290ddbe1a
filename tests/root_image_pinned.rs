//! Promise: what is written is the image that the configuration names, by its content, and one writer writes it.
//!
//! Another image of the same store path is refused before anything is written, by a look at its manifest alone. Needed:
//! mke2fs, e2fsck, debugfs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may end where it stands

#[path = "root_image/kit.rs"]
mod kit;

use camino::Utf8Path;
use fs_err as fs;
use kit::*;
use landfall::config::{Config, Notation};
use landfall::lock::target::TargetLock;
use landfall::real::volume::root_image::payload;
use landfall_states::fault::{FaultClass, ImageFault, Kind};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// Two images of one store path: somebody changed a file of the closure.
fn images(folder: &Utf8Path) -> [camino::Utf8PathBuf; 2] {
    let root = folder.join("store");
    let info = store(&root, 1, false);
    let (mine, other) = (folder.join("mine.image"), folder.join("other.image"));
    make(&root, &info, &mine);
    let init = root.join(SYSTEM.trim_start_matches('/')).join("init");
    fs::set_permissions(&init, PermissionsExt::from_mode(0o755)).unwrap();
    fs::write(&init, "#!/bin/sh\nexec /bin/evil\n").unwrap();
    fs::set_permissions(&init, PermissionsExt::from_mode(0o555)).unwrap();
    make(&root, &info, &other);
    [mine, other]
}

fn config(file: &Utf8Path, digest: &str) -> Config {
    let text = format!(
        "(host: \"web\", labels: (efi: \"ESP-WEB\", root: \"root-web\"), repository: (remote: \"https://forge.example/o/r\"), \
         system: Image(system: \"{SYSTEM}\", file: \"{file}\"{digest}))"
    );
    Config::parse(&text, Notation::Ron).unwrap()
}

#[test]
fn another_image_of_the_same_system_is_refused() {
    let (_keep, folder) = folder();
    let [mine, other] = images(&folder);
    let digest = opened(&mine).digest.to_string();
    let pinned = format!(", digest: \"{digest}\"");
    let taken = |config: &Config| payload(config, config.payload().unwrap());
    assert!(taken(&config(&mine, &pinned)).is_ok());
    let fault = taken(&config(&other, &pinned)).unwrap_err();
    assert_eq!(fault.class, FaultClass::Unsafe);
    assert!(
        matches!(&*fault.kind, Kind::Image(ImageFault::NotPinned { .. })),
        "{fault}"
    );
    let found = opened(&other).digest.to_string();
    for part in [&digest, &found, other.as_str()] {
        assert!(fault.to_string().contains(part), "{fault}");
    }
    // The control: nothing else tells them apart, and without a digest that is said.
    for file in [&mine, &other] {
        assert!(taken(&config(file, "")).is_ok());
        assert!(config(file, "").warnings().iter().any(|w| w.contains("digest")));
    }
}

#[test]
fn a_digest_is_written_as_it_is_printed() {
    let file = Utf8Path::new("/iso/root.image");
    let digest = "5".repeat(64);
    let pinned = config(file, &format!(", digest: \"{digest}\""));
    let json = serde_json::to_value(&pinned).unwrap();
    assert_eq!(json["system"]["Image"]["digest"], digest.as_str());
    let again = Config::parse(&json.to_string(), Notation::Json).unwrap();
    assert_eq!(again.system, pinned.system);
    assert!(!pinned.warnings().iter().any(|w| w.contains("digest")));
    for bad in ["5", "sha256-x", &"5".repeat(63), &"g".repeat(64)] {
        let text = json.to_string().replace(&digest, bad);
        assert!(Config::parse(&text, Notation::Json).is_err(), "{bad}");
    }
}

#[test]
fn two_writers_of_one_target_are_one_too_many() {
    let (_keep, folder) = folder();
    let [mine, _] = images(&folder);
    let device = folder.join("device");
    fs::File::create(&device)
        .unwrap()
        .set_len(opened(&mine).manifest.filesystem_bytes)
        .unwrap();
    let write = || {
        let out = Command::new(env!("CARGO_BIN_EXE_landfall"))
            .args(["image", "write", "--json", mine.as_str(), device.as_str()])
            .output()
            .unwrap();
        (
            out.status.code(),
            String::from_utf8_lossy(&out.stderr).into_owned(),
        )
    };
    let before = fs::read(&device).unwrap();
    let lock = TargetLock::take(&device).unwrap();
    let (code, text) = write();
    assert_eq!(code, Some(4), "{text}");
    for part in [
        &format!("process {}", std::process::id()),
        device.as_str(),
        "wait until that process ends",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(fs::read(&device).unwrap() == before, "a byte was written");
    drop(lock);
    assert_eq!(write().0, Some(0));
}
