//! Attacks by the contents of a repository: planted, seen to work with plain Git, and then met by landfall. The tests that
//! use this have the promises and the attacks themselves.

#![allow(dead_code, clippy::unwrap_used)] // no test file uses all of it; a test that cannot go on fails

use crate::clone::{Place, git};
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::actions::clone_configuration::{CloneConfiguration, CloneFacts};
use landfall_states::fault::FaultClass;
use landfall_states::{Step, Verdict};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

/// What an attack has at hand.
pub struct Scene<'a> {
    /// The clone that it is planted into.
    pub clone: &'a Utf8Path,
    /// A program that leaves the mark.
    pub program: &'a Utf8Path,
    /// A folder of the attacker's.
    pub own: &'a Utf8Path,
}

impl Scene<'_> {
    pub fn set(&self, key: &str, value: &str) {
        git(self.clone, &["config", "--local", key, value]);
    }

    pub fn put(&self, file: &str, text: &str) {
        let at = self.clone.join(file);
        fs_err::create_dir_all(at.parent().unwrap()).unwrap();
        fs_err::write(&at, text).unwrap();
    }

    /// Makes the program answer to a hook's name.
    pub fn hook(&self, folder: &str, name: &str) {
        let at = self.clone.join(folder).join(name);
        fs_err::create_dir_all(at.parent().unwrap()).unwrap();
        fs_err::copy(self.program, at).unwrap();
    }

    /// The file has other times than the index knows, so that its content is read.
    pub fn touch(&self, file: &str) {
        let at = self.clone.join(file);
        let text = fs_err::read(&at).unwrap();
        fs_err::remove_file(&at).unwrap();
        fs_err::write(&at, text).unwrap();
    }

    /// The whole repository as it is, elsewhere, with an order in its settings.
    pub fn elsewhere(&self) -> Utf8PathBuf {
        let at = self.own.join("elsewhere.git");
        copy(&self.clone.join(".git"), &at);
        set_in(&at.join("config"), "core.fsmonitor", self.program.as_str());
        at
    }
}

/// A setting in a file, whatever repository it is of.
pub fn set_in(file: &Utf8Path, key: &str, value: &str) {
    git("/".into(), &["config", "--file", file.as_str(), key, value]);
}

