use super::*;
use crate::event::Reporter;
use crate::real::process::stop::Stop;
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
        Scene::new(
            &self.root,
            CommandContext::new(Reporter::default(), Stop::never()),
            now,
        )
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

/// For each check, the test that breaks what it looks at, sees it found with its remedy, repairs it and sees the check fine: the file, the
/// function, what is there when it is found and when it is fine again. By its name, where that test asks the check itself.
const CASES: [(&str, &str, &str, &str, &str); 32] = {
    const INSTALLER: &str = "src/doctor/installer_tests.rs";
    const INSTALLED: &str = "src/doctor/installed_tests.rs";
    const NETWORK: &str = "src/doctor/network_tests.rs";
    const TESTS: &str = "tests/doctor.rs";
    const OPERATOR: &str = "tests/doctor_operator.rs";
    const REMOTE: &str = "tests/doctor_remote.rs";
    const LAB: &str = "tests/lab/src/scenarios/doctor.rs";
    const FOUND: &str = "finding(\"";
    const FINE: &str = "fine(\"";
    [
        (
            "privileges",
            TESTS,
            "without_root_it_says_so_and_looks_at_what_it_can",
            "\"finding\"",
            "\"fine\"",
        ),
        (
            "settings",
            INSTALLER,
            "settings_that_are_wrong_or_absent_are_found",
            FOUND,
            FINE,
        ),
        (
            "firmware",
            INSTALLER,
            "firmware_is_what_preflight_says",
            FOUND,
            FINE,
        ),
        (
            "secure-boot",
            INSTALLER,
            "secure_boot_that_is_on_is_found_and_off_is_fine",
            FOUND,
            FINE,
        ),
        (
            "tpm",
            INSTALLER,
            "a_tpm_without_its_driver_is_found_and_none_is_fine",
            FOUND,
            FINE,
        ),
        ("tools", LAB, "on_the_installer", "repaired(\"", "repaired(\""),
        (
            "memory",
            INSTALLER,
            "little_memory_is_found_by_what_the_install_does_with_it",
            FOUND,
            FINE,
        ),
        (
            "scratch",
            INSTALLER,
            "scratch_space_that_is_short_is_found",
            "judge_scratch(",
            FINE,
        ),
        (
            "payload",
            INSTALLER,
            "what_is_carried_and_gone_is_found",
            FOUND,
            FINE,
        ),
        (
            "clock",
            INSTALLER,
            "a_clock_before_the_installer_itself_is_found_and_one_that_is_set_is_fine",
            FOUND,
            FINE,
        ),
        (
            "network",
            NETWORK,
            "links_addresses_and_routes_are_found_in_their_order",
            FOUND,
            FINE,
        ),
        (
            "names",
            NETWORK,
            "names_that_do_not_resolve_are_found",
            FOUND,
            FINE,
        ),
        (
            "portal",
            NETWORK,
            "a_captive_portal_is_told_from_a_cache",
            FOUND,
            FINE,
        ),
        (
            "remote",
            REMOTE,
            "the_remote_is_asked_with_the_key_and_the_known_hosts",
            FOUND,
            FINE,
        ),
        (
            "caches",
            NETWORK,
            "caches_that_cannot_be_used_are_found_each_with_its_reason",
            FOUND,
            FINE,
        ),
        (
            "cache-keys",
            NETWORK,
            "a_key_that_does_not_prove_what_the_cache_signs_is_found",
            FOUND,
            FINE,
        ),
        (
            "disks",
            INSTALLER,
            "disks_of_which_none_is_chosen_are_a_finding_with_the_reason_of_each",
            "Outcome::Finding",
            "Outcome::Fine",
        ),
        (
            "checkpoint",
            INSTALLER,
            "checkpoints_of_another_host_and_damaged_ones_are_found",
            "Outcome::Finding",
            "Outcome::Fine",
        ),
        (
            "service",
            INSTALLER,
            "the_service_says_its_last_failure",
            "Outcome::Finding",
            "Outcome::Fine",
        ),
        (
            "tracked",
            OPERATOR,
            "files_that_git_does_not_track_are_found",
            FOUND,
            FINE,
        ),
        (
            "flake",
            OPERATOR,
            "a_flake_that_does_not_evaluate_or_lacks_the_host_is_found",
            FOUND,
            FINE,
        ),
        (
            "host",
            OPERATOR,
            "a_flake_that_does_not_evaluate_or_lacks_the_host_is_found",
            FOUND,
            FINE,
        ),
        (
            "agreement",
            OPERATOR,
            "an_installer_that_does_not_fit_the_host_or_landfall_is_found",
            FOUND,
            FINE,
        ),
        (
            "key-pair",
            OPERATOR,
            "the_key_that_the_installer_prints_is_compared",
            FOUND,
            FINE,
        ),
        (
            "secrets",
            OPERATOR,
            "secrets_that_are_not_keyed_for_the_host_are_found",
            FOUND,
            FINE,
        ),
        (
            "image",
            OPERATOR,
            "an_image_of_an_older_flake_is_found",
            FOUND,
            "Outcome::Fine",
        ),
        (
            "version",
            OPERATOR,
            "an_installer_that_does_not_fit_the_host_or_landfall_is_found",
            FOUND,
            FINE,
        ),
        (
            "esp",
            INSTALLED,
            "an_esp_that_does_not_boot_the_system_is_found",
            FOUND,
            FINE,
        ),
        (
            "boot-entry",
            INSTALLED,
            "a_boot_entry_that_is_lost_is_found",
            FOUND,
            FINE,
        ),
        (
            "labels",
            INSTALLED,
            "labels_that_are_not_there_or_twice_are_found",
            FOUND,
            FINE,
        ),
        (
            "receipt",
            INSTALLED,
            "a_receipt_that_cannot_be_read_is_found",
            FOUND,
            FINE,
        ),
        (
            "agenix",
            INSTALLED,
            "an_identity_that_is_not_where_the_configuration_looks_for_it_is_found",
            FOUND,
            FINE,
        ),
    ]
};

