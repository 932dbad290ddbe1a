//! Promise: a program that runs `landfall flash --json` gets one object a line and nothing else, and the last one says how it ended. The
//! sticks are loop devices over files.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

#[path = "shared/noise.rs"]
mod noise;
#[path = "shared/stick.rs"]
mod stick;

use camino::Utf8Path;
use noise::noise;
use std::process::Stdio;
use std::time::Duration;
use stick::{MIB, Stick, is_root, keys_folder, result, said};

/// Runs it with `--json`: every line is an object, the last one alone says how it ended, and that is so, with this exit code.
fn told(stick: &Stick, arguments: &[&str], code: i32, end: &str) -> serde_json::Value {
    let output = stick.command(arguments).arg("--json").output().unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}: {}",
        said(&output)
    );
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(lines.iter().all(serde_json::Value::is_object), "{text}");
    let last = lines.last().unwrap_or_else(|| panic!("{arguments:?}: nothing"));
    assert_eq!(last["result"], end, "{text}");
    if end == "failed" {
        assert_eq!(last["exit"], code, "{last}");
        assert!(last["why"].as_str().is_some_and(|why| !why.is_empty()), "{last}");
    }
    let ends = lines.iter().filter(|line| line["result"].is_string()).count();
    assert_eq!(ends, 1, "{text}");
    last.clone()
}

/// Every line of `--json` is an object, and the last one says how it ended, whatever the end is; nothing else is on standard output.
#[test]
fn every_end_is_told_to_programs() {
    if !is_root() {
        return;
    }
    let stick = Stick::of(&vec![0xAA; 40 * MIB]);
    let image = stick.place("installer.iso");
    fs_err::write(&image, noise(30 * MIB, 5)).unwrap();
    let (image, device) = (image.as_str(), stick.device.as_str());
    let large = stick.place("large.iso");
    fs_err::write(&large, noise(40 * MIB + 1, 5)).unwrap();
    let absent = stick.place("absent");
    let keys = stick.place("none");
    let same = stick.file.clone();
    let folder = stick.keep.path().to_str().unwrap().to_owned();
    let told = |arguments: &[&str], code: i32, end: &str| told(&stick, arguments, code, end);
    told(&[], 0, "listed");
    for option in ["--yes", "--resume", "--dry-run", "--no-eject"] {
        told(&[option], 2, "failed");
    }
    told(&["--keys", keys.as_str()], 2, "failed");
    told(&["--device", device], 2, "failed");
    told(&[image], 2, "failed");
    told(&[image, device], 6, "failed");
    told(&[image, "/dev/null"], 2, "failed");
    told(&[absent.as_str(), device, "--yes"], 6, "failed");
    told(&[&folder, device, "--yes"], 6, "failed");
    told(&[device, device, "--yes"], 6, "failed");
    told(&[image, device, "--yes", "--resume"], 3, "failed");
    told(&[image, device, "--yes", "--keys", keys.as_str()], 6, "failed");
    told(&["--forget-keys", device, "--yes"], 2, "failed");
    let large = told(&[large.as_str(), device], 6, "failed");
    assert!(
        large["why"].as_str().unwrap().contains("41943040"),
        "before anybody is asked: {large}"
    );
    let own = told(&[same.as_str(), device, "--yes"], 6, "failed");
    assert!(own["why"].as_str().unwrap().contains("the image itself"), "{own}");
    told(&[image, device, "--yes", "--dry-run"], 0, "planned");
    assert!(stick.bytes() == vec![0xAA; 40 * MIB], "it was touched");
    let done = told(&[image, device, "--yes"], 0, "flashed");
    assert!(done["warning"].is_null(), "{done}");
    let keys = keys_folder(&stick);
    let hybrid = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/flash/hybrid.iso.zst");
    let done = told(
        &[hybrid.as_str(), device, "--yes", "--keys", keys.as_str()],
        0,
        "flashed",
    );
    assert!(
        done["warning"].as_str().unwrap().contains("not encrypted"),
        "{done}"
    );
    told(&["--forget-keys", device], 6, "failed");
    let would = told(&["--forget-keys", device, "--dry-run"], 0, "would-forget");
    assert_eq!(would["partitions"], 1);
    told(&["--forget-keys", device, "--yes"], 0, "forgotten");
}

#[test]
fn a_stop_is_told_to_programs() {
    if !is_root() {
        return;
    }
    let stick = Stick::of(&vec![0xAA; 40 * MIB]);
    let image = stick.place("installer.iso");
    fs_err::write(&image, noise(30 * MIB, 5)).unwrap();
    let (image, device) = (image.as_str(), stick.device.as_str());
    let running = stick
        .command(&[image, device, "--yes", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(120));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(running.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let output = running.wait_with_output().unwrap();
    if output.status.code().is_some() {
        let last = result(&output);
        let ends: &[&str] = if output.status.success() {
            &["flashed"]
        } else {
            &["failed"]
        };
        assert!(
            last["result"]
                .as_str()
                .is_some_and(|result| ends.contains(&result)),
            "{last} {output:?}"
        );
    }
}
