//! Checks the boot loader on the ESP, and runs its installer.
//!
//! Every file that firmware and boot loader will read is read back from the device and compared with the store. Exit codes
//! prove nothing (inside a chroot `bootctl` may do nothing and exit 0). Whatever is on the ESP is a fact: a name with no file
//! behind it, a directory in the place of a file, a temporary file of an installer. Wrong files are deleted before the
//! installer runs, because the installer takes every file that exists for its own work.
//!
//! Unified kernel images and other boot loaders are named, not checked. `states::actions::install_boot_loader` judges.

use crate::real::boot::bootspec;
use crate::real::boot::loader::{Variables, is_pe};
use crate::real::boot::menu::{Chosen, Menu, OnEsp, Sum, different, esp_digest, open_esp};
use crate::real::boot::{activation, leftovers};
use crate::real::fs::target_root::Root;
use crate::real::fs::{skeleton, target_root};
use crate::real::process::command::{OnStop, Program};
use crate::real::process::context::CommandContext;
use crate::real::tool_errors::{self, Places};
use landfall_states::actions::install_boot_loader::{BootFacts, BootFile, BootOrder, Nvram};
use landfall_states::fault::Fault;
use landfall_states::names::StorePath;
use landfall_states::plan::Machine;
use std::collections::BTreeMap;
use std::io::Read;
use std::time::Duration;

/// Longest run of the boot loader's installer.
const DEADLINE: Duration = Duration::from_secs(30 * 60);
/// Largest boot loader.
const LOADER_BYTES_MAX: u64 = 64 << 20;
/// Files by which another boot loader shows.
const OTHER_LOADERS: [(&str, &str); 6] = [
    ("grub/grub.cfg", "GRUB"),
    ("EFI/NixOS-boot/grubx64.efi", "GRUB"),
    ("limine/limine.conf", "Limine"),
    ("limine.conf", "Limine"),
    ("EFI/limine/limine.conf", "Limine"),
    ("EFI/refind/refind.conf", "rEFInd"),
];

/// Looks at everything that firmware and loader will read. `root` is the target's root with the ESP at `boot`.
///
/// # Errors
/// The target or the firmware's variables cannot be read.
pub fn observe_boot(
    root: &Root,
    system: &StorePath,
    machine: Machine,
    nvram: Nvram,
    variables: &Variables,
) -> Result<BootFacts, Fault> {
    let loader_path = format!("EFI/systemd/{}", machine.systemd_boot());
    let fallback_path = format!("EFI/BOOT/{}", machine.fallback_loader());
    let originals = store_loaders(root, machine)?;
    let esp = root.esp();
    let loader = binary(&esp, &loader_path, &originals)?;
    let mut fallback = binary(&esp, &fallback_path, &originals)?;
    if let (BootFile::Right(_), BootFile::Right(_)) = (&loader, &fallback)
        && esp_digest(&esp, &loader_path)? != esp_digest(&esp, &fallback_path)?
    {
        fallback = different(&fallback_path, format!("differs from {loader_path}"));
    }
    let (spec, unreadable) = match bootspec::read(root, system)? {
        Ok(spec) => (spec, None),
        Err(why) => (bootspec::Spec::guessed(system), Some(why)),
    };
    let mut menu = Menu::read(root, &esp, machine)?;
    let Chosen {
        entry,
        kernel,
        initrd,
        further,
        steered,
        proves,
    } = menu.judge(&spec.boot, variables)?;
    let mut others = menu.damaged(&entry)?;
    others.extend(further);
    for (name, boot) in &spec.specialisations {
        for file in menu.specialisation(name, boot)? {
            // One file is told once, and so it is where it was told for its name.
            let told = |one: &BootFile| match (one, &file) {
                (BootFile::Different { path: a, .. }, BootFile::Different { path: b, .. }) => a == b,
                (one, other) => one == other,
            };
            if !others.iter().any(told) {
                others.push(file);
            }
        }
    }
    for (path, how) in leftovers::in_the_way(&esp)? {
        others.push(different(path, how));
    }
    others.extend(
        leftovers::lost_extra_files(&esp)?
            .into_iter()
            .map(BootFile::Missing),
    );
    let unproved = match unreadable {
        Some(why) => Some(why),
        None if proves => None,
        None => other_loader(&esp)?,
    };
    Ok(BootFacts {
        loader,
        fallback,
        entry,
        kernel,
        initrd,
        others,
        leftovers: leftovers::on_esp(&esp)?,
        nvram,
        unproved,
        steered,
    })
}

fn binary(esp: &Root, path: &str, originals: &BTreeMap<Sum, String>) -> Result<BootFile, Fault> {
    let file = match open_esp(esp, path)? {
        OnEsp::File(file) => file,
        OnEsp::Absent => return Ok(BootFile::Missing(path.to_owned())),
        OnEsp::Irregular => return Ok(different(path, "is a directory")),
    };
    let mut head = Vec::new();
    file.take(64 << 10)
        .read_to_end(&mut head)
        .map_err(|e| target_root::io_fault(format!("{path} on the ESP"), &e))?;
    if !is_pe(&head) {
        return Ok(different(
            path,
            format!("is not a PE image ({} bytes read)", head.len()),
        ));
    }
    let sum = esp_digest(esp, path)?;
    if !originals.is_empty() && !sum.is_some_and(|sum| originals.contains_key(&sum)) {
        let known: Vec<&str> = originals.values().map(String::as_str).collect();
        return Ok(different(
            path,
            format!("differs from all of {}", known.join(", ")),
        ));
    }
    Ok(BootFile::Right(path.to_owned()))
}

