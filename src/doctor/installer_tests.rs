use super::super::tests::{Machine, config, finding, fine, run, skipped, with};
use super::*;
use crate::real::test_support;
use std::time::SystemTime;

const FLAKE: &str = r#"repository: (remote: "https://forge.example/o/r"), system: Flake"#;
const PREBUILT: &str = r#"repository: (bundle: "/bundle"), system: Prebuilt("/nix/store/2xyifq2nh639qmif11q87l313ylaxf6d-nixos-system-web")"#;

#[test]
fn settings_that_are_wrong_or_absent_are_found() {
    let machine = Machine::new();
    let mut scene = machine.scene();
    assert_eq!(
        finding("settings", &scene).why,
        "this medium has no configuration"
    );
    scene.config = Some((
        "/etc/landfall/install.json".into(),
        Err("host: missing\n  next: give one".into()),
    ));
    let found = finding("settings", &scene);
    assert_eq!(found.next, "landfall check /etc/landfall/install.json");
    assert_eq!(found.list, ["host: missing", "next: give one"]);
    // What needs it says that it did not look.
    for name in [
        "tools",
        "payload",
        "network",
        "names",
        "portal",
        "caches",
        "cache-keys",
        "remote",
        "service",
    ] {
        assert!(skipped(name, &scene).contains("settings"), "{name}");
    }
    with(&mut scene, config(FLAKE));
    assert!(fine("settings", &scene).contains("host web"));
}

#[test]
fn firmware_is_what_preflight_says() {
    let machine = Machine::new();
    let scene = machine.scene();
    assert!(finding("firmware", &scene).why.contains("BIOS mode"));
    machine.write("sys/firmware/efi/fw_platform_size", "32\n");
    assert!(
        finding("firmware", &scene)
            .why
            .contains("it is \"32\"-bit firmware")
    );
    machine.write("sys/firmware/efi/fw_platform_size", "64\n");
    assert_eq!(fine("firmware", &scene), "UEFI, 64 bits");
}

#[test]
fn secure_boot_that_is_on_is_found_and_off_is_fine() {
    let machine = Machine::new();
    let scene = machine.scene();
    assert!(skipped("secure-boot", &scene).contains("BIOS mode"));
    machine.write("sys/firmware/efi/fw_platform_size", "64\n");
    let unseen = skipped("secure-boot", &scene);
    assert!(
        unseen.ends_with("mount -t efivarfs efivarfs /sys/firmware/efi/efivars"),
        "{unseen}"
    );
    machine.write(&format!("{EFIVARS}/BootOrder-{GLOBAL}"), [7, 0, 0, 0]);
    assert_eq!(fine("secure-boot", &scene), "the firmware has none");
    let file = format!("sys/firmware/efi/efivars/SecureBoot-{GLOBAL}");
    machine.write(&file, [6, 0, 0, 0, 1]);
    let found = finding("secure-boot", &scene);
    assert!(
        found.why.contains("Secure Boot is on") && found.next.starts_with("turn Secure Boot off"),
        "{found:?}"
    );
    machine.write(&file, [6, 0, 0, 0, 0]);
    assert_eq!(fine("secure-boot", &scene), "off");
    machine.write(
        &format!("sys/firmware/efi/efivars/SetupMode-{GLOBAL}"),
        [6, 0, 0, 0, 1],
    );
    assert!(fine("secure-boot", &scene).contains("setup mode"));
}

#[test]
fn a_tpm_without_its_driver_is_found_and_none_is_fine() {
    let machine = Machine::new();
    let scene = machine.scene();
    assert_eq!(
        fine("tpm", &scene),
        "the machine has no TPM; an install does not need one"
    );
    machine.write("sys/firmware/acpi/tables/TPM2", "TPM2");
    assert!(finding("tpm", &scene).next.starts_with("modprobe tpm_crb"));
    // The driver is loaded.
    machine.write("sys/class/tpm/tpm0/tpm_version_major", "2\n");
    assert_eq!(fine("tpm", &scene), "TPM 2");
}

