//! Tests of `target_root`.

use super::*;

fn root() -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    let path = camino::Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
    (dir, Root::at(path))
}

#[test]
fn links_of_the_target_stay_inside() {
    let (_keep, root) = root();
    fs_err::create_dir_all(root.join("nix/store")).unwrap();
    fs_err::write(root.join("nix/store/f"), "inside").unwrap();
    fs_err::os::unix::fs::symlink("/nix/store/f", root.join("link")).unwrap();
    fs_err::os::unix::fs::symlink("/../../../../etc/passwd", root.join("out")).unwrap();
    assert_eq!(read(&root, "/link").unwrap().unwrap(), b"inside");
    assert_eq!(read(&root, "/out").unwrap(), None);
    assert_eq!(read(&root, "/none").unwrap(), None);
    assert_eq!(read(&root, "/nix").unwrap(), None, "a directory is not a file");
    nix::unistd::mkfifo(root.join("fifo").as_std_path(), Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    for strange in ["/fifo", "/socket"] {
        assert_eq!(
            read(&root, strange).unwrap(),
            None,
            "{strange} is not a file, and nothing waits for it"
        );
    }
}

#[test]
fn written_files_have_their_mode_and_leave_nothing_beside() {
    let (_keep, root) = root();
    write(
        &root,
        "/a/b/c",
        b"x",
        Access {
            mode: 0o600,
            ..Access::root(0)
        },
    )
    .unwrap();
    write(
        &root,
        "/a/b/c",
        b"y",
        Access {
            mode: 0o640,
            ..Access::root(0)
        },
    )
    .unwrap();
    assert_eq!(read(&root, "/a/b/c").unwrap().unwrap(), b"y");
    let dir = ensure_dir(&root, "/a/b", 0o755).unwrap();
    assert_eq!(stat_in(&dir, "c").unwrap().st_mode & 0o7777, 0o640);
    assert_eq!(fs_err::read_dir(root.join("a/b")).unwrap().count(), 1);
    // Nor does one that could not be put in its place: a directory has its name.
    fs_err::create_dir(root.join("a/b/d")).unwrap();
    let error = write_in(&dir, "d", b"x", Access::root(0o600)).unwrap_err();
    assert_eq!(crate::os_error::errno(&error), Some(nix::libc::EISDIR));
    assert_eq!(names(&root, "/a/b").unwrap(), ["c", "d"]);
}

#[test]
fn parents_are_for_everybody_whatever_the_last_part_is() {
    let (_keep, root) = root();
    for (path, mode) in [("/var/tmp", 0o1777), ("/a/b/c", 0o700)] {
        let dir = ensure_dir(&root, path, mode).unwrap();
        assert_eq!(fstat(&dir).unwrap().st_mode & 0o7777, mode, "{path}");
    }
    let top = open(&root, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY).unwrap();
    for parent in ["var", "a"] {
        assert_eq!(stat_in(&top, parent).unwrap().st_mode & 0o7777, 0o755, "{parent}");
    }
    // What is there stays as it is.
    ensure_dir(&root, "/var/tmp", 0o700).unwrap();
    let tmp = open(&root, "/var/tmp", OFlag::O_RDONLY | OFlag::O_DIRECTORY).unwrap();
    assert_eq!(fstat(&tmp).unwrap().st_mode & 0o7777, 0o1777);
}

#[test]
fn profiles_are_followed_to_the_store() {
    let (_keep, root) = root();
    fs_err::create_dir_all(root.join("p")).unwrap();
    assert_eq!(follow_to_store(&root, "/p/system").unwrap(), None);
    fs_err::os::unix::fs::symlink("system-1-link", root.join("p/system")).unwrap();
    fs_err::os::unix::fs::symlink("/nix/store/x-y", root.join("p/system-1-link")).unwrap();
    assert_eq!(
        follow_to_store(&root, "/p/system").unwrap().as_deref(),
        Some("/nix/store/x-y")
    );
}

/// As the user that runs the tests may have it.
fn own(mode: u32) -> Access {
    Access {
        mode,
        uid: nix::unistd::geteuid().as_raw(),
        gid: nix::unistd::getegid().as_raw(),
    }
}

/// A target whose links lead to what the running system has as well: a file that lands outside is seen there.
fn with_links() -> (tempfile::TempDir, Root, camino::Utf8PathBuf) {
    let keep = tempfile::tempdir().unwrap();
    let dir = camino::Utf8PathBuf::from_path_buf(keep.path().canonicalize().unwrap()).unwrap();
    let (target, outside) = (dir.join("target"), dir.join("outside"));
    fs_err::create_dir(&target).unwrap();
    fs_err::create_dir(&outside).unwrap();
    let link = |to: &str, at: &str| fs_err::os::unix::fs::symlink(to, target.join(at)).unwrap();
    // Absolute: inside the target it means another directory than in the running system.
    link(outside.as_str(), "home");
    link("../../../../../..", "up");
    link("loop", "loop");
    link("round", "about");
    link("about", "round");
    (keep, Root::at(target), outside)
}

fn is_empty(dir: &Utf8Path) -> bool {
    fs_err::read_dir(dir).unwrap().next().is_none()
}

#[test]
fn what_a_link_leads_to_is_made_inside_the_target() {
    let (_keep, root, outside) = with_links();
    // The control: by its bare name it is the running system's.
    fs_err::create_dir_all(root.join("home/x")).unwrap();
    assert!(!is_empty(&outside));
    fs_err::remove_dir(outside.join("x")).unwrap();

    assert!(root.dir("/home").unwrap().is_none(), "it is not there yet");
    let dir = root.made_dir("/home/a/b", 0o755).unwrap();
    assert_eq!(dir.path(), format!("{}{outside}/a/b", root.as_arg()));
    assert_eq!(root.told("/home/a"), format!("{}{outside}/a", root.as_arg()));
    assert_eq!(root.told("/home/none"), root.as_arg(), "never a bare name");
    write(&root, "/home/a/key", b"secret", own(0o600)).unwrap();
    assert_eq!(read(&root, "/home/a/key").unwrap().unwrap(), b"secret");
    write_plain(&root, "/home/EFI/x", "TMP", b"x").unwrap();
    assert_eq!(names(&root, "/home/EFI").unwrap(), ["x"]);
    let clone: ClonePath = "/mnt/home/op/nix-config".parse().unwrap();
    assert_eq!(root.clone_place(&clone, false).unwrap(), None);
    let place = root.clone_place(&clone, true).unwrap().unwrap();
    assert_eq!(place, format!("{}{outside}/op/nix-config", root.as_arg()));
    assert!(is_empty(&outside), "something is outside the target");
    // And it is gone again by the same way.
    remove(&root, "/home/a").unwrap();
    assert!(root.dir("/home/a").unwrap().is_none() && root.dir("/home").unwrap().is_some());
    remove(&root, "/home").unwrap();
    assert!(
        !is_there(&root, "/home").unwrap(),
        "the link, not what it leads to"
    );
    assert!(root.dir(outside.as_str()).unwrap().is_some());
}

#[test]
fn a_way_up_ends_at_the_root_of_the_target() {
    let (_keep, root, _outside) = with_links();
    let top = root.dir("/up").unwrap().unwrap();
    assert_eq!(top.path(), root.as_arg().as_str());
    root.made_dir("/up/a/../../../b", 0o755).unwrap();
    assert!(root.join("b").is_dir());
}

#[test]
fn links_in_a_circle_are_refused_by_name() {
    let (_keep, root, _outside) = with_links();
    for name in ["loop", "about"] {
        assert!(root.dir(name).unwrap().is_none());
        let fault = root.made_dir(&format!("/{name}/x"), 0o755).unwrap_err();
        assert!(
            fault
                .to_string()
                .contains(&format!("/{name} on the target: it is a link to")),
            "{fault}"
        );
    }
    fs_err::write(root.join("file"), "").unwrap();
    let fault = root.made_dir("/file/x", 0o755).unwrap_err();
    assert!(fault.to_string().contains("it is not a directory"), "{fault}");
    // The control.
    root.made_dir("/plain/x", 0o755).unwrap();
}

#[test]
fn an_esp_is_where_the_link_at_boot_leads() {
    let (_keep, root, outside) = with_links();
    fs_err::create_dir(outside.join("EFI")).unwrap();
    fs_err::os::unix::fs::symlink(&outside, root.join("boot")).unwrap();
    let esp = root.esp();
    assert!(names(&esp, "EFI").is_err() || names(&esp, "EFI").unwrap().is_empty());
    let made = root.made_dir("/boot", 0o755).unwrap();
    assert_ne!(made.path(), outside);
    write_plain(&esp, "loader/loader.conf", "TMP", b"timeout 3").unwrap();
    assert!(made.path().join("loader/loader.conf").is_file());
    assert!(!outside.join("loader").exists());
}

#[test]
fn syncing_works_on_any_filesystem() {
    let (_keep, root) = root();
    sync_filesystem(&root).unwrap();
    assert!(sync_filesystem(&Root::at(root.join("none"))).is_err());
}
