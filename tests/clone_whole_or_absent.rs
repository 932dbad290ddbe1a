//! Promise: the configuration repository is cloned at exactly the pinned revision, completely or not at all, from any remote
//! or bundle; an interrupted transfer is continued; what landfall did not make is left alone. With real Git, over `file://`,
//! `git daemon` on the loopback, and a proxy that cuts connections off.
//
// Long because: one kit of remotes serves all of it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test that cannot go on fails

#[path = "shared/clone.rs"]
mod clone;

use camino::{Utf8Path, Utf8PathBuf};
use clone::{Place, branch, git, install};
use landfall::real::fs::target_root::Root;
use landfall::real::git::repository::{observe_clone, perform_clone};
use landfall_states::actions::clone_configuration::{CloneFacts, CloneOrder};
use landfall_states::fault::FaultClass;
use landfall_states::names::Revision;
use landfall_states::plan::{Reference, Repository, RepositorySource};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

impl Place {
    fn daemon(&self) -> Daemon {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        // The program itself: `git daemon` would leave it behind when killed.
        let programs = git(&self.dir, &["--exec-path"]);
        let child = Command::new(format!("{programs}/git-daemon"))
            .args([
                "--export-all",
                "--reuseaddr",
                "--listen=127.0.0.1",
                &format!("--port={port}"),
            ])
            .arg(format!("--base-path={}", self.dir))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let daemon = Daemon { child, port };
        for _ in 0..200 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return daemon;
            }
            std::thread::sleep(std::time::Duration::from_millis(25));
        }
        panic!("git daemon did not come up");
    }
}

struct Daemon {
    child: Child,
    port: u16,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Forwards connections and cuts each off after so many bytes from the server.
fn cutting_proxy(to: u16, bytes_max: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().take(20) {
            let mut client = client.unwrap();
            let mut server = TcpStream::connect(("127.0.0.1", to)).unwrap();
            let (mut up_from, mut up_to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut up_from, &mut up_to));
            let mut left = bytes_max;
            let mut buffer = [0; 1024];
            while left > 0 {
                let Ok(n) = server.read(&mut buffer) else { break };
                if n == 0 || client.write_all(&buffer[..n]).is_err() {
                    break;
                }
                left = left.saturating_sub(n);
            }
            for side in [&client, &server] {
                let _gone_already = side.shutdown(std::net::Shutdown::Both);
            }
        }
    });
    port
}

#[test]
fn the_default_branch_is_pinned_cloned_and_tracked() {
    let Some(place) = Place::new() else { return };
    let repository = place.here(Reference::Default);
    let revision = place.resolve(&repository).unwrap();
    assert_eq!(revision.as_str(), git(&place.origin(), &["rev-parse", "trunk"]));
    place.clone(&place.action(repository, revision)).unwrap();
    assert_eq!(
        git(&place.path(), &["rev-parse", "--abbrev-ref", "HEAD"]),
        "trunk"
    );
    assert_eq!(
        git(&place.path(), &["rev-parse", "--abbrev-ref", "@{upstream}"]),
        "origin/trunk"
    );
    assert_eq!(
        git(&place.path(), &["rev-list", "--count", "HEAD"]),
        "2",
        "with its history"
    );
}

#[test]
fn a_branch_that_moved_on_leaves_the_pinned_revision() {
    let Some(place) = Place::new() else { return };
    let repository = place.here(branch("trunk"));
    let revision = place.resolve(&repository).unwrap();
    git(&place.origin(), &["commit", "-q", "--allow-empty", "-m", "three"]);
    place.clone(&place.action(repository, revision.clone())).unwrap();
    assert_eq!(git(&place.path(), &["rev-parse", "HEAD"]), revision.as_str());
    assert_eq!(
        git(&place.path(), &["rev-parse", "--abbrev-ref", "HEAD"]),
        "trunk"
    );
}

