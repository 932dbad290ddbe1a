//! Promise: a repository that Git clones without a word is cloned whole, whatever `git fsck` and `git status` remark on its history
//! and its attributes. With real Git.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test that cannot go on fails

#[path = "shared/clone.rs"]
mod clone;

use clone::{Place, branch, git};
use landfall::event::{Event, Listener};
use landfall::real::git::repository::perform_clone;
use landfall_states::actions::clone_configuration::CloneOrder;
use landfall_states::fault::FaultClass;
use landfall_states::plan::{Reference, Repository, RepositorySource};
use landfall_states::{Step, Verdict};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::{Arc, Mutex};

/// What Git itself clones without a word is cloned, whatever `git fsck` and `git status` remark on it.
#[test]
fn histories_and_attributes_of_real_repositories_are_no_damage() {
    let author = |line: &str| {
        format!(
            "T=$(git write-tree); P=$(git rev-parse HEAD); C=$(printf 'tree %s\\nparent %s\\nauthor {line}\\ncommitter a <a@b> 1300000000 +0000\\n\\nold\\n' \
             $T $P | git hash-object -t commit -w --stdin --literally); git reset -q --hard $C; git commit -q --allow-empty -m new"
        )
    };
    let rewritten = |attribute: &str, text: &str| {
        format!(
            "printf '{text}' > f.txt; mkdir 'a b'; printf '{text}' > \"$(printf 'a b/\\303\\244\\377')\"; git add -A; git commit -qm 1; \
             printf '* {attribute}\\n' > .gitattributes; git add .gitattributes; git commit -qm 2"
        )
    };
    for (name, setup) in [
        ("a time zone of six digits", author("a <a@b> 1300000000 +051800")),
        ("no address", author("a 1300000000 +0000")),
        ("no space before the address", author("a<a@b> 1300000000 +0000")),
        ("an expanded Id", rewritten("ident", "$Id: 1234$\\n")),
        ("carriage returns", rewritten("text=auto", "a\\r\\nb\\r\\n")),
        (
            "carriage returns wanted",
            rewritten("text eol=crlf", "a\\r\\nb\\r\\n"),
        ),
    ] {
        let Some(place) = Place::new() else { return };
        let done = Command::new("sh")
            .current_dir(place.origin())
            .args(["-ec", &setup])
            .envs([
                ("GIT_AUTHOR_NAME", "t"),
                ("GIT_AUTHOR_EMAIL", "t@example.invalid"),
                ("GIT_COMMITTER_NAME", "t"),
                ("GIT_COMMITTER_EMAIL", "t@example.invalid"),
            ])
            .status()
            .unwrap();
        assert!(done.success(), "{name}");
        let repository = place.here(Reference::Default);
        let revision = place.resolve(&repository).unwrap();
        let action = place.action(repository, revision);
        place
            .clone(&action)
            .unwrap_or_else(|fault| panic!("{name}: {fault}"));
        // A byte that differs is one, there as well.
        let flake = place.path().join("flake.nix");
        let text = fs_err::read(&flake).unwrap();
        fs_err::write(&flake, [&text[..], b"#"].concat()).unwrap();
        assert!(
            matches!(action.judge(&place.sight(&action).unwrap()), Verdict::Todo(_)),
            "{name}"
        );
        if place.path().join("f.txt").exists() {
            fs_err::write(&flake, &text).unwrap();
            assert!(
                matches!(action.judge(&place.sight(&action).unwrap()), Verdict::Done(_)),
                "{name}"
            );
            fs_err::write(place.path().join("f.txt"), "other").unwrap();
            assert!(
                matches!(action.judge(&place.sight(&action).unwrap()), Verdict::Todo(_)),
                "{name}"
            );
        }
    }
}

/// Keeps what is told as a notice.
struct Notices(Arc<Mutex<Vec<String>>>);

impl Listener for Notices {
    fn take(&mut self, event: &Event) {
        if let Event::Notice { what } = event {
            self.0.lock().unwrap().push(what.clone());
        }
    }
}

