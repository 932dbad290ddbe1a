//! Promise: the boot loader is proved from the ESP: every file that firmware and loader read is compared with the store,
//! and each fault in it is named. On directories; the real thing is in the laboratory.
// Long because: every test is of one small ESP and its store, which are written here.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test that cannot go on fails

use camino::{Utf8Path, Utf8PathBuf};
use landfall::event::Reporter;
use landfall::real::boot::files::{clear_the_way, observe_boot};
use landfall::real::boot::firmware::{nvram_state, order_with_ours, wanted_entry};
use landfall::real::boot::loader::Variables;
use landfall::real::fs::target_root::Root;
use landfall::real::process::context::CommandContext;
use landfall::real::process::stop::Stop;
use landfall_states::Step as _;
use landfall_states::Verdict;
use landfall_states::actions::install_boot_loader::{
    BootFacts, BootFile, BootOrder, InstallBootLoader, Nvram,
};
use landfall_states::fault::FaultClass;
use landfall_states::names::{Digest, StorePath};
use landfall_states::plan::Machine;
use uuid::Uuid;

const SYSTEM: &str = "/nix/store/2xyifq2nh639qmif11q87l313ylaxf6d-nixos-system-web";
const SYSTEMD: &str = "nix/store/8fizkwq245ivbv54fbs5l49wg0lfg3ci-systemd-258/lib/systemd/boot/efi";

struct Target {
    _keep: tempfile::TempDir,
    root: Utf8PathBuf,
}

fn pe(body: &str) -> Vec<u8> {
    let mut bytes = vec![0_u8; 0x84];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[0x3c] = 0x80;
    bytes[0x80..].copy_from_slice(b"PE\0\0");
    bytes.extend(body.as_bytes());
    bytes
}

