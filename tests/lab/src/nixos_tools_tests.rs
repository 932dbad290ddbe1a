//! Tests of `nixos_tools`: what a folder with NixOS's programs may look like, and how each mistake is reported.

#![allow(clippy::unwrap_used)]
use super::*;

const PATH: &str = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-tool";

struct Scratch(PathBuf);
impl Scratch {
    fn new(name: &str) -> Scratch {
        let folder = std::env::temp_dir().join(format!("landfall-lab-tools-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Scratch(folder)
    }

    fn write(&self, path: &str, text: &[u8], mode: u32) {
        let file = self.0.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A folder in which nothing is wrong.
    fn good(&self) {
        let name = PATH.strip_prefix(STORE).unwrap();
        self.write(&format!("store/{name}/bin/bash"), b"", 0o755);
        self.write("registration", format!("{PATH}\nh\n12\n\n0\n").as_bytes(), 0o644);
        let script = format!("#! {PATH}/bin/bash\ntrue\n");
        for program in WANTED {
            self.write(&format!("bin/{program}"), script.as_bytes(), 0o755);
        }
        self.write("target/activate", script.as_bytes(), 0o644);
        self.write("systems/plain", format!("{PATH}\n").as_bytes(), 0o644);
    }
}
impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// An environment that has nothing.
fn environment(scratch: &Scratch) -> Environment {
    let squashfs = scratch.0.join("env.squashfs");
    Environment {
        squashfs: squashfs.clone(),
        kernel: squashfs.clone(),
        initrd: squashfs.clone(),
        busybox: squashfs,
        kernel_release: String::new(),
    }
}

#[test]
fn a_good_folder_is_taken() {
    let scratch = Scratch::new("good");
    scratch.good();
    let tools = NixosTools::open(&scratch.0, &environment(&scratch)).unwrap();
    assert_eq!(tools.programs.len(), 2);
    assert_eq!(tools.systems.get("plain").map(String::as_str), Some(PATH));
    assert_eq!(tools.target_paths(), [PATH]);
}

fn fifo(scratch: &Scratch, path: &str) {
    let path = scratch.0.join(path);
    fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
}

type Spoil = fn(&Scratch);

/// A folder's name, a mistake, and what is said of it.
const MISTAKES: [(&str, Spoil, &str); 14] = [
    (
        "no-enter",
        |s| fs::remove_file(s.0.join("bin/nixos-enter")).unwrap(),
        "bin/nixos-enter is missing",
    ),
    (
        "no-bit",
        |s| s.write("bin/nixos-install", b"#!/nix/store/x\n", 0o644),
        "bin/nixos-install is not executable",
    ),
    (
        "folder",
        |s| {
            fs::remove_file(s.0.join("bin/nixos-install")).unwrap();
            fs::create_dir(s.0.join("bin/nixos-install")).unwrap();
        },
        "bin/nixos-install is not a file",
    ),
    (
        "text",
        |s| s.write("bin/nixos-install", b"echo hello\n", 0o755),
        "bin/nixos-install is neither a script with #! nor an ELF program",
    ),
    (
        "interpreter",
        |s| s.write("bin/nixos-install", b"#!/nix/store/gone/bin/sh\n", 0o755),
        "bin/nixos-install is run by /nix/store/gone/bin/sh, which is not there",
    ),
    (
        "link",
        |s| std::os::unix::fs::symlink("/no/such/place", s.0.join("bin/other")).unwrap(),
        "bin/other leads nowhere",
    ),
    (
        "target",
        |s| s.write("target/init", b"#!/bin/sh\n", 0o755),
        "target/init is not one of: activate",
    ),
    (
        "target-shell",
        |s| s.write("target/activate", b"#!/bin/sh\n", 0o755),
        "target/activate is run by /bin/sh, which is not there",
    ),
    (
        "registration",
        |s| fs::remove_file(s.0.join("registration")).unwrap(),
        "registration is missing",
    ),
    (
        "registration-folder",
        |s| {
            fs::remove_file(s.0.join("registration")).unwrap();
            fs::create_dir(s.0.join("registration")).unwrap();
        },
        "registration cannot be read: it is not a file",
    ),
    (
        "registration-fifo",
        |s| fifo(s, "registration"),
        "registration cannot be read: it is not a file",
    ),
    (
        "system-fifo",
        |s| fifo(s, "systems/plain"),
        "systems/plain cannot be read: it is not a file",
    ),
    (
        "unregistered",
        |s| s.write("store/other/file", b"", 0o644),
        "store/ has /nix/store/other, registration has not",
    ),
    (
        "system",
        |s| s.write("systems/luks", b"/nix/store/none\n", 0o644),
        "systems/luks names /nix/store/none, which store/ and registration do not have",
    ),
];

#[test]
fn each_mistake_is_named() {
    for (name, spoil, said) in MISTAKES {
        let scratch = Scratch::new(name);
        scratch.good();
        spoil(&scratch);
        let error = format!(
            "{:#}",
            NixosTools::open(&scratch.0, &environment(&scratch)).unwrap_err()
        );
        assert!(error.contains(said), "{name}: {error}");
    }
    let scratch = Scratch::new("none");
    let error = NixosTools::open(&scratch.0.join("none"), &environment(&scratch)).unwrap_err();
    assert!(format!("{error:#}").contains("--nixos-tools"), "{error:#}");
    // Everything that is wrong is told at once.
    let error = NixosTools::open(&scratch.0, &environment(&scratch)).unwrap_err();
    let text = format!("{error:#}");
    assert!(
        text.contains("bin/nixos-install") && text.contains("bin/nixos-enter"),
        "{text}"
    );
}

#[test]
fn an_interpreter_is_read_from_script_and_elf() {
    let path = |text: &str| Some(Interpreter::Path(text.to_owned()));
    assert_eq!(interpreter(b"#!/bin/sh -e\ntrue"), path("/bin/sh"));
    assert_eq!(
        interpreter(b"#! /nix/store/x/bin/bash"),
        path("/nix/store/x/bin/bash")
    );
    assert_eq!(interpreter(b"#!\n"), None);
    let own = fs::read(std::env::current_exe().unwrap()).unwrap();
    assert_eq!(interpreter(&own), path("/lib64/ld-linux-x86-64.so.2"));
    for cut in [0, 4, 5, 40, 60, 100] {
        assert_eq!(interpreter(&own[..cut]), None, "{cut}");
    }
}