/// The systemd-boot binaries in the target store (there may be more than one systemd), by digest.
fn store_loaders(root: &Root, machine: Machine) -> Result<BTreeMap<Sum, String>, Fault> {
    let mut found = BTreeMap::new();
    for name in target_root::names(root, "/nix/store")? {
        for suffix in ["", ".signed"] {
            let path = format!(
                "/nix/store/{name}/lib/systemd/boot/efi/{}{suffix}",
                machine.systemd_boot()
            );
            if let Some(file) = target_root::open_file(root, &path)? {
                found.insert(target_root::digest(&path, file)?, path);
            }
        }
    }
    Ok(found)
}

/// Another way to boot than the one that is proved here, by what lies on the ESP.
fn other_loader(esp: &Root) -> Result<Option<String>, Fault> {
    let mut images = target_root::names(esp, "EFI/Linux")?;
    images.retain(|name| name.to_ascii_lowercase().ends_with(".efi"));
    if !images.is_empty() {
        return Ok(Some(format!(
            "EFI/Linux/{} is a unified kernel image (as from lanzaboote), and landfall cannot verify its contents",
            images.join(", ")
        )));
    }
    for (path, name) in OTHER_LOADERS {
        if target_root::open_file(esp, path)?.is_some() {
            return Ok(Some(format!("{path} shows {name}, which landfall cannot verify")));
        }
    }
    Ok(None)
}

/// Copies the loader to the removable path, which firmware without an entry starts.
///
/// # Errors
/// The ESP cannot be read or written.
pub fn ensure_fallback(context: &CommandContext, root: &Root, machine: Machine) -> Result<(), Fault> {
    let esp = root.esp();
    let loader = format!("EFI/systemd/{}", machine.systemd_boot());
    let fallback = format!("EFI/BOOT/{}", machine.fallback_loader());
    if target_root::is_there(&esp, &fallback)? {
        return Ok(());
    }
    let Some(file) = target_root::open_file(&esp, &loader)? else {
        return Ok(());
    };
    context.reporter.step(format!("copy the loader to {fallback}"));
    let mut bytes = vec![];
    file.take(LOADER_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|e| target_root::io_fault(format!("{loader} on the ESP"), &e))?;
    target_root::write_plain(&esp, &fallback, "LANDFALL.TMP", &bytes)
}

/// What is run in the target, by its own shell: the root is at its mount point's path inside too, as `nixos-install` has it,
/// because the installer of the boot loader may be told of files by that path (secrets of the initrd). Where that cannot
/// be done it runs without. `$1`: the path, `$2`: the system.
const IN_TARGET: &str = r#"
if "$2/sw/bin/mount" --rbind --mkdir / "$1"; then "$2/sw/bin/mount" --make-rslave "$1"; fi
exec "$2/bin/switch-to-configuration" boot
"#;

pub(crate) async fn run_installer(
    context: &CommandContext,
    root: &Root,
    system: &StorePath,
) -> Result<(), Fault> {
    skeleton::refuse_links(root)?;
    let program = Program::new("nixos-enter").args(["--root", &root.as_arg(), "--"]);
    let shell = format!("{system}/sw/bin/bash");
    let program = if target_root::open_file(root, &shell)?.is_some() {
        program
            .args([shell.as_str(), "-c", IN_TARGET, "landfall"])
            .args([&root.as_arg(), system.as_str()])
    } else {
        program.args([format!("{system}/bin/switch-to-configuration"), "boot".into()])
    };
    let ended = context
        .run(
            program
                .env("NIXOS_INSTALL_BOOTLOADER", "1")
                .deadline(DEADLINE)
                .on_stop(OnStop::Finish)
                .enters_target()
                .reported(),
        )
        .await?;
    activation::keep(&context.reporter, root, &ended, activation::Kept::Also)?;
    if ended.success() {
        return Ok(());
    }
    let said = ended.said();
    let at = root.as_arg();
    let places = Places(&[&at]);
    Err(tool_errors::install(
        "boot loader installer",
        ended.how(),
        &said,
        places,
    ))
}

/// Deletes what the installer would take for its own work, and makes that durable.
///
/// # Errors
/// The ESP cannot be read, written or flushed.
pub fn clear_the_way(context: &CommandContext, root: &Root, order: &BootOrder) -> Result<(), Fault> {
    let esp = root.esp();
    for path in leftovers::clear_esp(&esp)? {
        context.reporter.step(format!(
            "delete {path}, which a boot loader installer left on the ESP"
        ));
    }
    skeleton::clear_profile(context, root)?;
    for (name, why) in leftovers::clear_generations(root)? {
        context
            .reporter
            .step(format!("remove {name} among the target's profiles: {why}"));
    }
    for path in order.wrong() {
        if leftovers::remove_wrong(&esp, path)? {
            context
                .reporter
                .step(format!("delete {path} on the ESP, so that it is written again"));
        }
    }
    target_root::flush_boot(root)
}
