//! `nixos-install` with all that it starts (`nix-env`, `nixos-enter`, the activation, `bootctl`, the boot loader's
//! installer), and the firmware's entry (`efibootmgr`).
//!
//! The steps are landfall's own, from look to look, and end when `InstallSystem` and `InstallBootLoader` are judged done. The
//! system is one of the laboratory's, or of the folder that takes its place. Every scenario of the laboratory ends with a
//! boot; this does not.

use super::whole::{formatted, parsed, revision, step, world};
use super::{SYSTEM, Subject, Tool, block_on};
use crate::choice::Watch;
use crate::ground::{self, run};
use crate::oracles_attached;
use camino::{Utf8Path, Utf8PathBuf};
use landfall::real::boot::firmware::EFIVARS;
use landfall::real::boot::loader::Variables;
use landfall::real::boot::{files, leftovers};
use landfall::real::disk::efi;
use landfall::real::fs::{marks, target_root};
use landfall::real::mount::attached::Attach;
use landfall::real::{MOUNT_BOOT, MOUNT_ROOT, Real};
use landfall_states::actions::install_boot_loader::{BootFile, InstallBootLoader, Nvram};
use landfall_states::actions::install_system::InstallSystem;
use landfall_states::actions::realise_system::RealiseSystem;
use landfall_states::fault::Fault;
use landfall_states::names::StorePath;
use landfall_states::plan::{Machine, Reference, Repository, RepositorySource, Role, SystemSource};

/// Files of accounts that an activation makes.
const ACCOUNTS: [&str; 4] = [
    "var/lib/nixos/uid-map",
    "var/lib/nixos/gid-map",
    "etc/passwd",
    "etc/group",
];

fn told(fault: &Fault) -> String {
    fault.to_string()
}

fn system(place: &Utf8Path) -> Result<StorePath, String> {
    parsed(&fs_err::read_to_string(place.join(SYSTEM)).map_err(|e| e.to_string())?)
}

/// landfall on a disk that the system goes to.
fn opened(place: &Utf8Path, device: &Utf8Path) -> Result<Real, String> {
    world(device, false, system(place)?.as_str())
}

fn prepare(place: &Utf8Path, device: &Utf8Path) -> Result<(), String> {
    block_on(async {
        let mut world = opened(place, device)?;
        formatted(&mut world).await?;
        let action = RealiseSystem {
            host: parsed("plain")?,
            source: SystemSource::Prebuilt(system(place)?),
            repository: Repository {
                source: RepositorySource::Remote(parsed("https://forge.example/o/r")?),
                reference: Reference::Default,
                clone_path: parsed("/mnt/nix-config")?,
            },
            revision: revision()?,
            verify: false,
            vouched: None,
        };
        step(&mut world, &action).await?;
        world.release().await.map_err(|fault| told(&fault))
    })?
}

async fn install(world: &mut Real, system: &StorePath) -> Result<(), String> {
    let (system, again) = (system.clone(), system.clone());
    step(world, &InstallSystem { system }).await?;
    step(world, &InstallBootLoader { system: again }).await
}

/// `nixos-install` and the boot loader.
pub struct Install;

impl Tool for Install {
    fn name(&self) -> &'static str {
        "install"
    }
    fn programs(&self) -> &'static [&'static str] {
        &[
            "losetup",
            "udevadm",
            "nixos-install",
            "nixos-enter",
            "nix-env",
            "efibootmgr",
        ]
    }
    fn subject(&self) -> Subject {
        Subject::Machine
    }
    fn loses_power(&self) -> bool {
        true
    }
    fn watch(&self, _subject: &Utf8Path) -> Watch {
        let both = |path: &str| [path.to_owned(), format!("{MOUNT_ROOT}{path}")];
        let below = [MOUNT_ROOT.to_owned()]
            .into_iter()
            .chain(both(EFIVARS))
            .chain(both("/proc/sys/kernel"));
        Watch {
            below: below.collect(),
            // Bound from the machine, or a filesystem in memory of `nixos-enter`'s own.
            except: ["dev", "proc", "sys", "run"]
                .map(|dir| format!("{MOUNT_ROOT}/{dir}"))
                .to_vec(),
            ..Watch::default()
        }
    }
    fn prepare(&self, place: &Utf8Path, subject: &Utf8Path) -> Result<(), String> {
        prepare(place, subject)
    }
    fn carry(&self, place: &Utf8Path, subject: &Utf8Path, later: bool) -> Result<(), String> {
        block_on(async {
            let mut world = opened(place, subject)?;
            install(&mut world, &system(place)?).await?;
            if later {
                world.release().await.map_err(|fault| told(&fault))?;
            }
            Ok(())
        })?
    }
    fn proven(&self, place: &Utf8Path, subject: &Utf8Path) -> Result<(), String> {
        oracles_attached::installed(subject, place, system(place)?.as_str())
    }
    fn state(&self, place: &Utf8Path, subject: &Utf8Path) -> Result<String, String> {
        let system = system(place)?;
        let is_esp = |mount: &ground::MountSeen| mount.target == MOUNT_BOOT;
        if !ground::mounts()?.iter().any(is_esp) {
            block_on(async {
                let mut world = opened(place, subject)?;
                world.attach(Attach::Target).await.map_err(|fault| told(&fault))
            })??;
        }
        Ok(format!("nixos: {}", state(&system)?))
    }
}