/// What is wrong with a case.
fn flaw((check, file, test, found, fine): (&str, &str, &str, &str, &str)) -> Result<(), String> {
    let path = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = fs_err::read_to_string(path).unwrap();
    let begin = text
        .find(&format!("fn {test}("))
        .ok_or(format!("{file} has no {test}"))?;
    let body = text.get(begin..).unwrap_or_default();
    let body = body.split("\n}\n").next().unwrap_or(body);
    let named = |what: &str| match what.ends_with('"') && what.contains('(') {
        true => format!("{what}{check}\""),
        false => what.to_owned(),
    };
    let found = body
        .find(&named(found))
        .ok_or(format!("{test} never finds anything wrong with {check}"))?;
    // A test begins with what is fine, or not; in the end it is.
    match body.rfind(&named(fine)) {
        Some(at) if at >= found => Ok(()),
        Some(_) | None => Err(format!("{test} does not see {check} fine again")),
    }
}

#[test]
fn each_check_has_a_test_that_breaks_and_repairs_what_it_looks_at() {
    let checks: Vec<&str> = CHECKS.iter().map(|check| check.name).collect();
    let cases: Vec<&str> = CASES.iter().map(|case| case.0).collect();
    assert_eq!(cases, checks, "a check without a case, or a case without a check");
    let flaws: Vec<String> = CASES.iter().filter_map(|case| flaw(*case).err()).collect();
    assert_eq!(flaws, Vec::<String>::new());
    // The control.
    let file = "src/doctor/installer_tests.rs";
    assert!(
        flaw((
            "esp",
            file,
            "firmware_is_what_preflight_says",
            "finding(\"",
            "fine(\""
        ))
        .is_err()
    );
    assert!(flaw(("firmware", file, "no_such_test", "finding(\"", "fine(\"")).is_err());
}

static HUNG: Check = Check::of(Place::Installer, "hung", 1, "", |s| {
    Box::pin(async {
        let file = s.root.join("pid");
        let script = format!("echo $$ > {file}; sleep 300 & wait");
        let ended = s
            .context
            .run(crate::real::process::command::Program::new("sh").args(["-c", script.as_str()]))
            .await;
        Outcome::fine(format!("{:?}", ended.is_ok()))
    })
});

#[test]
fn a_program_that_a_check_waits_for_is_ended_with_it() {
    let machine = Machine::new();
    let scene = Arc::new(machine.scene());
    let (deadline, grace) = (Duration::from_secs(2), Duration::from_secs(20));
    let Outcome::Finding(found) = HUNG.run_within(&scene, deadline, grace) else {
        panic!("a program that hangs is fine")
    };
    assert_eq!(found.why, "no result after 2 s");
    let pid = fs_err::read_to_string(machine.root.join("pid")).unwrap();
    let process = Utf8PathBuf::from(format!("/proc/{}/stat", pid.trim()));
    let is_gone = || match fs_err::read_to_string(&process) {
        Err(_) => true,
        // Nobody has asked for its exit status yet.
        Ok(stat) => stat.contains(") Z "),
    };
    for _ in 0..100 {
        if is_gone() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the program goes on: {process}");
}
