//! What may open files, and what may be done with the root of a target.
//!
//! The type of a target's root ensures that nothing is joined to it (`Root` gives no path; its documentation has the samples
//! that must not compile). Two things are left to check here: that the name of the place where the target is mounted is not
//! part of a path anywhere else, and that files which others may have put somewhere are opened in the one way that cannot
//! hang.

use crate::source::product;
use crate::{assert_tidy, is_test, is_word, rust};

/// Calls that open a file by its name.
const OPENING: [&str; 16] = [
    "fs::read(",
    "fs::read_to_string(",
    "fs::write(",
    "fs::copy(",
    "fs_err::read(",
    "fs_err::read_to_string(",
    "fs_err::write(",
    "fs_err::copy(",
    "File::open(",
    "File::create(",
    "File::create_new(",
    "File::options(",
    "OpenOptions::new(",
    "fcntl::open(",
    "openat(",
    "openat2(",
];

/// Who opens files by name, how often, and why that is none of anybody else's. Everything else goes through `safe_open` or `target_root`.
const OPENERS: [(&str, usize, &str); 41] = [
    (
        "src/cli/screen/terminal.rs",
        1,
        "a terminal that is named to be drawn on; not waited for, and it must be one",
    ),
    (
        "src/cli/image.rs",
        2,
        "its own /proc entry; a target that `safe_open::storage` looked at",
    ),
    ("src/cli/image_record.rs", 1, "a folder, to flush it"),
    ("src/cli/run_process.rs", 1, "/proc"),
    (
        "src/flash/eject.rs",
        1,
        "the kernel's switch of a USB device, or of a disk behind one",
    ),
    ("src/safe_open.rs", 5, "the one way"),
    (
        "src/hosts/keys.rs",
        2,
        "a file that is made here and was not there; a folder, to flush it",
    ),
    (
        "src/image/bytes.rs",
        1,
        "a block device that `safe_open::storage` looked at",
    ),
    (
        "src/image/disk.rs",
        1,
        "a target that `safe_open::storage` looked at",
    ),
    ("src/lock/holders.rs", 3, "/proc"),
    (
        "src/lock/target.rs",
        1,
        "a disk, or a file that stands for one, that `safe_open::storage` looked at",
    ),
    ("src/real/test_support.rs", 1, "tests"),
    ("src/real/volume/block_io.rs", 5, "block devices of the held disk"),
    (
        "src/real/volume/key_derivation.rs",
        1,
        "a partition of the held disk",
    ),
    (
        "src/real/disk/efi.rs",
        1,
        "variables of the firmware, which the kernel shows",
    ),
    ("src/real/process/terminal.rs", 1, "the terminal of this process"),
    ("src/real/disk/mod.rs", 1, "devices, and attributes of the kernel"),
    ("src/real/disk/sysfs.rs", 2, "attributes of the kernel"),
    (
        "src/real/volume/device_mapper.rs",
        1,
        "device-mapper's own device",
    ),
    ("src/real/volume/esp.rs", 7, "a partition of the held disk"),
    ("src/real/volume/esp_root.rs", 3, "a partition of the held disk"),
    ("src/real/boot/firmware.rs", 1, "an attribute of the kernel"),
    ("src/real/mount/hooks.rs", 1, "/proc"),
    ("src/real/boot/kernel_settings.rs", 2, "/proc and /sys"),
    ("src/real/volume/luks.rs", 1, "a partition of the held disk"),
    (
        "src/real/mount/attached.rs",
        4,
        "/proc; /sys; a directory, to flush what is mounted there",
    ),
    (
        "src/real/nix/pack.rs",
        5,
        "files of a scratch directory of its own, and of the store that it copies",
    ),
    ("src/real/preflight.rs", 1, "/proc"),
    ("src/real/volume/probe.rs", 1, "a partition of the held disk"),
    (
        "src/real/boot/leftovers.rs",
        2,
        "below a directory of the target that is open, without links",
    ),
    (
        "src/real/secrets/placement.rs",
        1,
        "below a directory of the target that is open, without links",
    ),
    (
        "src/real/volume/free_space.rs",
        1,
        "below a directory of the target that is open, without links",
    ),
    (
        "src/real/nix/database.rs",
        1,
        "below a directory of the target that is open, without links",
    ),
    (
        "src/real/nix/sizes.rs",
        1,
        "below a directory of the store that is open, without links",
    ),
    (
        "src/real/nix/permissions.rs",
        1,
        "below a directory of the store that is open, without links",
    ),
    (
        "src/real/fs/target_root.rs",
        6,
        "the root itself; the device below a mount; below a directory that is open, without links",
    ),
    ("src/real/volume/superblock.rs", 2, "a partition of the held disk"),
    (
        "src/real/git/soundness.rs",
        1,
        "files of a scratch clone, seen to be regular before",
    ),
    (
        "src/real/git/work.rs",
        2,
        "files of a clone, seen to be regular and small before",
    ),
    ("src/real/world.rs", 1, "/proc"),
    (
        "src/real/secrets/descriptor.rs",
        1,
        "/dev/null, in the place of standard input",
    ),
];

