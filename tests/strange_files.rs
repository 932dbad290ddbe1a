//! Promise: what is no regular file is never waited for, wherever a file is named: a FIFO, a socket, a device, a directory, a
//! file without end. The command says which file and what it is, at once.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may end where it stands

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const WAIT_MAX: Duration = Duration::from_secs(60);

/// Exit code and what was said; `None`: it hung, and was asked to end by SIGTERM and then killed.
fn landfall(args: &[&str]) -> Option<(Option<i32>, String)> {
    let keep = tempfile::tempdir().unwrap();
    let out = keep.path().join("out");
    let file = fs_err::File::create(&out).unwrap().into_parts().0;
    let mut child = Command::new(env!("CARGO_BIN_EXE_landfall"))
        .args(args)
        .env_remove("REPO_REMOTE")
        .env_remove("INSTALL_DISK")
        .stdin(Stdio::null())
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .spawn()
        .unwrap();
    let end = Instant::now() + WAIT_MAX;
    while Instant::now() < end {
        if let Some(status) = child.try_wait().unwrap() {
            return Some((
                status.code(),
                String::from_utf8_lossy(&fs_err::read(&out).unwrap()).into_owned(),
            ));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

#[test]
fn whatever_file_is_named_it_is_not_waited_for() {
    let keep = tempfile::tempdir().unwrap();
    let dir = keep.path().to_str().unwrap().to_owned();
    let at = |name: &str| format!("{dir}/{name}");
    nix::unistd::mkfifo(at("fifo").as_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    drop(std::os::unix::net::UnixListener::bind(at("socket")).unwrap());
    fs_err::create_dir(at("directory")).unwrap();
    fs_err::File::create(at("endless"))
        .unwrap()
        .set_len(10 << 30)
        .unwrap();
    let config = format!("{}/docs/examples/plain.ron", env!("CARGO_MANIFEST_DIR"));
    let plan = |image: &str| {
        vec![
            "plan".to_owned(),
            "--config".into(),
            config.clone(),
            "--disk-image".into(),
            image.into(),
        ]
    };
    let all = |args: &[&str], file: &str| {
        let mut args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        args.push(file.to_owned());
        args
    };
    for (name, kind) in [
        (at("fifo"), "FIFO"),
        (at("socket"), "socket"),
        (at("directory"), "directory"),
        ("/dev/zero".to_owned(), "character device"),
        (at("endless"), ""),
    ] {
        for args in [
            all(&["check"], &name),
            all(&["simulate", "--writes", "--config"], &name),
            all(
                &[
                    "plan",
                    "--disk-size",
                    "64G",
                    "--disk-serial",
                    "S5GXNX0T123456",
                    "--config",
                ],
                &name,
            ),
            all(&["install", "--config"], &name),
            all(&["log", "--file"], &name),
            all(&["image", "info"], &name),
            all(&["image", "verify"], &name),
            plan(&name),
        ] {
            // A sparse file of ten gigabytes is a regular one: as a log, or as the image of a disk, it is read.
            if kind.is_empty() && ["log", "plan"].contains(&args[0].as_str()) {
                continue;
            }
            let words: Vec<&str> = args.iter().map(String::as_str).collect();
            let (code, said) = landfall(&words).unwrap_or_else(|| panic!("{args:?} hangs"));
            assert!(!matches!(code, Some(0) | None), "{args:?}: {code:?} {said}");
            assert!(said.contains(kind) && said.contains(&name), "{args:?}: {said}");
        }
    }
    // The control: the same commands with a file.
    assert_eq!(landfall(&["check", &config]).unwrap().0, Some(0));
}

#[test]
fn status_reads_files_of_its_own_kind_only() {
    let keep = tempfile::tempdir().unwrap();
    let dir = keep.path().to_str().unwrap();
    let run = || landfall(&["--run-dir", dir, "status"]).expect("it hangs");
    for name in ["status.json", "checkpoint"] {
        let path = keep.path().join(name);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (code, said) = run();
        assert!(
            code != Some(0) && said.contains(name) && said.contains("FIFO"),
            "{code:?} {said}"
        );
        fs_err::remove_file(&path).unwrap();
        fs_err::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        let (code, said) = run();
        assert!(
            code != Some(0) && said.contains("symbolic link"),
            "{code:?} {said}"
        );
        fs_err::remove_file(&path).unwrap();
    }
    // The control: nothing is there, and that is no fault of a file.
    assert!(!run().1.contains("regular file"));
}
