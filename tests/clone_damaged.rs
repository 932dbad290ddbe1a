//! Promise: whatever a killed Git, a power cut or a person made of a clone, unfinished or finished, the next attempt lands;
//! done means that every byte is there; and nobody's work is lost. With real Git over `file://`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test that cannot go on fails

#[path = "shared/clone.rs"]
mod clone;

use camino::{Utf8Path, Utf8PathBuf};
use clone::{Place, branch, git};
use landfall_states::actions::clone_configuration::CloneFacts;
use landfall_states::fault::FaultClass;
use landfall_states::plan::Reference;
use landfall_states::{Step, Verdict};

/// What one file or folder of a clone was made of.
type Spoil = (&'static str, fn(&Utf8Path));

/// What is wrong with a finished clone, whether it is more than damage (then no Git is asked there), and how that is made.
type Way<'a> = (&'static str, bool, &'a dyn Fn(&Place));
/// A file with somebody's work, and how that is done.
type Work<'a> = (&'static str, &'a dyn Fn(&Utf8Path));

fn gone(at: &Utf8Path) {
    if at.is_dir() {
        fs_err::remove_dir_all(at).unwrap();
    } else {
        fs_err::remove_file(at).unwrap();
    }
}

#[test]
fn whatever_a_killed_git_left_in_a_clone_under_way_it_lands() {
    let Some(mut place) = Place::new() else { return };
    place.with_submodule();
    let repository = place.here(branch("trunk"));
    let revision = place.resolve(&repository).unwrap();
    let action = place.action(repository, revision);
    place.clone(&action).unwrap();
    let partial = Utf8PathBuf::from(format!("{}.landfall-partial", place.path()));
    let spoils: [Spoil; 13] = [
        (".git/modules/sub", |at| gone(&at.join("HEAD"))),
        (".git/modules/sub", |at| gone(&at.join("config"))),
        (".git/modules/sub", |at| gone(&at.join("objects"))),
        (".git/modules/sub", |at| gone(&at.join("refs"))),
        (".git/modules/sub", |at| {
            gone(at);
            fs_err::write(at, "").unwrap();
        }),
        (".git/modules/sub", |at| {
            gone(at);
            fs_err::create_dir_all(at.join("objects")).unwrap();
        }),
        (".git/modules/sub/HEAD", |at| fs_err::write(at, "xxx").unwrap()),
        (".git/modules", |at| fs_err::write(at.join("stray"), "").unwrap()),
        ("sub/.git", |at| fs_err::write(at, "gitdir: /nowhere").unwrap()),
        (".git/info", |at| {
            assert!(!at.exists(), "no template is copied");
            fs_err::write(at, "").unwrap();
        }),
        (".git/logs/HEAD", |at| {
            gone(at);
            fs_err::create_dir_all(at.join("in/it")).unwrap();
        }),
        (".git/refs/heads/trunk", |at| {
            let id = fs_err::read(at).unwrap();
            gone(at);
            fs_err::create_dir(at).unwrap();
            fs_err::write(at.join("x"), id).unwrap();
        }),
        (".git/refs/remotes/origin/trunk", |at| {
            let id = fs_err::read(at).unwrap();
            gone(at);
            fs_err::create_dir(at).unwrap();
            fs_err::write(at.join("x"), id).unwrap();
        }),
    ];
    for (number, (at, spoil)) in spoils.iter().enumerate() {
        fs_err::rename(place.path(), &partial).unwrap();
        spoil(&partial.join(at));
        place
            .clone(&action)
            .unwrap_or_else(|fault| panic!("{number} {at}: {fault}"));
        assert!(place.path().join("sub/module.nix").exists(), "{number} {at}");
        let config = fs_err::read_to_string(place.path().join(".git/config")).unwrap();
        assert!(!config.contains("tries"), "{config}");
    }
    // Whole: it is gone on with, and nothing is fetched a second time.
    fs_err::rename(place.path(), &partial).unwrap();
    fs_err::write(partial.join(".git/TAG_EDITMSG"), "kept").unwrap();
    place.clone(&action).unwrap();
    assert!(place.path().join(".git/TAG_EDITMSG").exists());
}

#[test]
#[expect(clippy::too_many_lines, reason = "one row for each way to hide a change")]
fn a_finished_clone_is_hashed_whatever_its_own_index_and_configuration_say() {
    let Some(mut place) = Place::new() else { return };
    place.with_submodule();
    let repository = place.here(branch("trunk"));
    let revision = place.resolve(&repository).unwrap();
    let action = place.action(repository, revision);
    place.clone(&action).unwrap();
    let zeros = |place: &Place, file: &str| {
        let at = place.path().join(file);
        let before = fs_err::metadata(&at).unwrap();
        fs_err::write(&at, vec![0; before.len() as usize]).unwrap();
        let opened = fs_err::OpenOptions::new().write(true).open(&at).unwrap();
        opened.file().set_modified(before.modified().unwrap()).unwrap();
    };
    let ways: [Way<'_>; 12] = [
        ("skip-worktree", false, &|place| {
            git(&place.path(), &["update-index", "--skip-worktree", "flake.nix"]);
            zeros(place, "flake.nix");
        }),
        ("assume-unchanged", false, &|place| {
            git(
                &place.path(),
                &["update-index", "--assume-unchanged", "flake.nix"],
            );
            zeros(place, "flake.nix");
        }),
        ("as the index has its times", true, &|place| {
            for (key, value) in [("core.checkStat", "minimal"), ("core.trustctime", "false")] {
                git(&place.path(), &["config", key, value]);
            }
            // The index is younger than the file, so that its times are believed.
            std::thread::sleep(std::time::Duration::from_millis(1_100));
            gone(&place.path().join(".git/index"));
            git(&place.path(), &["reset", "-q", "HEAD"]);
            zeros(place, "flake.nix");
        }),
        ("ignoreStat", true, &|place| {
            git(&place.path(), &["config", "core.ignoreStat", "true"]);
            git(&place.path(), &["update-index", "--really-refresh"]);
            zeros(place, "flake.nix");
        }),
        ("worktree elsewhere", true, &|place| {
            git(&place.path(), &["config", "core.worktree", "/tmp"]);
            zeros(place, "flake.nix");
        }),
        ("sparse", true, &|place| {
            git(&place.path(), &["sparse-checkout", "set", "nothing"]);
            gone(&place.path().join("flake.nix"));
        }),
        ("replaced commit", true, &|place| {
            git(&place.path(), &["replace", "HEAD", "HEAD~1"]);
            git(&place.path(), &["checkout", "-q", "-f", "HEAD"]);
        }),
        ("index lost", false, &|place| {
            gone(&place.path().join(".git/index"))
        }),
        ("submodule emptied", false, &|place| {
            gone(&place.path().join("sub"));
            fs_err::create_dir(place.path().join("sub")).unwrap();
        }),
        ("submodule's file", false, &|place| zeros(place, "sub/module.nix")),
        ("submodule's HEAD", false, &|place| {
            fs_err::write(place.path().join(".git/modules/sub/HEAD"), "").unwrap();
        }),
        ("submodule's objects", false, &|place| {
            gone(&place.path().join(".git/modules/sub/objects"))
        }),
    ];
    for (name, configured, change) in ways {
        change(&place);
        let facts = place.observe(&action);
        let seen = match &facts {
            CloneFacts::Repository { flaws, .. } => !configured && !flaws.is_empty(),
            CloneFacts::Unvetted { .. } => configured,
            CloneFacts::Absent | CloneFacts::Other(_) => false,
        };
        assert!(seen, "{name}: {facts:?}");
        let kept = ["nix-config.landfall-aside-1"];
        place
            .clone_beside(&action, if configured { &kept } else { &[] })
            .unwrap_or_else(|fault| panic!("{name}: {fault}"));
        if configured {
            gone(&place.path().with_file_name(kept[0]));
        }
    }
    // What hides nothing is no flaw.
    git(&place.path(), &["update-index", "--skip-worktree", "flake.nix"]);
    fs_err::write(place.path().join("untracked"), "").unwrap();
    assert!(matches!(place.observe(&action), CloneFacts::Repository { flaws, .. } if flaws.is_empty()));
}

#[test]
fn a_repository_whose_mark_cannot_be_read_is_left_alone_and_told_as_what_it_is() {
    let Some(place) = Place::new() else { return };
    let repository = place.here(branch("trunk"));
    let revision = place.resolve(&repository).unwrap();
    let action = place.action(repository, revision);
    place.clone(&action).unwrap();
    let config = place.path().join(".git/config");
    for bytes in [&b""[..], &[0; 300], b"[core"] {
        fs_err::write(&config, bytes).unwrap();
        let fault = place.clone(&action).unwrap_err();
        assert_eq!(fault.class, FaultClass::Unsafe);
        let why = fault.why();
        assert!(why.contains(".git/config cannot be read"), "{why}");
        assert!(config.exists());
    }
    fs_err::write(&config, "[core]\n\trepositoryformatversion = 0\n").unwrap();
    let why = place.clone(&action).unwrap_err().why();
    assert!(why.contains("without the mark of this install"), "{why}");
}

#[test]
fn work_of_somebody_in_a_clone_that_is_replaced_is_kept_beside_it() {
    let Some(place) = Place::new() else { return };
    let repository = place.here(branch("trunk"));
    let revision = place.resolve(&repository).unwrap();
    let action = place.action(repository, revision.clone());
    let aside = Utf8PathBuf::from(format!("{}.landfall-aside-1", place.path()));
    let replace = |action: &landfall_states::actions::clone_configuration::CloneConfiguration| {
        place
            .perform(&landfall_states::actions::clone_configuration::CloneOrder {
                action: action.clone(),
                replace: true,
            })
            .unwrap();
    };
    let works: [Work<'_>; 4] = [
        ("hardware-configuration.nix", &|at| {
            fs_err::write(at.join("hardware-configuration.nix"), "mine").unwrap();
        }),
        ("flake.nix", &|at| {
            fs_err::write(at.join("flake.nix"), "mine").unwrap()
        }),
        ("flake.nix", &|at| {
            fs_err::write(at.join("flake.nix"), "committed").unwrap();
            git(at, &["commit", "-q", "-am", "mine"]);
        }),
        // The index is lost as well: Git can say less of it.
        ("mine.nix", &|at| {
            fs_err::write(at.join("mine.nix"), "mine").unwrap();
            gone(&at.join(".git/objects"));
        }),
    ];
    for (file, work) in works {
        place.clone(&action).unwrap();
        work(&place.path());
        let mine = fs_err::read(place.path().join(file)).unwrap();
        replace(&action);
        assert_eq!(fs_err::read(aside.join(file)).unwrap(), mine);
        assert!(matches!(place.observe(&action), CloneFacts::Repository { flaws, .. } if flaws.is_empty()));
        fs_err::remove_dir_all(&aside).unwrap();
    }
    // Nobody's work: another revision, and damage.
    git(&place.origin(), &["commit", "-q", "--allow-empty", "-m", "three"]);
    let repository = place.here(branch("trunk"));
    let newer = place.resolve(&repository).unwrap();
    place.clone(&place.action(repository, newer)).unwrap();
    fs_err::write(place.path().join("flake.nix"), "").unwrap();
    place.clone(&action).unwrap();
    // Another revision, with work in it.
    fs_err::write(place.path().join("mine.nix"), "mine").unwrap();
    let repository = place.here(branch("dev"));
    let dev = place.resolve(&repository).unwrap();
    replace(&place.action(repository, dev));
    assert!(aside.join("mine.nix").exists());
}

/// A clone under way that another run left, with this install's mark.
fn begun(place: &Place) -> Utf8PathBuf {
    let partial = Utf8PathBuf::from(format!("{}.landfall-partial", place.path()));
    fs_err::create_dir_all(&partial).unwrap();
    git(&partial, &["init", "-q"]);
    git(
        &partial,
        &["config", "landfall.install", &clone::install().to_string()],
    );
    partial
}

#[test]
fn references_may_have_names_that_a_killed_git_gives_to_objects() {
    for (name, asked) in [
        ("refs/heads/tmp_test", branch("tmp_test")),
        ("refs/heads/op/tmp_host", branch("op/tmp_host")),
        ("refs/heads/objects/tmp_x", branch("objects/tmp_x")),
        ("refs/pull/tmp_1", branch("refs/pull/tmp_1")),
        ("refs/heads/packed-refs.new", branch("packed-refs.new")),
    ] {
        let Some(mut place) = Place::new() else { return };
        let from = place.with_submodule();
        git(&from, &["branch", "-m", "main", "tmp_main"]);
        git(&place.origin(), &["update-ref", name, "trunk"]);
        let repository = place.here(asked);
        let revision = place.resolve(&repository).unwrap();
        // The control: what Git did leave is gone, among the submodules as well.
        let git_dir = begun(&place).join(".git");
        let left = [
            "objects/tmp_obj_a",
            "objects/pack/tmp_pack_a",
            "objects/tmp_objdir-bulk-fsync-a/x",
            "packed-refs.new",
            "refs/heads/tmp_a.lock",
            "modules/sub/objects/pack/tmp_idx_a",
        ];
        for at in left {
            let at = git_dir.join(at);
            fs_err::create_dir_all(at.parent().unwrap()).unwrap();
            fs_err::write(at, "").unwrap();
        }
        place
            .clone(&place.action(repository, revision.clone()))
            .unwrap_or_else(|fault| panic!("{name}: {fault}"));
        for at in left {
            assert!(!place.path().join(".git").join(at).exists(), "{name}: {at}");
        }
        if !name.starts_with("refs/pull") {
            let short = name.trim_start_matches("refs/");
            assert_eq!(git(&place.path(), &["rev-parse", short]), revision.as_str());
        }
    }
}

#[test]
fn files_of_another_revision_go_with_the_clone_that_was_cut_off() {
    let Some(mut place) = Place::new() else { return };
    place.with_submodule();
    let origin = place.origin();
    fs_err::create_dir(origin.join("d")).unwrap();
    for file in ["only-before.nix", "d/ignored.nix"] {
        fs_err::write(origin.join(file), "# before\n").unwrap();
    }
    fs_err::write(origin.join(".gitignore"), "ignored.nix\n").unwrap();
    git(&origin, &["add", "-f", "-A"]);
    git(&origin, &["commit", "-q", "-m", "before"]);
    let partial = begun(&place);
    git(&partial, &["fetch", "-q", origin.as_str(), "trunk"]);
    git(&partial, &["checkout", "-q", "-f", "FETCH_HEAD"]);
    let allowed = "protocol.file.allow=always";
    git(&partial, &["-c", allowed, "submodule", "-q", "update", "--init"]);
    fs_err::write(partial.join("sub/half.nix"), "").unwrap();
    // Killed before the index had its name.
    fs_err::rename(partial.join(".git/index"), partial.join(".git/index.lock")).unwrap();
    git(&origin, &["rm", "-q", "only-before.nix", "d/ignored.nix"]);
    git(&origin, &["commit", "-q", "-m", "after"]);
    let pack = |at: &Utf8Path| {
        let packs = fs_err::read_dir(at.join(".git/objects/pack")).unwrap();
        let mut names: Vec<_> = packs.map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = pack(&partial);
    let repository = place.here(Reference::Default);
    let revision = place.resolve(&repository).unwrap();
    place.clone(&place.action(repository, revision)).unwrap();
    let ignored = ["status", "--porcelain", "--ignored"];
    assert_eq!(git(&place.path(), &ignored), "");
    assert_eq!(git(&place.path().join("sub"), &ignored), "");
    // The control: what was fetched was not fetched again.
    let after = pack(&place.path());
    assert!(before.iter().all(|name| after.contains(name)), "{after:?}");
}

#[test]
fn a_clone_of_what_is_on_no_fetched_branch_is_no_work_of_somebody() {
    for asked in [None, Some(branch("refs/pull/1/head"))] {
        let Some(place) = Place::new() else { return };
        let origin = place.origin();
        git(&origin, &["checkout", "-q", "--detach", "dev"]);
        git(&origin, &["commit", "-q", "--allow-empty", "-m", "beside"]);
        let beside = git(&origin, &["rev-parse", "HEAD"]);
        git(&origin, &["update-ref", "refs/pull/1/head", &beside]);
        git(&origin, &["checkout", "-q", "trunk"]);
        git(&origin, &["config", "uploadpack.allowAnySHA1InWant", "true"]);
        let asked = asked.unwrap_or_else(|| Reference::Revision(beside.parse().unwrap()));
        let first = place.action(place.here(asked), beside.parse().unwrap());
        let repository = place.here(Reference::Default);
        let trunk = place.resolve(&repository).unwrap();
        let second = place.action(repository, trunk);
        let aside = Utf8PathBuf::from(format!("{}.landfall-aside-1", place.path()));
        place.clone(&first).unwrap();
        place.clone(&second).unwrap();
        assert!(!aside.exists());
        // The control: a commit on top of it is somebody's.
        fs_err::remove_dir_all(place.path()).unwrap();
        place.clone(&first).unwrap();
        git(&place.path(), &["commit", "-q", "--allow-empty", "-m", "mine"]);
        let Verdict::Todo(order) = second.judge(&place.sight(&second).unwrap()) else {
            panic!("it is of another revision")
        };
        place.perform(&order).unwrap();
        assert_eq!(git(&aside, &["log", "-1", "--format=%s"]), "mine");
    }
}