/// Runs plain Git, as a person would, however it ends.
pub fn plain(dir: &Utf8Path, args: &[&str]) {
    let mut command = Command::new("git");
    command.arg("-C").arg(dir).args(args);
    for (key, value) in [
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_AUTHOR_NAME", "t"),
        ("GIT_AUTHOR_EMAIL", "t@example.invalid"),
        ("GIT_COMMITTER_NAME", "t"),
        ("GIT_COMMITTER_EMAIL", "t@example.invalid"),
    ] {
        command.env(key, value);
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .env_remove("GIT_ASKPASS")
        .spawn()
        .unwrap();
    // Some of them ask nothing, and are gone by now.
    let _unread = child
        .stdin
        .take()
        .unwrap()
        .write_all(b"protocol=https\nhost=forge.example\n\n");
    child.wait().unwrap();
}

pub fn copy(from: &Utf8Path, to: &Utf8Path) {
    let copied = Command::new("cp")
        .args(["-a", from.as_str(), to.as_str()])
        .status()
        .unwrap();
    assert!(copied.success(), "{from} to {to}");
}

/// Name, how it is planted, and the plain Git that carries it out.
pub type Attack<'a> = (&'static str, &'a dyn Fn(&Scene<'_>), &'a [&'a [&'a str]]);

pub const STATUS: &[&[&str]] = &[&["status"]];
pub const FETCH: &[&[&str]] = &[&["fetch", "origin"]];
pub const SWITCH: &[&[&str]] = &[&["checkout", "-q", "-f", "HEAD~1"]];
pub const ASK: &[&[&str]] = &[&["-c", "credential.interactive=true", "credential", "fill"]];

/// A place with an `own` folder of the attacker's, and a program in it that leaves a mark.
pub fn armed(place: &Place) -> (Utf8PathBuf, Utf8PathBuf, Utf8PathBuf) {
    let own = place.dir.join("own");
    fs_err::create_dir_all(&own).unwrap();
    let (program, mark) = (own.join("program"), own.join("mark"));
    // Some are asked for more than once, and some have to answer for Git to go on.
    fs_err::write(&program, format!("#!/bin/sh\necho ran >>{mark}\nexit 1\n")).unwrap();
    fs_err::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    (own, program, mark)
}

pub fn in_config(attack: &'static [(&'static str, &'static str)]) -> impl Fn(&Scene<'_>) {
    move |scene| {
        for (key, value) in attack {
            scene.set(key, &value.replace("PROGRAM", scene.program.as_str()));
        }
    }
}

/// Each is planted, seen to work with plain Git, and then met by landfall at the clone's place and beside it.
pub fn attacked(place: &Place, action: &CloneConfiguration, attacks: &[Attack<'_>]) {
    let (own, program, mark) = armed(place);
    place.clone(action).unwrap();
    let (good, planted) = (place.dir.join("good"), place.dir.join("planted"));
    copy(&place.path(), &good);
    let partial = Utf8PathBuf::from(format!("{}.landfall-partial", place.path()));
    let aside = Utf8PathBuf::from(format!("{}.landfall-aside-1", place.path()));
    let clear = || {
        for at in [
            &place.path(),
            &partial,
            &aside,
            &planted,
            &own.join("elsewhere.git"),
        ] {
            if at.is_symlink() || at.exists() {
                fs_err::remove_dir_all(at).unwrap();
            }
        }
        if mark.exists() {
            fs_err::remove_file(&mark).unwrap();
        }
    };
    for (name, plant, orders) in attacks {
        clear();
        copy(&good, &planted);
        plant(&Scene {
            clone: &planted,
            program: &program,
            own: &own,
        });
        // The control: it is an attack.
        copy(&planted, &place.path());
        for order in *orders {
            plain(&place.path(), order);
        }
        assert!(mark.exists(), "{name}: plain Git does not run it");
        fs_err::remove_file(&mark).unwrap();
        fs_err::remove_dir_all(place.path()).unwrap();

        copy(&planted, &place.path());
        let facts = place.sight(action).unwrap();
        assert!(!mark.exists(), "{name}: run while looking");
        match action.judge(&facts) {
            // Ours once: made again, and kept.
            Verdict::Todo(order) => {
                let is_seen = match &facts.place {
                    CloneFacts::Unvetted { why, .. } => !why.is_empty(),
                    CloneFacts::Repository { flaws, .. } => !flaws.is_empty(),
                    CloneFacts::Absent | CloneFacts::Other(_) => false,
                };
                assert!(is_seen, "{name}: {facts:?}");
                place
                    .perform(&order)
                    .unwrap_or_else(|fault| panic!("{name}: {fault}"));
                assert!(!mark.exists(), "{name}: run while it was replaced");
                let now = place.sight(action).unwrap();
                assert!(matches!(action.judge(&now), Verdict::Done(_)), "{name}: {now:?}");
                if matches!(facts.place, CloneFacts::Unvetted { .. }) {
                    assert!(aside.exists(), "{name}: it may be somebody's work");
                }
            }
            // Nobody can say whose it is: left alone.
            Verdict::Refuse(fault) => {
                assert_eq!(fault.class, FaultClass::Unsafe, "{name}: {fault}");
                assert!(fault.why().contains("repository"), "{name}: {fault}");
            }
            Verdict::Done(_) | Verdict::NeedsConsent(_) => panic!("{name}: {facts:?}"),
        }
        assert!(!mark.exists(), "{name}: run");

        // As what a cut left beside the place.
        clear();
        copy(&good, &planted);
        plant(&Scene {
            clone: &planted,
            program: &program,
            own: &own,
        });
        if mark.exists() {
            fs_err::remove_file(&mark).unwrap();
        }
        fs_err::rename(&planted, &partial).unwrap();
        place
            .clone(action)
            .unwrap_or_else(|fault| panic!("{name}, cut off: {fault}"));
        assert!(!mark.exists(), "{name}: run in what was cut off");
    }
}
