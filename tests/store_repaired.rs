//! Promise: the system's closure on the target store is whole: copied or built, verified, and repaired where a power cut
//! left registered paths with wrong or missing files. With real Nix and stores in temporary directories.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

#[path = "shared/store.rs"]
mod store;

use camino::{Utf8Path, Utf8PathBuf};
use landfall::event::Event;
use landfall::real::git::command::Access;
use landfall::real::nix::client::Stores;
use landfall_states::actions::realise_system::{Contents, RealiseSystem};
use landfall_states::fault::FaultClass;
use landfall_states::image::Image;
use landfall_states::names::{Digest, StorePath};
use landfall_states::plan::SystemSource;
use landfall_states::{Step, Verdict};
use std::process::Command;
use store::{Place, empty, image_of, landed_from_image};

#[test]
fn a_closure_is_copied_counted_and_recorded() {
    let Some(place) = Place::new() else { return };
    let system = place.live_system();
    let action = place.action(SystemSource::Prebuilt(system.clone()), false);
    let before = place.observe(&action);
    assert!(!before.registered);
    assert!(
        !camino::Utf8PathBuf::from(place.stores.root.as_arg())
            .join("nix")
            .exists(),
        "looking makes nothing"
    );
    place.realise(&action).unwrap();
    let counted =
        |e: &Event| matches!(e, Event::Progress { done: 3, total: Some(3), unit, .. } if unit == "paths");
    assert!(
        place.told.lock().unwrap().iter().any(counted),
        "three of three paths"
    );
    let recorded = place.stores.recorded(&action.revision, &action.host).unwrap();
    assert_eq!(recorded, Some(system));
    let missing = "/nix/store/00000000000000000000000000000000-none"
        .parse()
        .unwrap();
    let fault = place
        .realise(&place.action(SystemSource::Prebuilt(missing), false))
        .unwrap_err();
    println!("{fault}");
}

#[test]
fn emptied_and_missing_files_are_found_and_repaired() {
    let Some(place) = Place::new() else { return };
    let system = place.live_system();
    let action = place.action(SystemSource::Prebuilt(system), true);
    place.realise(&action).unwrap();
    empty(&place.file("-a"));
    fs_err::remove_file(place.file("-b")).unwrap();
    let unverified = RealiseSystem {
        verify: false,
        ..action.clone()
    };
    assert!(
        place.observe(&unverified).registered,
        "the database says that all is well"
    );
    let Contents::Corrupt(paths) = place.observe(&action).contents else {
        panic!("not found")
    };
    assert_eq!(paths.len(), 2, "{paths:?}");
    place.realise(&action).unwrap();
    assert_eq!(place.observe(&action).contents, Contents::Verified);
}

#[test]
fn what_no_store_can_give_again_is_forgotten_with_its_referrers() {
    let Some(place) = Place::new() else { return };
    let system = place.live_system();
    let action = place.action(SystemSource::Prebuilt(system), true);
    place.realise(&action).unwrap();
    empty(&place.file("-a"));
    let Contents::Corrupt(paths) = place.observe(&action).contents else {
        panic!("not found")
    };
    let nowhere = Stores {
        source: place.dir.join("empty-store").to_string(),
        ..place.stores.clone()
    };
    place
        .runtime
        .block_on(nowhere.repair(&place.context, &paths))
        .unwrap();
    assert!(!place.observe(&action).registered);
    place.realise(&action).unwrap();
}

#[test]
fn what_came_from_an_image_and_is_wrong_now_is_named_and_left_there() {
    let Some(place) = Place::new() else { return };
    let system = place.live_system();
    place
        .realise(&place.action(SystemSource::Prebuilt(system.clone()), true))
        .unwrap();
    let image = Image {
        file: "/iso/root.image".into(),
        digest: Digest::of(b"image"),
        system,
        filesystem_bytes: 1 << 20,
        plain_bytes: 1 << 20,
        boot_bytes: 0,
        chunks: 1,
    };
    let action = place.action(SystemSource::Image(Box::new(image)), true);
    place.realise(&action).unwrap();
    let wrong = place.file("-a");
    empty(&wrong);
    for _ in 0..2 {
        let fault = place.realise(&action).unwrap_err();
        assert_eq!(fault.class, FaultClass::Hardware, "{fault}");
        assert!(fault.why().contains(wrong.file_name().unwrap()), "{fault}");
        assert!(fault.next().contains("landfall install --reinstall"), "{fault}");
        assert!(
            wrong.exists() && place.observe(&action).registered,
            "it was removed"
        );
    }
}