#[test]
fn tags_and_exact_revisions() {
    let Some(place) = Place::new() else { return };
    git(&place.origin(), &["tag", "-a", "-m", "v", "v1", "dev"]);
    let dev = git(&place.origin(), &["rev-parse", "dev"]);
    let repository = place.here(branch("v1"));
    assert_eq!(place.resolve(&repository).unwrap().as_str(), dev);
    place
        .clone(&place.action(repository, dev.parse().unwrap()))
        .unwrap();

    // In no branch any more, but still served when asked for by name.
    git(
        &place.origin(),
        &["config", "uploadpack.allowAnySHA1InWant", "true"],
    );
    git(&place.origin(), &["checkout", "-q", "--detach"]);
    git(&place.origin(), &["commit", "-q", "--allow-empty", "-m", "loose"]);
    let loose: Revision = git(&place.origin(), &["rev-parse", "HEAD"]).parse().unwrap();
    git(&place.origin(), &["checkout", "-q", "trunk"]);
    let exact = place.here(Reference::Revision(loose.clone()));
    assert_eq!(place.resolve(&exact).unwrap(), loose);
    place.clone(&place.action(exact, loose)).unwrap();

    let gone: Revision = "1".repeat(40).parse().unwrap();
    let fault = place.resolve(&place.here(Reference::Revision(gone))).unwrap_err();
    assert_eq!(fault.class, FaultClass::Permanent, "{fault}");
    let fault = place.resolve(&place.here(branch("nowhere"))).unwrap_err();
    assert!(
        fault.why().contains("nowhere") && fault.why().contains("trunk"),
        "{fault}"
    );
}

#[test]
fn a_pinned_revision_that_vanished_is_named_with_what_is_there_now() {
    let Some(place) = Place::new() else { return };
    let repository = place.here(branch("trunk"));
    let revision = place.resolve(&repository).unwrap();
    git(&place.origin(), &["commit", "-q", "--amend", "-m", "rewritten"]);
    git(&place.origin(), &["reflog", "expire", "--expire=now", "--all"]);
    git(&place.origin(), &["gc", "-q", "--prune=now"]);
    let now = git(&place.origin(), &["rev-parse", "trunk"]);
    let action = place.action(repository, revision.clone());
    let fault = place.clone(&action).unwrap_err();
    assert_eq!(fault.class, FaultClass::Permanent, "{fault}");
    assert!(
        fault.what().contains(revision.as_str()) && fault.why().contains(&now),
        "{fault}"
    );
    assert_eq!(place.observe(&action), CloneFacts::Absent);
}

#[test]
fn leftovers_are_gone_on_with_and_damage_is_replaced() {
    let Some(place) = Place::new() else { return };
    let repository = place.here(Reference::Default);
    let revision = place.resolve(&repository).unwrap();
    let action = place.action(repository, revision);
    // Cut off before the mark, and in the middle of Git's own files.
    for leftover in [&[][..], &["init", "-q", "."]] {
        let partial = Utf8PathBuf::from(format!("{}.landfall-partial", place.path()));
        fs_err::create_dir_all(&partial).unwrap();
        fs_err::write(partial.join("half"), "").unwrap();
        if !leftover.is_empty() {
            git(&partial, leftover);
        }
        place.clone(&action).unwrap();
        assert!(!place.path().join("half").exists());
        fs_err::remove_dir_all(place.path()).unwrap();
    }
    place.clone(&action).unwrap();
    // A file that a power cut emptied.
    fs_err::write(place.path().join("flake.nix"), "").unwrap();
    assert!(matches!(place.observe(&action), CloneFacts::Repository { flaws, .. } if !flaws.is_empty()));
    place.clone(&action).unwrap();
    // A pack that a power cut damaged.
    for entry in fs_err::read_dir(place.path().join(".git/objects/pack")).unwrap() {
        let pack = entry.unwrap().path();
        if pack.extension().is_some_and(|e| e == "pack") {
            fs_err::remove_file(&pack).unwrap();
            fs_err::write(&pack, "").unwrap();
        }
    }
    assert!(matches!(place.observe(&action), CloneFacts::Repository { flaws, .. } if !flaws.is_empty()));
    place.clone(&action).unwrap();
    // Cut off between the two renames.
    let old = Utf8PathBuf::from(format!("{}.landfall-old", place.path()));
    fs_err::rename(place.path(), &old).unwrap();
    place.clone(&action).unwrap();
}

