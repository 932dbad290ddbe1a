use super::*;
use crate::event::Reporter;
use crate::real::stop::Stop;
use std::collections::BTreeSet;
use std::time::Instant;

/// A machine whose files are below a directory.
pub(super) struct Machine {
    _keep: tempfile::TempDir,
    pub root: Utf8PathBuf,
}

impl Machine {
    pub fn new() -> Self {
        let keep = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(keep.path().to_owned()).unwrap();
        Machine { _keep: keep, root }
    }

    pub fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.root.join(path.trim_start_matches('/'));
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, bytes).unwrap();
    }

    pub fn link(&self, path: &str, to: &str) {
        let path = self.root.join(path.trim_start_matches('/'));
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::os::unix::fs::symlink(to, path).unwrap();
    }

    pub fn remove(&self, path: &str) {
        fs_err::remove_file(self.root.join(path.trim_start_matches('/'))).unwrap();
    }

    pub fn scene(&self) -> Scene {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        Scene::new(&self.root, Hands::new(Reporter::default(), Stop::never()), now)
    }
}

/// A configuration of host `web` with this rest.
pub(super) fn config(rest: &str) -> Config {
    let text =
        format!(r#"(host: "web", labels: (efi: "ESP-WEB", root: "root-web", swap: "swap-web"), {rest})"#);
    Config::parse(&text, crate::config::Notation::Ron).unwrap_or_else(|error| panic!("{error}"))
}

pub(super) fn with(scene: &mut Scene, config: Config) {
    scene.config = Some(("/etc/landfall/install.json".into(), Ok(config)));
}

/// Every file below a directory, with what changes when somebody writes to it.
fn listing(dir: &Utf8Path, found: &mut Vec<String>) {
    use std::os::unix::fs::MetadataExt as _;
    for entry in dir.read_dir_utf8().unwrap() {
        let path = entry.unwrap().into_path();
        let of = fs_err::symlink_metadata(&path).unwrap();
        let (size, mode) = (of.size(), of.mode());
        found.push(format!(
            "{path} {size} {mode} {}.{} {}",
            of.mtime(),
            of.mtime_nsec(),
            of.ctime_nsec()
        ));
        if of.is_dir() {
            listing(&path, found);
        }
    }
}

/// Runs the check of this name, and shows that the machine's files are as they were.
pub(super) fn run(name: &str, scene: &Scene) -> Outcome {
    let files = || {
        let mut found = Vec::new();
        listing(&scene.root, &mut found);
        found.sort();
        found
    };
    let before = files();
    let outcome = by_name(name).unwrap().run(&Arc::new(scene.clone()));
    assert_eq!(files(), before, "{name} wrote");
    outcome
}

/// What it found wrong.
#[track_caller]
pub(super) fn finding(name: &str, scene: &Scene) -> Finding {
    match run(name, scene) {
        Outcome::Finding(finding) => finding,
        other => panic!("{name}: {other:?}"),
    }
}

#[track_caller]
pub(super) fn fine(name: &str, scene: &Scene) -> String {
    match run(name, scene) {
        Outcome::Fine(found) => found,
        other => panic!("{name}: {other:?}"),
    }
}

#[track_caller]
pub(super) fn skipped(name: &str, scene: &Scene) -> String {
    match run(name, scene) {
        Outcome::Skipped(why) => why,
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn a_name_is_of_one_check() {
    let names: BTreeSet<&str> = CHECKS.iter().map(|check| check.name).collect();
    assert_eq!(names.len(), CHECKS.len());
    assert!(by_name("no-such").is_none());
}

static SLOW: Check = Check::of(Place::Installer, "slow", 1, "", |_| {
    Box::pin(async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        Outcome::fine("")
    })
});
static STUCK: Check = Check::of(Place::Installer, "stuck", 1, "", |_| {
    Box::pin(async {
        // As a read from a disk that hangs: nothing else gets its turn.
        std::thread::sleep(Duration::from_secs(60));
        Outcome::fine("")
    })
});
static BROKEN: Check = Check::of(Place::Installer, "broken", 1, "", |_| {
    Box::pin(async { std::panic::resume_unwind(Box::new(())) })
});

#[test]
fn a_check_that_does_not_end_is_a_finding_and_holds_nothing_up() {
    let machine = Machine::new();
    let scene = Arc::new(machine.scene());
    let began = Instant::now();
    for check in [&SLOW, &STUCK] {
        let short = Duration::from_millis(200);
        let Outcome::Finding(found) = check.run_within(&scene, short, short) else {
            panic!("{check:?} is fine")
        };
        assert_eq!(found.class, FaultClass::Transient);
        assert_eq!(found.next, format!("landfall doctor --check {}", check.name));
    }
    assert!(began.elapsed() < Duration::from_secs(10));
    let Outcome::Finding(found) = BROKEN.run(&scene) else {
        panic!("a check that ended without a result is fine")
    };
    assert_eq!(found.why, "it ended without a result");
}

#[test]
fn the_place_is_found_by_what_is_there() {
    let machine = Machine::new();
    let place = |flake: Option<&Utf8Path>| place_of(&machine.root, flake).unwrap().map(|(place, _)| place);
    assert_eq!(place(None), None);
    machine.write("etc/NIXOS", "");
    machine.write("run/current-system/init", "");
    assert_eq!(place(None), Some(Place::Installed));
    let flake = Machine::new();
    assert_eq!(place(Some(&flake.root)), Some(Place::Installed));
    flake.write("flake.nix", "{}");
    assert_eq!(place(Some(&flake.root)), Some(Place::Operator));
    machine.write("etc/landfall/install.json", "{}");
    assert_eq!(place(Some(&flake.root)), Some(Place::Installer));
}
