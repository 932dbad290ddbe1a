//! Promise: a secret that is no longer needed is nowhere in the memory of the process: not in the buffer of a pipe, a file, a
//! line, nor in a copy that was made on the way; also when the program that gave it failed, or was ended.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may end where it stands

use camino::{Utf8Path, Utf8PathBuf};
use landfall::event::Reporter;
use landfall::real::process::command::{OnStop, Program};
use landfall::real::process::stop::Stop;
use landfall::real::secret::Secret;
use landfall::real::secrets::credentials::Credentials;
use landfall::real::secrets::passphrase;
use secrecy::ExposeSecret;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a secret is looked for by: every byte of it turned over, so that looking for it does not hold it.
struct Needle(Vec<u8>);

const TURN: u8 = 0xA5;

impl Needle {
    /// Of the first line of a file, read without leaving a copy.
    fn of(file: &Utf8Path) -> Needle {
        let secret = Secret::read(fs_err::File::open(file).unwrap(), 256)
            .unwrap()
            .unwrap();
        let bytes = secret.bytes().trim_ascii_end();
        Needle(bytes.iter().map(|byte| byte ^ TURN).collect())
    }

    /// How often it is in the memory of this process.
    fn found(&self) -> usize {
        let maps = fs_err::read_to_string("/proc/self/maps").unwrap();
        let memory = fs_err::File::open("/proc/self/mem").unwrap().into_parts().0;
        let mut count = 0;
        // One buffer for all: what was read is wiped before the next look, and it is not looked at itself.
        let mut piece = vec![0_u8; 1 << 20];
        let own = piece.as_ptr() as u64..piece.as_ptr() as u64 + piece.len() as u64;
        for line in maps
            .lines()
            .filter(|line| line.split(' ').nth(1).is_some_and(|p| p.starts_with("rw")))
        {
            let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
            let (mut at, to) = (
                u64::from_str_radix(from, 16).unwrap(),
                u64::from_str_radix(to, 16).unwrap(),
            );
            while at < to {
                if own.contains(&at) {
                    at = own.end;
                    continue;
                }
                let mut end = to.min(at + piece.len() as u64);
                if at < own.start && end > own.start {
                    end = own.start;
                }
                let part = &mut piece[..(end - at) as usize];
                // Some pages cannot be read: guards, devices.
                if memory.read_exact_at(part, at).is_ok() {
                    let is_here = |window: &[u8]| {
                        window
                            .iter()
                            .zip(&self.0)
                            .all(|(byte, turned)| byte ^ TURN == *turned)
                    };
                    count += part
                        .windows(self.0.len())
                        .filter(|window| is_here(window))
                        .count();
                }
                let next = end;
                // A match over the edge of two pieces is in the next one.
                at = if next == to || end == own.start {
                    next
                } else {
                    next - self.0.len() as u64
                };
            }
        }
        piece.fill(0);
        count
    }
}

/// A search reads every page into one of its own, where another search would find what it found.
static ALONE: Mutex<()> = Mutex::new(());

struct Place {
    _alone: MutexGuard<'static, ()>,
    _keep: tempfile::TempDir,
    dir: Utf8PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Place {
    fn new() -> Place {
        let keep = tempfile::tempdir().unwrap();
        Place {
            _alone: ALONE.lock().unwrap_or_else(PoisonError::into_inner),
            dir: Utf8PathBuf::from_path_buf(keep.path().to_owned()).unwrap(),
            _keep: keep,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
        }
    }

    /// A file with a secret that this process never had: another one makes it.
    fn secret(&self, name: &str) -> (Utf8PathBuf, Needle) {
        let file = self.dir.join(name);
        let made = Command::new("sh")
            .args([
                "-c",
                "head -c 24 /dev/urandom | base64 -w0 > \"$1\"",
                "sh",
                file.as_str(),
            ])
            .status();
        assert!(made.unwrap().success());
        let needle = Needle::of(&file);
        assert_eq!(needle.0.len(), 32);
        assert_eq!(needle.found(), 0, "making the needle leaves the secret");
        (file, needle)
    }
}

#[test]
fn the_search_finds_what_is_there() {
    let place = Place::new();
    let (file, needle) = place.secret("s");
    let held = Secret::read(fs_err::File::open(&file).unwrap(), 256)
        .unwrap()
        .unwrap();
    assert_eq!(needle.found(), 1, "a secret in use is in its pages, once");
    drop(held);
    assert_eq!(needle.found(), 0);
    // The control: an ordinary program's output goes through buffers that nobody wipes. They are held, so that the
    // allocator cannot have given them to somebody else meanwhile.
    let ended = place.runtime.block_on(async {
        let program = Program::new("cat").arg(file.as_str());
        program.run(&Reporter::default(), &Stop::never()).await
    });
    assert!(needle.found() >= 1, "the search finds nothing");
    drop(ended);
}

#[test]
fn an_answer_of_a_program_is_gone_when_it_is_dropped() {
    let place = Place::new();
    for (script, ends) in [
        ("cat \"$1\"", true),
        ("cat \"$1\"; exit 1", true),
        ("cat \"$1\"; sleep 60", false),
    ] {
        let (file, needle) = place.secret("answer");
        let program = Program::new("sh")
            .args(["-c", script, "sh", file.as_str()])
            .on_stop(OnStop::End)
            .deadline(Duration::from_secs(if ends { 60 } else { 1 }));
        let answered = place
            .runtime
            .block_on(async { program.run_for_secret(&Reporter::default(), &Stop::never()).await });
        if ends {
            let (ended, answer) = answered.unwrap();
            assert_eq!(needle.found(), 1, "{script}: it is in one place while it is held");
            assert!(ended.stdout.is_empty());
            let text = answer.into_text().unwrap();
            assert_eq!(text.expose_secret().len(), 32);
            assert_eq!(needle.found(), 1, "{script}: text is no copy");
        } else {
            assert!(answered.is_err(), "it was ended");
        }
        assert_eq!(needle.found(), 0, "{script}");
    }
}

#[test]
fn credentials_are_gone_with_the_run() {
    let place = Place::new();
    let (passphrase_file, one) = place.secret("landfall.luks-passphrase");
    let (_, two) = place.secret("landfall.record-key");
    let (_, three) = place.secret("landfall.repository-token");
    let mut credentials = Credentials::default();
    credentials.take_from(&place.dir, "landfall.").unwrap();
    assert_eq!(
        (one.found(), two.found(), three.found()),
        (1, 1, 1),
        "each is held once"
    );
    let held = credentials.passphrase().cloned().unwrap();
    assert_eq!(one.found(), 2, "a copy is one");
    drop((credentials, held));
    assert_eq!((one.found(), two.found(), three.found()), (0, 0, 0));
    // One that is refused is gone as well, and not in the words.
    let line = Secret::read(fs_err::File::open(&passphrase_file).unwrap(), 256)
        .unwrap()
        .unwrap();
    let mut two_lines = Secret::with_room(80).unwrap();
    two_lines.push(line.bytes()).unwrap();
    two_lines.push(b"\nmore\n").unwrap();
    let refused = passphrase::line(&two_lines, "credential x").unwrap_err();
    drop((line, two_lines));
    assert_eq!(one.found(), 0, "{refused}");
}