#[test]
fn what_an_image_brought_is_registered_whole_and_another_images_system_is_refused() {
    let Some(place) = Place::new() else { return };
    let system = place.live_system();
    let action = place.action(image_of(system.clone()), true);
    // More than is read of any other file of the target.
    landed_from_image(&place, &system, 5 << 20);
    let other: StorePath = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-other"
        .parse()
        .unwrap();
    let fault = place
        .realise(&place.action(image_of(other.clone()), true))
        .unwrap_err();
    assert_eq!(fault.class, FaultClass::NeedsChange, "{fault}");
    assert!(
        fault.what().contains(other.as_str()) && fault.next().contains("first image"),
        "{fault}"
    );
    place.realise(&action).unwrap();
    assert!(place.observe(&action).registered);
}

#[test]
fn a_database_that_nix_cannot_read_is_put_aside() {
    let Some(place) = Place::new() else { return };
    let system = place.live_system();
    let action = place.action(SystemSource::Prebuilt(system), true);
    place.realise(&action).unwrap();
    let db = camino::Utf8PathBuf::from(place.stores.root.as_arg()).join("nix/var/nix/db/db.sqlite");
    fs_err::write(&db, vec![b'x'; 8192]).unwrap();
    place.realise(&action).unwrap();
    assert!(
        camino::Utf8PathBuf::from(place.stores.root.as_arg())
            .join("nix/var/nix/db.landfall-damaged")
            .exists()
    );
}

/// A flake without inputs whose toplevel is built by a static busybox, if the machine has one.
fn flake(place: &Place) -> Option<(Utf8PathBuf, String)> {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .find(|p| Utf8Path::new(p).exists());
    let Some(busybox) = busybox else {
        println!("skipped: no static busybox");
        return None;
    };
    let clone = place.dir.join("mnt/nix-config");
    fs_err::create_dir_all(&clone).unwrap();
    fs_err::copy(busybox, clone.join("busybox")).unwrap();
    let nix = r#"{ outputs = { self }: { nixosConfigurations.web.config.system.build.toplevel = derivation {
        name = "nixos-system-web"; system = "SYSTEM"; builder = "${self}/busybox"; preferLocalBuild = true;
        args = [ "sh" "-c" "echo built $name > $out" ]; }; }; }"#;
    let system = format!("{}-linux", std::env::consts::ARCH);
    fs_err::write(clone.join("flake.nix"), nix.replace("SYSTEM", &system)).unwrap();
    Some((clone.clone(), commit(&clone)))
}

fn commit(clone: &Utf8Path) -> String {
    let git = |args: &[&str]| {
        let out = Command::new("git")
            .arg("-C")
            .arg(clone)
            .args(["-c", "user.name=t", "-c", "user.email=t@example.invalid"])
            .args(args)
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "-q"]);
    git(&["add", "-A"]);
    git(&["commit", "-q", "-m", "x"]);
    git(&["rev-parse", "HEAD"])
}