#[test]
fn what_a_killed_git_locked_is_unlocked() {
    let Some(place) = Place::new() else { return };
    let repository = place.here(Reference::Default);
    let revision = place.resolve(&repository).unwrap();
    let action = place.action(repository, revision);
    for lock in [
        "config.lock",
        "HEAD.lock",
        "index.lock",
        "shallow.lock",
        "packed-refs.lock",
        "refs/remotes/origin/trunk.lock",
        "refs/heads/trunk.lock",
        "objects/pack/tmp_pack_x",
    ] {
        let partial = Utf8PathBuf::from(format!("{}.landfall-partial", place.path()));
        fs_err::create_dir_all(&partial).unwrap();
        git(&partial, &["init", "-q", "."]);
        git(
            &partial,
            &["config", "--local", "landfall.install", &install().to_string()],
        );
        let lock = partial.join(".git").join(lock);
        fs_err::create_dir_all(lock.parent().unwrap()).unwrap();
        fs_err::write(&lock, "").unwrap();
        place.clone(&action).unwrap();
        let left = lock.as_str().replace(".landfall-partial", "");
        assert!(!Utf8Path::new(&left).exists(), "{left}");
        fs_err::remove_dir_all(place.path()).unwrap();
    }
}

/// `/home -> /persist/home` is legitimate. Git, which works from outside, would follow it into the installer.
#[test]
fn a_clone_below_a_link_of_the_target_lands_in_the_target() {
    let Some(place) = Place::new() else { return };
    let repository = place.here(Reference::Default);
    let revision = place.resolve(&repository).unwrap();
    let action = place.action(repository, revision);
    let (target, outside) = (place.dir.join("target"), place.dir.join("outside"));
    fs_err::create_dir(&target).unwrap();
    fs_err::create_dir(&outside).unwrap();
    fs_err::os::unix::fs::symlink(&outside, target.join("home")).unwrap();
    let order = CloneOrder {
        action,
        replace: false,
    };
    let clone = |path: &Utf8Path| {
        place
            .runtime
            .block_on(perform_clone(&place.context, &place.access, &order, path))
            .unwrap();
    };
    // The control: told the bare name, Git clones into the running system.
    clone(&target.join("home/op/nix-config"));
    assert!(outside.join("op/nix-config/.git").is_dir());
    fs_err::remove_dir_all(outside.join("op")).unwrap();

    let root = Root::at(&target);
    let clone_path = "/mnt/home/op/nix-config".parse().unwrap();
    let path = root.clone_place(&clone_path, true).unwrap().unwrap();
    clone(&path);
    assert!(
        fs_err::read_dir(&outside).unwrap().next().is_none(),
        "something is outside"
    );
    let seen = root.clone_place(&clone_path, false).unwrap().unwrap();
    assert!(seen.starts_with(&target) && seen.join(".git").is_dir());
    let observe = observe_clone(&place.context, &place.access, &order.action, &seen);
    let facts = place.runtime.block_on(observe).unwrap();
    assert!(
        matches!(facts, CloneFacts::Repository { ref flaws, .. } if flaws.is_empty()),
        "{facts:?}"
    );
}

#[test]
fn what_we_did_not_make_is_left_alone() {
    let Some(place) = Place::new() else { return };
    let repository = place.here(Reference::Default);
    let revision = place.resolve(&repository).unwrap();
    let action = place.action(repository, revision);
    fs_err::create_dir_all(place.path()).unwrap();
    assert_eq!(
        place.observe(&action),
        CloneFacts::Absent,
        "an empty directory is nothing"
    );
    fs_err::write(place.path().join("precious"), "x").unwrap();
    assert_eq!(place.clone(&action).unwrap_err().class, FaultClass::Unsafe);
    git(&place.path(), &["init", "-q"]);
    assert_eq!(place.clone(&action).unwrap_err().class, FaultClass::Unsafe);
    assert_eq!(
        fs_err::read_to_string(place.path().join("precious")).unwrap(),
        "x"
    );
}

