//! The boot loader, proved from the ESP. Law: every file that firmware and loader will read is read back from the device
//! and compared with the store; exit codes prove nothing (inside a chroot `bootctl` may do nothing and exit 0).
//!
//! Absent: unified kernel images (they are named as unsupported), GRUB, and judging (`states::installed`).

use crate::real::command::{OnStop, Program};
use crate::real::disk::efi;
use crate::real::hands::Hands;
use crate::real::loader::{Entry, default_entry, default_pattern, is_pe};
use crate::real::nixlog::{COMMON, classify};
use crate::real::{MOUNT_ROOT, Real, install, mounts, rooted};
use crate::world::Perform;
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::fault::{Fault, FaultClass};
use landfall_states::installed::{BootFacts, BootFile, BootOrder, InstallBootLoader, Nvram};
use landfall_states::names::StorePath;
use landfall_states::plan::{Machine, Role};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::time::Duration;
use uuid::Uuid;

const EFIVARS: &str = "/sys/firmware/efi/efivars";
/// The GUID of the firmware's own variables (UEFI 2.10 section 3.3).
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
const DEADLINE: Duration = Duration::from_secs(30 * 60);

/// Looks at everything that firmware and loader will read. `root` is the target's root with the ESP at `boot`.
pub fn observe_boot(
    root: &Utf8Path,
    system: &StorePath,
    machine: Machine,
    nvram: Nvram,
) -> Result<BootFacts, Fault> {
    let loader_path = format!("EFI/systemd/{}", machine.systemd_boot());
    let fallback_path = format!("EFI/BOOT/{}", machine.fallback_loader());
    let originals = store_loaders(root, machine)?;
    let esp = root.join("boot");
    let loader = binary(&esp, &loader_path, &originals)?;
    let mut fallback = binary(&esp, &fallback_path, &originals)?;
    if let (BootFile::Right(_), BootFile::Right(_)) = (&loader, &fallback)
        && esp_digest(&esp, &loader_path)? != esp_digest(&esp, &fallback_path)?
    {
        fallback = BootFile::Different(format!("{fallback_path} differs from {loader_path}"));
    }
    let entries = entries(&esp)?;
    let conf = rooted::read_text(&esp, "loader/loader.conf")?.unwrap_or_default();
    let init = format!("{system}/init");
    let Some(chosen) = default_entry(&entries, default_pattern(&conf).as_deref()) else {
        let entry = match unified_images(&esp)?.as_slice() {
            [] => BootFile::Missing("loader/entries/*.conf".into()),
            images => BootFile::Different(format!(
                "EFI/Linux/{} is a unified kernel image: unsupported, use systemd-boot with plain entries",
                images.join(", ")
            )),
        };
        let missing = |what: &str| BootFile::Missing(format!("the default entry's {what}"));
        return Ok(BootFacts {
            loader,
            fallback,
            entry,
            kernel: missing("kernel"),
            initrd: missing("initrd"),
            nvram,
        });
    };
    let entry_path = format!("loader/entries/{}", chosen.file);
    let entry = match chosen.init() {
        Some(found) if found == init => BootFile::Right(entry_path),
        Some(found) => BootFile::Different(format!(
            "{entry_path} is the default and starts {found}, not {init}"
        )),
        None => BootFile::Different(format!("{entry_path} is the default and has no init= option")),
    };
    Ok(BootFacts {
        loader,
        fallback,
        entry,
        kernel: kernel(root, &esp, chosen, system)?,
        initrd: initrd(root, &esp, chosen, system)?,
        nvram,
    })
}

/// A file of the ESP, its cached pages forgotten: what is read comes from the device.
fn open_esp(esp: &Utf8Path, path: &str) -> Result<Option<std::fs::File>, Fault> {
    let file = rooted::open_file(esp, path)?;
    if let Some(file) = &file {
        rooted::forget(file)?;
    }
    Ok(file)
}

type Sum = ([u8; 32], u64);

fn esp_digest(esp: &Utf8Path, path: &str) -> Result<Option<Sum>, Fault> {
    open_esp(esp, path)?
        .map(|file| rooted::digest(&format!("{path} on the ESP"), file))
        .transpose()
}