#[test]
fn a_flake_is_built_at_the_pinned_revision_and_not_evaluated_twice() {
    let Some(place) = Place::new() else { return };
    let Some((clone, revision)) = flake(&place) else {
        return;
    };
    // The action's clone path is below /mnt by its type; the test's is elsewhere, so it is built by its parts.
    let action = RealiseSystem {
        revision: revision.parse().unwrap(),
        ..place.action(SystemSource::Flake, true)
    };
    fs_err::write(
        clone.join("flake.nix"),
        "this does not parse, and is not committed",
    )
    .unwrap();
    place.stores.prepare(&place.context).unwrap();
    let access = Access {
        token: None,
        key: None,
        known_hosts: None,
        connect_s: 5,
        stall_s: 15,
    };
    let build = |revision: &str| {
        let action = RealiseSystem {
            revision: revision.parse().unwrap(),
            ..action.clone()
        };
        place
            .runtime
            .block_on(place.stores.build_at(&place.context, &access, &action, &clone))
    };
    let system = build(&revision).unwrap();
    place
        .stores
        .record(&action.revision, &action.host, &system)
        .unwrap();
    let mut facts = place.observe(&action);
    // A later run has the target's word alone; this one evaluated it.
    let Verdict::Todo(order) = action.judge(&facts) else {
        panic!("{facts:?}")
    };
    assert!(order.only_evaluate, "{order:?}");
    facts.evaluated = Some(system);
    assert!(matches!(action.judge(&facts), Verdict::Done(_)), "{facts:?}");
    let broken = commit(&clone);
    let fault = build(&broken).unwrap_err();
    assert_eq!(fault.class, FaultClass::Permanent, "{fault}");
    assert!(fault.why().contains("syntax error"), "{fault}");
}

/// A copy of a repository has settings that Git takes orders from, and a list of what was evaluated says what is built.
#[test]
fn caches_of_a_former_run_are_not_read() {
    let Some(place) = Place::new() else { return };
    let Some((clone, revision)) = flake(&place) else {
        return;
    };
    let action = RealiseSystem {
        revision: revision.parse().unwrap(),
        ..place.action(SystemSource::Flake, false)
    };
    place.stores.prepare(&place.context).unwrap();
    let access = Access {
        token: None,
        key: None,
        known_hosts: None,
        connect_s: 5,
        stall_s: 15,
    };
    let build = || {
        let built = place.stores.build_at(&place.context, &access, &action, &clone);
        place.runtime.block_on(built)
    };
    let cache = camino::Utf8PathBuf::from(place.stores.root.as_arg()).join("var/tmp/landfall/cache");
    let left = cache.join("nix/gitv3/0/config");
    let leave = || {
        fs_err::create_dir_all(left.parent().unwrap()).unwrap();
        fs_err::write(&left, "[core]\n\tfsmonitor = /tmp/x\n").unwrap();
    };
    leave();
    build().unwrap();
    assert!(!left.exists(), "it was there before this run");
    // The control: what this run made is not made twice.
    leave();
    build().unwrap();
    assert!(left.exists());
    // And in a clone that gives orders nothing is evaluated.
    let config = clone.join(".git/config");
    let text = fs_err::read_to_string(&config).unwrap();
    fs_err::write(&config, format!("{text}[core]\n\tfsmonitor = /tmp/x\n")).unwrap();
    let fault = build().unwrap_err();
    assert_eq!(fault.class, FaultClass::Unsafe);
    assert!(fault.why().contains("core.fsmonitor"), "{fault}");
}

/// Everything that Nix keeps of a repository, as a power cut leaves it: names without contents, or a part of them.
#[test]
fn caches_of_nix_that_a_power_cut_tore_are_made_again() {
    let Some(place) = Place::new() else { return };
    let Some((clone, _)) = flake(&place) else { return };
    let input = bare_input(&place);
    let flake = fs_err::read_to_string(clone.join("flake.nix")).unwrap();
    let with_input = flake.replacen(
        '{',
        &format!("{{ inputs.more = {{ url = \"git+file://{input}?ref=main\"; flake = false; }};"),
        1,
    );
    fs_err::write(
        clone.join("flake.nix"),
        with_input.replace("{ self }", "{ self, more }"),
    )
    .unwrap();
    place.stores.prepare(&place.context).unwrap();
    let access = Access {
        token: None,
        key: None,
        known_hosts: None,
        connect_s: 5,
        stall_s: 15,
    };
    let cache = camino::Utf8PathBuf::from(place.stores.root.as_arg()).join("var/tmp/landfall/cache");
    let rounds = std::cell::Cell::new(0);
    let build = |verify: bool| {
        rounds.set(rounds.get() + 1);
        fs_err::write(clone.join("round"), rounds.get().to_string()).unwrap();
        let action = RealiseSystem {
            // Another revision each time: what was evaluated of the former one is of no help.
            revision: commit(&clone).parse().unwrap(),
            ..place.action(SystemSource::Flake, verify)
        };
        place
            .runtime
            .block_on(place.stores.build_at(&place.context, &access, &action, &clone))
    };
    build(true).unwrap();
    let copies = || -> Vec<Utf8PathBuf> {
        files_below(&cache)
            .into_iter()
            .filter(|file| file.as_str().contains("/gitv3/"))
            .collect()
    };
    assert!(
        copies().len() > 3,
        "Nix keeps no copy of the input: {:?}",
        files_below(&cache)
    );
    // After an unclean stop at once; else a fault that is tried again may come first.
    let lands = |verify: bool, how: &str| match build(verify) {
        Err(fault) if !verify && fault.class == FaultClass::Transient => {
            build(verify).unwrap_or_else(|fault| panic!("{how}: {fault}"));
        }
        built => drop(built.unwrap_or_else(|fault| panic!("{how}: {fault}"))),
    };
    for verify in [true, false] {
        for file in files_below(&cache) {
            empty(&file);
        }
        lands(verify, "emptied");
        let heads = copies().into_iter().filter(|file| file.ends_with("HEAD"));
        for head in heads {
            fs_err::remove_file(head).unwrap();
        }
        lands(verify, "without HEAD");
    }
}

