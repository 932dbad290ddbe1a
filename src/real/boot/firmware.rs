//! The boot settings in the firmware: the entries that name our ESP, and the boot loader's own variables.
//!
//! Every variable is read, and none is assumed to be well-formed. One entry is made where there is none, and entries of
//! former installs of this host on this disk are removed. Firmware that refuses an entry starts the removable path. An entry is a variable of its own, written before the boot order that names it. If
//! `efibootmgr` is killed between the two writes, the entry that exists is added to the order, and no second one is made.
//!
//! `disk::efi` has the format of load options, and `boot::loader` chooses among the entries of the boot loader.

use crate::real::boot::loader::Variables;
use crate::real::disk::efi;
use crate::real::fs::target_root;
use crate::real::fs::target_root::Root;
use camino::Utf8Path;
use landfall_states::actions::install_boot_loader::Nvram;
use landfall_states::fault::Fault;
use landfall_states::plan::{Plan, Role};
use uuid::Uuid;

/// Where the kernel shows the variables.
pub const EFIVARS: &str = "/sys/firmware/efi/efivars";
/// The GUID of the firmware's own variables (UEFI 2.10 section 3.3).
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// The GUID of the boot loader's (Boot Loader Interface).
const LOADER: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// The boot loader's variables that choose an entry.
///
/// # Errors
/// The firmware's variables cannot be read.
pub fn loader_variables(efivars: &Utf8Path) -> Result<Variables, Fault> {
    let text = |name: &str| -> Result<Option<String>, Fault> {
        let value = target_root::read(&Root::at(efivars), &format!("{name}-{LOADER}"))?;
        Ok(value.as_deref().and_then(parse_text))
    };
    Ok(Variables {
        one_shot: text("LoaderEntryOneShot")?,
        preferred: text("LoaderEntryPreferred")?,
        default: text("LoaderEntryDefault")?,
        last_booted: text("LoaderEntryLastBooted")?,
    })
}

/// A text in a variable: four bytes of attributes, UTF-16, up to a NUL. An empty one is none.
fn parse_text(raw: &[u8]) -> Option<String> {
    let (units, _) = raw.get(4..)?.as_chunks();
    let units: Vec<u16> = units
        .iter()
        .map(|unit| u16::from_le_bytes(*unit))
        .take_while(|unit| *unit != 0)
        .collect();
    (!units.is_empty()).then(|| String::from_utf16_lossy(&units))
}

/// What the firmware's variables say of an ESP.
///
/// # Errors
/// The firmware's variables cannot be read.
pub fn nvram_state(efivars: &Utf8Path, esp: &Root, esp_partuuid: &Uuid) -> Result<Nvram, Fault> {
    let all = target_root::names(&Root::at(efivars), ".")?;
    if all.is_empty() {
        return Ok(Nvram::Unwritable("there are no EFI variables".into()));
    }
    for number in boot_order(efivars)? {
        if starts_ours(efivars, esp, esp_partuuid, number)? {
            return Ok(Nvram::Ours);
        }
    }
    let read_only = nix::sys::statvfs::statvfs(efivars.as_str())
        .map_err(|e| target_root::io_fault(efivars.as_str(), &e.into()))?
        .flags()
        .contains(nix::sys::statvfs::FsFlags::ST_RDONLY);
    if read_only {
        return Ok(Nvram::Unwritable(
            "the EFI variables are mounted read-only".into(),
        ));
    }
    Ok(Nvram::Missing)
}

fn strange(name: &str, why: &str) {
    tracing::warn!(variable = name, %why, "is not understood");
}

/// A variable of the firmware's, whichever letters its number is written in. One that cannot be read is strange, and says
/// nothing of the others.
fn variable(efivars: &Utf8Path, name: &str) -> Result<Option<Vec<u8>>, Fault> {
    let files = target_root::names(&Root::at(efivars), ".")?;
    let Some(file) = efi::file_of(&files, name) else {
        return Ok(None);
    };
    match target_root::read(&Root::at(efivars), file) {
        Ok(value) => Ok(value),
        Err(fault) => {
            strange(name, &fault.to_string());
            Ok(None)
        }
    }
}

