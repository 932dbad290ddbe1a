//! Promise: what judges the outcomes of half-made states (`tests/halfway/oracles.rs`) passes what real programs made, and refuses the
//! same with one thing wrong in it, for that reason. With real Git, Nix and programs for filesystems, and nothing of landfall's.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test that cannot go on fails

// What is repaired before it is judged is for `halfway` itself.
#[allow(dead_code)]
#[path = "halfway/oracles.rs"]
mod oracles;

use camino::{Utf8Path, Utf8PathBuf};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

const ID: &str = "deadbeef-0000-0000-0000-00000000000a";

fn run(program: &str, args: &[&str]) -> String {
    oracles::said(Command::new(program).args(args)).unwrap()
}

fn folder() -> (tempfile::TempDir, Utf8PathBuf) {
    let held = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(held.path().to_owned()).unwrap();
    (held, path)
}

/// Whether these programs are here; those of filesystems lie in folders that not everybody searches.
fn are_here(programs: &[&str]) -> bool {
    let there = |program: &&&str| {
        std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
    };
    match programs.iter().find(|program| !there(program)) {
        None => true,
        Some(missing) => {
            println!("skipped: {missing} is not installed");
            false
        }
    }
}

/// It refuses, and says this.
#[track_caller]
fn refuses(judged: Result<(), String>, why: &str, what: &str) {
    match judged {
        Ok(()) => panic!("{what} is not noticed"),
        Err(said) => assert!(said.contains(why), "{what}: {said}"),
    }
}