fn files_below(dir: &Utf8Path) -> Vec<Utf8PathBuf> {
    let mut found = Vec::new();
    for entry in dir.read_dir_utf8().unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_below(entry.path()));
        } else {
            found.push(entry.into_path());
        }
    }
    found
}

/// A repository that Nix copies before it reads it, because it has no work tree.
fn bare_input(place: &Place) -> Utf8PathBuf {
    let input = camino::Utf8PathBuf::from(place.stores.root.as_arg()).join("../input.git");
    let work = camino::Utf8PathBuf::from(place.stores.root.as_arg()).join("../input");
    fs_err::create_dir_all(&work).unwrap();
    fs_err::write(work.join("file"), "content").unwrap();
    let run = |dir: &Utf8Path, args: &[&str]| {
        let done = Command::new("git").current_dir(dir).args(args).output().unwrap();
        assert!(done.status.success(), "{args:?}: {done:?}");
    };
    run(&work, &["init", "-q", "-b", "main"]);
    run(&work, &["add", "."]);
    run(
        &work,
        &[
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@t",
            "commit",
            "-qm",
            "one",
        ],
    );
    run(&work, &["clone", "-q", "--bare", ".", "../input.git"]);
    input.canonicalize_utf8().unwrap()
}

/// Real Nix fails over each of them for ever.
#[test]
fn what_stands_where_nix_needs_a_directory_or_a_file_is_moved_aside() {
    let Some(place) = Place::new() else { return };
    let action = place.action(SystemSource::Prebuilt(place.live_system()), true);
    place.realise(&action).unwrap();
    let root = camino::Utf8PathBuf::from(place.stores.root.as_arg());
    let lock = format!(
        "nix/store/{}.lock",
        place.file("-a").file_name().unwrap_or_default()
    );
    for (path, directory) in [
        ("nix/var/nix", false),
        ("nix/var/nix/temproots", false),
        ("nix/var/nix/gcroots", false),
        ("nix/store/.links", false),
        ("nix/var/landfall", false),
        ("nix/var/landfall/system", true),
        ("nix/var/nix/gc.lock", true),
        (lock.as_str(), true),
        ("var/tmp/landfall", false),
    ] {
        let at = root.join(path);
        place.unrecord_if_there();
        if at.is_dir() {
            fs_err::remove_dir_all(&at).unwrap();
        } else if at.exists() {
            fs_err::remove_file(&at).unwrap();
        }
        if directory {
            fs_err::create_dir_all(at.join("below")).unwrap();
        } else {
            fs_err::write(&at, "theirs").unwrap();
        }
        place
            .realise(&action)
            .unwrap_or_else(|fault| panic!("{path}: {fault}"));
        let aside = root.join(format!("{path}.landfall-aside"));
        let kept = if directory { aside.join("below") } else { aside };
        assert!(kept.exists(), "{path}");
        assert_eq!(
            place.notices(&format!("/{path} on the target was not")),
            1,
            "{path}"
        );
    }
}

