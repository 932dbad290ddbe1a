//! Checks everything that can be checked before the first write.
//!
//! A check writes nothing outside tmpfs. A problem is reported with the thing, the value, what is allowed and the next
//! command. What is right is reported too.
//!
//! `disk::scan` looks at the disks.

use crate::config::Config;
use crate::event::Event;
use crate::real::boot::{bootspec, host_loader};
use crate::real::fs::target_root;
use crate::real::fs::target_root::Root;
use crate::real::git::command;
use crate::real::process::command::Program;
use crate::real::process::context::CommandContext;
use crate::real::secrets::{passphrase, placement};
use crate::real::{MOUNT_ROOT, Real, ask, disk};
use crate::world::{CLOCK_MAX_S, CLOCK_MIN_S};
use camino::Utf8Path;
use landfall_states::fault::{ConfigFault, Fault, Kind, MachineFault, Remedy, RoomFault, StoreFault};
use landfall_states::image::Image;
use landfall_states::names::{Revision, StorePath, quoted};
use landfall_states::plan::{Machine, Payload, Plan, RepositorySource, Role, SystemSource};
use landfall_states::utc::utc;
use std::time::{Duration, SystemTime};

/// What a filesystem of `n` bytes holds is at least this part of it: ext4's tables, journal and 5 % reserve.
const ROOT_USABLE_PERCENT: u64 = 90;
/// Left over on root for logs, the clone and the first boot, in bytes.
const ROOT_SPARE_BYTES: u64 = 128 << 20;
/// What a LUKS2 header takes of its partition, in bytes (libcryptsetup's default).
const LUKS_HEADER_BYTES: u64 = 16 << 20;
/// Left over on the ESP for the loader and the checkpoint, in bytes.
const ESP_SPARE_BYTES: u64 = 4 << 20;

/// Checks everything; the answer is the pinned revision.
///
/// # Errors
/// The first check that fails, or all that is missing; no disk was written to.
pub async fn preflight(
    real: &mut Real,
    plan: &Plan,
    payload: &Payload,
    pinned: Option<&Revision>,
    fresh: bool,
) -> Result<Revision, Fault> {
    let context = real.context();
    checked(&context, "firmware", firmware(&Root::live())?);
    checked(&context, "privileges", privileges()?);
    checked(&context, "clock", clock(SystemTime::now())?);
    let needed = needed_tools(&real.config, payload);
    checked(&context, "tools", tools(&needed)?);
    firmware_entry(&context, real.config.can_touch_efi_variables, plan.layout.machine);
    disk::labels::check(plan, &real.labels)?;
    checked(&context, "labels", "no other disk has the planned labels".into());
    if fresh {
        mount_point(&context, MOUNT_ROOT)?;
    }
    let is_new = fresh && pinned.is_none();
    match &payload.system {
        SystemSource::Prebuilt(system) => {
            let closure = closure_bytes(&context, system, "auto").await?;
            host_loader::of_system(&Root::live(), system)?;
            let boot = bootspec::boot_bytes(system, &Root::live())?;
            sizes(&context, plan, &format!("closure of {system}"), closure, boot)?;
        }
        SystemSource::Image(image) => {
            let what = format!("image {} of {}", image.file, image.system);
            image_fits(plan, image)?;
            sizes(&context, plan, &what, image.plain_bytes, image.boot_bytes)?;
        }
        SystemSource::Flake => {}
    }
    if is_new {
        secrets(&context, real)?;
    }
    let revision = match pinned {
        Some(pinned) => pinned.clone(),
        None => {
            let revision = real.resolve_repository(&payload.repository).await?;
            if matches!(payload.system, SystemSource::Flake) {
                evaluable(&context, &payload.repository.source, &revision).await?;
            }
            checked(&context, "configuration", format!("revision {revision}"));
            revision
        }
    };
    if let Some(luks) = &plan.luks {
        ask::ensure_passphrase(real, &luks.label, fresh).await?;
        if fresh {
            passphrase_notices(&context, real, &payload.system)?;
        }
        checked(&context, "passphrase", "available".into());
    }
    Ok(revision)
}