fn calls(text: &str) -> usize {
    let text = product(text);
    OPENING
        .iter()
        .map(|call| {
            text.match_indices(call)
                .filter(|(at, _)| {
                    let before = &text[..*at];
                    !(before.ends_with(is_word) || before.ends_with("::") && call.starts_with("fs::"))
                })
                .count()
        })
        .sum()
}

fn opening(name: &str, text: &str) -> Vec<String> {
    let mut complaints = vec![];
    if is_test(name) {
        return complaints;
    }
    // Under another name a call would not be seen.
    for line in product(text).lines().map(str::trim) {
        let imports = line
            .strip_prefix("use ")
            .or_else(|| line.strip_prefix("pub use "));
        let Some(import) = imports.filter(|import| import.starts_with("fs_err")) else {
            continue;
        };
        let is_plain = import == "fs_err as fs;" || import.starts_with("fs_err::os::unix::fs::");
        if !is_plain {
            complaints.push(format!(
                "{line}: import fs_err as fs, so that its calls can be seen"
            ));
        }
    }
    // Many names may come from there; the one that opens by a name is called with its path.
    let code = product(text);
    for import in code.split("use nix::fcntl").skip(1) {
        let import = import.split(';').next().unwrap_or("");
        let words: Vec<&str> = import.split(|c| !is_word(c)).collect();
        if words.contains(&"open") || words.contains(&"as") || import.contains('*') {
            complaints
                .push("imports nix::fcntl::open: call it with its path, so that it can be seen".to_owned());
        }
    }
    let found = calls(text);
    let allowed = OPENERS.iter().find(|(file, _, _)| *file == name);
    match allowed {
        Some((_, count, why)) if *count == found => {
            if why.is_empty() {
                complaints.push("may open files without a reason".to_owned());
            }
        }
        Some((_, count, why)) => complaints.push(format!(
            "opens a file by name {found} times, {count} are known ({why}); read what others may have put there with safe_open::read, \
             what is on the target with target_root, or say here what else it is"
        )),
        None if found == 0 => {}
        None => complaints.push(format!(
            "opens a file by name {found} times: use safe_open::open or safe_open::read, which do not hang, or target_root"
        )),
    }
    complaints
}

