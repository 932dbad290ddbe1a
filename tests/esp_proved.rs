//! Promise: the boot loader is proved from the ESP: every file that firmware and loader read is compared with the store,
//! and each fault in it is named. On directories; the real thing is in the laboratory.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use camino::{Utf8Path, Utf8PathBuf};
use landfall::real::boot::{nvram_state, observe_boot, wanted_entry};
use landfall_states::installed::{BootFacts, BootFile, Nvram};
use landfall_states::names::StorePath;
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

    fn look(&self) -> BootFacts {
        let system: StorePath = SYSTEM.parse().unwrap();
        observe_boot(&self.root, &system, Machine::X86_64, Nvram::Ours).unwrap()
    }
}

#[test]
fn a_right_esp_has_no_flaw() {
    let target = Target::new();
    assert_eq!(target.look().flaws(), [] as [String; 0]);
    // Secrets may be appended to the initrd.
    target.write("boot/EFI/nixos/i.efi", b"initrd and secrets");
    assert_eq!(target.look().flaws(), [] as [String; 0]);
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
        let flaws = target.look().flaws();
        assert!(
            flaws.len() == 1 && flaws[0].contains(word),
            "{path} {bytes:?}: {flaws:?}"
        );
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
    let flaws = target.look().flaws();
    assert!(
        flaws[0].contains("is the default and starts /nix/store/8fiz"),
        "{flaws:?}"
    );
    target.write("boot/loader/loader.conf", b"default nixos-generation-1.conf\n");
    assert_eq!(target.look().flaws().len(), 0);
    fs_err::remove_dir_all(target.root.join("boot/loader")).unwrap();
    assert!(matches!(target.look().entry, BootFile::Missing(_)));
    target.write("boot/EFI/Linux/nixos-generation-1.efi", &pe("uki"));
    let BootFile::Different(how) = target.look().entry else {
        panic!()
    };
    assert!(how.contains("unsupported"), "{how}");
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
    let state = || nvram_state(&efivars, &esp, &ours).unwrap();
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
    variable(&efivars, "Boot0003", &option(&ours, loader));
    assert_eq!(state(), Nvram::Ours);
    // A host that leaves the firmware's variables alone has none made, and none looked for.
    let wanted = |can_touch| wanted_entry(can_touch, &efivars, &esp, Some(&ours)).unwrap();
    assert_eq!((wanted(true), wanted(false)), (Nvram::Ours, Nvram::NotWanted));
    let nowhere = target.root.join("gone");
    assert_eq!(
        wanted_entry(false, &nowhere, &nowhere, Some(&ours)).unwrap(),
        Nvram::NotWanted
    );
}
