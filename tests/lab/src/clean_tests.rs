//! What is current, by names and times.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::time::Duration;

use super::*;

fn artefact(name: &str, age: u64, made_of: Option<&[&str]>) -> Artefact {
    Artefact {
        used_last: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 - age),
        kind: kind(name).unwrap().to_owned(),
        name: name.to_owned(),
        made_of: made_of.map(|names| names.iter().map(|&name| name.to_owned()).collect()),
    }
}

#[test]
fn names_say_what_is_an_artefact() {
    for (name, of) in [
        ("payload-0be2c743a45ce2b8", Some("payload")),
        ("stick-LANDFALL_lab-7499daaa5f7a4e7c", Some("stick-LANDFALL_lab")),
        ("saved-0be2c743a45ce2b8-7499daaa5f7a4e7c", Some("saved")),
        ("debian-7499daaa5f7a", Some("debian")),
        ("git-chaos", None),
        ("payload.lock", None),
        ("payload-0be2c743a45ce2b8.building", None),
        ("photos-2024", None),
        ("payload-0BE2C743A45CE2B8", None),
        ("machines", None),
    ] {
        assert_eq!(kind(name), of, "{name}");
    }
}

#[test]
fn the_newest_of_a_kind_stay_and_what_is_made_of_them() {
    let all = || {
        vec![
            artefact("payload-000000000001", 30, None),
            artefact("payload-000000000002", 20, None),
            artefact("payload-000000000003", 10, None),
            artefact("stick-a-000000000001", 30, Some(&["payload-000000000001"])),
            artefact("stick-a-000000000003", 10, Some(&["payload-000000000003"])),
            artefact("stick-b-000000000002", 10, Some(&["payload-000000000002"])),
            artefact(
                "saved-000000000001-000000000001",
                1,
                Some(&["stick-a-000000000001"]),
            ),
            artefact(
                "saved-000000000003-000000000003",
                1,
                Some(&["stick-a-000000000003"]),
            ),
            artefact("saved-000000000004-000000000004", 1, None),
            artefact("environment-000000000001", 99, None),
        ]
    };
    assert_eq!(
        not_current(all(), |kind| kind == "payload", current),
        [
            "payload-000000000001",
            "saved-000000000004-000000000004",
            "stick-a-000000000001",
            "saved-000000000001-000000000001",
        ]
    );
    assert_eq!(
        not_current(all(), |kind| kind == "environment", current),
        ["saved-000000000004-000000000004"],
        "a new environment is no reason to forget a payload"
    );
    assert!(not_current(vec![artefact("qemu-000000000001", 0, None)], |_| true, current).is_empty());
}

#[test]
fn machines_that_a_killed_run_left_go_and_findings_stay() {
    let root = std::env::temp_dir().join(format!("lab-clean-{}", std::process::id()));
    fs::create_dir_all(&root).unwrap();
    let cache = Cache {
        workspace: root.clone(),
        root: fs::canonicalize(&root).unwrap(),
    };
    let at = |name: &str| cache.root.join("machines").join(name);
    for name in ["chaos-plain-1", "chaos-plain-2", "demo"] {
        fs::create_dir_all(at(name)).unwrap();
    }
    fs::write(at("chaos-plain-2").join("finding.txt"), "stuck").unwrap();
    let used = cache.machine("chaos-plain-3").unwrap();
    abandoned_machines(&cache, "chaos-", "finding.txt").unwrap();
    assert!(!at("chaos-plain-1").exists());
    assert!(at("chaos-plain-2").exists() && at("demo").exists() && used.exists());
    remove(&cache.root).unwrap();
}
