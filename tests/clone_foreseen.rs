//! Promise: what the clone would stop at is seen before the first write, where the remote shows it: a history that is cut off, and a
//! submodule without an address, from nowhere, over a protocol that is not allowed, or without its commit. Real Git; a control beside each.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test that cannot go on fails

#[path = "shared/clone.rs"]
mod clone;

use camino::Utf8Path;
use clone::{Place, branch, git};
use landfall::real::git::foreseen;
use landfall_states::fault::{Fault, FaultClass};
use landfall_states::plan::{Reference, Repository};

fn foreseen(place: &Place, repository: &Repository) -> Result<(), Fault> {
    within(place, repository, foreseen::LOOK_BYTES_MAX)
}

fn within(place: &Place, repository: &Repository, bytes_max: u64) -> Result<(), Fault> {
    let revision = place.resolve(repository).unwrap();
    let scratch = place.dir.join("run");
    let looked = place.runtime.block_on(foreseen::look(
        &place.context,
        &place.access,
        repository,
        &revision,
        &scratch,
        bytes_max,
    ));
    let left = scratch.read_dir_utf8().unwrap().count();
    assert_eq!(left, 0, "nothing is left in {scratch}");
    assert!(!place.path().exists(), "nothing is cloned");
    looked
}

fn at(place: &Place, dir: &Utf8Path, reference: Reference) -> Repository {
    place.repository(&format!("file://{dir}"), reference)
}

#[test]
fn a_history_that_is_cut_off_is_seen_with_and_without_a_work_tree() {
    let Some(place) = Place::new() else { return };
    let from = format!("file://{}", place.origin());
    foreseen(&place, &place.here(branch("trunk"))).unwrap();
    for kind in ["--no-bare", "--bare"] {
        let shallow = place.dir.join(format!("shallow{kind}"));
        let words = ["clone", "-q", "--depth=1", "--branch=trunk", kind, &from];
        git(&place.dir, &[&words[..], &[shallow.as_str()]].concat());
        let repository = at(&place, &shallow, branch("trunk"));
        let fault = foreseen(&place, &repository).unwrap_err();
        assert_eq!(fault.class, FaultClass::Permanent, "{fault}");
        assert!(fault.next().contains("--unshallow"), "{}", fault.next());
        // A branch whose history is all there, beside one that is cut off.
        git(&shallow, &["fetch", "-q", &from, "dev"]);
        git(&shallow, &["branch", "-f", "cut", "trunk"]);
        let root = git(&shallow, &["commit-tree", "-m", "root", "trunk^{tree}"]);
        git(&shallow, &["branch", "whole", &root]);
        foreseen(&place, &at(&place, &shallow, branch("whole"))).unwrap();
        let cut = foreseen(&place, &at(&place, &shallow, branch("cut"))).unwrap_err();
        assert!(cut.next().contains("--unshallow"), "{cut}");
    }
}

/// Puts a submodule at `sub` of this commit into the origin, and says this of it in `.gitmodules`.
fn link(place: &Place, commit: &str, modules: &str) {
    let link = format!("160000,{commit},sub");
    git(&place.origin(), &["update-index", "--add", "--cacheinfo", &link]);
    fs_err::write(place.origin().join(".gitmodules"), modules).unwrap();
    git(&place.origin(), &["add", ".gitmodules"]);
    git(&place.origin(), &["commit", "-q", "--allow-empty", "-m", "link"]);
}

#[test]
fn a_submodule_that_cannot_be_had_is_seen_and_one_that_can_is_not_held_against_it() {
    let Some(mut place) = Place::new() else { return };
    let from = place.with_submodule();
    let commit = git(&from, &["rev-parse", "HEAD"]);
    let sub = |settings: &str| format!("[submodule \"name\"]\n\tpath = sub\n{settings}");
    let none = "0".repeat(39) + "1";
    for (commit, modules, wanted) in [
        (&commit, sub(&format!("\turl = file://{from}\n")), None),
        (&commit, sub("\turl = ../submodule\n"), None),
        (&commit, sub("\turl = ./../submodule/\n"), None),
        (&commit, sub("\tupdate = none\n\turl = ../nowhere\n"), None),
        (&commit, String::new(), Some("has no entry with this path")),
        (&commit, sub(""), Some("has no url for submodule name")),
        (&commit, sub("\turl =\n"), Some("has no url for submodule name")),
        (
            &commit,
            "[submodule \"name\"]\n\tpath = other\n\turl = ../submodule\n".into(),
            Some("has no entry with this path"),
        ),
        (&commit, sub("\turl = ../nowhere\n"), Some("nowhere")),
        (
            &commit,
            sub("\turl = ext::true\n"),
            Some("transport 'ext' not allowed"),
        ),
        (&none, sub("\turl = ../submodule\n"), Some("not our ref")),
        (&commit, "[submodule \"name\"\n".into(), Some("bad config line")),
    ] {
        link(&place, commit, &modules);
        let looked = foreseen(&place, &place.here(branch("trunk")));
        match (&looked, wanted) {
            (Ok(()), None) => {}
            (Err(fault), Some(words)) => {
                assert!(fault.to_string().contains(words), "{modules}: {fault}");
                assert!(
                    !matches!(fault.class, FaultClass::Transient),
                    "{modules}: {fault}"
                );
            }
            (Ok(()), Some(_)) => panic!("{modules}: not seen"),
            (Err(fault), None) => panic!("{modules}: {fault}"),
        }
        // And the clone ends as was foreseen.
        let repository = place.here(branch("trunk"));
        let revision = place.resolve(&repository).unwrap();
        let cloned = place.clone(&place.action(repository, revision));
        assert_eq!(cloned.is_ok(), looked.is_ok(), "{modules}: {cloned:?}");
        let _ = fs_err::remove_dir_all(place.path());
        let _ = fs_err::remove_dir_all(place.path().parent().unwrap());
    }
}

#[test]
fn a_submodule_that_the_clone_would_not_fetch_is_not_asked_for() {
    let Some(place) = Place::new() else { return };
    let id = git(&place.origin(), &["rev-parse", "HEAD"]);
    // No `.gitmodules` at all: Git leaves the folder empty.
    let link = format!("160000,{id},sub");
    git(&place.origin(), &["update-index", "--add", "--cacheinfo", &link]);
    git(&place.origin(), &["commit", "-q", "-m", "link"]);
    foreseen(&place, &place.here(branch("trunk"))).unwrap();
}

#[test]
fn what_is_too_large_to_be_looked_at_is_left_to_the_clone() {
    let Some(place) = Place::new() else { return };
    let id = git(&place.origin(), &["rev-parse", "HEAD"]);
    link(&place, &id, "");
    let seen = foreseen(&place, &place.here(branch("trunk"))).unwrap_err();
    assert!(seen.why().contains("no entry"), "the control: {seen}");
    // This server does not leave files out, and it has 400,000 bytes of them that nothing makes shorter.
    within(&place, &place.here(branch("trunk")), 100_000).unwrap();
    let shallow = place.dir.join("shallow");
    let from = format!("file://{}", place.origin());
    git(
        &place.dir,
        &[
            "clone",
            "-q",
            "--depth=1",
            "--branch=trunk",
            &from,
            shallow.as_str(),
        ],
    );
    within(&place, &at(&place, &shallow, branch("trunk")), 100_000).unwrap();
}