/// The numbers of the entries that the firmware tries, in its order.
fn boot_order(efivars: &Utf8Path) -> Result<Vec<u16>, Fault> {
    let value = variable(efivars, "BootOrder")?;
    Ok(match value.as_deref().map(efi::parse_numbers) {
        None => vec![],
        Some(Ok(numbers)) => numbers,
        Some(Err(why)) => {
            strange("BootOrder", &why);
            vec![]
        }
    })
}

/// Whether an entry is active and starts a file that is on our ESP.
fn starts_ours(efivars: &Utf8Path, esp: &Root, esp_partuuid: &Uuid, number: u16) -> Result<bool, Fault> {
    let name = format!("Boot{number:04X}");
    let value = variable(efivars, &name)?;
    let efi::LoadOption {
        active,
        description: _,
        partitions,
        file,
    } = match value.as_deref().map(efi::parse_load_option) {
        None => return Ok(false),
        Some(Ok(option)) => option,
        Some(Err(why)) => {
            strange(&name, &why);
            return Ok(false);
        }
    };
    let ours = partitions
        .iter()
        .any(|p| p.signature == efi::Signature::Gpt(*esp_partuuid));
    match file {
        Some(file) if active && ours => Ok(target_root::open_file(esp, &file)?.is_some()),
        Some(_) | None => Ok(false),
    }
}

/// The order with an entry of ours in front that is there and that it does not name.
///
/// # Errors
/// The firmware's variables cannot be read.
pub fn order_with_ours(
    efivars: &Utf8Path,
    esp: &Root,
    esp_partuuid: &Uuid,
) -> Result<Option<Vec<u16>>, Fault> {
    let order = boot_order(efivars)?;
    for name in target_root::names(&Root::at(efivars), ".")? {
        let Some(number) = entry_number(&name) else {
            continue;
        };
        if !order.contains(&number) && starts_ours(efivars, esp, esp_partuuid, number)? {
            return Ok(Some([number].into_iter().chain(order).collect()));
        }
    }
    Ok(None)
}