/// gitmodules(5): `none` is skipped, `merge` and `rebase` are checked out when they were just fetched.
#[test]
fn a_submodule_that_gitmodules_leaves_out_is_no_flaw() {
    for (how, nested) in [
        ("none", false),
        ("none", true),
        ("merge", false),
        ("rebase", false),
        ("checkout", false),
    ] {
        let Some(mut place) = Place::new() else { return };
        let told = Arc::default();
        place.context.reporter.add(Box::new(Notices(Arc::clone(&told))));
        let from = place.with_submodule();
        let allowed = "protocol.file.allow=always";
        if nested {
            let inner = place.dir.join("inner");
            fs_err::create_dir_all(&inner).unwrap();
            git(&inner, &["init", "-q", "-b", "main"]);
            git(&inner, &["commit", "-q", "--allow-empty", "-m", "inner"]);
            let url = format!("file://{inner}");
            git(&from, &["-c", allowed, "submodule", "-q", "add", &url, "deep"]);
            git(
                &from,
                &["config", "-f", ".gitmodules", "submodule.deep.update", how],
            );
            git(&from, &["commit", "-q", "-am", "deep"]);
            git(&place.origin().join("sub"), &["-c", allowed, "pull", "-q"]);
        } else {
            git(
                &place.origin(),
                &["config", "-f", ".gitmodules", "submodule.sub.update", how],
            );
        }
        git(&place.origin(), &["commit", "-q", "-am", how]);
        let repository = place.here(Reference::Default);
        let revision = place.resolve(&repository).unwrap();
        let action = place.action(repository, revision);
        place
            .clone(&action)
            .unwrap_or_else(|fault| panic!("{how}, nested {nested}: {fault}"));
        let left_out = if nested { "sub/deep" } else { "sub" };
        let notices: Vec<String> = std::mem::take(&mut told.lock().unwrap());
        let of_it = notices
            .iter()
            .filter(|notice| notice.contains(&format!("submodule {left_out} is left out")));
        assert_eq!(of_it.count(), usize::from(how == "none"), "{notices:?}");
        assert_eq!(
            place.path().join("sub/module.nix").exists(),
            how != "none" || nested
        );
        // The control: one that was fetched must be there.
        if how == "none" && !nested {
            continue;
        }
        fs_err::remove_dir_all(place.path().join("sub")).unwrap();
        fs_err::create_dir(place.path().join("sub")).unwrap();
        assert!(
            matches!(action.judge(&place.sight(&action).unwrap()), Verdict::Todo(_)),
            "{how}"
        );
    }
}

/// Git takes no command from there: it stops, and says which setting.
#[test]
fn a_command_in_gitmodules_stops_with_the_setting() {
    let Some(mut place) = Place::new() else { return };
    place.with_submodule();
    let set = ["config", "-f", ".gitmodules", "submodule.sub.update", "!true"];
    git(&place.origin(), &set);
    git(&place.origin(), &["commit", "-q", "-am", "command"]);
    let repository = place.here(Reference::Default);
    let revision = place.resolve(&repository).unwrap();
    let fault = place.clone(&place.action(repository, revision)).unwrap_err();
    assert_eq!(fault.class, FaultClass::Permanent, "{fault}");
    assert!(fault.to_string().contains("submodule.sub.update"), "{fault}");
    assert!(fault.next().contains("no command"), "{}", fault.next());
}

/// A bundle of the origin, made with these arguments.
fn bundle(place: &Place, args: &[&str]) -> Repository {
    let file = place.dir.join("config.bundle");
    git(
        &place.origin(),
        &[&["bundle", "create", "-q", file.as_str()], args].concat(),
    );
    Repository {
        source: RepositorySource::Bundle {
            file: file.to_string(),
            origin: None,
        },
        reference: Reference::Default,
        clone_path: "/mnt/nix-config".parse().unwrap(),
    }
}