#[test]
fn a_bundle_needs_no_network_and_keeps_the_remote() {
    let Some(place) = Place::new() else { return };
    let file = place.dir.join("config.bundle");
    git(
        &place.origin(),
        &["bundle", "create", "-q", file.as_str(), "--all"],
    );
    let repository = Repository {
        source: RepositorySource::Bundle {
            file: file.to_string(),
            origin: Some("git+ssh://git@forge.example/o/r".parse().unwrap()),
        },
        reference: branch("trunk"),
        clone_path: "/mnt/nix-config".parse().unwrap(),
    };
    let revision = place.resolve(&repository).unwrap();
    place.clone(&place.action(repository.clone(), revision)).unwrap();
    assert_eq!(
        git(&place.path(), &["remote", "get-url", "origin"]),
        "ssh://git@forge.example/o/r"
    );
    let mut bytes = fs_err::read(&file).unwrap();
    bytes.truncate(bytes.len() / 2);
    fs_err::write(&file, bytes).unwrap();
    assert!(
        place.resolve(&repository).is_err(),
        "a torn bundle is refused before anything is wiped"
    );
}

#[test]
fn a_transfer_that_is_cut_off_is_transient_and_ends_well_later() {
    let Some(place) = Place::new() else { return };
    let daemon = place.daemon();
    let url = |port: u16| format!("git://127.0.0.1:{port}/origin");
    let direct = place.repository(&url(daemon.port), Reference::Default);
    let revision = place.resolve(&direct).unwrap();
    for bytes in [0, 40, 1_000, 60_000] {
        let cut = place.repository(&url(cutting_proxy(daemon.port, bytes)), Reference::Default);
        let action = place.action(cut, revision.clone());
        let fault = place.clone(&action).unwrap_err();
        assert_eq!(
            fault.class,
            FaultClass::Transient,
            "cut after {bytes} bytes: {fault}"
        );
        assert_eq!(place.observe(&action), CloneFacts::Absent);
    }
    let none = place.repository(
        &format!("git://127.0.0.1:{}/nothing", daemon.port),
        Reference::Default,
    );
    assert_eq!(place.resolve(&none).unwrap_err().class, FaultClass::Permanent);
    place.clone(&place.action(direct.clone(), revision)).unwrap();
    drop(daemon);
    assert_eq!(place.resolve(&direct).unwrap_err().class, FaultClass::Transient);
}

#[test]
fn a_server_that_falls_silent_is_given_up() {
    let Some(mut place) = Place::new() else { return };
    place.access.stall_s = 1;
    place.access.connect_s = 1;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let silent: Vec<_> = listener.incoming().take(2).collect();
        std::thread::sleep(std::time::Duration::from_secs(60));
        drop(silent);
    });
    let begun = std::time::Instant::now();
    let fault = place
        .resolve(&place.repository(&format!("git://127.0.0.1:{port}/r"), Reference::Default))
        .unwrap_err();
    assert_eq!(fault.class, FaultClass::Transient, "{fault}");
    assert!(begun.elapsed().as_secs() < 40);
}