/// Whether this Nix reads repositories of the revision's object format. It is asked by a reference to one that is not there: what it
/// does not like about the revision it says before it looks.
async fn evaluable(
    context: &CommandContext,
    source: &RepositorySource,
    revision: &Revision,
) -> Result<(), Fault> {
    let format = command::object_format(revision);
    if format == "sha1" {
        return Ok(());
    }
    let args = [
        "--extra-experimental-features",
        "nix-command flakes",
        "flake",
        "metadata",
    ];
    let asked = Program::that_looks("nix")
        .args(args)
        .arg(format!("git+file:///nonexistent?rev={revision}"));
    let said = context.run(asked).await?.said();
    if !said.contains("has wrong length") && !said.contains("not a valid") {
        return Ok(());
    }
    let on = match source {
        RepositorySource::Remote(_) => "repository.remote",
        RepositorySource::Bundle { .. } => "repository.bundle",
    };
    Err(ConfigFault::BadValue {
        on: on.into(),
        what: "object format".into(),
        value: format.into(),
        allowed: "it must be sha1, because the installer's Nix cannot evaluate a repository with another object format; a system in the installer (system: Prebuilt or Image) needs no evaluation"
            .into(),
    }
    .into())
}

fn checked(context: &CommandContext, what: &str, found: String) {
    context.reporter.tell(Event::Checked {
        what: what.to_owned(),
        found,
    });
}

/// The firmware starts loaders of its own width only: a 64-bit processor may have firmware of 32 bits.
pub(crate) fn firmware(root: &Root) -> Result<String, Fault> {
    if target_root::is_there(root, "sys/firmware/efi")? {
        let width = target_root::read_text(root, "sys/firmware/efi/fw_platform_size")?;
        let found = match width.as_deref().map(str::trim) {
            // Kernels before 4.1 do not say.
            None | Some("") => "UEFI".to_owned(),
            Some("64") => "UEFI, 64 bits".to_owned(),
            Some(bits) => {
                return Err(MachineFault::FirmwareWidth {
                    bits: quoted(bits),
                    loader: Machine::native().fallback_loader().into(),
                }
                .into());
            }
        };
        return Ok(found);
    }
    Err(MachineFault::BiosMode {
        missing: "/sys/firmware/efi".into(),
    }
    .into())
}

/// Whether the firmware will have an entry for this disk is worth a word before anything is erased: without one it starts
/// this disk only when no other entry comes first.
fn firmware_entry(context: &CommandContext, can_touch: bool, machine: Machine) {
    let found = if can_touch {
        "landfall makes one if the firmware keeps it".to_owned()
    } else {
        format!(
            "landfall makes none (can_touch_efi_variables is false): the firmware starts EFI/BOOT/{} if no other entry comes first",
            machine.fallback_loader()
        )
    };
    checked(context, "firmware boot entry", found);
}

pub(crate) fn privileges() -> Result<String, Fault> {
    let uid = nix::unistd::geteuid();
    if uid.is_root() {
        return Ok("root".into());
    }
    Err(MachineFault::NotRoot { uid: uid.as_raw() }.into())
}

pub(crate) fn clock(now: SystemTime) -> Result<String, Fault> {
    let s = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs();
    if (CLOCK_MIN_S..CLOCK_MAX_S).contains(&s) {
        return Ok(utc(s));
    }
    Err(MachineFault::Clock {
        now_s: s,
        min_s: CLOCK_MIN_S,
        max_s: CLOCK_MAX_S,
    }
    .into())
}

pub(crate) fn needed_tools(config: &Config, payload: &Payload) -> Vec<&'static str> {
    let mut tools = vec![
        "git",
        "nix",
        "nix-store",
        "nixos-install",
        "nixos-enter",
        "blkid",
        "lsblk",
        "udevadm",
        "mkfs.vfat",
        "mkfs.ext4",
        "e2fsck",
        "tune2fs",
        "fsck.vfat",
        "sh",
    ];
    if config.can_touch_efi_variables {
        tools.push("efibootmgr");
    }
    if config.swap.enable {
        tools.extend(["mkswap", "swaplabel"]);
    }
    if payload.system.image().is_some() {
        tools.push("resize2fs");
    }
    if let RepositorySource::Remote(url) = &payload.repository.source
        && url.is_over_ssh()
    {
        tools.push("ssh");
    }
    if !config.unattended.enable {
        tools.push("systemd-ask-password");
    }
    tools
}

pub(crate) fn tools(needed: &[&str]) -> Result<String, Fault> {
    let path = std::env::var("PATH").unwrap_or_default();
    let missing: Vec<&str> = needed
        .iter()
        .copied()
        .filter(|tool| {
            !path
                .split(':')
                .any(|dir| !dir.is_empty() && Utf8Path::new(dir).join(tool).exists())
        })
        .collect();
    if missing.is_empty() {
        return Ok(needed.join(" "));
    }
    Err(MachineFault::ToolsMissing {
        programs: missing.iter().map(ToString::to_string).collect(),
        path,
    }
    .into())
}

