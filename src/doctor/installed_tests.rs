use super::super::tests::{Machine, finding, fine, skipped};
use super::*;
use crate::real::disk::efi::tests::load_option;
use age::secrecy::ExposeSecret as _;
use std::io::Write as _;

const SYSTEM: &str = "/nix/store/2xyifq2nh639qmif11q87l313ylaxf6d-nixos-system-web";
const STORE: &str = "/nix/store/1hyligdilnd1v73rx5x77rghlaqks5q5";
const LOADER: &str =
    "nix/store/8fizkwq245ivbv54fbs5l49wg0lfg3ci-systemd-258/lib/systemd/boot/efi/systemd-bootx64.efi";
const PARTUUID: &str = "ad74629e-b719-5d0e-aa02-83f1f150f283";

fn pe() -> Vec<u8> {
    let mut bytes = vec![0_u8; 0x84];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[0x3c] = 0x80;
    bytes[0x80..].copy_from_slice(b"PE\0\0");
    bytes
}

/// A host that boots: store, profile and ESP.
fn host() -> Machine {
    let machine = Machine::new();
    machine.write(&format!("{STORE}-linux/bzImage"), "kernel");
    machine.write(&format!("{STORE}-initrd/initrd"), "initrd");
    machine.link(&format!("{SYSTEM}/kernel"), &format!("{STORE}-linux/bzImage"));
    machine.link(&format!("{SYSTEM}/initrd"), &format!("{STORE}-initrd/initrd"));
    machine.link("nix/var/nix/profiles/system-1-link", SYSTEM);
    machine.link("nix/var/nix/profiles/system", "system-1-link");
    machine.write(LOADER, pe());
    machine.write("boot/EFI/systemd/systemd-bootx64.efi", pe());
    machine.write("boot/EFI/BOOT/BOOTX64.EFI", pe());
    machine.write("boot/EFI/nixos/k.efi", "kernel");
    machine.write("boot/EFI/nixos/i.efi", "initrd");
    machine.write("boot/loader/loader.conf", "timeout 5\ndefault nixos-*\n");
    let entry =
        format!("title NixOS\nlinux /EFI/nixos/k.efi\ninitrd /EFI/nixos/i.efi\noptions init={SYSTEM}/init\n");
    machine.write("boot/loader/entries/nixos-generation-1.conf", entry);
    machine
}

#[test]
fn an_esp_that_does_not_boot_the_system_is_found() {
    assert!(skipped("esp", &Machine::new().scene()).contains("profiles/system"));
    let machine = host();
    let scene = machine.scene();
    assert!(fine("esp", &scene).contains(SYSTEM));
    machine.write("boot/EFI/nixos/k.efi", "kerne1");
    let found = finding("esp", &scene);
    assert!(
        found.list.iter().any(|line| line.contains("EFI/nixos/k.efi")),
        "{found:?}"
    );
    assert_eq!(
        found.next,
        "sudo rm /boot/EFI/nixos/k.efi && sudo nixos-rebuild boot --install-bootloader"
    );
    // Without its first half the builder leaves what is there as it is. What both do: the file is written again.
    machine.remove("boot/EFI/nixos/k.efi");
    let found = finding("esp", &scene);
    assert_eq!(found.next, BOOT_AGAIN, "nothing is in the way any more");
    machine.write("boot/EFI/nixos/k.efi", "kernel");
    fine("esp", &scene);
    machine.remove("boot/EFI/BOOT/BOOTX64.EFI");
    assert_eq!(finding("esp", &scene).list, ["EFI/BOOT/BOOTX64.EFI is missing"]);
    let unmounted = host();
    fs_err::remove_dir_all(unmounted.root.join("boot")).unwrap();
    fs_err::create_dir(unmounted.root.join("boot")).unwrap();
    assert!(finding("esp", &unmounted.scene()).next.contains("mount /boot"));
}