#[test]
fn a_bundle_of_head_alone_is_cloned_and_one_without_files_is_refused_before_the_first_write() {
    for args in [&["HEAD"][..], &["trunk"], &["--all"], &["HEAD", "dev"]] {
        let Some(place) = Place::new() else { return };
        let repository = bundle(&place, args);
        let revision = place.resolve(&repository).unwrap();
        place
            .clone(&place.action(repository, revision))
            .unwrap_or_else(|fault| panic!("{args:?}: {fault}"));
    }
    let Some(place) = Place::new() else { return };
    let fault = place
        .resolve(&bundle(&place, &["--filter=blob:none", "--all"]))
        .unwrap_err();
    assert_eq!(fault.class, FaultClass::Permanent);
    assert!(fault.why().contains("--filter=blob:none"), "{fault}");
    assert!(
        fault.next().contains("git bundle create FILE --all"),
        "{}",
        fault.next()
    );
    // What is not in it is told with the command that puts it there.
    let missing = Repository {
        reference: Reference::Revision(git(&place.origin(), &["rev-parse", "trunk"]).parse().unwrap()),
        ..bundle(&place, &["dev"])
    };
    let fault = place.resolve(&missing).unwrap_err();
    assert!(
        fault.next().contains("git bundle create FILE --all"),
        "{}",
        fault.next()
    );
}

#[test]
fn a_branch_whose_name_git_takes_for_something_else_is_cloned() {
    for (name, by_default) in [
        ("refs/heads/HEAD", false),
        ("refs/heads/-x", false),
        ("refs/heads/-x", true),
    ] {
        let Some(place) = Place::new() else { return };
        git(&place.origin(), &["update-ref", name, "trunk"]);
        if by_default {
            git(&place.origin(), &["symbolic-ref", "HEAD", name]);
        }
        let repository = place.here(if by_default {
            Reference::Default
        } else {
            branch(name)
        });
        let revision = place.resolve(&repository).unwrap();
        place
            .clone(&place.action(repository, revision.clone()))
            .unwrap_or_else(|fault| panic!("{name}: {fault}"));
        assert_eq!(git(&place.path(), &["rev-parse", "HEAD"]), revision.as_str());
        // The control: any other one is checked out as a branch.
        fs_err::remove_dir_all(place.path()).unwrap();
        let trunk = place.here(branch("trunk"));
        place.clone(&place.action(trunk, revision)).unwrap();
        assert_eq!(git(&place.path(), &["symbolic-ref", "HEAD"]), "refs/heads/trunk");
    }
}

/// The umask is the whole process's: the test is run once more, by itself, under each.
#[test]
fn users_of_the_host_can_reach_the_clone_whatever_the_umask_was() {
    const UNDER: &str = "LANDFALL_TEST_UNDER_UMASK";
    if std::env::var_os(UNDER).is_none() {
        for mask in ["077", "000"] {
            let again = Command::new("sh")
                .args(["-c", "umask \"$0\"; exec \"$@\"", mask])
                .arg(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "users_of_the_host_can_reach_the_clone_whatever_the_umask_was",
                ])
                .env(UNDER, mask)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&again.stdout).into_owned();
            assert!(
                again.status.success() && said.contains("1 passed"),
                "{mask}: {said}"
            );
        }
        return;
    }
    let Some(place) = Place::new() else { return };
    let repository = place.here(Reference::Default);
    let revision = place.resolve(&repository).unwrap();
    let order = CloneOrder {
        action: place.action(repository, revision),
        replace: false,
    };
    fs_err::create_dir(place.dir.join("mnt")).unwrap();
    let before = fs_err::metadata(place.dir.join("mnt"))
        .unwrap()
        .permissions()
        .mode();
    let path = place.dir.join("mnt/home/op/conf/nix");
    place
        .runtime
        .block_on(perform_clone(&place.context, &place.access, &order, &path))
        .unwrap();
    let mode = |at: &str| fs_err::metadata(place.dir.join(at)).unwrap().permissions().mode();
    for dir in [
        "mnt/home",
        "mnt/home/op",
        "mnt/home/op/conf",
        "mnt/home/op/conf/nix",
    ] {
        assert_eq!(mode(dir) & 0o7777, 0o755, "{dir}");
    }
    assert_eq!(mode("mnt/home/op/conf/nix/flake.nix") & 0o7777, 0o644);
    // The control: what was there stays as it was, and was made under this umask.
    assert_eq!(mode("mnt"), before);
    assert_ne!(before & 0o7777, 0o755);
}