/// Something of another kind in the place of a path.
const KINDS: [(&str, &str); 6] = [
    ("a FIFO", "mkfifo"),
    ("a directory", "mkdir"),
    ("a link", "ln -s /etc/passwd"),
    ("a loop", "ln -s loop"),
    ("a device", "mknod -m 600 P c 1 5; :"),
    (
        "a socket",
        "python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])'",
    ),
];

#[test]
fn a_path_of_any_other_kind_is_repaired_alone_or_lost_with_an_image() {
    for (name, make) in KINDS {
        for image in [false, true] {
            let Some(place) = Place::new() else { return };
            let system = place.live_system();
            let action = if image {
                landed_from_image(&place, &system, 1);
                place.action(image_of(system), true)
            } else {
                place.action(SystemSource::Prebuilt(system), true)
            };
            place.realise(&action).unwrap();
            let file = place.file("-a");
            let make = if make.contains(" P ") {
                make.replace('P', file.as_str())
            } else {
                make.to_owned()
            };
            let made = std::process::Command::new("sh")
                .args(["-c", &format!("rm -rf '{file}' && {make} '{file}'")])
                .stderr(std::process::Stdio::null())
                .status()
                .unwrap();
            if !made.success() || fs_err::symlink_metadata(&file).is_err() {
                println!("skipped: {name} cannot be made here");
                continue;
            }
            let facts = place.observe(&action);
            let Contents::Corrupt(paths) = &facts.contents else {
                panic!("{name}: {facts:?}")
            };
            assert_eq!(paths.len(), 1, "{name}: {paths:?}");
            if image {
                let fault = place.realise(&action).unwrap_err();
                assert!(fault.why().contains(file.file_name().unwrap()), "{name}: {fault}");
                assert!(fault.next().contains("--reinstall"), "{name}: {fault}");
            } else {
                place
                    .realise(&action)
                    .unwrap_or_else(|fault| panic!("{name}: {fault}"));
            }
            assert_eq!(place.asides(), [] as [String; 0], "{name}: the database is whole");
        }
    }
}

#[test]
fn any_number_of_wrong_paths_is_found_and_repaired_in_one_round() {
    let Some(place) = Place::new() else { return };
    let text = "let xs = builtins.genList (n: builtins.toFile \"p${toString n}\" \"content ${toString n}\") 250; \
        in builtins.toFile \"nixos-system-web\" (builtins.concatStringsSep \" \" xs)";
    let system = place.made_live(text);
    let action = place.action(SystemSource::Prebuilt(system), true);
    place.realise(&action).unwrap();
    for entry in
        fs_err::read_dir(camino::Utf8PathBuf::from(place.stores.root.as_arg()).join("nix/store")).unwrap()
    {
        let path = Utf8PathBuf::from_path_buf(entry.unwrap().path()).unwrap();
        if path.as_str().contains("-p") {
            empty(&path);
        }
    }
    let Contents::Corrupt(paths) = place.observe(&action).contents else {
        panic!()
    };
    assert_eq!(paths.len(), 250);
    place.realise(&action).unwrap();
}

#[test]
fn owners_and_permissions_of_the_store_are_made_right_also_of_an_image() {
    let Some(place) = Place::new() else { return };
    let system = place.live_system();
    landed_from_image(&place, &system, 1);
    let action = place.action(image_of(system), true);
    place.realise(&action).unwrap();
    let file = place.file("-a");
    let (store, nix) = (
        camino::Utf8PathBuf::from(place.stores.root.as_arg()).join("nix/store"),
        camino::Utf8PathBuf::from(place.stores.root.as_arg()).join("nix"),
    );
    for (at, mode) in [(&file, 0o000), (&file, 0o666), (&store, 0o700), (&nix, 0o000)] {
        fs_err::set_permissions(at, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        let facts = place.observe(&action);
        let told = match &facts.contents {
            Contents::Permissions(paths) => paths,
            // Who is not root cannot even look.
            _ => return,
        };
        assert_eq!(told.len(), 1, "{at} {mode:o}: {told:?}");
        place.realise(&action).unwrap();
        assert_eq!(place.observe(&action).contents, Contents::Verified);
    }
}
