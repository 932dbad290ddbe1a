//! What can be said of a closure without a machine; one test builds with Nix and is run by `cargo lab test`.

#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn a_dump_is_read_path_by_path() {
    let dump =
        "/nix/store/a\nh\n12\n\n2\n/nix/store/a\n/nix/store/b\n/nix/store/b\nh\n3\n/nix/store/b.drv\n0\n";
    let read = records(dump).unwrap();
    let summary: Vec<_> = read.iter().map(|record| (record.path, record.size)).collect();
    assert_eq!(summary, [("/nix/store/a", 12), ("/nix/store/b", 3)]);
    assert_eq!(read.iter().map(|record| record.text).collect::<String>(), dump);
    assert!(records("/nix/store/a\nh\n12\n\n2\n/nix/store/a\n").is_err());
}

struct Scratch(PathBuf);
impl Scratch {
    fn new(name: &str) -> Scratch {
        let folder = std::env::temp_dir().join(format!("landfall-lab-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Scratch(folder)
    }
}
impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = remove(&self.0);
    }
}

#[test]
fn the_install_script_refuses_what_it_must_before_it_writes() {
    let scratch = Scratch::new("refuses");
    let bin = scratch.0.join("bin");
    write_install_scripts(&bin).unwrap();
    let target = scratch.0.join("target");
    fs::create_dir(&target).unwrap();
    fs::set_permissions(&target, std::fs::Permissions::from_mode(0o700)).unwrap();
    let run = |arguments: &[&str]| {
        let done = Command::new(bin.join("nixos-install"))
            .args(arguments)
            .output()
            .unwrap();
        (
            done.status.code(),
            String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr),
        )
    };
    let root = target.to_string_lossy().into_owned();
    for (arguments, said) in [
        (
            &["--root", &root, "--system", "/nix/store/x"][..],
            "should have permissions 755",
        ),
        (
            &["--root", "/no/such/place", "--system", "/nix/store/x"],
            "mount point /no/such/place doesn't exist",
        ),
        (&["--flush"], "unknown option `--flush'"),
        (&["--root", "/", "--flake", "/config"], "Please specify the name"),
        (&["--root", "/"], "no build method found"),
        (
            &["--root", "/", "--flake", "/config#a", "--system", "/nix/store/x"],
            "multiple build methods requested",
        ),
    ] {
        let (code, text) = run(arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {text}");
        assert!(text.contains(said), "{arguments:?}: {text}");
    }
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
}

#[test]
fn merged_trees_hold_each_path_once() {
    let scratch = Scratch::new("merged");
    let make = |name: &str, paths: &[&str]| {
        let nix_tree = scratch.0.join(name);
        let mut registration = String::new();
        for path in paths {
            fs::create_dir_all(nix_tree.join(format!("store/{path}"))).unwrap();
            fs::write(nix_tree.join(format!("store/{path}/file")), path).unwrap();
            registration.push_str(&format!("/nix/store/{path}\nhash\n1\n\n0\n"));
        }
        let paths = paths.iter().map(|path| format!("/nix/store/{path}")).collect();
        Closure {
            toplevel: String::new(),
            nix_tree,
            registration,
            paths,
            bytes: 0,
        }
    };
    let (one, two) = (make("one", &["a", "b"]), make("two", &["b", "c"]));
    let into = scratch.0.join("nix");
    for _ in 0..2 {
        merge(&[&one, &two], &into).unwrap();
        let registration = fs::read_to_string(into.join("registration")).unwrap();
        let paths: Vec<_> = records(&registration)
            .unwrap()
            .iter()
            .map(|record| record.path)
            .collect();
        assert_eq!(paths, ["/nix/store/a", "/nix/store/b", "/nix/store/c"]);
        for name in ["a", "b", "c"] {
            assert_eq!(
                fs::read_to_string(into.join(format!("store/{name}/file"))).unwrap(),
                name
            );
        }
    }
}

#[test]
#[ignore = "run by: cargo lab test"]
fn a_closure_is_whole_and_built_once() {
    let scratch = Scratch::new("builds");
    let params = ClosureParams::plain("box")
        .with_luks("LUKS", "cryptroot")
        .with_filler(250, 4);
    let built = build(&scratch.0, &params, None).unwrap();
    assert!(
        built.toplevel.ends_with("-nixos-system-box-26.05.landfall"),
        "{}",
        built.toplevel
    );
    assert_eq!(built.paths.len(), 255);
    let inside = |path: &str| built.nix_tree.join(path.strip_prefix("/nix/").unwrap());
    for name in [
        "init",
        "activate",
        "bin/switch-to-configuration",
        "nixos-version",
        "kernel-params",
        "etc",
    ] {
        assert!(inside(&built.toplevel).join(name).exists(), "{name}");
    }
    for name in [
        "kernel",
        "initrd",
        "sw/bin/bash",
        "sw/bin/mount",
        "sw/bin/bootctl",
    ] {
        let target = fs::read_link(inside(&built.toplevel).join(name)).unwrap();
        assert!(inside(&target.to_string_lossy()).is_file(), "{name}");
    }
    // Whatever the registration tells of is there, with references that are there too.
    for record in records(&built.registration).unwrap() {
        for line in record
            .text
            .lines()
            .filter(|line| line.starts_with("/nix/") && !line.ends_with(".drv"))
        {
            assert!(inside(line).exists(), "{line}");
        }
    }
    let started = Instant::now();
    assert_eq!(build(&scratch.0, &params, None).unwrap().toplevel, built.toplevel);
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
}