fn binary(esp: &Utf8Path, path: &str, originals: &BTreeMap<Sum, String>) -> Result<BootFile, Fault> {
    let Some(file) = open_esp(esp, path)? else {
        return Ok(BootFile::Missing(path.to_owned()));
    };
    let mut head = Vec::new();
    file.take(64 << 10)
        .read_to_end(&mut head)
        .map_err(|e| rooted::io_fault(format!("{path} on the ESP"), &e))?;
    if !is_pe(&head) {
        return Ok(BootFile::Different(format!(
            "{path} is no PE image ({} bytes read)",
            head.len()
        )));
    }
    let sum = esp_digest(esp, path)?;
    if !originals.is_empty() && !sum.is_some_and(|sum| originals.contains_key(&sum)) {
        let known: Vec<&str> = originals.values().map(String::as_str).collect();
        return Ok(BootFile::Different(format!(
            "{path} equals none of {}",
            known.join(", ")
        )));
    }
    Ok(BootFile::Right(path.to_owned()))
}

/// The systemd-boot binaries in the target store (there may be more than one systemd), by digest.
fn store_loaders(root: &Utf8Path, machine: Machine) -> Result<BTreeMap<Sum, String>, Fault> {
    let mut found = BTreeMap::new();
    for name in names(&root.join("nix/store"))? {
        for suffix in ["", ".signed"] {
            let path = format!(
                "/nix/store/{name}/lib/systemd/boot/efi/{}{suffix}",
                machine.systemd_boot()
            );
            if let Some(file) = rooted::open_file(root, &path)? {
                found.insert(rooted::digest(&path, file)?, path);
            }
        }
    }
    Ok(found)
}