impl Target {
    fn new() -> Self {
        let keep = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(keep.path().to_owned()).unwrap();
        let target = Target { _keep: keep, root };
        let system = SYSTEM.trim_start_matches('/');
        target.write(
            "nix/store/1hyligdilnd1v73rx5x77rghlaqks5q5-linux/bzImage",
            b"kernel",
        );
        target.write(
            "nix/store/1hyligdilnd1v73rx5x77rghlaqks5q5-initrd/initrd",
            b"initrd",
        );
        fs_err::create_dir_all(target.root.join(system)).unwrap();
        for (name, to) in [("kernel", "linux/bzImage"), ("initrd", "initrd/initrd")] {
            let to = format!("/nix/store/1hyligdilnd1v73rx5x77rghlaqks5q5-{to}");
            fs_err::os::unix::fs::symlink(to, target.root.join(system).join(name)).unwrap();
        }
        target.write(&format!("{SYSTEMD}/systemd-bootx64.efi"), &pe("boot"));
        target.write("boot/EFI/systemd/systemd-bootx64.efi", &pe("boot"));
        target.write("boot/EFI/BOOT/BOOTX64.EFI", &pe("boot"));
        target.write("boot/EFI/nixos/k.efi", b"kernel");
        target.write("boot/EFI/nixos/i.efi", b"initrd");
        target.write("boot/loader/loader.conf", b"timeout 5\ndefault nixos-*\n");
        target.entry(1, SYSTEM);
        target
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.root.join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, bytes).unwrap();
    }

    fn entry(&self, generation: u32, system: &str) {
        let text = format!(
            "title NixOS\nlinux /EFI/nixos/k.efi\ninitrd /EFI/nixos/i.efi\noptions init={system}/init quiet\n"
        );
        self.write(
            &format!("boot/loader/entries/nixos-generation-{generation}.conf"),
            text.as_bytes(),
        );
    }

    /// What the system says of its own boot.
    fn bootspec(&self, more: &str) {
        let (kernel, initrd) = ("linux/bzImage", "initrd/initrd");
        let store = "/nix/store/1hyligdilnd1v73rx5x77rghlaqks5q5";
        let text = format!(
            r#"{{ "org.nixos.bootspec.v1": {{ "init": "{SYSTEM}/init", "kernel": "{store}-{kernel}",
                "initrd": "{store}-{initrd}", "kernelParams": ["quiet", "root=fstab"], "label": "NixOS",
                "system": "x86_64-linux", "toplevel": "{SYSTEM}" {more} }}"#
        );
        self.write(
            &format!("{}/boot.json", SYSTEM.trim_start_matches('/')),
            text.as_bytes(),
        );
    }

    fn look_with(&self, variables: &Variables) -> BootFacts {
        let system: StorePath = SYSTEM.parse().unwrap();
        observe_boot(
            &Root::at(&self.root),
            &system,
            Machine::X86_64,
            Nvram::Ours,
            variables,
        )
        .unwrap()
    }

    fn look(&self) -> BootFacts {
        self.look_with(&Variables::default())
    }

    fn flaws(&self) -> Vec<String> {
        self.look().flaws().iter().map(ToString::to_string).collect()
    }

    /// Judges, and clears the way for the installer; what it then does is in the closure.
    fn repair(&self, installer: impl Fn(&Self)) {
        let action = InstallBootLoader {
            system: SYSTEM.parse().unwrap(),
        };
        let Verdict::Todo(order) = action.judge(&self.look()) else {
            panic!("{:?}", self.look())
        };
        self.clear(&order);
        installer(self);
        assert_eq!(self.flaws(), [] as [String; 0]);
    }

    fn clear(&self, order: &BootOrder) {
        let context = CommandContext::new(Reporter::default(), Stop::never());
        clear_the_way(&context, &Root::at(&self.root), order).unwrap();
    }

    /// NixOS's installer: what is there is skipped.
    fn install(&self) {
        assert!(
            !self.root.join("boot/loader/loader.tmp").exists(),
            "File exists: loader.tmp"
        );
        for (path, bytes) in [
            ("EFI/nixos/k.efi", b"kernel".to_vec()),
            ("EFI/nixos/i.efi", b"initrd".to_vec()),
            ("EFI/systemd/systemd-bootx64.efi", pe("boot")),
            ("EFI/BOOT/BOOTX64.EFI", pe("boot")),
        ] {
            if !self.root.join("boot").join(path).exists() {
                self.write(&format!("boot/{path}"), &bytes);
            }
        }
        if !self
            .root
            .join("boot/loader/entries/nixos-generation-1.conf")
            .exists()
        {
            self.entry(1, SYSTEM);
        }
        self.write("boot/loader/loader.conf", b"default nixos-generation-1.conf\n");
    }

    /// An entry of NixOS 26.11, named by the digest of what it holds; its name.
    fn hashed(&self, init: &str, options: &str, counter: &str) -> String {
        let text = format!(
            "title NixOS\nversion Generation 1 NixOS, built on 2026-11-26\nlinux /EFI/nixos/k.efi\n\
             initrd /EFI/nixos/i.efi\noptions init={init}/init {options}\nsort-key nixos"
        );
        let name = format!("nixos-{}", Digest::of(text.as_bytes()).as_str());
        self.write(
            &format!("boot/loader/entries/{name}{counter}.conf"),
            text.as_bytes(),
        );
        name
    }
}

#[test]
fn a_right_esp_has_no_flaw() {
    let target = Target::new();
    assert_eq!(target.flaws(), [] as [String; 0]);
    // Secrets may be appended to the initrd, as long as nobody says that there are none.
    target.write("boot/EFI/nixos/i.efi", b"initrd and secrets");
    assert_eq!(target.flaws(), [] as [String; 0]);
}

#[test]
fn each_damage_is_named() {
    for (path, bytes, word) in [
        ("EFI/nixos/k.efi", Some(&b""[..]), "k.efi"),
        ("EFI/nixos/k.efi", None, "k.efi"),
        ("EFI/nixos/i.efi", Some(b"initr"), "i.efi"),
        ("EFI/nixos/i.efi", Some(b"\0\0\0\0\0\0"), "i.efi"),
        ("EFI/nixos/i.efi", None, "i.efi"),
        ("EFI/BOOT/BOOTX64.EFI", Some(b""), "BOOTX64.EFI"),
        ("EFI/BOOT/BOOTX64.EFI", None, "BOOTX64.EFI"),
        (
            "EFI/systemd/systemd-bootx64.efi",
            Some(b"MZ"),
            "systemd-bootx64.efi",
        ),
        ("EFI/systemd/systemd-bootx64.efi", None, "systemd-bootx64.efi"),
    ] {
        let target = Target::new();
        match bytes {
            Some(bytes) => target.write(&format!("boot/{path}"), bytes),
            None => fs_err::remove_file(target.root.join("boot").join(path)).unwrap(),
        }
        let flaws = target.flaws();
        // The same file may be named for more than one reason.
        assert!(
            !flaws.is_empty() && flaws.iter().all(|flaw| flaw.contains(word)),
            "{path} {bytes:?}: {flaws:?}"
        );
        target.repair(Target::install);
    }
}

