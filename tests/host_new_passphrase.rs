//! Promise: an identity under a passphrase decrypts the secrets of a repository like any other one, once a person has typed
//! it; if nobody can be asked, or it is wrong, the error says so. With OpenSSH and util-linux if they are installed.
//!
//! `host_new_secrets` has identities without a passphrase.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may end where it stands

#[path = "host_new/kit.rs"]
#[allow(dead_code)]
mod kit;
#[path = "host_new/people.rs"]
#[allow(dead_code)]
mod people;

use age::secrecy::ExposeSecret;
use fs_err as fs;
use kit::Ground;
use people::{People, decrypted, encrypted, new_identity};
use ssh_key::LineEnding;
use std::io::{Read, Write};

/// A program on a terminal of its own, which types this line when it is asked for a passphrase; what was shown there and said.
fn on_a_terminal(ground: &Ground, args: &[&str], types: &str) -> String {
    let command = ground.landfall("new", args);
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    let mut script = std::process::Command::new("script");
    script.args(["--quiet", "--return", "--command", &words.join(" "), "/dev/null"]);
    script.env_clear().current_dir(ground.root());
    script.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    script
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut child = script.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = child.stdout.take().unwrap();
    let (mut shown, mut block, mut typed) = (String::new(), [0_u8; 1024], false);
    loop {
        let read = output.read(&mut block).unwrap_or(0);
        if read == 0 {
            break;
        }
        shown.push_str(&String::from_utf8_lossy(&block[..read]));
        if !typed && shown.contains("passphrase of ") {
            // Not before it listens without an echo.
            std::thread::sleep(std::time::Duration::from_millis(300));
            input.write_all(format!("{types}\n").as_bytes()).unwrap();
            typed = true;
        }
    }
    drop(input);
    child.wait().unwrap();
    shown.replace('\r', "")
}

/// A key of ssh and a file of identities, both under a passphrase: somebody is asked, once; and nobody, or a wrong passphrase, is not
/// a secret of somebody else's.
#[test]
fn an_identity_under_a_passphrase_is_asked_for_and_told() {
    let has = |program: &str| {
        std::process::Command::new(program)
            .arg("--version")
            .output()
            .is_ok()
    };
    if !has("setsid") || !has("script") {
        println!("skipped: no setsid or no script (util-linux)");
        return;
    }
    let people = People::new();
    for form in ["ssh", "age"] {
        let ground = people.ground();
        let file = ground.home().join("enc");
        if form == "ssh" {
            let key = people.op.to_openssh(LineEnding::LF).unwrap();
            fs::write(&file, key.as_bytes()).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            fs::set_permissions(&file, mode).unwrap();
            let sealed = std::process::Command::new("ssh-keygen")
                .args(["-q", "-p", "-P", "", "-N", "passphrase", "-a", "1", "-f"])
                .arg(&file)
                .status();
            if !sealed.is_ok_and(|ended| ended.success()) {
                println!("skipped: no ssh-keygen");
                continue;
            }
        } else {
            let mut recipient = age::scrypt::Recipient::new("passphrase".to_owned().into());
            recipient.set_work_factor(2);
            let text = people.web.to_string();
            fs::write(
                &file,
                encrypted(text.expose_secret().as_bytes(), &[&recipient], true),
            )
            .unwrap();
        }
        let path = file.to_str().unwrap();
        let args = ["--yes", "--identity", path];
        let before = ground.state();
        // No terminal at all.
        let command = ground.landfall("new", &args);
        let mut alone = std::process::Command::new("setsid");
        alone
            .arg("--wait")
            .arg(command.get_program())
            .args(command.get_args());
        alone
            .env_clear()
            .current_dir(ground.root())
            .stdin(std::process::Stdio::null());
        alone.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
        let output = alone.output().unwrap();
        let text = kit::said(&output.stderr);
        assert_eq!(output.status.code(), Some(6), "{text}");
        assert!(
            text.contains(&format!(
                "{path}: it has a passphrase, and landfall cannot ask for it here (no terminal)"
            )) && text.contains("next: run it on a terminal, or name the identity"),
            "{text}"
        );
        assert!(!text.contains("other identities"), "{text}");
        // Another passphrase.
        let text = on_a_terminal(&ground, &args, "wrong");
        assert!(
            text.contains(&format!("{path}: the passphrase is wrong"))
                && text.contains("next: run it again, and type the passphrase of that key; or "),
            "{text}"
        );
        // None at all: the terminal is there.
        let text = on_a_terminal(&ground, &args, "\x04");
        assert!(
            text.contains(&format!("{path}: it has a passphrase, and none was typed"))
                && text.contains("next: run it again, and type the passphrase of that key; or ")
                && !text.contains("on a terminal"),
            "{text}"
        );
        assert_eq!(ground.state(), before);
        // The right one, asked once for two secrets.
        let text = on_a_terminal(&ground, &args, "passphrase");
        assert_eq!(text.matches("passphrase of ").count(), 1, "{text}");
        assert!(!text.contains("passphrase\n"), "it is not shown: {text}");
        let new = new_identity(&ground);
        assert_eq!(
            decrypted(&ground, "secrets/all.age", &new).as_deref(),
            Some("for all\n"),
            "{text}"
        );
        assert_eq!(
            decrypted(&ground, "secrets/armored.age", &new).as_deref(),
            Some("armored\n")
        );
    }
}