#[test]
fn a_missing_tool_is_found_and_one_in_path_is_fine() {
    let machine = Machine::new();
    let mut scene = machine.scene();
    with(&mut scene, config(FLAKE));
    // The tools of an installer are not all here; which are missing is said as preflight says it.
    match run("tools", &scene) {
        Outcome::Fine(found) => assert!(found.contains("nixos-install")),
        Outcome::Finding(found) => {
            assert!(found.what.contains("nixos-install"), "{found:?}");
            assert!(found.next.contains("PATH"), "{found:?}");
        }
        Outcome::Skipped(why) => panic!("{why}"),
    }
}

#[test]
fn little_memory_is_found_by_what_the_install_does_with_it() {
    let machine = Machine::new();
    let mut scene = machine.scene();
    assert!(skipped("memory", &scene).contains("/proc/meminfo"));
    let memory = |total: u64, free: u64| {
        machine.write(
            "proc/meminfo",
            format!(
                "MemTotal:       {} kB\nMemFree: 1 kB\nMemAvailable: {} kB\n",
                total << 10,
                free << 10
            ),
        );
    };
    memory(1_024, 800);
    with(&mut scene, config(FLAKE));
    let found = finding("memory", &scene);
    assert_eq!(found.what, "memory of 1024 MiB");
    assert!(found.next.contains("prebuilt"), "{found:?}");
    // The one remedy, and the other.
    with(&mut scene, config(PREBUILT));
    assert!(fine("memory", &scene).starts_with("1024 MiB"));
    with(&mut scene, config(FLAKE));
    memory(4_096, 3_000);
    fine("memory", &scene);
    let luks = r#"(host: "web", labels: (efi: "ESP-WEB", root: "root-web", luks: "luks-web"),
        repository: (bundle: "/bundle"), system: Flake, luks: (enable: true, memory_min: "1G"))"#;
    with(
        &mut scene,
        Config::parse(luks, crate::config::Notation::Ron).unwrap(),
    );
    memory(2_048, 800);
    assert!(finding("memory", &scene).why.contains("luks.memory_min"));
    memory(2_048, 1_500);
    fine("memory", &scene);
}

#[test]
fn scratch_space_that_is_short_is_found() {
    let Outcome::Finding(found) = judge_scratch(&[("/run", 200 << 20), ("/tmp", 3 << 20)]) else {
        panic!("3 MiB are fine")
    };
    assert_eq!(found.list, ["/tmp: 3 MiB free"]);
    assert!(matches!(
        judge_scratch(&[("/run", 200 << 20), ("/tmp", 64 << 20)]),
        Outcome::Fine(_)
    ));
    let machine = Machine::new();
    machine.write("run/x", "");
    assert!(fine("scratch", &machine.scene()).contains("/run: "));
}

#[test]
fn what_is_carried_and_gone_is_found() {
    let machine = Machine::new();
    let mut scene = machine.scene();
    with(&mut scene, config(FLAKE));
    assert!(fine("payload", &scene).contains("neither system nor repository"));
    with(&mut scene, config(PREBUILT));
    assert!(finding("payload", &scene).why.contains("installer's store"));
    machine.write(
        "nix/store/2xyifq2nh639qmif11q87l313ylaxf6d-nixos-system-web/init",
        "",
    );
    assert_eq!(finding("payload", &scene).what, "bundle /bundle");
    let bundle = machine.root.join("bundle");
    machine.write("bundle", "");
    let rest = PREBUILT.replace("/bundle", bundle.as_str());
    with(&mut scene, config(&rest));
    assert!(fine("payload", &scene).contains("bundle"));
    let image = r#"repository: (bundle: "/bundle"), system: Image(system: "/nix/store/2xyifq2nh639qmif11q87l313ylaxf6d-nixos-system-web", file: "/iso/landfall/root.image")"#;
    with(&mut scene, config(image));
    let found = finding("payload", &scene);
    assert!(found.what.contains("/iso/landfall/root.image"), "{found:?}");
}