#[test]
fn an_old_loader_is_not_the_systems() {
    let target = Target::new();
    for path in ["EFI/systemd/systemd-bootx64.efi", "EFI/BOOT/BOOTX64.EFI"] {
        target.write(&format!("boot/{path}"), &pe("older"));
    }
    assert_eq!(target.look().flaws().len(), 2);
    fs_err::remove_file(target.root.join(SYSTEMD).join("systemd-bootx64.efi")).unwrap();
    assert_eq!(
        target.look().flaws().len(),
        0,
        "without the original, equal copies are believed"
    );
    target.write("boot/EFI/BOOT/BOOTX64.EFI", &pe("other"));
    assert_eq!(target.look().flaws().len(), 1);
}

#[test]
fn the_default_entry_must_start_this_system() {
    let target = Target::new();
    target.entry(2, "/nix/store/8fizkwq245ivbv54fbs5l49wg0lfg3ci-other");
    let flaws = target.flaws();
    assert!(
        flaws[0].contains("is the default and starts /nix/store/8fiz"),
        "{flaws:?}"
    );
    target.write("boot/loader/loader.conf", b"default nixos-generation-1.conf\n");
    assert_eq!(target.look().flaws().len(), 0);
    fs_err::remove_dir_all(target.root.join("boot/loader")).unwrap();
    assert!(matches!(target.look().entry, BootFile::Missing(_)));
    target.write("boot/EFI/Linux/nixos-generation-1.efi", &pe("uki"));
    let how = target.look().unproved.unwrap();
    assert!(
        how.contains("nixos-generation-1.efi is a unified kernel image"),
        "{how}"
    );
}

/// Every way in which a name can be wrong; the installer, which takes what is there for its own work, gets it right
/// because it is deleted first.
#[test]
fn what_is_wrong_is_deleted_so_that_the_installer_writes_it() {
    for path in [
        "EFI/nixos/k.efi",
        "EFI/nixos/i.efi",
        "EFI/systemd/systemd-bootx64.efi",
        "EFI/BOOT/BOOTX64.EFI",
        "loader/entries/nixos-generation-1.conf",
    ] {
        for how in ["emptied", "zeros", "directory", "full directory"] {
            let target = Target::new();
            let at = target.root.join("boot").join(path);
            fs_err::remove_file(&at).unwrap();
            match how {
                "emptied" => fs_err::write(&at, "").unwrap(),
                "zeros" => fs_err::write(&at, [0; 512]).unwrap(),
                "directory" => fs_err::create_dir(&at).unwrap(),
                _ => fs_err::create_dir_all(at.join("below/it")).unwrap(),
            }
            let flaws = target.flaws();
            assert!(
                flaws.iter().any(|flaw| flaw.contains(path)),
                "{path} {how}: {flaws:?}"
            );
            target.repair(Target::install);
        }
    }
}

#[test]
fn a_file_where_a_directory_belongs_goes() {
    for path in ["EFI/nixos", "loader/entries", "EFI/BOOT"] {
        let target = Target::new();
        let at = target.root.join("boot").join(path);
        fs_err::remove_dir_all(&at).unwrap();
        fs_err::write(&at, "").unwrap();
        let flaws = target.flaws();
        assert!(
            flaws
                .iter()
                .any(|flaw| flaw == &format!("{path} is not a directory")),
            "{flaws:?}"
        );
        target.repair(Target::install);
    }
}

