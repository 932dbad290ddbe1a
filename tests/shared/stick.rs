//! A stick for tests of `landfall flash`: a loop device over a file.

#![allow(dead_code, clippy::unwrap_used)] // every test that takes this in uses a part of it

#[path = "loops.rs"]
pub mod loops;

use camino::Utf8PathBuf;
use std::process::{Command, Output, Stdio};

pub const MIB: usize = 1 << 20;
pub const SSH_KEY: &str = include_str!("../ssh-key.txt");

pub fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        println!("skipped: only root has loop devices");
    }
    root
}

/// A loop device over a file, for as long as it lives.
pub struct Stick {
    pub device: String,
    pub file: Utf8PathBuf,
    state: Utf8PathBuf,
    pub keep: tempfile::TempDir,
}

impl Stick {
    pub fn of(bytes: &[u8]) -> Stick {
        let keep = tempfile::tempdir().unwrap();
        let file = Utf8PathBuf::from_path_buf(keep.path().join("stick")).unwrap();
        fs_err::write(&file, bytes).unwrap();
        Stick {
            device: loops::attach(&[], file.as_str()),
            state: Utf8PathBuf::from_path_buf(keep.path().join("state")).unwrap(),
            file,
            keep,
        }
    }

    pub fn place(&self, name: &str) -> Utf8PathBuf {
        Utf8PathBuf::from_path_buf(self.keep.path().join(name)).unwrap()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
        command
            .arg("flash")
            .args(arguments)
            .env("XDG_STATE_HOME", &self.state)
            .stdin(Stdio::null());
        command
    }

    pub fn flash(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What the device holds, past every cache.
    pub fn bytes(&self) -> Vec<u8> {
        let read = Command::new("dd")
            .args([
                &format!("if={}", self.device),
                "bs=1M",
                "iflag=direct",
                "status=none",
            ])
            .output()
            .unwrap();
        assert!(read.status.success(), "{read:?}");
        read.stdout
    }
}

impl Drop for Stick {
    fn drop(&mut self) {
        loops::detach(&self.device);
    }
}

pub fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[track_caller]
pub fn ended(output: &Output, code: i32) -> String {
    let said = said(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

/// The last line of `--json`.
pub fn result(output: &Output) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

pub fn keys_folder(stick: &Stick) -> Utf8PathBuf {
    let folder = stick.place("keys");
    fs_err::create_dir_all(&folder).unwrap();
    for (name, text, mode) in [
        ("ssh-key", SSH_KEY, 0o600),
        ("luks-passphrase", "correct horse battery\n", 0o600),
        ("consent", "LF0001\n", 0o644),
        ("ssh-key.pub", "ssh-ed25519 AAAA\n", 0o644),
    ] {
        let path = folder.join(name);
        fs_err::write(&path, text).unwrap();
        use std::os::unix::fs::PermissionsExt;
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    folder
}