/// The firmware's variables and the kernel's view of the disk, with `/boot` mounted.
fn with_firmware(machine: &Machine) {
    machine.write(
        "proc/self/mountinfo",
        "30 1 254:1 / /boot rw,relatime shared:9 - vfat /dev/vda1 rw,fmask=0022\n",
    );
    let disk = "sys/block/vda";
    machine.write(&format!("{disk}/dev"), "254:0\n");
    machine.write(&format!("{disk}/size"), "16777216\n");
    machine.write(&format!("{disk}/queue/logical_block_size"), "512\n");
    machine.write(&format!("{disk}/vda1/partition"), "1\n");
    machine.write(&format!("{disk}/vda1/dev"), "254:1\n");
    machine.write(&format!("{disk}/vda1/start"), "2048\n");
    machine.write(&format!("{disk}/vda1/size"), "2097152\n");
    machine.write(
        &format!("{disk}/vda1/uevent"),
        format!("PARTUUID={PARTUUID}\nPARTN=1\n"),
    );
    machine.write("sys/firmware/efi/efivars/Other-0", [0; 5]);
}

#[test]
fn a_boot_entry_that_is_lost_is_found() {
    let global = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
    let machine = host();
    assert!(skipped("boot-entry", &machine.scene()).contains("BIOS mode"));
    with_firmware(&machine);
    let scene = machine.scene();
    let found = finding("boot-entry", &scene);
    assert!(
        found.why.contains(PARTUUID) && found.next.starts_with("sudo bootctl install"),
        "{found:?}"
    );
    // The remedy makes an entry and puts it in the order.
    let option = load_option("Linux Boot Manager", PARTUUID.parse().unwrap());
    machine.write(&format!("sys/firmware/efi/efivars/Boot0003-{global}"), option);
    finding("boot-entry", &scene);
    machine.write(
        &format!("sys/firmware/efi/efivars/BootOrder-{global}"),
        [7, 0, 0, 0, 3, 0],
    );
    assert!(fine("boot-entry", &scene).contains("vda1"));
    // An older kernel does not tell the PARTUUID; udev does.
    machine.write("sys/block/vda/vda1/uevent", "PARTN=1\n");
    assert!(skipped("boot-entry", &scene).contains("neither the kernel nor udev"));
    machine.link(
        "dev/disk/by-partuuid/00000000-0000-0000-0000-000000000001",
        "../../vda2",
    );
    machine.link(&format!("dev/disk/by-partuuid/{PARTUUID}"), "../../vda1");
    assert!(fine("boot-entry", &scene).contains(PARTUUID));
}

#[test]
fn labels_that_are_not_there_or_twice_are_found() {
    let machine = Machine::new();
    let scene = machine.scene();
    skipped("labels", &scene);
    let fstab = "# a comment /dev/disk/by-label/none\n/dev/disk/by-label/root-web / ext4 defaults 0 1\n\
        LABEL=swap-web none swap defaults\nPARTLABEL=ESP-WEB /boot vfat umask=0077 0 2\n/dev/mapper/x /x ext4\n";
    machine.write("etc/fstab", fstab);
    machine.write("dev/disk/by-label/root-web", "");
    machine.write("dev/disk/by-partlabel/ESP-WEB", "");
    let found = finding("labels", &scene);
    assert_eq!(found.list, ["/dev/disk/by-label/swap-web does not exist"]);
    // swaplabel -L, and udev makes the link.
    machine.write("dev/disk/by-label/swap-web", "");
    assert!(fine("labels", &scene).contains("swap-web"));
    let json = r#"{"blockdevices": [{"name":"/dev/vda2","label":"root-web","partlabel":"root-web"},
        {"name":"/dev/vda2","label":"root-web","partlabel":null}, {"name":"/dev/sdb1","label":"root-web","partlabel":null}]}"#;
    let bearers = bearers_in(json).unwrap();
    let twice = ("by-label", "root-web".to_owned());
    let devices = &bearers.iter().find(|(label, _)| *label == twice).unwrap().1;
    assert_eq!(devices, &["/dev/vda2", "/dev/sdb1"]);
    assert!(bearers_in("[]").is_err());
}