/// Each of these is what a real installer left when it was killed; with them the disk boots, and the next installer may
/// fail for ever.
#[test]
fn what_cut_installers_left_goes_before_the_next() {
    let target = Target::new();
    for path in [
        "loader/loader.tmp",
        "loader/entries/nixos-generation-1.confa_1b2c3d.tmp",
        "EFI/nixos/k.efia_1b2c3d.tmp",
        "EFI/systemd/.#systemd-bootx64.efi0123456789abcdef",
    ] {
        target.write(&format!("boot/{path}"), b"");
        let flaws = target.flaws();
        assert_eq!(
            flaws,
            [format!("{path} was left by an interrupted boot loader installer")]
        );
        target.repair(Target::install);
    }
    // What bootctl writes by itself, before the installer writes its own.
    target.write("boot/loader/loader.conf", b"#timeout 3\n#console-mode keep\n");
    assert!(
        target.flaws()[0].contains("names no default"),
        "{:?}",
        target.flaws()
    );
    target.repair(Target::install);
}

/// `remove_extra_files` of NixOS's systemd-boot-builder.py: each directory that has a record is listed, there or not.
#[test]
fn records_of_extra_files_that_lead_nowhere_go_before_the_installer_runs() {
    let record = "boot/EFI/nixos/.extra-files/EFI/memtest86/memtest.efi";
    let install = |target: &Target| {
        let records = target.root.join("boot/EFI/nixos/.extra-files");
        assert!(!records.is_file(), "File exists: .extra-files");
        for (of, at) in [("EFI", "EFI"), ("EFI/memtest86", "EFI/memtest86")] {
            let (of, at) = (records.join(of), target.root.join("boot").join(at));
            assert!(!of.exists() || at.is_dir(), "No such file or directory: {at}");
        }
        if records.exists() {
            fs_err::remove_dir_all(&records).unwrap();
        }
        target.install();
        target.write(record, b"");
        target.write("boot/EFI/memtest86/memtest.efi", b"MZ");
    };
    for how in [
        "killed",
        "directory lost",
        "a file in its place",
        "records are a file",
        "file lost",
    ] {
        let target = Target::new();
        install(&target);
        assert_eq!(target.flaws(), [] as [String; 0], "control");
        let dir = target.root.join("boot/EFI/memtest86");
        match how {
            // Between `actual_root.rmdir()` and `root.rmdir()`.
            "killed" => {
                fs_err::remove_dir_all(&dir).unwrap();
                fs_err::remove_file(target.root.join(record)).unwrap();
            }
            "directory lost" => fs_err::remove_dir_all(&dir).unwrap(),
            "a file in its place" => {
                fs_err::remove_dir_all(&dir).unwrap();
                fs_err::write(&dir, "").unwrap();
            }
            "records are a file" => {
                fs_err::remove_dir_all(target.root.join("boot/EFI/nixos/.extra-files")).unwrap();
                target.write("boot/EFI/nixos/.extra-files", b"");
            }
            _ => fs_err::remove_file(dir.join("memtest.efi")).unwrap(),
        }
        let flaws = target.flaws();
        let named = if how == "file lost" {
            "/EFI/memtest86/memtest.efi is missing"
        } else {
            ".extra-files"
        };
        assert!(flaws.len() == 1 && flaws[0].contains(named), "{how}: {flaws:?}");
        if how == "a file in its place" {
            // Nobody's but the operator's: what is not the boot loader's is not deleted.
            target.clear(&BootOrder {
                system: SYSTEM.parse().unwrap(),
                flaws: vec![],
            });
            assert!(dir.is_file());
            continue;
        }
        target.repair(install);
    }
}

#[test]
fn what_is_not_the_boot_loaders_is_never_deleted() {
    let target = Target::new();
    target.write("boot/EFI/Microsoft/Boot/k.efi", b"wrong");
    let text = format!("linux /EFI/Microsoft/../Microsoft/Boot/k.efi\noptions init={SYSTEM}/init\n");
    target.write("boot/loader/entries/nixos-generation-1.conf", text.as_bytes());
    let action = InstallBootLoader {
        system: SYSTEM.parse().unwrap(),
    };
    let Verdict::Todo(order) = action.judge(&target.look()) else {
        panic!()
    };
    assert!(order.wrong().any(|path| path.contains("Microsoft")));
    target.clear(&order);
    assert!(target.root.join("boot/EFI/Microsoft/Boot/k.efi").exists());
}

