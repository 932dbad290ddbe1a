//! Finds out which boot loader a host's system will install.
//!
//! The answer is read from what NixOS itself writes, if possible before anything is built, copied or written. A known boot
//! loader that landfall cannot check ends the run for good, with its name. An unknown one is left to the check of the ESP.
//!
//! NixOS hands the loader's installer to the system in two places: the derivation has it as `installBootLoader`, and
//! `bin/switch-to-configuration` of the built system exports it as `INSTALL_BOOTLOADER`. For systemd-boot, the program below
//! it also says where it expects the ESP.
//!
//! `mkInstaller` refuses such hosts earlier, during evaluation. `boot::files` checks the ESP.

use crate::real::MOUNT_ROOT;
use crate::real::fs::target_root;
use crate::real::fs::target_root::Root;
use landfall_states::fault::{ConfigFault, Fault, Remedy};
use landfall_states::names::StorePath;

/// How much of a derivation, a wrapper or an installer is read to find the host's boot loader.
const TEXT_BYTES_MAX: u64 = 4 << 20;
/// The installer of systemd-boot.
const SYSTEMD_BOOT: &str = "install-systemd-boot.sh";
/// Store names of other loaders' installers, and what people call the loader.
const OTHERS: [(&str, &str); 11] = [
    ("lzbt", LANZABOOTE),
    ("bootinstall", LANZABOOTE),
    (
        "install-grub.sh",
        "GRUB (boot.loader.grub.enable, NixOS's default)",
    ),
    ("limine-install.sh", "Limine (boot.loader.limine.enable)"),
    ("limine-install.py", "Limine (boot.loader.limine.enable)"),
    ("refind-install.py", "rEFInd (boot.loader.refind.enable)"),
    ("refind-install.sh", "rEFInd (boot.loader.refind.enable)"),
    (
        "install-extlinux-conf.sh",
        "extlinux (boot.loader.generic-extlinux-compatible.enable)",
    ),
    (
        "extlinux-conf-builder.sh",
        "extlinux (boot.loader.generic-extlinux-compatible.enable)",
    ),
    (
        "generations-dir-builder.sh",
        "only directories (boot.loader.generationsDir.enable)",
    ),
    (
        "init-script-builder.sh",
        "only an init script (boot.loader.initScript.enable)",
    ),
];
const LANZABOOTE: &str = "lanzaboote (boot.lanzaboote.enable)";

/// What is after `key` and up to the next store path: the installer that a text names.
fn installer_after<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.match_indices(key).find_map(|(at, _)| {
        let rest = &text[at + key.len()..];
        // Between a name and its value there are quotes, perhaps escaped, and a sign; nothing else.
        let path = rest.trim_start_matches(['\\', '"', '\'', '=', ':', ',', ' ']);
        let end = path
            .find(|c: char| !(c.is_ascii_alphanumeric() || "/+-._?=".contains(c)))
            .unwrap_or(path.len());
        path.starts_with("/nix/store/").then_some(&path[..end])
    })
}

/// The name of a store path's first part, without its hash.
fn store_name(path: &str) -> &str {
    let entry = path.trim_start_matches("/nix/store/");
    let entry = entry.split('/').next().unwrap_or(entry);
    entry.split_once('-').map_or(entry, |(_, name)| name)
}

/// The value of a `NAME = Path("…")` or `NAME = "…"`.
fn setting<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let value = line.strip_prefix(name)?.split_once('=')?.1;
        value.split('"').nth(1)
    })
}

fn refuse(system: &str, installer: &str) -> Result<(), Fault> {
    let name = store_name(installer);
    let Some((_, loader)) = OTHERS.iter().find(|(known, _)| *known == name) else {
        return Ok(());
    };
    let first = if *loader == LANZABOOTE {
        "install with boot.lanzaboote.enable = false and boot.loader.systemd-boot.enable = true, and enable lanzaboote later in the installed host, where its keys are made"
    } else {
        "set boot.loader.systemd-boot.enable = true in the host's configuration"
    };
    Err(Fault::of(
        ConfigFault::OtherLoader {
            system: system.to_owned(),
            loader: (*loader).to_owned(),
        },
        Remedy::change_and_install(first),
    ))
}