#[test]
fn files_of_others_are_opened_in_one_way() {
    let sources = rust(&["src"]);
    assert_tidy(&sources, opening);
    for (file, _, _) in OPENERS {
        assert!(
            sources.iter().any(|(name, _)| name == file),
            "{file} is gone: take it from the list"
        );
    }
    for bad in [
        "fn f() { fs::read(path) }",
        "fn f() { fs_err::read_to_string(path) }",
        "fn f() { std::fs::File::open(path) }",
        "fn f() { fs::OpenOptions::new().append(true).open(path) }",
        "use fs_err::read as taken;",
        "use fs_err::{File, read};",
        "use fs_err as files;",
        "fn f() { nix::fcntl::openat(dir, name, flags, mode) }",
        "fn f() { openat2(dir, name, how) }",
        "use nix::fcntl::open;\nfn f() { open(p) }",
        "use nix::fcntl::{OFlag, open as o};\nfn f() { o(p) }",
        "use nix::fcntl;\nfn f() { fcntl::open(p) }",
        "#[cfg(test)]\nuse std::fmt;\nfn f() { fs::read(path) }",
    ] {
        assert_eq!(opening("src/cli/new.rs", bad).len(), 1, "{bad}");
    }
    assert_eq!(
        opening("src/real/volume/probe.rs", "fs::File::open(a); fs::File::open(b)").len(),
        1,
        "one more"
    );
    for good in [
        "use fs_err as fs;\nfn f() { safe_open::read(path, Links::Refuse, 9) }",
        "fn f() {} // fs::read(path)",
        "#[cfg(test)]\nmod tests { fn f() { fs::read(path) } }",
    ] {
        assert_eq!(opening("src/cli/new.rs", good), Vec::<String>::new(), "{good}");
    }
}

/// Who may say where the target is mounted, and what for.
const MOUNT_ROOT_NAMED: [(&str, &str); 8] = [
    ("src/real/mod.rs", "says it"),
    ("src/real/fs/target_root.rs", "opens it"),
    ("src/real/mount/attached.rs", "the kernel's table of mounts"),
    ("src/real/disk/usage.rs", "the kernel's table of mounts"),
    ("src/real/attach.rs", "the kernel's table of mounts"),
    ("src/real/preflight.rs", "the kernel's table of mounts"),
    ("src/real/boot/host_loader.rs", "words"),
    (
        "src/real/steps/install.rs",
        "the name that nixos-install leaves in the target's root",
    ),
];

/// What makes a path of a text.
const JOINING: [&str; 9] = [
    "join(",
    "push(",
    "Path::new(",
    "PathBuf::from(",
    ".into()",
    "}/",
    "/{",
    "Path::from(",
    "+ \"/",
];

fn joined(name: &str, text: &str) -> Vec<String> {
    let mut complaints = vec![];
    if is_test(name) || name == "src/real/fs/target_root.rs" {
        return complaints;
    }
    let text = product(text);
    let may = MOUNT_ROOT_NAMED.iter().any(|(file, _)| *file == name);
    if !may
        && (text.contains("MOUNT_ROOT") || text.contains("MOUNT_BOOT") || text.contains("\"/mnt"))
        && room_is_real(name)
    {
        complaints.push(
            "names the place where the target is mounted; target_root::Root::target() is its type".to_owned(),
        );
    }
    for statement in text.split([';', '{', '}']) {
        // `{` and `}` of a format's text belong to the statement that they were cut from.
        if statement.contains("as_arg()") && JOINING.iter().any(|join| statement.contains(join)) {
            complaints.push(format!(
                "makes a path of a target's root: {}",
                statement.trim().replace('\n', " ")
            ));
        }
    }
    for line in text.lines().filter(|line| line.contains("as_arg()")) {
        if ["{}/", "/{}"].iter().any(|join| line.contains(join)) {
            complaints.push(format!("makes a path of a target's root: {}", line.trim()));
        }
    }
    complaints
}

fn room_is_real(name: &str) -> bool {
    name.starts_with("src/real/")
}

#[test]
fn the_root_of_a_target_is_no_part_of_a_path() {
    assert_tidy(&rust(&["src"]), joined);
    for bad in [
        "let p = Utf8Path::new(&root.as_arg()).join(\"boot\");",
        "let p = Utf8PathBuf::from(root.as_arg());",
        "let p = format!(\"{}/boot\", root.as_arg());",
        "let p = root.as_arg() + \"/boot\";",
        "let p = Utf8Path::new(MOUNT_ROOT);",
        "let p = \"/mnt/boot\";",
    ] {
        assert!(!joined("src/real/new.rs", bad).is_empty(), "{bad}");
    }
    let good = "program.args([\"--root\", &root.as_arg()]);\nlet esp = root.esp();";
    assert_eq!(joined("src/real/new.rs", good), Vec::<String>::new());
}