/// Boot counting and two specialisations, whose entries have the same sort key and version.
#[test]
fn the_default_among_specialisations_is_found_by_its_name() {
    let target = Target::new();
    target.bootspec(
        r#"}, "org.nixos.specialisation.v1": { "a": { "org.nixos.bootspec.v1": {
            "init": "/nix/store/8fizkwq245ivbv54fbs5l49wg0lfg3ci-a/init",
            "kernel": "/nix/store/1hyligdilnd1v73rx5x77rghlaqks5q5-linux/bzImage", "kernelParams": [] } } }"#,
    );
    fs_err::remove_file(target.root.join("boot/loader/entries/nixos-generation-1.conf")).unwrap();
    let ours = target.hashed(SYSTEM, "quiet root=fstab", "+3");
    let special = target.hashed("/nix/store/8fizkwq245ivbv54fbs5l49wg0lfg3ci-a", "", "+3");
    let conf = |id: &str| {
        let text = format!("timeout 5\npreferred {id}.conf\ndefault nixos-*\nconsole-mode keep\n");
        target.write("boot/loader/loader.conf", text.as_bytes());
    };
    conf(&ours);
    let flaws = target.flaws();
    // The specialisation has no initrd, and its entry names one.
    assert!(
        flaws.len() == 1 && flaws[0].contains("the system has no initrd"),
        "{flaws:?}"
    );
    conf(&special);
    let flaws = target.flaws();
    assert!(
        flaws[0].contains(&format!(
            "{special}+3.conf is the default and starts /nix/store/8fiz"
        )),
        "{flaws:?}"
    );
    // Its entry is right in itself: nothing is deleted for that.
    conf(&ours);
    let path = target.root.join(format!("boot/loader/entries/{ours}+3.conf"));
    let whole = fs_err::read(&path).unwrap();
    for cut in [0, 30, whole.len() - 40] {
        fs_err::write(&path, &whole[..cut]).unwrap();
        let facts = target.look();
        let damaged = facts.flaws().iter().any(|flaw| {
            let named = flaw.to_string().contains(&ours);
            named
                && matches!(
                    flaw,
                    landfall_states::actions::install_boot_loader::BootFlaw::Different { .. }
                )
        });
        assert!(damaged, "cut at {cut}: {facts:?}");
    }
    fs_err::write(&path, &whole).unwrap();
    // A parameter that the system has and the entry has not.
    fs_err::remove_file(&path).unwrap();
    let other = target.hashed(SYSTEM, "quiet", "+3");
    conf(&other);
    let flaws = target.flaws();
    assert!(
        flaws[0].contains("lacks these kernel parameters of the system: root=fstab"),
        "{flaws:?}"
    );
}