fn text(root: &Root, path: &str) -> Result<Option<String>, Fault> {
    use std::io::Read;
    let Some(file) = target_root::open_file(root, path)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    file.take(TEXT_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|e| target_root::io_fault(path, &e))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Refuses a system that is not built yet, by its derivation in the store below a root directory.
///
/// # Errors
/// The host has another boot loader (it is named), or a derivation cannot be read.
pub fn of_derivation(root: &Root, derivation: &StorePath) -> Result<(), Fault> {
    let Some(text) = text(root, derivation.as_str())? else {
        return Ok(());
    };
    match installer_after(&text, "installBootLoader") {
        Some(installer) => refuse(derivation.as_str(), installer),
        None => Ok(()),
    }
}

/// Refuses a system in the store below a root directory.
///
/// # Errors
/// The host has another boot loader (it is named), or the system cannot be read.
pub fn of_system(root: &Root, system: &StorePath) -> Result<(), Fault> {
    let Some(wrapper) = text(root, &format!("{system}/bin/switch-to-configuration"))? else {
        return Ok(());
    };
    let Some(installer) = installer_after(&wrapper, "INSTALL_BOOTLOADER") else {
        return Ok(());
    };
    refuse(system.as_str(), installer)?;
    if store_name(installer) != SYSTEMD_BOOT {
        return Ok(());
    }
    // Its second line starts the program that has the host's settings.
    let script = text(root, installer)?.unwrap_or_default();
    let program = script.lines().skip(1).find_map(|line| {
        let word = line.split_whitespace().next()?;
        word.starts_with("/nix/store/").then_some(word)
    });
    let settings = match program {
        Some(program) => text(root, program)?.unwrap_or_default(),
        None => return Ok(()),
    };
    let esp = setting(&settings, "EFI_SYS_MOUNT_POINT").unwrap_or("/boot");
    let boot = setting(&settings, "BOOT_MOUNT_POINT").unwrap_or(esp);
    for (option, found, right) in [
        ("boot.loader.efi.efiSysMountPoint", esp, "/boot"),
        ("boot.loader.systemd-boot.xbootldrMountPoint", boot, esp),
    ] {
        if found.trim_end_matches('/') != right {
            return Err(ConfigFault::LoaderOption {
                system: system.to_string(),
                option: option.to_owned(),
                found: found.to_owned(),
                mounted: format!("{MOUNT_ROOT}/boot"),
            }
            .into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use camino::Utf8Path;
    use landfall_states::fault::FaultClass;
    use proptest::prelude::*;

    const HASH: &str = "0123456789abcdfghijklmnpqrsvwxyz";

    struct Store(tempfile::TempDir);

    impl Store {
        fn new() -> Self {
            Store(tempfile::tempdir().unwrap())
        }
        fn root(&self) -> &Utf8Path {
            Utf8Path::from_path(self.0.path()).unwrap()
        }
        fn put(&self, path: &str, text: &str) {
            let at = self.root().join(path.trim_start_matches('/'));
            fs_err::create_dir_all(at.parent().unwrap()).unwrap();
            fs_err::write(at, text).unwrap();
        }
        /// A system as NixOS 26.11 wraps `switch-to-configuration`.
        fn system(&self, installer: &str) -> StorePath {
            let system = format!("/nix/store/{HASH}-nixos-system-web");
            self.put(
                &format!("{system}/bin/switch-to-configuration"),
                &format!(
                    "#! /nix/store/{HASH}-bash/bin/bash -e\nexport OUT='{system}'\nexport DISTRO_ID='nixos'\n\
                     export INSTALL_BOOTLOADER='{installer}'\nexec -a \"$0\" \"{system}/bin/.switch-to-configuration-wrapped\"  \"$@\" \n"
                ),
            );
            system.parse().unwrap()
        }
        /// Its loader's installer, with these mount points in it.
        fn systemd_boot(&self, esp: &str, boot: &str) -> StorePath {
            let installer = format!("/nix/store/{HASH}-install-systemd-boot.sh");
            let program = format!("/nix/store/{HASH}-systemd-boot/bin/systemd-boot");
            self.put(
                &installer,
                &format!("#!/nix/store/{HASH}-bash/bin/bash\nset -euo pipefail\n{program} \"$@\"\n\n"),
            );
            self.put(
                &program,
                &format!(
                    "#! /nix/store/{HASH}-python3/bin/python3 -B\nimport os\nEFI_SYS_MOUNT_POINT = Path(\"{esp}\")\n\
                     BOOT_MOUNT_POINT = Path(\"{boot}\")\nLOADER_CONF = EFI_SYS_MOUNT_POINT / \"loader/loader.conf\"\n"
                ),
            );
            self.system(&installer)
        }
        fn derivation(&self, installer: &str) -> StorePath {
            let path = format!("/nix/store/{HASH}-nixos-system-web.drv");
            self.put(
                &path,
                &format!(
                    "Derive([(\"out\",\"/nix/store/{HASH}-nixos-system-web\",\"\",\"\")],[],[],\"x86_64-linux\",\"b\",[],[\
                     (\"__json\",\"{{\\\"distroId\\\":\\\"nixos\\\",\\\"installBootLoader\\\":\\\"{installer}\\\",\\\"kernelParams\\\":\\\"\\\"}}\")])"
                ),
            );
            path.parse().unwrap()
        }
    }

    #[test]
    fn systemd_boot_at_boot_is_taken_and_so_is_what_nobody_knows() {
        let store = Store::new();
        of_system(&Root::at(store.root()), &store.systemd_boot("/boot", "/boot")).unwrap();
        of_derivation(
            &Root::at(store.root()),
            &store.derivation(&format!("/nix/store/{HASH}-install-systemd-boot.sh")),
        )
        .unwrap();
        let own = format!("/nix/store/{HASH}-my-own-loader");
        of_system(&Root::at(store.root()), &store.system(&own)).unwrap();
        of_derivation(&Root::at(store.root()), &store.derivation(&own)).unwrap();
        // Nothing there, nothing in it.
        let gone = format!("/nix/store/{HASH}-gone").parse().unwrap();
        of_system(&Root::at(store.root()), &gone).unwrap();
        of_derivation(&Root::at(store.root()), &gone).unwrap();
        store.put(gone.as_str(), "Derive([],[])");
        of_derivation(&Root::at(store.root()), &gone).unwrap();
    }

    #[test]
    fn every_other_loader_ends_the_run_for_good_before_and_after_it_is_built() {
        for (file, named) in [
            ("install-grub.sh", "GRUB"),
            ("limine-install.sh", "Limine"),
            ("refind-install.py", "rEFInd"),
            ("install-extlinux-conf.sh", "extlinux"),
            ("lzbt/bin/lzbt", "lanzaboote"),
        ] {
            let store = Store::new();
            let installer = format!("/nix/store/{HASH}-{file}");
            let system = store.system(&installer);
            let derivation = store.derivation(&installer);
            for fault in [
                of_system(&Root::at(store.root()), &system).unwrap_err(),
                of_derivation(&Root::at(store.root()), &derivation).unwrap_err(),
            ] {
                assert_eq!(fault.class, FaultClass::Permanent, "{fault}");
                assert!(fault.why().contains(named), "{fault}");
                assert!(fault.next().contains("systemd-boot.enable = true"), "{fault}");
            }
        }
    }

    /// Whoever uses lanzaboote is not told to do without it for ever.
    #[test]
    fn lanzaboote_has_its_own_advice() {
        let store = Store::new();
        let system = store.system(&format!("/nix/store/{HASH}-lzbt/bin/lzbt"));
        let said = of_system(&Root::at(store.root()), &system).unwrap_err().next();
        assert!(
            said.contains("enable lanzaboote later in the installed host"),
            "{said}"
        );
    }

    #[test]
    fn an_esp_elsewhere_and_an_extended_boot_loader_partition_are_named() {
        let store = Store::new();
        let said = |system: &StorePath| {
            of_system(&Root::at(store.root()), system)
                .unwrap_err()
                .to_string()
        };
        let elsewhere = said(&store.systemd_boot("/efi", "/efi"));
        assert!(
            elsewhere.contains("boot.loader.efi.efiSysMountPoint is /efi"),
            "{elsewhere}"
        );
        let two = said(&store.systemd_boot("/boot", "/xboot"));
        assert!(two.contains("xbootldrMountPoint is /xboot"), "{two}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "(?s).{0,200}", before in "[\\\\\"'=: ]{0,6}", path in "[a-z0-9/\\-]{0,40}") {
            installer_after(&text, "x");
            setting(&text, "x");
            store_name(&text);
            let wanted = format!("/nix/store/{path}");
            let made = format!("INSTALL_BOOTLOADER{before}{wanted}'");
            prop_assert_eq!(installer_after(&made, "INSTALL_BOOTLOADER"), Some(wanted.as_str()));
        }
    }
}