#[test]
fn whatever_has_the_names_of_a_clone_under_way_is_no_stop() {
    let Some(place) = Place::new() else { return };
    let repository = place.here(Reference::Default);
    let revision = place.resolve(&repository).unwrap();
    let action = place.action(repository, revision);
    let beside = |what: &str| Utf8PathBuf::from(format!("{}.landfall-{what}", place.path()));
    let marked = |dir: &Utf8Path| {
        fs_err::create_dir_all(dir).unwrap();
        git(dir, &["init", "-q", "."]);
        git(
            dir,
            &["config", "--local", "landfall.install", &install().to_string()],
        );
    };
    let leftovers: [&dyn Fn(&Utf8Path); 8] = [
        &|at| fs_err::write(at, "a file").unwrap(),
        &|at| fs_err::os::unix::fs::symlink("/nowhere/x", at).unwrap(),
        &|at| fs_err::create_dir_all(at.join(".git")).unwrap(),
        &|at| {
            fs_err::create_dir_all(at).unwrap();
            fs_err::write(at.join(".git"), "gitdir: /nowhere").unwrap();
        },
        &|at| {
            marked(at);
            fs_err::write(at.join(".git/config"), "[core]\n\trepositoryfor").unwrap();
        },
        &|at| {
            marked(at);
            fs_err::write(at.join(".git/HEAD"), "").unwrap();
        },
        &|at| {
            marked(at);
            git(at, &["config", "--local", "core.repositoryformatversion", "99"]);
        },
        &|at| {
            marked(at);
            fs_err::remove_dir_all(at.join(".git/objects")).unwrap();
            fs_err::write(at.join(".git/objects"), "").unwrap();
        },
    ];
    fs_err::create_dir_all(place.path().parent().unwrap()).unwrap();
    for (number, leave) in leftovers.iter().enumerate() {
        leave(&beside("partial"));
        place
            .clone(&action)
            .unwrap_or_else(|fault| panic!("partial {number}: {fault}"));
        // Ours, and damaged: it is replaced, whatever an earlier replacement left.
        leave(&beside("old"));
        fs_err::write(place.path().join("flake.nix"), "").unwrap();
        place
            .clone(&action)
            .unwrap_or_else(|fault| panic!("old {number}: {fault}"));
        fs_err::remove_dir_all(place.path()).unwrap();
    }
}

/// Answers that a repository has one branch, and nothing more of it.
fn server_without_objects() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().take(40) {
            let mut client = client.unwrap();
            let mut request = [0; 4096];
            let Ok(n) = client.read(&mut request) else {
                continue;
            };
            let asked = String::from_utf8_lossy(&request[..n]).into_owned();
            let (status, body) = if asked.contains("info/refs") {
                ("200 OK", format!("{}\trefs/heads/trunk\n", "a".repeat(40)))
            } else {
                ("404 Not Found", String::new())
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _gone_already = client.write_all((head + &body).as_bytes());
        }
    });
    port
}

#[test]
fn a_credential_with_a_quote_is_neither_told_nor_written() {
    let Some(place) = Place::new() else { return };
    let nobody = place.repository("http://u:can'ary@127.0.0.1:1/o/r", branch("trunk"));
    let fault = place.resolve(&nobody).unwrap_err();
    assert!(!format!("{fault} {}", fault.next()).contains("ary@"), "{fault}");
    let port = server_without_objects();
    let url = format!("http://u:can'ary@127.0.0.1:{port}/o/r");
    let repository = place.repository(&url, branch("trunk"));
    let revision = place.resolve(&repository).unwrap();
    assert_eq!(revision.as_str(), "a".repeat(40), "the server answers");
    let fault = place.clone(&place.action(repository, revision)).unwrap_err();
    let told = format!("{fault} {}", fault.next());
    assert!(told.contains("fetch of") && !told.contains("can'ary"), "{told}");
    let partial = Utf8PathBuf::from(format!("{}.landfall-partial", place.path()));
    let written = fs_err::read_to_string(partial.join(".git/config")).unwrap();
    assert!(
        written.contains(&format!("url = http://127.0.0.1:{port}/o/r\n")),
        "{written}"
    );
    let found = Command::new("grep")
        .args(["-r", "-l", "can'ary", partial.as_str()])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}

#[test]
fn a_clone_under_way_is_kept_while_the_network_is_down_and_not_for_ever() {
    let Some(place) = Place::new() else { return };
    let daemon = place.daemon();
    let url = |port: u16| format!("git://127.0.0.1:{port}/origin");
    let direct = place.repository(&url(daemon.port), Reference::Default);
    let revision = place.resolve(&direct).unwrap();
    place
        .clone(&place.action(direct.clone(), revision.clone()))
        .unwrap();
    let partial = Utf8PathBuf::from(format!("{}.landfall-partial", place.path()));
    fs_err::rename(place.path(), &partial).unwrap();
    // The remote does not answer: what is there is not touched, however often that is.
    let nobody = place.repository("git://127.0.0.1:1/origin", Reference::Default);
    for _ in 0..3 {
        let fault = place
            .clone(&place.action(nobody.clone(), revision.clone()))
            .unwrap_err();
        assert_eq!(fault.class, FaultClass::Transient, "{fault}");
        assert!(partial.join("flake.nix").exists());
    }
    place.clone(&place.action(direct, revision)).unwrap();
}