fn mount_point(context: &CommandContext, at: &str) -> Result<(), Fault> {
    let text = fs_err::read_to_string("/proc/self/mountinfo")
        .map_err(|e| target_root::io_fault("list of mounts", &e))?;
    let taken = mounts_below(&text, at);
    if taken.is_empty() {
        checked(context, "mount point", format!("{at} is free"));
        return Ok(());
    }
    Err(Fault::of(
        Kind::InUse {
            on: format!("mount point {at}"),
            by: taken,
        },
        Remedy::change_and_install(format!("umount -R {at}")),
    ))
}

/// `source on place` of every mount at or below a place, from the text of `proc_pid_mountinfo(5)`.
fn mounts_below(text: &str, at: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| {
            let place = line.split(' ').nth(4)?;
            let source = line
                .split_once(" - ")
                .and_then(|(_, rest)| rest.split(' ').nth(1))
                .unwrap_or("?");
            (place == at || place.strip_prefix(at).is_some_and(|rest| rest.starts_with('/')))
                .then(|| format!("{source} on {place}"))
        })
        .collect()
}

/// Bytes of a closure in the installer's own store, which must have it as valid.
async fn closure_bytes(context: &CommandContext, system: &StorePath, store: &str) -> Result<u64, Fault> {
    let args = [
        "--extra-experimental-features",
        "nix-command",
        "path-info",
        "--store",
        store,
        "-S",
        system.as_str(),
    ];
    let ended = context.run(Program::that_looks("nix").args(args)).await?;
    let ended = ended.or_fault(|how| {
        StoreFault::SystemMissing {
            system: system.to_string(),
            ended: how,
        }
        .into()
    })?;
    parse_closure_size(&ended.stdout, system).ok_or_else(|| {
        MachineFault::OutputUnknown {
            on: format!("prebuilt system {system}"),
            program: "nix path-info".into(),
            reason: "it has no size for this system".into(),
            line: Some(quoted(&ended.stdout)),
        }
        .into()
    })
}

fn parse_closure_size(text: &str, system: &StorePath) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(system.as_str()))
            .then(|| words.next()?.parse().ok())
            .flatten()
    })
}

fn partition_bytes(plan: &Plan, role: Role) -> u64 {
    plan.partition(role).map_or(0, |p| {
        p.sectors().saturating_mul(u64::from(plan.table.sector_bytes))
    })
}

/// A filesystem is grown, never shrunk.
fn image_fits(plan: &Plan, image: &Image) -> Result<(), Fault> {
    let header = if plan.luks.is_some() { LUKS_HEADER_BYTES } else { 0 };
    let root = partition_bytes(plan, Role::Root).saturating_sub(header);
    if image.filesystem_bytes <= root {
        return Ok(());
    }
    Err(RoomFault::Image {
        image: image.file.clone(),
        needed_bytes: image.filesystem_bytes,
        available_bytes: root,
    }
    .into())
}

fn sizes(context: &CommandContext, plan: &Plan, what: &str, closure: u64, images: u64) -> Result<(), Fault> {
    let (root, esp) = (
        partition_bytes(plan, Role::Root),
        partition_bytes(plan, Role::Esp),
    );
    let needed = closure.saturating_add(ROOT_SPARE_BYTES);
    if needed > root / 100 * ROOT_USABLE_PERCENT {
        return Err(RoomFault::System {
            system: what.to_owned(),
            system_bytes: closure,
            spare_bytes: ROOT_SPARE_BYTES,
            needed_bytes: needed,
            available_bytes: root,
            usable_percent: ROOT_USABLE_PERCENT,
        }
        .into());
    }
    // Twice: the loader's installer writes new files before it removes old ones.
    let needed = images.saturating_mul(2).saturating_add(ESP_SPARE_BYTES);
    if needed > esp {
        return Err(RoomFault::Boot {
            images_bytes: images,
            spare_bytes: ESP_SPARE_BYTES,
            needed_bytes: needed,
            available_bytes: esp,
        }
        .into());
    }
    checked(
        context,
        "sizes",
        format!("{closure} of {root} bytes for the {what}, kernel and initrd {images} of {esp} bytes"),
    );
    Ok(())
}

/// A word where the passphrase may be hard to type at boot, with the console's layout where the system is at hand.
fn passphrase_notices(context: &CommandContext, real: &Real, source: &SystemSource) -> Result<(), Fault> {
    let keymap = match source {
        SystemSource::Prebuilt(system) => {
            target_root::read_text(&Root::live(), &format!("{system}/etc/vconsole.conf"))?
                .as_deref()
                .and_then(passphrase::keymap)
        }
        SystemSource::Image(_) | SystemSource::Flake => None,
    };
    if let Some(text) = real.credentials.passphrase() {
        for notice in passphrase::notices(text, keymap.as_deref()) {
            context.reporter.notice(notice);
        }
    }
    Ok(())
}