/// What stands out of what is on the target.
fn state(system: &StorePath) -> Result<&'static str, String> {
    let root = Utf8Path::new(MOUNT_ROOT);
    let boot = root.join("boot");
    let is_whole = |path: &&str| match fs_err::read(root.join(path)) {
        Ok(bytes) => !bytes.is_empty() && !bytes.contains(&0),
        Err(_) => true,
    };
    let temporary = leftovers::on_esp(&target_root::Root::at(&boot)).map_err(|fault| told(&fault))?;
    if temporary.iter().any(|path| path == "loader/loader.tmp") {
        return Ok("loader.tmp on the ESP");
    }
    if !temporary.is_empty() {
        return Ok("another temporary file on the ESP");
    }
    // As Nix calls a link before it renames it.
    let mut generations = fs_err::read_dir(root.join("nix/var/nix/profiles"))
        .into_iter()
        .flatten();
    if generations
        .any(|entry| entry.is_ok_and(|entry| entry.file_name().to_string_lossy().contains("-link.tmp-")))
    {
        return Ok("a generation of the profile beside its place");
    }
    if !ACCOUNTS.iter().all(is_whole) {
        return Ok("accounts without their contents");
    }
    let profile = target_root::follow_to_store(&target_root::Root::at(root), "/nix/var/nix/profiles/system")
        .map_err(|fault| told(&fault))?;
    if profile.as_deref() != Some(system.as_str()) {
        return Ok("no profile");
    }
    if !root.join("etc/NIXOS").exists() {
        return Ok("profile, no /etc/NIXOS");
    }
    let trace = target_root::read_text(&target_root::Root::at(root), "/nix/var/landfall/activated")
        .map_err(|fault| told(&fault))?;
    let activated = trace.is_some_and(|text| marks::is_activated(&text, system));
    let seen = files::observe_boot(
        &target_root::Root::at(root),
        system,
        Machine::native(),
        Nvram::NotWanted,
        &Variables::default(),
    );
    let seen = seen.map_err(|fault| told(&fault))?;
    let files = [
        &seen.loader,
        &seen.fallback,
        &seen.entry,
        &seen.kernel,
        &seen.initrd,
    ];
    let wrong = files.iter().copied().chain(&seen.others);
    let wrong = wrong
        .filter(|file| matches!(file, BootFile::Different { .. }))
        .count();
    let right = files
        .iter()
        .filter(|file| matches!(file, BootFile::Right(_)))
        .count();
    let whole = right == files.len() && boot.join("loader/loader.conf").exists();
    Ok(match (wrong, whole, right, activated) {
        (0, true, _, true) => "boot loader, trace of the activation",
        (0, true, _, false) => "boot loader, no trace of the activation",
        (0, false, _, true) => "a part of the boot loader, trace of the activation",
        (0, false, 0, false) => "/etc/NIXOS, no boot loader",
        (0, false, _, false) => "a part of the boot loader",
        (_, _, _, false) => "a wrong file on the ESP",
        (_, _, _, true) => "a wrong file on the ESP, trace of the activation",
    })
}

/// The firmware's entry alone.
pub struct Firmware;

/// Entries that start our ESP.
#[derive(Debug, Default)]
struct Entries {
    /// Those that the order names.
    in_order: usize,
    /// The others.
    beside: usize,
    /// Variables without a value, of whomever: they are in the kernel's memory and not in the firmware's.
    empty: usize,
}