#[test]
fn a_remote_with_a_part_of_its_history_and_a_submodule_from_nowhere_stop_with_the_cause() {
    let Some(place) = Place::new() else { return };
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
    let repository = place.repository(&format!("file://{shallow}"), branch("trunk"));
    let revision = place.resolve(&repository).unwrap();
    let fault = place.clone(&place.action(repository, revision)).unwrap_err();
    assert_eq!(fault.class, FaultClass::Permanent, "{fault}");
    assert!(fault.next().contains("--unshallow"), "{}", fault.next());

    let Some(place) = Place::new() else { return };
    let id = git(&place.origin(), &["rev-parse", "HEAD"]);
    let link = format!("160000,{id},link");
    git(&place.origin(), &["update-index", "--add", "--cacheinfo", &link]);
    fs_err::write(place.origin().join(".gitmodules"), "").unwrap();
    git(&place.origin(), &["add", ".gitmodules"]);
    git(&place.origin(), &["commit", "-q", "-m", "link"]);
    let repository = place.here(branch("trunk"));
    let revision = place.resolve(&repository).unwrap();
    let fault = place.clone(&place.action(repository, revision)).unwrap_err();
    assert_eq!(fault.class, FaultClass::Permanent, "{fault}");
    assert!(fault.next().contains(".gitmodules"), "{}", fault.next());
}

#[test]
fn a_repository_of_another_object_format_is_cloned_whatever_git_takes_by_default() {
    let Some(mut place) = Place::new() else { return };
    for format in ["sha256", "sha1"] {
        let origin = place.dir.join(format);
        fs_err::create_dir(&origin).unwrap();
        git(
            &origin,
            &["init", "-q", "-b", "trunk", &format!("--object-format={format}")],
        );
        fs_err::write(origin.join("flake.nix"), "{}\n").unwrap();
        git(&origin, &["add", "-A"]);
        git(&origin, &["commit", "-q", "-m", "x"]);
        for default in ["sha1", "sha256"] {
            place.context.env = vec![("GIT_DEFAULT_HASH".into(), default.into())];
            let repository = place.repository(&format!("file://{origin}"), branch("trunk"));
            let revision = place.resolve(&repository).unwrap();
            let exact = place.repository(&format!("file://{origin}"), Reference::Revision(revision.clone()));
            place.resolve(&exact).unwrap();
            place.clone(&place.action(repository, revision.clone())).unwrap();
            assert_eq!(git(&place.path(), &["rev-parse", "HEAD"]), revision.as_str());
            fs_err::remove_dir_all(place.path()).unwrap();
        }
    }
}

/// A server that sends names of branches for as long as somebody takes them.
fn endless_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().take(4) {
            let mut client = client.unwrap();
            let mut request = [0; 4096];
            if client.read(&mut request).is_err() {
                continue;
            }
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\n\r\n001e# service=git-upload-pack\n0000";
            let line = format!("{:04x}{} refs/heads/b\n", 4 + 40 + 14, "a".repeat(40));
            let many = line.repeat(20_000);
            let mut sent = client.write_all(head.as_bytes());
            while sent.is_ok() {
                sent = client.write_all(many.as_bytes());
            }
        }
    });
    port
}

#[test]
fn a_server_that_sends_without_end_meets_a_limit_on_memory() {
    let Some(place) = Place::new() else { return };
    let url = format!("http://127.0.0.1:{}/r", endless_server());
    let begun = std::time::Instant::now();
    let fault = place
        .resolve(&place.repository(&url, Reference::Default))
        .unwrap_err();
    assert_eq!(fault.class, FaultClass::NeedsChange, "{fault}");
    assert!(
        fault.next().contains("sends data without end"),
        "{}",
        fault.next()
    );
    assert!(begun.elapsed().as_secs() < 100, "{fault}");
}
