//! Promise: which revision is checked out on the target is read from the clone's files, and no Git is asked: whatever ran in the
//! target since the clone was looked at may have written orders into it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test that cannot go on fails

#[path = "shared/attack.rs"]
mod attack;
#[path = "shared/clone.rs"]
mod clone;

use attack::{armed, plain};
use camino::Utf8Path;
use clone::{Place, branch, git};
use landfall::real::fs::target_root::Root;
use landfall::real::git::head;

/// What is read of the repository at `path`, as if the folder around it were the target.
fn read(path: &Utf8Path) -> Result<String, String> {
    let root = Root::at(path.parent().unwrap());
    let name = format!("/{}", path.file_name().unwrap());
    head::commit(&root, &name)
        .unwrap()
        .map(|revision| revision.to_string())
}

#[test]
fn landing_runs_no_git_in_the_clone() {
    let Some(place) = Place::new() else { return };
    let repository = place.here(branch("trunk"));
    let action = place.action(repository.clone(), place.resolve(&repository).unwrap());
    place.clone(&action).unwrap();
    let (_own, program, mark) = armed(&place);
    let (path, revision) = (place.path(), action.revision.to_string());
    assert_eq!(read(&path).as_deref(), Ok(&*revision));
    // A clone of a part whose commit is missing: whoever asks for it fetches it, by the clone's own command.
    for (key, value) in [
        ("core.repositoryFormatVersion", "1"),
        ("extensions.partialClone", "evil"),
        ("remote.evil.url", "ssh://x/y"),
        ("remote.evil.promisor", "true"),
        ("core.sshCommand", program.as_str()),
        ("core.fsmonitor", program.as_str()),
    ] {
        git(&path, &["config", "--local", key, value]);
    }
    let missing = "0123456789012345678901234567890123456789";
    fs_err::write(path.join(".git/HEAD"), missing).unwrap();
    plain(
        &path,
        &["-c", "safe.directory=*", "rev-parse", "--verify", "HEAD^{commit}"],
    );
    assert!(mark.exists(), "the control: a bare Git runs what the clone says");
    fs_err::remove_file(&mark).unwrap();
    assert_eq!(read(&path).as_deref(), Ok(missing));
    assert!(!mark.exists());
}

#[test]
fn what_git_says_is_what_is_read() {
    let Some(place) = Place::new() else { return };
    let repository = place.here(branch("trunk"));
    let action = place.action(repository.clone(), place.resolve(&repository).unwrap());
    place.clone(&action).unwrap();
    let path = place.path();
    let by_git = || {
        git(&path, &["rev-parse", "--verify", "HEAD^{commit}"])
            .trim()
            .to_owned()
    };
    for steps in [
        &[][..],
        &[&["pack-refs", "--all"][..]],
        &[&["checkout", "-q", "--detach", "HEAD~1"]],
        &[&["checkout", "-q", "-b", "of/many/parts"]],
        // A loose reference goes before a packed one.
        &[
            &["pack-refs", "--all"],
            &[
                "-c",
                "user.name=t",
                "-c",
                "user.email=t@example.invalid",
                "commit",
                "-q",
                "--allow-empty",
                "-m",
                "x",
            ],
        ],
        &[
            &["symbolic-ref", "refs/heads/alias", "refs/heads/of/many/parts"],
            &["symbolic-ref", "HEAD", "refs/heads/alias"],
        ],
    ] {
        for step in steps {
            git(&path, step);
        }
        assert_eq!(read(&path), Ok(by_git()), "{steps:?}");
    }
}

#[test]
fn what_is_no_reference_is_no_answer_and_leads_nowhere() {
    let keep = tempfile::tempdir().unwrap();
    let dir = Utf8Path::from_path(keep.path()).unwrap();
    let path = dir.join("clone");
    let git_dir = path.join(".git");
    fs_err::create_dir_all(git_dir.join("refs/heads")).unwrap();
    let id = "a".repeat(40);
    fs_err::write(dir.join("outside"), &id).unwrap();
    fs_err::write(git_dir.join("outside"), &id).unwrap();
    fs_err::write(git_dir.join("refs/heads/round"), "ref: refs/heads/round").unwrap();
    let long = format!("{id}{}", " ".repeat(5_000));
    for text in [
        "",
        "ref: refs/heads/gone\n",
        "ref: refs/../outside\n",
        "ref: ../../outside\n",
        "ref: outside\n",
        "ref: refs/heads/round\n",
        "ref: refs/heads/a\nb\n",
        "no id",
        &id[1..],
        &long,
    ] {
        fs_err::write(git_dir.join("HEAD"), text).unwrap();
        assert!(read(&path).is_err(), "{text:?}");
    }
    fs_err::remove_file(git_dir.join("HEAD")).unwrap();
    assert!(read(&path).is_err(), "nothing there");
    fs_err::os::unix::fs::symlink(dir.join("outside"), git_dir.join("HEAD")).unwrap();
    assert!(read(&path).is_err(), "a link out of the target");
    fs_err::remove_file(git_dir.join("HEAD")).unwrap();
    nix::unistd::mkfifo(git_dir.join("HEAD").as_std_path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(read(&path).is_err(), "a FIFO, which is not waited for");
    fs_err::remove_file(git_dir.join("HEAD")).unwrap();
    fs_err::write(git_dir.join("HEAD"), format!("{id}\n")).unwrap();
    assert_eq!(read(&path), Ok(id), "the control");
}