/// File names of a directory, sorted; none when it is not there.
fn names(dir: &Utf8Path) -> Result<Vec<String>, Fault> {
    let read = match fs_err::read_dir(dir) {
        Ok(read) => read,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(e) => return Err(rooted::io_fault(dir.as_str(), &e)),
    };
    let mut names = Vec::new();
    for entry in read {
        let entry = entry.map_err(|e| rooted::io_fault(dir.as_str(), &e))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn entries(esp: &Utf8Path) -> Result<Vec<Entry>, Fault> {
    let mut entries = Vec::new();
    for name in names(&esp.join("loader/entries"))? {
        if name.ends_with(".conf")
            && let Some(text) = rooted::read_text(esp, &format!("loader/entries/{name}"))?
        {
            entries.push(Entry::parse(&name, &text));
        }
    }
    Ok(entries)
}

fn unified_images(esp: &Utf8Path) -> Result<Vec<String>, Fault> {
    let mut images = names(&esp.join("EFI/Linux"))?;
    images.retain(|name| name.to_ascii_lowercase().ends_with(".efi"));
    Ok(images)
}

fn kernel(root: &Utf8Path, esp: &Utf8Path, entry: &Entry, system: &StorePath) -> Result<BootFile, Fault> {
    let Some(path) = &entry.linux else {
        return Ok(BootFile::Missing(format!("linux line of {}", entry.file)));
    };
    let store = format!("{system}/kernel");
    let original = rooted::open_file(root, &store)?
        .map(|f| rooted::digest(&store, f))
        .transpose()?;
    Ok(match (esp_digest(esp, path)?, original) {
        (None, _) => BootFile::Missing(path.clone()),
        (_, None) => BootFile::Different(format!("{store} is not in the target store")),
        (Some(found), Some(original)) if found == original => BootFile::Right(path.clone()),
        (Some((_, found)), Some((_, original))) => BootFile::Different(format!(
            "{path} ({found} bytes) differs from {store} ({original} bytes)"
        )),
    })
}

/// The initrds of an entry, one after the other, must begin with the store's; secrets may be appended.
fn initrd(root: &Utf8Path, esp: &Utf8Path, entry: &Entry, system: &StorePath) -> Result<BootFile, Fault> {
    let store = format!("{system}/initrd");
    let original = rooted::open_file(root, &store)?;
    let named = entry.initrd.join(" ");
    let Some(original) = original else {
        return Ok(if entry.initrd.is_empty() {
            BootFile::Right("no initrd".into())
        } else {
            BootFile::Different(format!(
                "{named} is on the ESP, {store} is not in the target store"
            ))
        });
    };
    if entry.initrd.is_empty() {
        return Ok(BootFile::Missing(format!("initrd line of {}", entry.file)));
    }
    let mut chain: Box<dyn Read> = Box::new(std::io::empty());
    for path in &entry.initrd {
        let Some(file) = open_esp(esp, path)? else {
            return Ok(BootFile::Missing(path.clone()));
        };
        chain = Box::new(chain.chain(file));
    }
    let (wanted, length) = rooted::digest(&store, original)?;
    let (found, read) = rooted::digest(&format!("{named} on the ESP"), chain.take(length))?;
    Ok(if (found, read) == (wanted, length) && length > 0 {
        BootFile::Right(named)
    } else {
        BootFile::Different(format!("{named} does not begin with {store} ({length} bytes)"))
    })
}

/// What the firmware's variables say of an ESP.
pub fn nvram_state(efivars: &Utf8Path, esp: &Utf8Path, esp_partuuid: &Uuid) -> Result<Nvram, Fault> {
    let all = names(efivars)?;
    if all.is_empty() {
        return Ok(Nvram::Unwritable("no EFI variables are there".into()));
    }
    let value = |name: &str| rooted::read(efivars, &format!("{name}-{GLOBAL}"));
    let strange = |name: &str, why: String| tracing::warn!(variable = name, %why, "cannot be understood");
    let order = match value("BootOrder")?.as_deref().map(efi::parse_numbers) {
        None => vec![],
        Some(Ok(numbers)) => numbers,
        Some(Err(why)) => {
            strange("BootOrder", why);
            vec![]
        }
    };
    for name in order.into_iter().map(|number| format!("Boot{number:04X}")) {
        let efi::LoadOption {
            active,
            description: _,
            partitions,
            file,
        } = match value(&name)?.as_deref().map(efi::parse_load_option) {
            None => continue,
            Some(Ok(option)) => option,
            Some(Err(why)) => {
                strange(&name, why);
                continue;
            }
        };
        let ours = partitions
            .iter()
            .any(|p| p.signature == efi::Signature::Gpt(*esp_partuuid));
        if active
            && ours
            && let Some(file) = file
            && rooted::open_file(esp, &file)?.is_some()
        {
            return Ok(Nvram::Ours);
        }
    }
    let read_only = nix::sys::statvfs::statvfs(efivars.as_str())
        .map_err(|e| rooted::io_fault(efivars.as_str(), &e.into()))?
        .flags()
        .contains(nix::sys::statvfs::FsFlags::ST_RDONLY);
    if read_only {
        return Ok(Nvram::Unwritable(
            "the EFI variables are mounted read-only".into(),
        ));
    }
    Ok(Nvram::Missing)
}

/// As [`nvram_state`], where the host wants an entry (`can_touch`) and an ESP is planned.
pub fn wanted_entry(
    can_touch: bool,
    efivars: &Utf8Path,
    esp: &Utf8Path,
    esp_partuuid: Option<&Uuid>,
) -> Result<Nvram, Fault> {
    match esp_partuuid {
        _ if !can_touch => Ok(Nvram::NotWanted),
        Some(partuuid) => nvram_state(efivars, esp, partuuid),
        None => Ok(Nvram::Unwritable("no disk is held".into())),
    }
}

fn firmware_entry(real: &Real, esp: &Utf8Path) -> Result<Nvram, Fault> {
    let planned = real.plan.as_ref().and_then(|plan| plan.partition(Role::Esp));
    wanted_entry(
        real.config.can_touch_efi_variables,
        Utf8Path::new(EFIVARS),
        esp,
        planned.map(|esp| &esp.partuuid),
    )
}

/// Copies the loader to the removable path, which firmware without an entry starts.
fn ensure_fallback(hands: &Hands, root: &Utf8Path, machine: Machine) -> Result<(), Fault> {
    let esp = root.join("boot");
    let loader = esp.join("EFI/systemd").join(machine.systemd_boot());
    let fallback = esp.join("EFI/BOOT").join(machine.fallback_loader());
    if !loader.exists() || fallback.exists() {
        return Ok(());
    }
    hands.reporter.step(format!("copy the loader to {fallback}"));
    let beside = esp.join("EFI/BOOT/LANDFALL.TMP");
    // FAT keeps neither owner nor mode: bytes only.
    let copy = || -> std::io::Result<()> {
        fs_err::create_dir_all(esp.join("EFI/BOOT"))?;
        let bytes = fs_err::read(&loader)?;
        let mut file = fs_err::File::create(&beside)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs_err::rename(&beside, &fallback)
    };
    copy().map_err(|e| rooted::io_fault(fallback.as_str(), &e))
}

/// The disk and partition number below a mounted ESP, from the kernel: `/dev/<disk>` and number.
fn esp_device(esp: &Utf8Path) -> Result<Option<(String, u32)>, Fault> {
    let fault = |e: &std::io::Error| rooted::io_fault(format!("device of {esp}"), e);
    let dir = fs_err::File::open(esp).map_err(|e| fault(&e))?;
    let device = nix::sys::stat::fstat(dir.file())
        .map_err(|e| fault(&e.into()))?
        .st_dev;
    let sysfs = format!(
        "/sys/dev/block/{}:{}",
        nix::sys::stat::major(device),
        nix::sys::stat::minor(device)
    );
    let real = match fs_err::canonicalize(&sysfs) {
        Ok(real) => real,
        // No block device below: a filesystem without one.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(fault(&e)),
    };
    let number = match fs_err::read_to_string(real.join("partition")) {
        Ok(text) => text.trim().parse::<u32>().ok(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => return Err(fault(&e)),
    };
    let disk = real.parent().and_then(|p| p.file_name()).and_then(|n| n.to_str());
    Ok(number
        .zip(disk)
        .map(|(number, disk)| (format!("/dev/{disk}"), number)))
}

/// Makes a firmware entry where one is wanted, there is none, and one can be made. Firmware that refuses starts the
/// removable path.
pub async fn register(real: &Real) -> Result<(), Fault> {
    let esp = Utf8PathBuf::from(MOUNT_ROOT).join("boot");
    let Some(plan) = &real.plan else {
        return Ok(());
    };
    match firmware_entry(real, &esp)? {
        Nvram::Ours | Nvram::NotWanted => return Ok(()),
        Nvram::Unwritable(why) => {
            real.reporter.notice(format!(
                "no firmware boot entry: {why}; the firmware starts the removable path"
            ));
            return Ok(());
        }
        Nvram::Missing => {}
    }
    let machine = plan.layout.machine;
    let loader = format!("EFI/systemd/{}", machine.systemd_boot());
    let Some((disk, number)) = esp_device(&esp)? else {
        return Ok(());
    };
    if !esp.join(&loader).exists() {
        return Ok(());
    }
    let loader = format!("\\{}", loader.replace('/', "\\"));
    let number = number.to_string();
    let args = [
        "--create",
        "--disk",
        &disk,
        "--part",
        &number,
        "--label",
        "Linux Boot Manager",
        "--loader",
        &loader,
    ];
    let ended = real.hands().run(Program::new("efibootmgr").args(args)).await?;
    if !ended.success() {
        real.reporter.notice(format!(
            "no firmware boot entry could be made ({}); the firmware starts the removable path",
            ended.how()
        ));
    }
    Ok(())
}

async fn run_installer(hands: &Hands, root: &Utf8Path, system: &StorePath) -> Result<(), Fault> {
    let ended = hands
        .run(
            Program::new("nixos-enter")
                .args(["--root", root.as_str(), "--"])
                .arg(format!("{system}/bin/switch-to-configuration"))
                .arg("boot")
                .env("NIXOS_INSTALL_BOOTLOADER", "1")
                .deadline(DEADLINE)
                .on_stop(OnStop::Finish)
                .enters_target()
                .reported(),
        )
        .await?;
    if ended.success() {
        return Ok(());
    }
    let said = format!("{}\n{}", ended.stderr, ended.stdout);
    Err(classify(
        &[COMMON],
        FaultClass::Transient,
        "boot loader installer",
        &said,
        ended.how(),
    ))
}

impl Real {
    fn machine(&self) -> Machine {
        self.plan
            .as_ref()
            .map_or(Machine::native(), |plan| plan.layout.machine)
    }
}

impl Perform<InstallBootLoader> for Real {
    async fn observe(&mut self, step: &InstallBootLoader) -> Result<BootFacts, Fault> {
        self.attach(mounts::Attach::Target).await?;
        let root = Utf8Path::new(MOUNT_ROOT);
        // Clean pages only can be forgotten, and FAT is flushed by nobody else.
        install::flush_boot(root)?;
        let nvram = firmware_entry(self, &root.join("boot"))?;
        observe_boot(root, &step.system, self.machine(), nvram)
    }

    async fn perform(&mut self, _step: &InstallBootLoader, order: BootOrder) -> Result<(), Fault> {
        self.attach(mounts::Attach::Target).await?;
        let root = Utf8Path::new(MOUNT_ROOT);
        for flaw in &order.flaws {
            self.reporter.notice(format!("on the ESP: {flaw}"));
        }
        let hands = self.hands();
        run_installer(&hands, root, &order.system).await?;
        ensure_fallback(&hands, root, self.machine())?;
        register(self).await?;
        rooted::sync_filesystem(root)?;
        install::flush_boot(root)
    }
}