/// NixOS 26.11 skips an entry that is there, whatever it holds.
#[test]
fn a_torn_or_lost_entry_of_a_specialisation_is_written_again() {
    let target = Target::new();
    let of_it = "/nix/store/8fizkwq245ivbv54fbs5l49wg0lfg3ci-a";
    target.bootspec(&format!(
        r#"}}, "org.nixos.specialisation.v1": {{ "a": {{ "org.nixos.bootspec.v1": {{
            "init": "{of_it}/init", "initrd": "/nix/store/1hyligdilnd1v73rx5x77rghlaqks5q5-initrd/initrd",
            "kernel": "/nix/store/1hyligdilnd1v73rx5x77rghlaqks5q5-linux/bzImage",
            "kernelParams": ["quiet", "root=fstab", "loglevel=4"] }} }} }}"#
    ));
    fs_err::remove_file(target.root.join("boot/loader/entries/nixos-generation-1.conf")).unwrap();
    let ours = target.hashed(SYSTEM, "quiet root=fstab", "");
    target.write(
        "boot/loader/loader.conf",
        format!("default {ours}.conf\n").as_bytes(),
    );
    let special = target.hashed(of_it, "quiet root=fstab loglevel=4", "");
    let path = target.root.join(format!("boot/loader/entries/{special}.conf"));
    let whole = fs_err::read(&path).unwrap();
    let zeros_from = |words: &str| {
        let mut torn = whole.clone();
        let at = torn
            .windows(words.len())
            .position(|w| w == words.as_bytes())
            .unwrap();
        torn[at..].fill(0);
        torn
    };
    for (how, bytes) in [
        ("control", Some(whole.clone())),
        ("parameters", Some(zeros_from("quiet"))),
        ("init", Some(zeros_from("g3ci"))),
        ("sort key", Some(zeros_from("sort-key"))),
        ("emptied", Some(vec![])),
        ("lost", None),
    ] {
        match bytes {
            Some(bytes) => fs_err::write(&path, bytes).unwrap(),
            None => fs_err::remove_file(&path).unwrap(),
        }
        let flaws = target.flaws();
        assert_eq!(flaws.is_empty(), how == "control", "{how}: {flaws:?}");
        if how != "control" {
            target.repair(|_| {
                assert!(!path.exists(), "{how}: skipped, because it is there");
                fs_err::write(&path, &whole).unwrap();
            });
        }
    }
    // Before 26.11 names hold no digest.
    fs_err::rename(
        &path,
        target
            .root
            .join("boot/loader/entries/nixos-generation-1-specialisation-a.conf"),
    )
    .unwrap();
    assert_eq!(target.flaws(), [] as [String; 0], "control");
    target.write(
        "boot/loader/entries/nixos-generation-1-specialisation-a.conf",
        &zeros_from("root=fstab"),
    );
    let flaws = target.flaws();
    assert!(
        flaws.len() == 1 && flaws[0].contains("specialisation a: root=fstab loglevel=4"),
        "{flaws:?}"
    );
    // An installer that names its entries by another digest is not stopped for that.
    let target = Target::new();
    fs_err::rename(
        target.root.join("boot/loader/entries/nixos-generation-1.conf"),
        target
            .root
            .join(format!("boot/loader/entries/nixos-{}.conf", "0".repeat(64))),
    )
    .unwrap();
    target.write(&format!("{}/init", SYSTEM.trim_start_matches('/')), b"");
    assert_eq!(target.flaws(), [] as [String; 0]);
}

#[test]
fn secrets_behind_the_initrd_are_there_when_the_system_has_some() {
    let target = Target::new();
    let text = format!(
        "linux /EFI/nixos/k.efi\ninitrd /EFI/nixos/i.efi\noptions init={SYSTEM}/init quiet root=fstab\n"
    );
    target.write("boot/loader/entries/nixos-generation-1.conf", text.as_bytes());
    let with = |bytes: &[u8]| {
        target.write("boot/EFI/nixos/i.efi", bytes);
        target.flaws()
    };
    target.bootspec(r#", "initrdSecrets": "/nix/store/1hyligdilnd1v73rx5x77rghlaqks5q5-a/bin/append" }"#);
    // `TRAILER!!!` alone, as cpio 2.15 writes it for no file.
    let archive = format!(
        "initrd\0\0070701{}0000000100000000{}0000000b00000000TRAILER!!!\0\0\0\0",
        "0".repeat(32),
        "0".repeat(40)
    );
    assert_eq!(with(archive.as_bytes()), [] as [String; 0]);
    let torn = b"initrd\x1f\x8b\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    for lacking in [
        &b"initrd"[..],
        b"initrd\0\0\0\0",
        b"initr070701",
        torn,
        &archive.as_bytes()[..100],
        &[torn, archive.as_bytes()].concat(),
    ] {
        let flaws = with(lacking);
        assert!(
            flaws.len() == 1 && flaws[0].contains("i.efi"),
            "{lacking:?} {flaws:?}"
        );
    }
    target.bootspec("}");
    assert_eq!(with(b"initrd"), [] as [String; 0]);
    assert!(with(b"initrd and more")[0].contains("has something after"));
    target.write(&format!("{}/boot.json", SYSTEM.trim_start_matches('/')), b"{");
    assert!(target.look().unproved.unwrap().contains("boot.json"));
}

