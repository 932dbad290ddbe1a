//! Promise: a revision that only a record on the disk asks for is built if the configured reference names it, or a descendant
//! of it, and otherwise never.
//!
//! The attack is the smallest one: the record is the correct one except for the revision. The control: without the rule for
//! unproved requests the same clone is done. With real Git, over `file://`, bundles, tags, shallow remotes, and a remote that
//! is away.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test that cannot go on fails

#[path = "shared/clone.rs"]
mod clone;

use camino::Utf8PathBuf;
use clone::{Place, branch, git};
use landfall::real::git::command as real_git;
use landfall_states::actions::clone_configuration::{CloneConfiguration, CloneSight, Standing};
use landfall_states::fault::{FaultClass, Kind, SourceFault};
use landfall_states::names::Revision;
use landfall_states::plan::{Reference, Repository, RepositorySource};
use landfall_states::{Step, Verdict};

/// A wish, as a record on a disk is one.
fn wish(place: &Place, repository: Repository, revision: &Revision) -> CloneConfiguration {
    CloneConfiguration {
        is_wish: true,
        ..place.action(repository, revision.clone())
    }
}

/// A commit that the remote has, and that no reference names.
fn on_no_branch(place: &Place) -> Revision {
    let origin = place.origin();
    let tree = git(&origin, &["rev-parse", "HEAD^{tree}"]);
    let evil = git(&origin, &["commit-tree", "-p", "HEAD", "-m", "evil", &tree]);
    // Forges serve any commit that they have, also of other people's forks.
    git(&origin, &["config", "uploadpack.allowAnySHA1InWant", "true"]);
    evil.parse().unwrap()
}

fn at(place: &Place, name: &str) -> Revision {
    git(&place.origin(), &["rev-parse", name]).parse().unwrap()
}