/// A file of identities that is encrypted for another identity: what is told, carried out, leaves a file that nobody else reads, and goes
/// again.
#[test]
fn the_remedy_for_an_identity_under_another_one_is_for_its_owner_alone() {
    if std::process::Command::new("age")
        .arg("--version")
        .output()
        .is_err()
    {
        println!("skipped: age is not here");
        return;
    }
    let people = People::new();
    let ground = people.ground();
    let key = age::x25519::Identity::generate();
    let (file, plain) = (ground.home().join("it's sealed"), ground.home().join("plain"));
    let text = people.web.to_string();
    fs::write(
        &file,
        encrypted(text.expose_secret().as_bytes(), &[&key.to_public()], false),
    )
    .unwrap();
    fs::write(ground.home().join("key"), key.to_string().expose_secret()).unwrap();
    let said = ground.refused("new", &["--yes", "--identity", file.to_str().unwrap()], 6);
    let between = |begin: &str, end: &str| {
        let from = said.find(begin).unwrap_or_else(|| panic!("{said}"));
        let text = &said[from..];
        text[..text.find(end).unwrap()].to_owned()
    };
    // Another place in memory than that which others on this computer may use.
    let place = plain.to_str().unwrap();
    let mut command = between("(umask", ", use it") + " && stat --format %a PLAIN";
    let removed = between("rm /dev/shm", "\n").replace("/dev/shm/landfall-identity", place);
    command = command
        .replace(" KEY ", " \"$HOME/key\" ")
        .replace("/dev/shm/landfall-identity", place)
        .replace("PLAIN", place);
    let output = ground.shell(&command);
    assert_eq!(
        kit::said(&output.stdout),
        "600\n",
        "{command}: {}",
        kit::said(&output.stderr)
    );
    ground.made("new", &["--yes", "--identity", place]);
    assert!(
        ground.shell(&removed).status.success() && !plain.exists(),
        "{removed}"
    );
}

/// Whatever ends the run while it asks, the terminal shows again what is typed, and nothing was written.
#[test]
fn the_terminal_is_as_it_was_whatever_ends_the_question() {
    use nix::sys::signal::{Signal, kill};
    use nix::sys::termios::{LocalFlags, tcgetattr};
    let people = People::new();
    let ground = people.ground();
    let identity = ground.home().join("locked");
    let mut recipient = age::scrypt::Recipient::new("typed".to_owned().into());
    recipient.set_work_factor(2);
    let text = people.web.to_string();
    let bytes = encrypted(text.expose_secret().as_bytes(), &[&recipient], true);
    fs::write(&identity, bytes).unwrap();
    let before = ground.state();
    for how in [
        Some(Signal::SIGINT),
        Some(Signal::SIGTERM),
        Some(Signal::SIGHUP),
        Some(Signal::SIGQUIT),
        None,
    ] {
        for by_key in [false, true] {
            let pty = nix::pty::openpty(None, None).unwrap();
            let slave = || std::process::Stdio::from(pty.slave.try_clone().unwrap());
            let is_shown = || {
                tcgetattr(&pty.slave)
                    .unwrap()
                    .local_flags
                    .contains(LocalFlags::ECHO)
            };
            let inner = ground.landfall("new", &["--yes", "--identity", identity.to_str().unwrap()]);
            let mut command = std::process::Command::new("setsid");
            command
                .args(["--ctty", "--wait"])
                .arg(inner.get_program())
                .args(inner.get_args());
            command.env_clear().current_dir(ground.root());
            command.envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
            let Ok(mut child) = command.stdin(slave()).stdout(slave()).stderr(slave()).spawn() else {
                println!("skipped: no setsid (util-linux)");
                return;
            };
            let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
            while is_shown() {
                assert!(std::time::Instant::now() < end, "nobody was asked");
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            let mut master =
                fs::File::from_parts(std::fs::File::from(pty.master.try_clone().unwrap()), "pty");
            match (how, by_key) {
                (Some(Signal::SIGINT), true) => master.write_all(b"\x03").unwrap(),
                // A key that would end it with the terminal as it is does nothing; the line goes on.
                (Some(Signal::SIGQUIT), true) => master.write_all(b"\x1c\n").unwrap(),
                (None, true) => master.write_all(b"wrong\n").unwrap(),
                (None, false) => master.write_all(b"\x04").unwrap(),
                (Some(signal), _) => {
                    let own = i32::try_from(child.id()).unwrap();
                    let children =
                        fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
                    let pid = children.trim().parse().unwrap_or(own);
                    kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
                }
            }
            let status = child.wait().unwrap();
            assert!(is_shown(), "{how:?} {by_key}: {status}");
            assert_ne!(status.code(), Some(0), "{how:?} {by_key}");
            if let (Some(_), false) = (how, by_key) {
                assert_eq!(status.code(), Some(11), "{how:?}");
            }
        }
    }
    assert_eq!(ground.state(), before);
}