fn set_mode(path: &Utf8Path, mode: u32) {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Writes bytes into a file, which may be read-only.
fn overwrite(path: &Utf8Path, at: u64, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = fs_err::OpenOptions::new().write(true).open(path).unwrap();
    file.file().write_all_at(bytes, at).unwrap();
}

fn shorten(path: &Utf8Path, length: u64) {
    let mode = fs_err::metadata(path).unwrap().permissions().mode();
    set_mode(path, 0o644);
    let file = fs_err::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(length).unwrap();
    set_mode(path, mode);
}

#[test]
fn the_oracles_have_nothing_of_landfalls() {
    for text in [
        include_str!("halfway/oracles.rs"),
        include_str!("halfway/oracles_attached.rs"),
    ] {
        let used: Vec<&str> = text.lines().filter(|line| line.contains("landfall")).collect();
        for line in used {
            assert!(
                line.trim_start().starts_with("//") || line.contains("\"/run/landfall\""),
                "{line}"
            );
        }
        assert!(!text.contains("crate::tools") && !text.contains("crate::ground"));
    }
}

/// A repository of two commits, and the files of the last one.
struct Cloned {
    _held: tempfile::TempDir,
    clone: Utf8PathBuf,
    files: Utf8PathBuf,
    revision: String,
    former: String,
}

fn git(dir: &Utf8Path, args: &[&str]) -> String {
    let all = [
        &[
            "-C",
            dir.as_str(),
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.invalid",
        ][..],
        &["-c", "commit.gpgsign=false"],
        args,
    ];
    run("git", &all.concat())
}

fn cloned() -> Cloned {
    let (held, place) = folder();
    let origin = place.join("origin");
    fs_err::create_dir_all(origin.join("hosts")).unwrap();
    git(&origin, &["init", "-q", "-b", "trunk"]);
    for n in 0_u8..2 {
        fs_err::write(origin.join("flake.nix"), format!("# {n}\n")).unwrap();
        fs_err::write(origin.join("hosts/a.nix"), vec![b'a' + n; 20_000]).unwrap();
        fs_err::write(origin.join("run"), "#!/bin/sh\n").unwrap();
        set_mode(&origin.join("run"), 0o755);
        if n == 0 {
            symlink("hosts/a.nix", origin.join("link")).unwrap();
        }
        git(&origin, &["add", "-A"]);
        git(&origin, &["commit", "-q", "-m", "x"]);
    }
    let revision = git(&origin, &["rev-parse", "trunk"]);
    let former = git(&origin, &["rev-parse", "trunk~1"]);
    let files = place.join("files");
    oracles::archive(&origin, &revision, &files).unwrap();
    let target = place.join("target");
    fs_err::create_dir_all(&target).unwrap();
    let clone = target.join("nix-config");
    run(
        "git",
        &["clone", "-q", "--no-hardlinks", origin.as_str(), clone.as_str()],
    );
    Cloned {
        _held: held,
        clone,
        files,
        revision,
        former,
    }
}

/// The file of a loose object.
fn object(clone: &Utf8Path, what: &str) -> Utf8PathBuf {
    let id = git(clone, &["rev-parse", what]);
    clone.join(format!(".git/objects/{}/{}", &id[..2], &id[2..]))
}

#[test]
fn a_clone_with_one_thing_wrong_is_refused() {
    if !are_here(&["git", "tar"]) {
        return;
    }
    type Damage = (&'static str, &'static str, fn(&Cloned));
    let damages: [Damage; 12] = [
        ("a file cut off", "ends at byte 100", |c| {
            shorten(&c.clone.join("hosts/a.nix"), 100)
        }),
        ("a byte of a file", "at byte 19999", |c| {
            overwrite(&c.clone.join("hosts/a.nix"), 19_999, b"!");
        }),
        ("a file lost", "has no flake.nix", |c| {
            fs_err::remove_file(c.clone.join("flake.nix")).unwrap();
        }),
        ("a file more", "has more", |c| {
            fs_err::write(c.clone.join("more"), "").unwrap()
        }),
        ("a mode", "has mode", |c| set_mode(&c.clone.join("run"), 0o644)),
        ("a link", "leads to", |c| {
            fs_err::remove_file(c.clone.join("link")).unwrap();
            symlink("flake.nix", c.clone.join("link")).unwrap();
        }),
        ("something beside", "lies beside", |c| {
            fs_err::create_dir(c.clone.with_file_name("nix-config.partial")).unwrap();
        }),
        ("another commit", "HEAD is", |c| {
            git(&c.clone, &["update-ref", "HEAD", &c.former]);
        }),
        ("an object lost", "git fsck", |c| {
            fs_err::remove_file(object(&c.clone, "HEAD~1:flake.nix")).unwrap();
        }),
        ("an object cut off", "git fsck", |c| {
            shorten(&object(&c.clone, "HEAD:hosts/a.nix"), 20)
        }),
        ("an object emptied", "git fsck", |c| {
            shorten(&object(&c.clone, "HEAD~1^{tree}"), 0)
        }),
        ("the index lost", "git status", |c| {
            fs_err::remove_file(c.clone.join(".git/index")).unwrap();
        }),
    ];
    for (what, why, damage) in damages {
        let cloned = cloned();
        let judged = || oracles::repository(&cloned.clone, &cloned.revision, &cloned.files);
        judged().unwrap();
        damage(&cloned);
        refuses(judged(), why, what);
    }
}

/// A live store of a few paths, and what else Nix needs.
struct Stores {
    _held: tempfile::TempDir,
    place: Utf8PathBuf,
    system: String,
}

impl Stores {
    fn new() -> Stores {
        let (held, place) = folder();
        fs_err::create_dir_all(place.join("conf")).unwrap();
        fs_err::write(
            place.join("conf/nix.conf"),
            "sandbox = false\nsubstituters =\nbuild-users-group =\nsandbox-paths =\n",
        )
        .unwrap();
        let mut stores = Stores {
            _held: held,
            place,
            system: String::new(),
        };
        let text = "let a = builtins.toFile \"a\" \"low\"; b = builtins.toFile \"b\" \"on ${a}\"; in builtins.toFile \"top\" \"top ${b}\"";
        let live = stores.live();
        let system = stores.nix(
            "nix-instantiate",
            &[
                "--eval",
                "--read-write-mode",
                "--store",
                live.as_str(),
                "-E",
                text,
            ],
        );
        stores.system = system.trim_matches('"').to_owned();
        let folder = stores.place.join("folder");
        fs_err::create_dir_all(&folder).unwrap();
        fs_err::write(folder.join("file"), "in a folder").unwrap();
        stores.nix("nix-store", &["--store", live.as_str(), "--add", folder.as_str()]);
        stores
    }

    fn live(&self) -> Utf8PathBuf {
        self.place.join("live")
    }

    fn nix(&self, program: &str, args: &[&str]) -> String {
        let conf = self.place.join("conf");
        oracles::said(oracles::nix(program, &conf, &self.place).args(args)).unwrap()
    }

    /// A target that has the live store's files, and has registered what is left of its list.
    fn target(&self, name: &str, change: impl Fn(&str) -> String) -> Utf8PathBuf {
        let target = self.place.join(name);
        fs_err::create_dir_all(target.join("nix/store")).unwrap();
        run(
            "cp",
            &[
                "-a",
                &format!("{}/nix/store/.", self.live()),
                target.join("nix/store").as_str(),
            ],
        );
        let list = self.nix("nix-store", &["--store", self.live().as_str(), "--dump-db"]);
        let file = self.place.join("list");
        fs_err::write(&file, change(&format!("{list}\n"))).unwrap();
        let mut command = oracles::nix("nix-store", &self.place.join("conf"), &self.place);
        let status = command
            .args(["--store", target.as_str(), "--load-db"])
            .stdin(fs_err::File::open(&file).unwrap().into_parts().0)
            .status()
            .unwrap();
        assert!(status.success());
        target
    }

    fn judged(&self, target: &Utf8Path) -> Result<(), String> {
        oracles::store(target, &self.live(), &self.place.join("conf"), &self.place)
    }

    /// The path in a target whose name ends so.
    fn path(&self, target: &Utf8Path, end: &str) -> Utf8PathBuf {
        let store = target.join("nix/store");
        let mut found = store
            .read_dir_utf8()
            .unwrap()
            .map(|entry| entry.unwrap().into_path());
        found.find(|path| path.as_str().ends_with(end)).unwrap()
    }
}

/// A registration in which the size of the path that ends so is another one, or its references are lost.
fn wrong_in_one(list: &str, end: &str, size: Option<&str>) -> String {
    let mut out = String::new();
    let mut lines = list.lines();
    while let Some(path) = lines.next() {
        let mut head: Vec<&str> = lines.by_ref().take(3).collect();
        let count: usize = lines.next().unwrap().parse().unwrap();
        let mut references: Vec<&str> = lines.by_ref().take(count).collect();
        match size.filter(|_| path.ends_with(end)) {
            Some(size) => head[1] = size,
            None if path.ends_with(end) => references.clear(),
            None => {}
        }
        out.push_str(&format!("{path}\n{}\n{}\n", head.join("\n"), references.len()));
        references
            .iter()
            .for_each(|reference| out.push_str(&format!("{reference}\n")));
    }
    out
}

#[test]
fn a_store_with_one_thing_wrong_is_refused() {
    if !are_here(&["nix", "nix-store", "nix-instantiate"]) {
        return;
    }
    let stores = Stores::new();
    let same = |list: &str| list.to_owned();
    let good = stores.target("good", same);
    stores.judged(&good).unwrap();

    type Damage = (&'static str, &'static str, fn(&Stores, &Utf8Path));
    let damages: [Damage; 6] = [
        ("a file cut off", "ends at byte 1", |s, t| {
            shorten(&s.path(t, "-a"), 1)
        }),
        ("a file emptied", "ends at byte 0", |s, t| {
            shorten(&s.path(t, "-b"), 0)
        }),
        ("a file longer", "is longer", |s, t| {
            shorten(&s.path(t, "-top"), 4_096)
        }),
        ("a mode", "has mode", |s, t| set_mode(&s.path(t, "-a"), 0o644)),
        ("a path lost", "No such file", |s, t| {
            fs_err::remove_file(s.path(t, "-a")).unwrap()
        }),
        ("a file more in a path", "has more", |s, t| {
            let folder = s.path(t, "-folder");
            set_mode(&folder, 0o755);
            fs_err::write(folder.join("more"), "").unwrap();
            set_mode(&folder, 0o555);
        }),
    ];
    for (number, (what, why, damage)) in damages.into_iter().enumerate() {
        let target = stores.target(&format!("damaged-{number}"), same);
        damage(&stores, &target);
        refuses(stores.judged(&target), why, what);
    }

    // A row of Refs is lost: every path is valid, and the closure ends early.
    let target = stores.target("no-reference", |list| wrong_in_one(list, "-b", None));
    refuses(stores.judged(&target), "not registered so", "a lost reference");
    let system = stores.nix(
        "nix-store",
        &[
            "--store",
            target.as_str(),
            "--query",
            "--requisites",
            &stores.system,
        ],
    );
    assert_eq!(
        system.lines().count(),
        2,
        "a garbage collector would take the third: {system}"
    );

    let target = stores.target("another-size", |list| wrong_in_one(list, "-a", Some("1")));
    refuses(stores.judged(&target), "not registered so", "another size");

    stores.nix(
        "nix-store",
        &[
            "--store",
            good.as_str(),
            "--add",
            stores.place.join("conf").as_str(),
        ],
    );
    refuses(stores.judged(&good), "not in the source", "a path more");

    let nothing = stores.place.join("nothing");
    fs_err::create_dir_all(&nothing).unwrap();
    refuses(stores.judged(&nothing), "not registered so", "an empty target");
}

/// A file of so many MiB.
fn volume(place: &Utf8Path, name: &str, mib: u64) -> Utf8PathBuf {
    let path = place.join(name);
    fs_err::File::create(&path).unwrap().set_len(mib << 20).unwrap();
    path
}

#[test]
fn an_ext4_with_one_thing_wrong_is_refused() {
    if !are_here(&["mkfs.ext4", "e2fsck", "blkid"]) {
        return;
    }
    let (_held, place) = folder();
    let ext4 = volume(&place, "ext4", 32);
    run(
        "mkfs.ext4",
        &[
            "-F",
            "-q",
            "-b",
            "4096",
            "-L",
            "root-web",
            "-U",
            ID,
            ext4.as_str(),
        ],
    );
    oracles::identity(&ext4, "ext4", ID, "root-web").unwrap();
    oracles::ext4(&ext4).unwrap();
    refuses(
        oracles::identity(&ext4, "ext4", ID, "root"),
        "LABEL",
        "another label",
    );
    refuses(
        oracles::identity(&ext4, "vfat", ID, "root-web"),
        "TYPE",
        "another kind",
    );
    // A group descriptor.
    overwrite(&ext4, 4_096, &[0xff; 8]);
    refuses(oracles::ext4(&ext4), "e2fsck", "a damaged ext4");
}

#[test]
fn a_swap_with_another_id_is_refused() {
    if !are_here(&["mkswap", "blkid"]) {
        return;
    }
    let (_held, place) = folder();
    let swap = volume(&place, "swap", 8);
    run(
        "mkswap",
        &[
            "--quiet",
            "--label",
            "swap-web",
            "--uuid",
            &ID.replace("dead", "beef"),
            swap.as_str(),
        ],
    );
    refuses(
        oracles::identity(&swap, "swap", ID, "swap-web"),
        "UUID",
        "another id",
    );
    assert!(oracles::identity(&volume(&place, "blank", 8), "swap", ID, "swap-web").is_err());
}

#[test]
fn a_fat_with_one_thing_wrong_is_refused() {
    if !are_here(&["mkfs.vfat", "fsck.vfat", "mcopy", "blkid"]) {
        return;
    }
    let (_held, place) = folder();
    let fat = volume(&place, "fat", 64);
    run(
        "mkfs.vfat",
        &[
            "-F",
            "32",
            "-s",
            "1",
            "-n",
            "ESP-WEB",
            "-i",
            "DEADBEEF",
            fat.as_str(),
        ],
    );
    oracles::identity(&fat, "vfat", "DEAD-BEEF", "ESP-WEB").unwrap();
    refuses(
        oracles::fat(&fat, &["/SLOT0.BIN"]),
        "lists no /SLOT0.BIN",
        "a missing slot",
    );
    let slot = place.join("slot");
    fs_err::write(&slot, [7; 4_096]).unwrap();
    run("mcopy", &["-i", fat.as_str(), slot.as_str(), "::/SLOT0.BIN"]);
    oracles::fat(&fat, &["/SLOT0.BIN"]).unwrap();
    // The second copy of the table says something else than the first: 32 reserved sectors, then two tables.
    let sectors = {
        let bytes = fs_err::read(&fat).unwrap();
        let number = |at: usize| u64::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        (number(14), number(36))
    };
    overwrite(&fat, (sectors.0 + sectors.1) * 512 + 12, &[0xaa; 4]);
    refuses(
        oracles::fat(&fat, &["/SLOT0.BIN"]),
        "fsck.vfat",
        "two tables that differ",
    );
}

#[test]
fn a_container_with_one_thing_wrong_is_refused() {
    if !are_here(&["cryptsetup", "blkid"]) {
        return;
    }
    let (_held, place) = folder();
    let (key, wrong) = (place.join("key"), place.join("wrong"));
    fs_err::write(&key, "half a way").unwrap();
    fs_err::write(&wrong, "half a was").unwrap();
    let made = volume(&place, "luks", 24);
    run(
        "cryptsetup",
        &[
            "luksFormat",
            "--batch-mode",
            "--type",
            "luks2",
            "--uuid",
            ID,
            "--label",
            "luks-web",
            "--pbkdf",
            "pbkdf2",
            "--pbkdf-force-iterations",
            "1000",
            "--key-file",
            key.as_str(),
            made.as_str(),
        ],
    );
    oracles::container(&made, ID, "luks-web", &key).unwrap();
    refuses(
        oracles::container(&made, ID, "luks-web", &wrong),
        "cryptsetup",
        "another passphrase",
    );
    refuses(
        oracles::container(&made, ID, "luks", &key),
        "LABEL",
        "another label",
    );
    let damaged = place.join("damaged");
    for (what, at, why) in [
        (
            "a byte of the second header",
            16_384 + 4_096 + 40,
            "the second LUKS2 header has another checksum",
        ),
        ("no second header", 16_384, "the second LUKS2 header is not there"),
        ("a key slot", 32_768 + 4_096, "cryptsetup"),
    ] {
        fs_err::copy(&made, &damaged).unwrap();
        overwrite(&damaged, at, &[0x5a; 512]);
        refuses(oracles::container(&damaged, ID, "luks-web", &key), why, what);
    }
}