/// Every file that the entry names, not kernel and initrd alone.
#[test]
fn a_device_tree_and_every_other_file_of_the_entry_are_proved() {
    let tree = "EFI/nixos/board.dtb.efi";
    let store = "nix/store/1hyligdilnd1v73rx5x77rghlaqks5q5-dtbs/board.dtb";
    let named = [
        "EFI/nixos/a.dtbo",
        "EFI/nixos/b.dtbo",
        "EFI/nixos/more.initrd",
        "EFI/nixos/c.cred",
    ];
    let target = Target::new();
    let text = format!(
        "linux /EFI/nixos/k.efi\ninitrd /EFI/nixos/i.efi\ninitrd /{}\ndevicetree /{tree}\ndevicetree-overlay /{} /{}\nextra /{}\n\
         options init={SYSTEM}/init quiet root=fstab\n",
        named[2], named[0], named[1], named[3]
    );
    target.write("boot/loader/entries/nixos-generation-1.conf", text.as_bytes());
    target.write(store, b"\xd0\x0d\xfe\xed dtb");
    let write = |target: &Target| {
        target.write(&format!("boot/{tree}"), b"\xd0\x0d\xfe\xed dtb");
        for path in named {
            target.write(&format!("boot/{path}"), b"x");
        }
    };
    for with in [
        "",
        &format!(r#"}}, "org.nixos.systemd-boot": {{ "sortKey": "nixos", "devicetree": "/{store}" }}"#),
    ] {
        target.bootspec(if with.is_empty() { "}" } else { with });
        for path in named.into_iter().chain([tree]) {
            for how in ["lost", "emptied", "zeros", "directory"] {
                write(&target);
                assert_eq!(target.flaws(), [] as [String; 0], "control");
                let at = target.root.join("boot").join(path);
                fs_err::remove_file(&at).unwrap();
                match how {
                    "lost" => {}
                    "emptied" => fs_err::write(&at, "").unwrap(),
                    "zeros" => fs_err::write(&at, [0; 8]).unwrap(),
                    _ => fs_err::create_dir(&at).unwrap(),
                }
                let flaws = target.flaws();
                assert!(
                    !flaws.is_empty() && flaws.iter().all(|flaw| flaw.contains(path)),
                    "{path} {how}: {flaws:?}"
                );
                target.repair(|target| {
                    assert!(
                        !target.root.join("boot").join(path).exists(),
                        "skipped, because it is there"
                    );
                    write(target);
                });
            }
        }
    }
    // Torn, and not zero all through: only the store tells.
    target.write(&format!("boot/{tree}"), b"\xd0\x0d\xfe\xed\0\0\0\0");
    assert!(target.flaws()[0].contains("differs from"), "{:?}", target.flaws());
}

#[test]
fn a_kernel_that_is_not_there_is_named_though_the_boot_loader_would_pass_it_over() {
    let target = Target::new();
    target.entry(2, SYSTEM);
    let older =
        "linux /EFI/nixos/old.efi\noptions init=/nix/store/8fizkwq245ivbv54fbs5l49wg0lfg3ci-old/init\n";
    target.write("boot/loader/entries/nixos-generation-1.conf", older.as_bytes());
    target.write("boot/EFI/nixos/old.efi", b"old");
    fs_err::remove_file(target.root.join("boot/EFI/nixos/k.efi")).unwrap();
    assert_eq!(target.flaws(), ["/EFI/nixos/k.efi is missing"]);
}

#[test]
fn a_variable_of_the_firmware_that_starts_something_else_is_named() {
    let target = Target::new();
    let other = "efi /EFI/Microsoft/Boot/bootmgfw.efi\n";
    target.write("boot/loader/entries/windows.conf", other.as_bytes());
    target.write("boot/EFI/Microsoft/Boot/bootmgfw.efi", b"x");
    let steered = Variables {
        default: Some("windows.conf".into()),
        ..Variables::default()
    };
    let facts = target.look_with(&steered);
    let action = InstallBootLoader {
        system: SYSTEM.parse().unwrap(),
    };
    let Verdict::Refuse(fault) = action.judge(&facts) else {
        panic!("{facts:?}")
    };
    assert_eq!(fault.class, FaultClass::NeedsChange);
    assert!(
        fault
            .why()
            .contains("LoaderEntryDefault makes the boot loader start loader/entries/windows.conf"),
        "{fault}"
    );
    let elsewhere = Variables {
        default: Some("fedora.conf".into()),
        ..Variables::default()
    };
    assert_eq!(target.look_with(&elsewhere).steered, None);
}

#[test]
fn another_boot_loader_is_refused_for_good() {
    for path in ["grub/grub.cfg", "limine/limine.conf", "EFI/Linux/nixos.efi"] {
        let target = Target::new();
        fs_err::remove_dir_all(target.root.join("boot/loader")).unwrap();
        target.write(&format!("boot/{path}"), b"");
        let action = InstallBootLoader {
            system: SYSTEM.parse().unwrap(),
        };
        let Verdict::Refuse(fault) = action.judge(&target.look()) else {
            panic!("{path}")
        };
        assert_eq!(fault.class, FaultClass::Permanent);
        assert!(fault.why().contains(path), "{fault}");
    }
}

fn variable(efivars: &Utf8Path, name: &str, value: &[u8]) {
    let mut bytes = vec![7, 0, 0, 0];
    bytes.extend(value);
    fs_err::write(
        efivars.join(format!("{name}-8be4df61-93ca-11d2-aa0d-00e098032b8c")),
        bytes,
    )
    .unwrap();
}

#[test]
fn the_firmware_entry_names_our_esp_and_an_existing_file() {
    let target = Target::new();
    let efivars = target.root.join("efivars");
    fs_err::create_dir_all(&efivars).unwrap();
    let esp = target.root.join("boot");
    let ours = Uuid::from_u128(0x6c61_6e64_6661_4c6c_8000_6e69_786f_7321);
    let state = || nvram_state(&efivars, &Root::at(&esp), &ours).unwrap();
    assert!(matches!(state(), Nvram::Unwritable(_)));
    variable(&efivars, "BootOrder", &[3, 0, 1, 0]);
    let option = |partuuid: &Uuid, file: &str| {
        let mut path = vec![4, 1, 42, 0, 1, 0, 0, 0];
        path.extend([0; 16]);
        path.extend(partuuid.to_bytes_le());
        path.extend([2, 2]);
        let name: Vec<u8> = file
            .encode_utf16()
            .chain([0])
            .flat_map(u16::to_le_bytes)
            .collect();
        path.extend([4, 4]);
        path.extend(((name.len() + 4) as u16).to_le_bytes());
        path.extend(name);
        path.extend([0x7f, 0xff, 4, 0]);
        let mut bytes = vec![1, 0, 0, 0];
        bytes.extend((path.len() as u16).to_le_bytes());
        bytes.extend("x\0".encode_utf16().flat_map(u16::to_le_bytes));
        bytes.extend(path);
        bytes
    };
    let loader = r"\EFI\systemd\systemd-bootx64.efi";
    variable(&efivars, "Boot0001", &option(&Uuid::from_u128(1), loader));
    assert_eq!(state(), Nvram::Missing, "another partition");
    variable(&efivars, "Boot0001", &option(&ours, r"\EFI\gone.efi"));
    assert_eq!(state(), Nvram::Missing, "no such file");
    variable(&efivars, "Boot0002", &option(&ours, loader));
    assert_eq!(state(), Nvram::Missing, "not in the order");
    // What a killed efibootmgr leaves: the entry, and an order without it.
    let order = || order_with_ours(&efivars, &Root::at(&esp), &ours).unwrap();
    assert_eq!(order(), Some(vec![2, 3, 1]));
    variable(&efivars, "Boot0002", &option(&ours, r"\EFI\gone.efi"));
    assert_eq!(order(), None, "it starts nothing");
    variable(&efivars, "Boot0002", &[]);
    assert_eq!(order(), None, "it is empty");
    variable(&efivars, "Boot0002", &option(&ours, loader));
    variable(&efivars, "Boot0003", &option(&ours, loader));
    assert_eq!(state(), Nvram::Ours);
    // A host that leaves the firmware's variables alone has none made, and none looked for.
    let wanted = |can_touch| wanted_entry(can_touch, &efivars, &Root::at(&esp), Some(&ours)).unwrap();
    assert_eq!((wanted(true), wanted(false)), (Nvram::Ours, Nvram::NotWanted));
    let nowhere = target.root.join("gone");
    assert_eq!(
        wanted_entry(false, &nowhere, &Root::at(&nowhere), Some(&ours)).unwrap(),
        Nvram::NotWanted
    );
}