#[test]
fn a_clock_before_the_installer_itself_is_found_and_one_that_is_set_is_fine() {
    let machine = Machine::new();
    let mut scene = machine.scene();
    scene.now = SystemTime::UNIX_EPOCH;
    let found = finding("clock", &scene);
    assert!(found.next.contains("date --set"), "{found:?}");
    assert_eq!(
        found.why,
        "it shows 1970-01-01T00:00:00Z, which is about 56 years too early; landfall accepts times from 2026-01-01T00:00:00Z to 2100-01-01T00:00:00Z"
    );
    // 1 August 2026, and an installer of September.
    let at = |s| SystemTime::UNIX_EPOCH + Duration::from_secs(s);
    scene.now = at(1_785_542_400);
    assert_eq!(fine("clock", &scene), "2026-08-01T00:00:00Z");
    machine.write(
        "etc/os-release",
        "NAME=NixOS\nBUILD_ID=\"26.05.20260901.abcdef0\"\n",
    );
    let found = finding("clock", &scene);
    assert_eq!(
        found.why,
        "it shows 2026-08-01T00:00:00Z, but this installer was made about 31 days later, on 2026-09-01T00:00:00Z; certificates are not valid yet at that time"
    );
    scene.now = at(1_788_220_800 + 2 * 86_400);
    assert_eq!(
        fine("clock", &scene),
        "2026-09-03T00:00:00Z, about 2 days after this installer was made"
    );
    for strange in ["BUILD_ID=\"26.05pre-git\"", "BUILD_ID=26.05.2026ab01.x", ""] {
        assert_eq!(made_s(strange), None, "{strange}");
    }
}

fn disk_report(candidate: Result<(), Vec<String>>, chosen: Option<&str>) -> DiskReport {
    DiskReport {
        device: "/dev/vdb".into(),
        model: None,
        serial: Some("LF0001".into()),
        wwn: None,
        size_bytes: 8 << 30,
        sector_bytes: 512,
        path: None,
        name: Some("LF0001".into()),
        transport: "virtio".into(),
        removable: false,
        contents: vec![],
        own_use: vec![],
        candidate,
        can_be_named: true,
        chosen: chosen.map(str::to_owned),
    }
}

#[test]
fn disks_of_which_none_is_chosen_are_a_finding_with_the_reason_of_each() {
    let fault = Fault::of(
        landfall_states::fault::Kind::NoChoice {
            reason: "no disk may be chosen".into(),
            disks: vec![],
        },
        Remedy::Command("landfall disks".into()),
    );
    let reports = vec![disk_report(Err(vec!["it is mounted".into()]), None)];
    let Outcome::Finding(found) = judge_disks(&reports, Some(fault)) else {
        panic!("no disk is fine")
    };
    assert!(
        found
            .list
            .iter()
            .any(|line| line.contains("/dev/vdb (LF0001") && line.contains("it is mounted")),
        "{found:?}"
    );
    assert_eq!(found.next, "landfall disks");
    // Where the fault has a line of the disk, there is no other.
    let of_choice = Fault::of(
        landfall_states::fault::Kind::NoChoice {
            reason: "no disk may be chosen".into(),
            disks: vec!["/dev/vdb virtio, LF0001, 8.0 GiB: not usable: it is mounted".into()],
        },
        Remedy::Command("landfall disks".into()),
    );
    let mut other = disk_report(Err(vec!["it is read-only".into()]), None);
    other.device = "/dev/vdb1".into();
    let reports = [reports, vec![other]].concat();
    let Outcome::Finding(found) = judge_disks(&reports, Some(of_choice)) else {
        panic!("no disk is fine")
    };
    let lines = |device: &str| found.list.iter().filter(|line| line.starts_with(device)).count();
    assert_eq!((lines("/dev/vdb "), lines("/dev/vdb1")), (1, 1), "{found:?}");
    let chosen = judge_disks(&[disk_report(Ok(()), Some("it is named"))], None);
    assert!(matches!(chosen, Outcome::Fine(found) if found.contains("LF0001")));
}