/// What is there.
fn entries(partuuid: &uuid::Uuid) -> Result<Entries, String> {
    let variables = ground::firmware()?;
    let named = |name: &str| {
        let mut found = variables
            .iter()
            .filter(|(variable, _)| variable.starts_with(name));
        found.next().map(|(_, bytes)| bytes.as_slice())
    };
    let order = named("BootOrder-").map(efi::parse_numbers).transpose()?;
    let order = order.unwrap_or_default();
    let mut seen = Entries::default();
    for (name, bytes) in &variables {
        let number = name.strip_prefix("Boot").and_then(|rest| rest.get(..4));
        let Some(number) = number.and_then(|digits| u16::from_str_radix(digits, 16).ok()) else {
            continue;
        };
        let ours = efi::parse_load_option(bytes).is_ok_and(|option| {
            let ours = efi::Signature::Gpt(*partuuid);
            option
                .partitions
                .iter()
                .any(|partition| partition.signature == ours)
        });
        match (ours, order.contains(&number)) {
            (true, true) => seen.in_order += 1,
            (true, false) => seen.beside += 1,
            (false, _) if bytes.is_empty() => seen.empty += 1,
            (false, _) => {}
        }
    }
    Ok(seen)
}

fn partuuid(world: &Real) -> Result<uuid::Uuid, String> {
    let plan = world.planned().map_err(|fault| told(&fault))?;
    Ok(plan.partition(Role::Esp).ok_or("no ESP is planned")?.partuuid)
}

impl Tool for Firmware {
    fn name(&self) -> &'static str {
        "firmware"
    }
    fn programs(&self) -> &'static [&'static str] {
        Install.programs()
    }
    fn subject(&self) -> Subject {
        Subject::Machine
    }
    fn watch(&self, _subject: &Utf8Path) -> Watch {
        Watch::folder(EFIVARS)
    }
    fn prepare(&self, place: &Utf8Path, subject: &Utf8Path) -> Result<(), String> {
        prepare(place, subject)?;
        Install.carry(place, subject, true)
    }
    fn carry(&self, place: &Utf8Path, subject: &Utf8Path, later: bool) -> Result<(), String> {
        block_on(async {
            let mut world = opened(place, subject)?;
            world.attach(Attach::Target).await.map_err(|fault| told(&fault))?;
            world.register_entry().await.map_err(|fault| told(&fault))?;
            let seen = entries(&partuuid(&world)?)?;
            if seen.in_order != 1 || later && seen.beside != 0 {
                return Err(format!("not exactly one entry of ours: {seen:?}"));
            }
            world.release().await.map_err(|fault| told(&fault))
        })?
    }
    fn proven(&self, _place: &Utf8Path, subject: &Utf8Path) -> Result<(), String> {
        oracles_attached::firmware(subject)
    }
    fn state(&self, place: &Utf8Path, subject: &Utf8Path) -> Result<String, String> {
        let Entries {
            in_order,
            beside,
            empty,
        } = entries(&partuuid(&opened(place, subject)?)?)?;
        let what = match (in_order, beside, empty) {
            (0, 0, 0) => "no entry",
            (0, 0, _) => "a variable without a value",
            (0, _, _) => "an entry that is not in the order",
            (1, 0, _) => "an entry",
            (_, _, _) => "more than one entry",
        };
        Ok(format!("firmware: {what}"))
    }
}

/// The control: the next run starts `nixos-install` and does not remove what the killed one left on the ESP.
pub struct Untidy;

impl Tool for Untidy {
    fn name(&self) -> &'static str {
        "control-machine"
    }
    fn programs(&self) -> &'static [&'static str] {
        Install.programs()
    }
    fn subject(&self) -> Subject {
        Subject::Machine
    }
    fn watch(&self, subject: &Utf8Path) -> Watch {
        Install.watch(subject)
    }
    fn prepare(&self, place: &Utf8Path, subject: &Utf8Path) -> Result<(), String> {
        Install.prepare(place, subject)
    }
    fn carry(&self, place: &Utf8Path, subject: &Utf8Path, later: bool) -> Result<(), String> {
        if !later {
            return Install.carry(place, subject, false);
        }
        let system = system(place)?;
        let scratch = Utf8PathBuf::from("/tmp");
        run(
            "env",
            &[
                &format!("TMPDIR={scratch}"),
                // What landfall adds for programs that enter the target.
                &format!(
                    "PATH={}:/run/current-system/sw/bin",
                    std::env::var("PATH").unwrap_or_default()
                ),
                "nixos-install",
                "--root",
                MOUNT_ROOT,
                "--system",
                system.as_str(),
                "--no-root-passwd",
                "--no-channel-copy",
            ],
        )
        .map(|_| ())
    }
    fn proven(&self, place: &Utf8Path, subject: &Utf8Path) -> Result<(), String> {
        Install.proven(place, subject)
    }
    fn state(&self, place: &Utf8Path, subject: &Utf8Path) -> Result<String, String> {
        Install.state(place, subject)
    }
}