fn secrets(context: &CommandContext, real: &Real) -> Result<(), Fault> {
    let keys = &real.config.keys;
    if keys.deploy_key && real.credentials.deploy_key().is_none() {
        return Err(placement::missing("landfall.deploy-key"));
    }
    if keys.age_identity && real.credentials.age_identity().is_none() {
        return Err(placement::missing("landfall.age-identity"));
    }
    checked(context, "secrets", real.credentials.at_hand());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Reporter;
    use crate::real::process::stop::Stop;
    use landfall_states::fault::FaultClass;

    fn context() -> CommandContext {
        CommandContext::new(Reporter::default(), Stop::never())
    }

    /// Nix 2.8 says `hash '…' has wrong length for hash type 'sha1'`.
    #[test]
    fn a_repository_that_this_nix_cannot_evaluate_is_refused_before_the_first_write() {
        let source = RepositorySource::Remote("https://forge.example/o/r".parse().unwrap());
        let ask = |digits: usize| {
            let revision = "a".repeat(digits).parse().unwrap();
            crate::real::test_support::block_on(evaluable(&context(), &source, &revision))
        };
        ask(40).unwrap();
        let Ok(version) =
            crate::real::test_support::block_on(context().run(Program::new("nix").arg("--version")))
        else {
            return;
        };
        match ask(64) {
            Err(fault) => assert!(fault.to_string().contains("object format \"sha256\""), "{fault}"),
            Ok(()) => assert!(!version.stdout.contains(" 2.8."), "{}", version.stdout),
        }
    }

    #[test]
    fn clocks_outside_a_century_are_refused() {
        let at = |s| SystemTime::UNIX_EPOCH + Duration::from_secs(s);
        assert!(clock(at(0)).is_err());
        assert_eq!(clock(at(CLOCK_MIN_S)).unwrap(), "2026-01-01T00:00:00Z");
        assert!(clock(at(CLOCK_MAX_S)).is_err());
    }

    #[test]
    fn a_missing_tool_is_named() {
        let fault = tools(&["sh", "landfall-no-such-tool"]).unwrap_err();
        assert!(
            fault.what().contains("landfall-no-such-tool") && !fault.what().contains("sh,"),
            "{fault}"
        );
        tools(&["sh"]).unwrap();
    }

    #[test]
    fn mounts_at_and_below_are_seen_and_neighbours_are_not() {
        let text = "36 35 98:0 / /mnt rw,noatime shared:1 - ext4 /dev/sda2 rw\n\
            37 36 98:1 / /mnt/boot rw - vfat /dev/sda1 rw\n38 35 98:2 / /mnt2 rw - ext4 /dev/sdb rw\n";
        assert_eq!(
            mounts_below(text, "/mnt"),
            ["/dev/sda2 on /mnt", "/dev/sda1 on /mnt/boot"]
        );
    }

    #[test]
    fn bios_machines_are_refused() {
        let keep = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(keep.path()).unwrap();
        assert!(firmware(&Root::at(root)).unwrap_err().why().contains("BIOS"));
        fs_err::create_dir_all(root.join("sys/firmware/efi")).unwrap();
        firmware(&Root::at(root)).unwrap();
    }

    #[test]
    fn firmware_of_another_width_is_refused_before_the_first_write() {
        let keep = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(keep.path()).unwrap();
        fs_err::create_dir_all(root.join("sys/firmware/efi")).unwrap();
        for (text, good) in [("64\n", true), ("", true), ("32\n", false), ("128\n", false)] {
            fs_err::write(root.join("sys/firmware/efi/fw_platform_size"), text).unwrap();
            match firmware(&Root::at(root)) {
                Ok(_) => assert!(good, "{text}"),
                Err(fault) => {
                    assert!(!good && fault.why().contains(text.trim()), "{fault}");
                    assert!(fault.class == FaultClass::NeedsChange, "{fault}");
                }
            }
        }
    }

    #[test]
    fn closure_sizes_are_read() {
        let system: StorePath = "/nix/store/2xyifq2nh639qmif11q87l313ylaxf6d-nixos-system-web"
            .parse()
            .unwrap();
        assert_eq!(
            parse_closure_size(&format!("{system}\t     289336\n"), &system),
            Some(289_336)
        );
        assert_eq!(parse_closure_size("", &system), None);
    }
}