#[test]
fn checkpoints_of_another_host_and_damaged_ones_are_found() {
    let record = test_support::record();
    let slot = include_bytes!("../../tests/golden/checkpoint-2/state-cloned.slot").as_slice();
    let carried = |a, b| vec![("/dev/vdb (LF0001)".to_owned(), [a, b])];
    let host = record.host.as_str();
    let outcome = judge_checkpoints(&carried(Some(slot), None), &[], Some(host), "landfall doctor");
    assert!(matches!(outcome, Outcome::Fine(found) if found.contains(host) && found.contains("Cloned")));
    let Outcome::Finding(found) = judge_checkpoints(
        &carried(Some(slot), None),
        &[],
        Some("another"),
        "landfall doctor",
    ) else {
        panic!("another host's install is fine")
    };
    assert_eq!(found.class, FaultClass::Unsafe);
    assert!(
        found.list[0].contains("this installer is for another"),
        "{found:?}"
    );
    let mut torn = slot.to_vec();
    torn[300] ^= 1;
    let outcome = judge_checkpoints(
        &carried(Some(&torn), Some(&torn)),
        &[],
        Some(host),
        "landfall doctor",
    );
    assert!(matches!(outcome, Outcome::Finding(found) if found.list[0].contains("both slots are damaged")));
    // One that is whole is enough, as it is for an install.
    let outcome = judge_checkpoints(
        &carried(Some(&torn), Some(slot)),
        &[],
        Some(host),
        "landfall doctor",
    );
    assert!(matches!(outcome, Outcome::Fine(found) if found.contains("older slot is damaged")));
    assert!(matches!(
        judge_checkpoints(&carried(None, None), &[], Some(host), "landfall doctor"),
        Outcome::Fine(_)
    ));
    let unread = ["/dev/vdc: Input/output error".to_owned()];
    let Outcome::Finding(found) = judge_checkpoints(&[], &unread, None, "landfall doctor") else {
        panic!("a disk that cannot be read is fine")
    };
    assert_eq!(found.class, FaultClass::Hardware);
    assert!(found.why.contains("cannot be read") && found.list == unread);
}

#[test]
fn the_service_says_its_last_failure() {
    let said = |active: &str, result: &str| {
        format!("LoadState=loaded\nActiveState={active}\nSubState=x\nResult={result}\nExecMainStatus=5\n")
    };
    let stopped = LastRun::Stopped(Finding {
        what: "stopped in Formatted: clone".into(),
        why: "the network is down".into(),
        list: vec![],
        next: "landfall resume".into(),
        class: FaultClass::Transient,
    });
    let wrong = |said: &str, last: Option<&LastRun>| match judge_service("web.service", said, last) {
        Outcome::Finding(found) => found,
        other => panic!("{other:?}"),
    };
    assert!(wrong("LoadState=masked\n", None).why.contains("masked"));
    assert_eq!(
        wrong(&said("failed", "exit-code"), Some(&stopped)).next,
        "landfall resume"
    );
    assert!(
        wrong(&said("failed", "watchdog"), None)
            .why
            .contains("watchdog, status 5")
    );
    assert!(
        wrong(&said("inactive", "success"), None)
            .next
            .contains("restart web.service")
    );
    assert!(
        wrong(&said("inactive", "success"), Some(&LastRun::Gone))
            .why
            .contains("killed?")
    );
    let nothing = LastRun::NothingToResume {
        why: "sda holds no install of web".into(),
        next: "landfall install".into(),
    };
    let found = wrong(&said("inactive", "success"), Some(&nothing));
    assert!(
        found.why.contains("nothing to resume: sda holds"),
        "{}",
        found.why
    );
    assert_eq!(found.next, "landfall install");
    // A medium without landfall's module: the runs are a person's, and no service is missing.
    let by_hand = |last| judge_service("web.service", "LoadState=not-found\n", last);
    assert!(matches!(by_hand(None), Outcome::Skipped(why) if why.contains("sudo landfall install")));
    assert!(matches!(by_hand(Some(&LastRun::Landed)), Outcome::Fine(_)));
    for (last, next) in [
        (&stopped, "landfall resume"),
        (&nothing, "landfall install"),
        (&LastRun::Gone, "sudo landfall resume"),
    ] {
        assert!(matches!(by_hand(Some(last)), Outcome::Finding(found) if found.next == next));
    }
    // Started again, it is at work.
    for active in ["activating", "active"] {
        let outcome = judge_service("web.service", &said(active, "success"), Some(&stopped));
        assert!(matches!(outcome, Outcome::Fine(_)), "{outcome:?}");
    }
    let landed = judge_service(
        "web.service",
        &said("inactive", "success"),
        Some(&LastRun::Landed),
    );
    assert_eq!(landed, Outcome::fine("the install is finished"));
}