#[test]
fn a_receipt_that_cannot_be_read_is_found() {
    let machine = Machine::new();
    let scene = machine.scene();
    assert!(skipped("receipt", &scene).contains("did not install"));
    machine.write("var/log/landfall/receipt.ron", "Receipt(install: \"5c8e");
    let found = finding("receipt", &scene);
    assert!(found.next.contains("sudo rm"), "{found:?}");
    machine.write(
        "var/log/landfall/receipt.ron",
        format!("Receipt(install: \"5c8e\", system: \"{SYSTEM}\")"),
    );
    assert!(fine("receipt", &scene).contains(SYSTEM));
}

/// Encrypts for this identity.
pub(crate) fn sealed(key: &age::x25519::Identity, text: &[u8]) -> Vec<u8> {
    let recipient = key.to_public();
    let encryptor =
        age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient)).unwrap();
    let mut sealed = Vec::new();
    let mut writer = encryptor.wrap_output(&mut sealed).unwrap();
    writer.write_all(text).unwrap();
    writer.finish().unwrap();
    sealed
}

#[test]
fn an_identity_that_is_not_where_the_configuration_looks_for_it_is_found() {
    let machine = Machine::new();
    let scene = machine.scene();
    assert!(skipped("agenix", &scene).contains("nothing with agenix"));
    // The lines of agenix's own module.
    let secret = "/nix/store/3hyligdilnd1v73rx5x77rghlaqks5q5-source/secrets/wifi.age";
    let script = format!(
        "    IDENTITIES=()\n    for identity in /etc/age/web.agekey /etc/ssh/ssh_host_ed25519_key; do\n      test -r \"$identity\" || continue\n\
         \x20     LANG=C /nix/store/x/bin/age --decrypt \"${{IDENTITIES[@]}}\" -o \"$TMP_FILE\" \"{secret}\"\n"
    );
    machine.write("run/current-system/activate", script);
    let key = age::x25519::Identity::generate();
    let other = age::x25519::Identity::generate();
    machine.write(secret, sealed(&other, b"psk"));
    let found = finding("agenix", &scene);
    assert_eq!(found.list.len(), 2, "{found:?}");
    assert!(
        found.list[0].starts_with("/etc/age/web.agekey: it is not there"),
        "{found:?}"
    );
    machine.write("etc/age/web.agekey", key.to_string().expose_secret());
    let found = finding("agenix", &scene);
    assert_eq!(
        found.list,
        ["wifi.age: it is encrypted for other identities; none of the given identities decrypts it"]
    );
    assert!(found.next.contains("agenix --rekey"));
    // What agenix --rekey does.
    machine.write(secret, sealed(&key, b"psk"));
    assert!(fine("agenix", &scene).starts_with("1 of 1"));
    let mut cut = sealed(&key, &[7; 200_000]);
    cut.truncate(150_000);
    machine.write(secret, cut);
    assert!(finding("agenix", &scene).list[0].contains("damaged"));
}

#[test]
fn the_lines_of_older_and_of_newer_agenix_are_read() {
    let older = "  LANG=C /nix/store/x/bin/rage --decrypt -i /etc/ssh/a -i /etc/ssh/b -o \"$TMP_FILE\" \"/nix/store/y/s.age\"\n";
    let found = agenix_in(older);
    assert_eq!(found.identities, ["/etc/ssh/a", "/etc/ssh/b"]);
    assert_eq!(found.secrets, ["/nix/store/y/s.age"]);
    assert_eq!(
        agenix_in("for identity in a b; do\nage --decrypted x\n"),
        Agenix::default()
    );
    // As a service, where users are made by systemd.
    let machine = Machine::new();
    machine.write(
        "run/current-system/etc/systemd/system/agenix-install-secrets.service",
        "[Service]\nExecStart=-/nix/store/z-start\n",
    );
    machine.write("nix/store/z-start", older);
    assert!(scripts(&Root::at(&machine.root)).unwrap().contains("s.age"));
}
