//! Promise: no path of the target store is read that is longer than it may be: a file of holes of any length is damage at once, and is
//! repaired. With real Nix and stores in temporary directories.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

#[path = "shared/store.rs"]
mod store;

use landfall_states::actions::realise_system::Contents;
use landfall_states::plan::SystemSource;
use std::process::Command;
use store::Place;

/// One hole of a tebibyte at the place of a store path's file. Nix reads it all.
#[test]
fn a_file_of_holes_is_damage_that_nobody_reads() {
    const HOLES: u64 = 1 << 40;
    let Some(place) = Place::new() else { return };
    let action = place.action(SystemSource::Prebuilt(place.live_system()), true);
    place.realise(&action).unwrap();
    let (holes, right) = (
        place.file("-a"),
        fs_err::metadata(place.file("-a")).unwrap().len(),
    );
    let lengthen = || {
        let mode = fs_err::metadata(&holes).unwrap().permissions();
        let writable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs_err::set_permissions(&holes, writable).unwrap();
        let file = fs_err::OpenOptions::new().write(true).open(&holes).unwrap();
        file.set_len(HOLES).unwrap();
        fs_err::set_permissions(&holes, mode).unwrap();
    };
    // The control: of what is not too long Nix's own verification reads all.
    lengthen();
    let root = place.stores.root.as_arg();
    let verify = [
        "nix",
        "--extra-experimental-features",
        "nix-command",
        "store",
        "verify",
        "--store",
    ];
    let nix = Command::new("timeout")
        .arg("5")
        .args(verify)
        .args([root.as_str(), "--all", "--no-trust"])
        .env("NIX_CONF_DIR", place.dir.join("conf"))
        .output()
        .unwrap();
    assert_eq!(nix.status.code(), Some(124), "Nix ended: {nix:?}");

    let began = std::time::Instant::now();
    let Contents::Corrupt(paths) = place.observe(&action).contents else {
        panic!("not found")
    };
    assert!(paths.len() == 1 && paths[0].ends_with("-a"), "{paths:?}");
    place.realise(&action).unwrap();
    assert_eq!(place.observe(&action).contents, Contents::Verified);
    assert_eq!(fs_err::metadata(&holes).unwrap().len(), right);

    // Nor is it read where as much is registered of it.
    lengthen();
    let database = rusqlite::Connection::open(format!("{root}/nix/var/nix/db/db.sqlite")).unwrap();
    let changed = database.execute(
        "UPDATE ValidPaths SET narSize = ?1 WHERE path LIKE '%-a'",
        [1_i64 << 50],
    );
    assert_eq!(changed.unwrap(), 1);
    drop(database);
    let Contents::Corrupt(paths) = place.observe(&action).contents else {
        panic!("not found")
    };
    assert!(paths.len() == 1 && paths[0].ends_with("-a"), "{paths:?}");
    place.realise(&action).unwrap();
    assert_eq!(place.observe(&action).contents, Contents::Verified);
    println!("a file of {HOLES} bytes: {:.1} s", began.elapsed().as_secs_f64());
    assert!(began.elapsed().as_secs() < 100);
}
