//! Removing with real mounts, which root alone can make; the rest runs as anybody.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::os::unix::fs::symlink;
use std::process::Command;

use super::*;

struct Scratch(PathBuf);
impl Scratch {
    fn new(name: &str) -> Scratch {
        let folder = std::env::temp_dir().join(format!("lab-removal-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Scratch(fs::canonicalize(folder).unwrap())
    }
}
impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = remove(&self.0);
    }
}

fn mounted(arguments: &[&std::ffi::OsStr]) {
    let done = Command::new("mount").args(arguments).status().unwrap();
    assert!(done.success(), "mount {arguments:?}");
}

fn mounts_below(folder: &Path) -> usize {
    let table = fs::read("/proc/self/mountinfo").unwrap();
    places(&table)
        .iter()
        .filter(|place| place.starts_with(folder))
        .count()
}

#[test]
fn mounts_are_taken_away_first_and_what_they_show_stays() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let scratch = Scratch::new("mounts");
    // Somebody's folder, shared as systemd has every mount, with another filesystem in it.
    let theirs = scratch.0.join("theirs");
    fs::create_dir(&theirs).unwrap();
    mounted(&["-t".as_ref(), "tmpfs".as_ref(), "tmpfs".as_ref(), theirs.as_ref()]);
    mounted(&["--make-shared".as_ref(), theirs.as_ref()]);
    fs::create_dir(theirs.join("inner")).unwrap();
    mounted(&[
        "-t".as_ref(),
        "tmpfs".as_ref(),
        "tmpfs".as_ref(),
        theirs.join("inner").as_ref(),
    ]);
    fs::write(theirs.join("inner/letters"), "kept").unwrap();
    fs::write(theirs.join("photos"), "kept").unwrap();

    // What a killed mmdebstrap leaves: a tree with filesystems of its own and of the computer's, one with a space in its name, two on one place.
    let left = scratch.0.join("environment.building");
    for folder in ["root/sys", "root/proc", "root/a b"] {
        fs::create_dir_all(left.join(folder)).unwrap();
    }
    fs::write(left.join("root/null"), "").unwrap();
    mounted(&[
        "--rbind".as_ref(),
        theirs.as_ref(),
        left.join("root/sys").as_ref(),
    ]);
    mounted(&[
        "-t".as_ref(),
        "proc".as_ref(),
        "proc".as_ref(),
        left.join("root/proc").as_ref(),
    ]);
    mounted(&[
        "--bind".as_ref(),
        "/dev/null".as_ref(),
        left.join("root/null").as_ref(),
    ]);
    for _ in 0..2 {
        mounted(&[
            "-t".as_ref(),
            "tmpfs".as_ref(),
            "tmpfs".as_ref(),
            left.join("root/a b").as_ref(),
        ]);
    }
    assert_eq!(mounts_below(&left), 6, "the control: they are there");
    // Somebody stands in one of them: it is busy, and goes all the same.
    let _stands = fs::File::open(left.join("root/a b")).unwrap();

    remove(&left).unwrap();
    assert!(!left.exists());
    assert_eq!(mounts_below(&left), 0);
    assert_eq!(fs::read_to_string(theirs.join("photos")).unwrap(), "kept");
    assert_eq!(
        fs::read_to_string(theirs.join("inner/letters")).unwrap(),
        "kept",
        "what was mounted a second time is still mounted in its first place"
    );
}

#[test]
fn a_link_is_removed_and_not_followed() {
    let scratch = Scratch::new("links");
    let outside = scratch.0.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("letters"), "kept").unwrap();
    let left = scratch.0.join("qemu.building");
    fs::create_dir_all(left.join("store")).unwrap();
    symlink(&outside, left.join("to-a-folder")).unwrap();
    symlink(outside.join("letters"), left.join("store/to-a-file")).unwrap();
    fs::set_permissions(left.join("store"), std::fs::Permissions::from_mode(0o555)).unwrap();
    remove(&left).unwrap();
    assert!(!left.exists() && outside.join("letters").exists());
    let mode = fs::symlink_metadata(&outside).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755, "nothing was changed through the link");

    symlink(&outside, &left).unwrap();
    let refused = remove(&left).unwrap_err().to_string();
    assert!(refused.contains("is no folder"), "{refused}");
    assert!(outside.join("letters").exists());
    fs::remove_file(&left).unwrap();
    remove(&left).unwrap();
}

#[test]
fn what_something_is_mounted_on_is_nobodys() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let scratch = Scratch::new("mounted-on");
    let left = scratch.0.join("qemu.building");
    fs::create_dir(&left).unwrap();
    mounted(&["-t".as_ref(), "tmpfs".as_ref(), "tmpfs".as_ref(), left.as_ref()]);
    fs::write(left.join("letters"), "kept").unwrap();
    let refused = remove(&left).unwrap_err().to_string();
    assert!(refused.contains("something is mounted on"), "{refused}");
    assert!(left.join("letters").exists());
}

#[test]
fn the_kernels_table_is_read() {
    // As Linux 6.12 wrote it for `mount -t tmpfs tmpfs "/tmp/a b"` and for a name with a backslash.
    let table = b"28 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
        61 28 0:44 / /tmp/a\\040b rw,relatime shared:31 - tmpfs tmpfs rw,inode64\n\
        62 28 0:45 / /tmp/c\\134040 rw,relatime - tmpfs tmpfs rw\n";
    let expected: Vec<PathBuf> = ["/", "/tmp/a b", "/tmp/c\\040"].map(PathBuf::from).to_vec();
    assert_eq!(places(table), expected);
}