/// The numbers of entries that start something on an ESP of a former install of this host on this disk. Its partition is gone, and
/// each reinstall would leave one more in a memory that is small.
///
/// # Errors
/// The firmware's variables cannot be read.
pub fn former_entries(efivars: &Utf8Path, plan: &Plan) -> Result<Vec<u16>, Fault> {
    let former: Vec<Uuid> = (0..plan.nonce)
        .filter_map(|nonce| {
            let former = Plan::derive(&plan.host, &plan.layout, &plan.payload, &plan.disk, nonce).ok()?;
            Some(former.partition(Role::Esp)?.partuuid)
        })
        .collect();
    let mut found = Vec::new();
    for name in target_root::names(&Root::at(efivars), ".")? {
        let Some(number) = entry_number(&name) else {
            continue;
        };
        let value = variable(efivars, &format!("Boot{number:04X}"))?;
        let is_former = match value.as_deref().map(efi::parse_load_option) {
            Some(Ok(option)) => option
                .partitions
                .iter()
                .any(|p| former.iter().any(|id| p.signature == efi::Signature::Gpt(*id))),
            // What cannot be understood is nobody's, and stays.
            Some(Err(_)) | None => false,
        };
        if is_former {
            found.push(number);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The number of an entry, from the name of its variable.
fn entry_number(name: &str) -> Option<u16> {
    let digits = name
        .strip_suffix(&format!("-{GLOBAL}"))
        .and_then(|name| name.strip_prefix("Boot"))
        .filter(|digits| digits.len() == 4)?;
    u16::from_str_radix(digits, 16).ok()
}

/// As [`nvram_state`], where the host wants an entry (`can_touch`) and an ESP is planned.
///
/// # Errors
/// The firmware's variables cannot be read.
pub fn wanted_entry(
    can_touch: bool,
    efivars: &Utf8Path,
    esp: &Root,
    esp_partuuid: Option<&Uuid>,
) -> Result<Nvram, Fault> {
    match esp_partuuid {
        _ if !can_touch => Ok(Nvram::NotWanted),
        Some(partuuid) => nvram_state(efivars, esp, partuuid),
        None => Ok(Nvram::Unwritable("no disk is held".into())),
    }
}

/// The disk and partition number below a mounted ESP, from the kernel: `/dev/<disk>` and number.
///
/// # Errors
/// The kernel does not know the partition.
pub fn esp_device(esp: &Root) -> Result<Option<(String, u32)>, Fault> {
    let fault = |e: &std::io::Error| target_root::io_fault(format!("device of {}", esp.as_arg()), e);
    let device = target_root::device_number(esp)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real::disk::efi::tests::load_option;
    use landfall_states::plan::{
        DiskIdentity, Layout, Machine, Payload, Reference, Repository, RepositorySource, SystemSource,
    };

    fn plan(host: &str, nonce: u32) -> Plan {
        let layout = Layout {
            esp_label: "ESP-WEB".parse().unwrap(),
            esp_size: "512M".parse().unwrap(),
            root_label: "root-web".parse().unwrap(),
            luks_label: None,
            swap: None,
            machine: Machine::X86_64,
        };
        let payload = Payload {
            repository: Repository {
                source: RepositorySource::Remote("https://forge.example/r.git".parse().unwrap()),
                reference: Reference::Default,
                clone_path: "/mnt/nix-config".parse().unwrap(),
            },
            system: SystemSource::Flake,
        };
        let disk = DiskIdentity {
            wwn: None,
            serial: Some("LF0001".into()),
            path: None,
            size_bytes: 8 << 30,
            sector_bytes: 512,
        };
        Plan::derive(&host.parse().unwrap(), &layout, &payload, &disk, nonce).unwrap()
    }

    #[test]
    fn entries_of_former_installs_are_found_and_no_others() {
        let keep = tempfile::tempdir().unwrap();
        let efivars = Utf8Path::from_path(keep.path()).unwrap();
        let put = |number: &str, plan: &Plan| {
            let option = load_option("Linux Boot Manager", plan.partition(Role::Esp).unwrap().partuuid);
            fs_err::write(efivars.join(format!("Boot{number}-{GLOBAL}")), option).unwrap();
        };
        put("0000", &plan("web", 0));
        put("000A", &plan("web", 1));
        put("0002", &plan("web", 2));
        put("0003", &plan("web", 3));
        put("0004", &plan("db", 0));
        fs_err::write(efivars.join(format!("Boot0005-{GLOBAL}")), [7, 0, 0, 0, 1]).unwrap();
        fs_err::write(efivars.join(format!("BootOrder-{GLOBAL}")), [7, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!(former_entries(efivars, &plan("web", 2)).unwrap(), [0, 10]);
        assert!(former_entries(efivars, &plan("web", 0)).unwrap().is_empty());
    }

    #[test]
    fn variables_of_the_boot_loader_are_read() {
        let keep = tempfile::tempdir().unwrap();
        let efivars = Utf8Path::from_path(keep.path()).unwrap();
        assert_eq!(loader_variables(efivars).unwrap(), Variables::default());
        let put = |name: &str, text: &str| {
            let text = text.encode_utf16().flat_map(u16::to_le_bytes);
            let bytes: Vec<u8> = [7, 0, 0, 0].into_iter().chain(text).collect();
            fs_err::write(efivars.join(format!("{name}-{LOADER}")), bytes).unwrap();
        };
        put("LoaderEntryDefault", "nixos-a.conf\0rest");
        put("LoaderEntryOneShot", "\0");
        fs_err::write(efivars.join(format!("LoaderEntryPreferred-{LOADER}")), [7, 0]).unwrap();
        let read = loader_variables(efivars).unwrap();
        assert_eq!(read.default.as_deref(), Some("nixos-a.conf"));
        assert_eq!(
            (read.one_shot, read.preferred, read.last_booted),
            (None, None, None)
        );
    }
}