/// What the fault of a refused wish says.
fn refused(place: &Place, action: &CloneConfiguration) -> (String, Option<String>, Option<String>) {
    match action.judge(&place.sight(action).unwrap()) {
        Verdict::Refuse(fault) => {
            assert_eq!(fault.class, FaultClass::Unsafe, "{fault}");
            assert_eq!(fault.next(), "landfall resume --repin");
            match *fault.kind {
                Kind::Source(SourceFault::PinNotNamed {
                    revision,
                    now,
                    named_by,
                    ..
                }) => (revision, now, named_by),
                other => panic!("{other:?}"),
            }
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_commit_on_no_branch_is_refused_also_where_the_clone_is_done() {
    let Some(place) = Place::new() else { return };
    let evil = on_no_branch(&place);
    let honest = place.resolve(&place.here(Reference::Default)).unwrap();
    let attack = wish(&place, place.here(Reference::Default), &evil);
    // Before anything is cloned.
    let (revision, now, named_by) = refused(&place, &attack);
    assert_eq!(
        (revision, now, named_by),
        (evil.to_string(), Some(honest.to_string()), None)
    );
    assert!(!place.path().exists(), "nothing was fetched onto the target");
    // The control: without the rule it is cloned and done, which is what the attack needs.
    let trusted = CloneConfiguration {
        is_wish: false,
        ..attack.clone()
    };
    place.clone(&trusted).unwrap();
    assert!(matches!(
        trusted.judge(&place.sight(&trusted).unwrap()),
        Verdict::Done(_)
    ));
    // And a clone that is done at that revision is no proof of anything.
    assert_eq!(refused(&place, &attack).0, evil.to_string());
}

#[test]
fn what_the_reference_names_and_its_ancestors_are_granted() {
    let Some(place) = Place::new() else { return };
    for (reference, revision) in [
        (Reference::Default, "trunk"),
        (Reference::Default, "trunk~1"),
        (branch("trunk"), "trunk~1"),
        (branch("dev"), "dev"),
    ] {
        let action = wish(&place, place.here(reference), &at(&place, revision));
        assert_eq!(place.standing(&action).unwrap(), Standing::Named, "{revision}");
    }
    // The remote moved on after the pin: that is what pins are for.
    let action = wish(&place, place.here(Reference::Default), &at(&place, "trunk"));
    let origin = place.origin();
    git(&origin, &["commit", "-q", "--allow-empty", "-m", "three"]);
    place.clone(&action).unwrap();
    assert_eq!(
        git(&place.path(), &["rev-parse", "HEAD"]),
        action.revision.to_string()
    );
}

#[test]
fn a_commit_of_another_branch_only_is_named_with_that_branch() {
    let Some(place) = Place::new() else { return };
    let origin = place.origin();
    git(&origin, &["checkout", "-q", "-b", "evil"]);
    git(&origin, &["commit", "-q", "--allow-empty", "-m", "evil"]);
    git(&origin, &["checkout", "-q", "trunk"]);
    let action = wish(&place, place.here(branch("trunk")), &at(&place, "evil"));
    let (_, now, named_by) = refused(&place, &action);
    assert_eq!(now, Some(at(&place, "trunk").to_string()));
    assert_eq!(named_by.as_deref(), Some("refs/heads/evil"));
    // The control: of its own branch it is the tip. And the branch below is not in the history of an older one.
    let own = wish(&place, place.here(branch("evil")), &at(&place, "evil"));
    assert_eq!(place.standing(&own).unwrap(), Standing::Named);
    let newer = wish(&place, place.here(branch("dev")), &at(&place, "trunk"));
    assert_eq!(refused(&place, &newer).1, Some(at(&place, "dev").to_string()));
}

/// Pushed by force since: the pin was right once, and nobody can tell it from a forged one.
#[test]
fn a_branch_that_was_pushed_by_force_takes_its_former_commits_along() {
    let Some(place) = Place::new() else { return };
    let pinned = at(&place, "trunk");
    let action = wish(&place, place.here(Reference::Default), &pinned);
    place.clone(&action).unwrap();
    let origin = place.origin();
    git(&origin, &["reset", "-q", "--hard", "HEAD~1"]);
    git(&origin, &["commit", "-q", "--allow-empty", "-m", "other two"]);
    let (_, now, _) = refused(&place, &action);
    assert_eq!(now, Some(at(&place, "trunk").to_string()));
    // Gone from the remote for good: the same answer, and no failing Git.
    git(&origin, &["reflog", "expire", "--expire=now", "--all"]);
    git(&origin, &["gc", "-q", "--prune=now"]);
    refused(&place, &action);
    // Who has a proof of the pin keeps it; the clone is whole.
    let proved = CloneConfiguration {
        is_wish: false,
        ..action
    };
    assert!(matches!(
        proved.judge(&place.sight(&proved).unwrap()),
        Verdict::Done(_)
    ));
}

#[test]
fn tags_are_what_they_point_to() {
    let Some(place) = Place::new() else { return };
    let origin = place.origin();
    git(&origin, &["tag", "light", "trunk~1"]);
    git(&origin, &["tag", "-a", "-m", "release", "heavy", "trunk"]);
    for (tag, revision, granted) in [
        ("light", "trunk~1", true),
        ("light", "trunk", false),
        ("heavy", "trunk", true),
        ("heavy", "trunk~1", true),
    ] {
        let action = wish(&place, place.here(branch(tag)), &at(&place, revision));
        assert_eq!(
            place.standing(&action).unwrap() == Standing::Named,
            granted,
            "{tag} {revision}"
        );
    }
    let evil = on_no_branch(&place);
    refused(&place, &wish(&place, place.here(branch("heavy")), &evil));
}

#[test]
fn a_bundle_is_asked_without_a_network() {
    let Some(place) = Place::new() else { return };
    let evil = on_no_branch(&place);
    let file = place.dir.join("config.bundle");
    git(
        &place.origin(),
        &["bundle", "create", "-q", file.as_str(), "--all", "HEAD"],
    );
    let repository = |reference| Repository {
        source: RepositorySource::Bundle {
            file: file.to_string(),
            origin: None,
        },
        ..place.here(reference)
    };
    for reference in [Reference::Default, branch("trunk")] {
        for revision in ["trunk", "trunk~1"] {
            let action = wish(&place, repository(reference.clone()), &at(&place, revision));
            assert_eq!(place.standing(&action).unwrap(), Standing::Named, "{revision}");
        }
        refused(&place, &wish(&place, repository(reference), &evil));
    }
}

/// A clone on the target can say what it likes of itself: of its references, of parents that a commit never had.
#[test]
fn nothing_that_the_target_says_is_asked() {
    let Some(place) = Place::new() else { return };
    let evil = on_no_branch(&place);
    let action = wish(&place, place.here(Reference::Default), &evil);
    place
        .clone(&CloneConfiguration {
            is_wish: false,
            ..action.clone()
        })
        .unwrap();
    let path = place.path();
    let tip = at(&place, "trunk").to_string();
    for name in [
        "refs/remotes/origin/trunk",
        "refs/heads/trunk",
        "refs/landfall/named",
    ] {
        git(&path, &["update-ref", name, evil.as_str()]);
    }
    fs_err::create_dir_all(path.join(".git/info")).unwrap();
    fs_err::write(path.join(".git/info/grafts"), format!("{tip} {evil}\n")).unwrap();
    git(&path, &["replace", "--graft", &tip, evil.as_str()]);
    assert_eq!(refused(&place, &action).1, Some(tip));
}

/// Nothing unproved is built: the network is waited for, as for every other question.
#[test]
fn a_remote_that_is_away_is_waited_for() {
    let Some(place) = Place::new() else { return };
    let revision = at(&place, "trunk");
    let honest = wish(&place, place.here(Reference::Default), &revision);
    place.clone(&honest).unwrap();
    let away = wish(
        &place,
        place.repository("git://127.0.0.1:9/origin", Reference::Default),
        &revision,
    );
    let fault = place
        .sight(&away)
        .map(|sight: CloneSight| format!("{sight:?}"))
        .unwrap_err();
    assert_eq!(fault.class, FaultClass::Transient, "{fault}");
    assert!(real_git::is_of_the_network(&fault), "{fault}");
    // The control: it is there again.
    assert!(matches!(
        honest.judge(&place.sight(&honest).unwrap()),
        Verdict::Done(_)
    ));
}

#[test]
fn a_remote_with_a_part_of_its_history_grants_its_tip_and_what_it_shows() {
    let Some(place) = Place::new() else { return };
    let shallow = place.dir.join("shallow");
    let from = format!("file://{}", place.origin());
    git(&place.dir, &["clone", "-q", "--depth=1", &from, shallow.as_str()]);
    let repository = place.repository(&format!("file://{shallow}"), Reference::Default);
    let tip = wish(&place, repository.clone(), &at(&place, "trunk"));
    assert_eq!(place.standing(&tip).unwrap(), Standing::Named);
    // What it does not show is not granted.
    let older = wish(&place, repository, &at(&place, "trunk~1"));
    match place.standing(&older) {
        Ok(standing) => assert!(matches!(standing, Standing::Elsewhere { .. }), "{standing:?}"),
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }
}

#[test]
fn repositories_of_both_object_formats_are_asked() {
    let Some(place) = Place::new() else { return };
    let dir: Utf8PathBuf = place.dir.join("long");
    fs_err::create_dir_all(&dir).unwrap();
    git(&dir, &["init", "-q", "-b", "trunk", "--object-format=sha256"]);
    for n in ["one", "two"] {
        git(&dir, &["commit", "-q", "--allow-empty", "-m", n]);
    }
    let named = |name: &str| -> Revision { git(&dir, &["rev-parse", name]).parse().unwrap() };
    let repository = place.repository(&format!("file://{dir}"), Reference::Default);
    for name in ["trunk", "trunk~1"] {
        let action = wish(&place, repository.clone(), &named(name));
        assert_eq!(place.standing(&action).unwrap(), Standing::Named, "{name}");
    }
    // A revision of the other format is of another repository.
    refused(&place, &wish(&place, repository, &at(&place, "trunk")));
    refused(
        &place,
        &wish(&place, place.here(Reference::Default), &named("trunk")),
    );
}
