//! The plan: everything an install will write, fixed before the first write.
//!
//! A plan is a function of the layout, the disk's own identity, the host and the reinstall number. Equal inputs give equal
//! ids, so the disk itself can say whether *this* install did a thing, even if every checkpoint is lost. A plan has no kernel
//! names such as `sda`, no mount points of this boot and no secrets, and making it does not look at the machine.

pub use crate::identity::DiskIdentity;
use crate::image::Image;
use crate::names::*;
use crate::remote::RemoteUrl;
use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// The name space of every id that landfall derives (UUIDv5, RFC 9562 section 5.5). Changing it orphans every
/// unfinished install.
const NAME_SPACE: Uuid = Uuid::from_u128(0x6c61_6e64_6661_4c6c_8000_6e69_786f_7321);

/// EFI system partition (UEFI 2.10, table 5-7).
pub const TYPE_ESP: Uuid = Uuid::from_u128(0xC12A_7328_F81F_11D2_BA4B_00A0_C93E_C93B);
/// Root for x86-64 (UAPI Discoverable Partitions Specification).
const TYPE_ROOT_X86_64: Uuid = Uuid::from_u128(0x4F68_BCE3_E8CD_4DB1_96E7_FBCA_F984_B709);
/// Root for arm64 (UAPI Discoverable Partitions Specification).
const TYPE_ROOT_ARM64: Uuid = Uuid::from_u128(0xB921_B045_1DF0_41C3_AF44_4C6F_280D_3FAE);
/// LUKS container (Linux `sgdisk` code 8309).
const TYPE_LUKS: Uuid = Uuid::from_u128(0xCA7D_7CCB_63ED_4C53_861C_1742_5360_59CC);
/// Swap (UAPI Discoverable Partitions Specification).
const TYPE_SWAP: Uuid = Uuid::from_u128(0x0657_FD6D_A4AB_43C4_84E5_0933_C84B_4F4F);

/// Smallest root filesystem.
const ROOT_BYTES_MIN: u64 = 512 << 20;
/// Smallest ESP (FAT32 needs 65,525 clusters of 4 KiB, Microsoft's FAT specification 1.03).
pub const ESP_BYTES_MIN: u64 = 260 << 20;

/// The processor family of the target: decides the root's partition type and the names of the loader binaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Machine {
    /// x86-64.
    X86_64,
    /// 64-bit Arm.
    Aarch64,
}

impl Machine {
    /// The machine this program was built for.
    pub const fn native() -> Self {
        if cfg!(target_arch = "aarch64") {
            Machine::Aarch64
        } else {
            Machine::X86_64
        }
    }
    /// The removable-media loader, below `EFI/BOOT` (UEFI 2.10 section 3.5.1.1).
    pub const fn fallback_loader(self) -> &'static str {
        match self {
            Machine::X86_64 => "BOOTX64.EFI",
            Machine::Aarch64 => "BOOTAA64.EFI",
        }
    }
    /// systemd-boot's binary, below `EFI/systemd`.
    pub const fn systemd_boot(self) -> &'static str {
        match self {
            Machine::X86_64 => "systemd-bootx64.efi",
            Machine::Aarch64 => "systemd-bootaa64.efi",
        }
    }
    const fn root_type(self) -> Uuid {
        match self {
            Machine::X86_64 => TYPE_ROOT_X86_64,
            Machine::Aarch64 => TYPE_ROOT_ARM64,
        }
    }
}

/// The part of the configuration that decides what is on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// ESP: partition label and FAT label.
    pub esp_label: EspLabel,
    /// Size of the ESP.
    pub esp_size: Size,
    /// Root: filesystem label, and partition label when there is no LUKS.
    pub root_label: Ext4Label,
    /// LUKS container: partition label and header label.
    pub luks_label: Option<PartitionLabel>,
    /// Swap: partition label, swap label and size.
    pub swap: Option<(SwapLabel, Size)>,
    /// Processor family.
    pub machine: Machine,
}

impl Layout {
    /// The digest of the layout. The text it is taken over is written here by hand, field by field: a library's
    /// output may change, an install's identity may not.
    pub fn digest(&self) -> Digest {
        Digest::of(self.canonical().as_bytes())
    }

    fn canonical(&self) -> String {
        let Layout {
            esp_label,
            esp_size,
            root_label,
            luks_label,
            swap,
            machine,
        } = self;
        let luks = luks_label.as_ref().map_or("-", |l| l.as_str());
        let swap = swap
            .as_ref()
            .map_or("-".to_owned(), |(l, s)| format!("{l},{}", s.bytes()));
        let machine = match machine {
            Machine::X86_64 => "x86_64",
            Machine::Aarch64 => "aarch64",
        };
        format!(
            "landfall-layout-1\nesp={esp_label},{}\nroot={root_label}\nluks={luks}\nswap={swap}\nmachine={machine}\n",
            esp_size.bytes()
        )
    }
}

/// Which revision of the configuration is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reference {
    /// The remote's default branch at the time of preflight.
    Default,
    /// A branch or tag at the time of preflight.
    Branch(RefName),
    /// Exactly this revision.
    Revision(Revision),
}

/// Where the configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RepositorySource {
    /// A Git remote, over the network.
    Remote(RemoteUrl),
    /// A Git bundle carried by the installer, so that no network is needed; `origin` is set to the remote, if given.
    Bundle {
        /// Path of the bundle file on the installer.
        file: String,
        /// The remote written into the clone.
        origin: Option<RemoteUrl>,
    },
}

impl fmt::Display for RepositorySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RepositorySource::Remote(url) => url.fmt(f),
            RepositorySource::Bundle { file, origin: _ } => write!(f, "bundle {file}"),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Default => f.write_str("the default branch"),
            Reference::Branch(name) => f.write_str(name.as_str()),
            Reference::Revision(revision) => revision.fmt(f),
        }
    }
}

/// The configuration repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// Where from.
    pub source: RepositorySource,
    /// Which revision.
    pub reference: Reference,
    /// Where to.
    pub clone_path: ClonePath,
}

/// How the system comes to the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SystemSource {
    /// A closure carried by the installer.
    Prebuilt(StorePath),
    /// A closure carried by the installer as an image of the root filesystem.
    Image(Box<Image>),
    /// Built from the cloned flake.
    Flake,
}

impl SystemSource {
    /// The system, where it is known before anything is built.
    pub fn known(&self) -> Option<&StorePath> {
        match self {
            SystemSource::Prebuilt(system) => Some(system),
            SystemSource::Image(image) => Some(&image.system),
            SystemSource::Flake => None,
        }
    }

    /// The image, if the root filesystem is made from one.
    pub fn image(&self) -> Option<&Image> {
        match self {
            SystemSource::Image(image) => Some(image),
            SystemSource::Prebuilt(_) | SystemSource::Flake => None,
        }
    }
}

/// The part of the configuration that decides what is installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// The configuration repository.
    pub repository: Repository,
    /// The system.
    pub system: SystemSource,
}

impl Payload {
    /// The digest of the payload; canonical text by hand, as for [`Layout::digest`].
    pub fn digest(&self) -> Digest {
        let Payload {
            repository:
                Repository {
                    source,
                    reference,
                    clone_path,
                },
            system,
        } = self;
        let source = match source {
            // The whole text: two credentials are two payloads, and the digests of version 1 stay.
            RepositorySource::Remote(url) => format!("remote {}", url.expose()),
            RepositorySource::Bundle { file, origin } => {
                format!("bundle {file} {}", origin.as_ref().map_or("-", RemoteUrl::expose))
            }
        };
        let reference = match reference {
            Reference::Default => "default".to_owned(),
            Reference::Branch(name) => format!("branch {name}"),
            Reference::Revision(rev) => format!("revision {rev}"),
        };
        let system = match system {
            SystemSource::Prebuilt(path) => format!("prebuilt {path}"),
            // Its digest holds the system's path; where the file lies decides nothing.
            SystemSource::Image(image) => format!("image {}", image.digest),
            SystemSource::Flake => "flake".to_owned(),
        };
        Digest::of(format!("landfall-payload-1\n{source}\n{reference}\n{clone_path}\n{system}\n").as_bytes())
    }
}

/// What a partition is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// EFI system partition.
    Esp,
    /// Root filesystem, or the LUKS container around it.
    Root,
    /// Swap.
    Swap,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Esp => "ESP",
            Role::Root => "root",
            Role::Swap => "swap",
        })
    }
}

/// One entry of a GPT, with everything that counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GptEntry {
    /// Number, from 1.
    pub number: u32,
    /// Partition type GUID.
    pub type_guid: Uuid,
    /// PARTUUID.
    pub partuuid: Uuid,
    /// First sector, in logical sectors.
    pub first_lba: u64,
    /// Last sector, inclusive, in logical sectors.
    pub last_lba: u64,
    /// Partition name.
    pub name: String,
}

impl GptEntry {
    /// Length in logical sectors.
    pub fn sectors(&self) -> u64 {
        (self.last_lba + 1).saturating_sub(self.first_lba)
    }
}

/// A whole GPT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GptTable {
    /// Disk GUID.
    pub disk_guid: Uuid,
    /// Logical sector size in bytes.
    pub sector_bytes: u32,
    /// Entries by number.
    pub entries: Vec<GptEntry>,
}

impl GptTable {
    /// The differences to another table, one line each, as a person reads them. Empty when equal.
    pub fn differences(&self, found: &GptTable) -> Vec<String> {
        let mut lines = Vec::new();
        if self.disk_guid != found.disk_guid {
            lines.push(format!(
                "disk GUID: planned {}, found {}",
                self.disk_guid, found.disk_guid
            ));
        }
        if self.sector_bytes != found.sector_bytes {
            lines.push(format!(
                "sector size: planned {}, found {}",
                self.sector_bytes, found.sector_bytes
            ));
        }
        for planned in &self.entries {
            match found.entries.iter().find(|e| e.number == planned.number) {
                None => lines.push(format!(
                    "partition {} ({}) is missing",
                    planned.number, planned.name
                )),
                Some(entry) if entry != planned => lines.push(format!(
                    "partition {}: planned {} {} sectors {}–{}, found {} {} sectors {}–{}{}",
                    planned.number,
                    planned.name,
                    planned.partuuid,
                    planned.first_lba,
                    planned.last_lba,
                    entry.name,
                    entry.partuuid,
                    entry.first_lba,
                    entry.last_lba,
                    if entry.type_guid == planned.type_guid {
                        ""
                    } else {
                        " of another type"
                    },
                )),
                Some(_) => {}
            }
        }
        for entry in &found.entries {
            if !self.entries.iter().any(|e| e.number == entry.number) {
                lines.push(format!(
                    "partition {} ({}) is not in the plan",
                    entry.number, entry.name
                ));
            }
        }
        lines
    }
}

/// A filesystem, swap or LUKS header to be made: what it is called while it is being made, and once it is whole.
///
/// The planned id is the commit record: it is written, and flushed, only after everything else of the volume is
/// durable. So *planned id present* means *finished*; blank or provisional id means *not finished, nothing of worth*;
/// and any other id is somebody else's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The id once whole.
    pub id: Uuid,
    /// The id while being made.
    pub provisional: Uuid,
    /// The label.
    pub label: String,
}

impl Volume {
    fn derive(install: &InstallId, what: &str, label: impl Into<String>) -> Self {
        Volume {
            id: install.id(&format!("volume {what}")),
            provisional: install.id(&format!("volume {what} in the making")),
            label: label.into(),
        }
    }

    /// The 32-bit FAT volume serial number taken from an id: its first four bytes.
    pub fn fat_serial(id: &Uuid) -> u32 {
        let b = id.as_bytes();
        u32::from_be_bytes([b[0], b[1], b[2], b[3]])
    }

    /// A FAT serial number as `blkid` and udev write it: `ABCD-1234`.
    pub fn fat_serial_text(id: &Uuid) -> String {
        let n = Self::fat_serial(id);
        format!("{:04X}-{:04X}", n >> 16, n & 0xFFFF)
    }
}

/// The identity of one install on one disk; every other id is derived from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstallId(Uuid);

impl InstallId {
    /// UUIDv5 over host, layout, disk and reinstall nonce.
    pub fn derive(host: &HostName, layout: &Layout, disk: &DiskIdentity, nonce: u32) -> Self {
        let text = format!("{}{nonce}\n", Self::stem(host, layout, disk));
        InstallId(Uuid::new_v5(&NAME_SPACE, text.as_bytes()))
    }

    fn stem(host: &HostName, layout: &Layout, disk: &DiskIdentity) -> String {
        format!(
            "landfall-install-1\nhost={host}\n{}disk={}\nnonce=",
            layout.canonical(),
            disk.canonical()
        )
    }

    /// The nonce up to `nonce_max` that gives a table this GUID, if one does. Small ones are tried first.
    pub fn nonce_of(
        host: &HostName,
        layout: &Layout,
        disk: &DiskIdentity,
        disk_guid: &Uuid,
        nonce_max: u32,
    ) -> Option<u32> {
        // Every id of ours is a UUIDv5; another version need not be compared with each of them.
        if disk_guid.get_version_num() != 5 {
            return None;
        }
        let stem = Self::stem(host, layout, disk);
        (0..=nonce_max).find(|nonce| {
            let text = format!("{stem}{nonce}\n");
            InstallId(Uuid::new_v5(&NAME_SPACE, text.as_bytes())).disk_guid() == *disk_guid
        })
    }

    /// A further id of this install.
    pub fn id(&self, what: &str) -> Uuid {
        Uuid::new_v5(&self.0, what.as_bytes())
    }

    /// The id itself.
    pub fn uuid(&self) -> Uuid {
        self.0
    }

    /// The GUID of the disk's partition table.
    pub fn disk_guid(&self) -> Uuid {
        self.id("gpt")
    }
}

impl fmt::Display for InstallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why no plan can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The layout does not fit the disk.
    #[error("disk {disk} is too small: the layout needs {needed} bytes, and the disk has {found}")]
    TooSmall {
        /// The disk.
        disk: String,
        /// Bytes the layout needs at least.
        needed: u64,
        /// Bytes the disk has.
        found: u64,
    },
    /// The ESP cannot be a FAT32.
    #[error("an ESP of {found} bytes is too small: FAT32 needs at least {needed}")]
    EspTooSmall {
        /// Bytes a FAT32 needs.
        needed: u64,
        /// Bytes configured.
        found: u64,
    },
    /// Nothing tells the disk from another.
    #[error(
        "the disk has no WWN, no serial number and no bus address, so landfall could not recognise it after a reboot"
    )]
    Nameless,
    /// A sector size GPT or landfall does not know.
    #[error("a sector size of {0} bytes is not supported; 512 and 4096 are")]
    SectorSize(u32),
}

/// A whole plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The host.
    pub host: HostName,
    /// The install's identity.
    pub install: InstallId,
    /// How many times a person has asked for a new install on this disk.
    pub nonce: u32,
    /// The confirmed disk.
    pub disk: DiskIdentity,
    /// The layout.
    pub layout: Layout,
    /// Its digest.
    pub layout_digest: Digest,
    /// The payload.
    pub payload: Payload,
    /// Its digest.
    pub payload_digest: Digest,
    /// The partition table, every byte that matters.
    pub table: GptTable,
    /// The ESP's FAT.
    pub esp: Volume,
    /// The LUKS container.
    pub luks: Option<Volume>,
    /// The root filesystem.
    pub root: Volume,
    /// Swap.
    pub swap: Option<Volume>,
}

impl Plan {
    /// Fixes everything. Pure: the same inputs give the same plan, byte for byte.
    ///
    /// # Errors
    /// The layout does not fit onto the disk, or contradicts itself.
    pub fn derive(
        host: &HostName,
        layout: &Layout,
        payload: &Payload,
        disk: &DiskIdentity,
        nonce: u32,
    ) -> Result<Plan, PlanError> {
        if !disk.is_nameable() {
            return Err(PlanError::Nameless);
        }
        let install = InstallId::derive(host, layout, disk, nonce);
        let table = table(&install, layout, disk)?;
        Ok(Plan {
            host: host.clone(),
            install,
            nonce,
            disk: disk.clone(),
            layout: layout.clone(),
            layout_digest: layout.digest(),
            payload: payload.clone(),
            payload_digest: payload.digest(),
            table,
            esp: Volume::derive(&install, "esp", layout.esp_label.as_str()),
            luks: layout
                .luks_label
                .as_ref()
                .map(|label| Volume::derive(&install, "luks", label.as_str())),
            root: Volume::derive(&install, "root", layout.root_label.as_str()),
            swap: layout
                .swap
                .as_ref()
                .map(|(label, _)| Volume::derive(&install, "swap", label.as_str())),
        })
    }

    /// The planned partition of a role.
    pub fn partition(&self, role: Role) -> Option<&GptEntry> {
        let number = match role {
            Role::Esp => 1,
            Role::Root => 2,
            Role::Swap => 3,
        };
        self.table.entries.iter().find(|entry| entry.number == number)
    }
}

/// The table: ESP from 1 MiB, root or LUKS, swap at the end; everything on whole mebibytes.
fn table(install: &InstallId, layout: &Layout, disk: &DiskIdentity) -> Result<GptTable, PlanError> {
    let sector = u64::from(disk.sector_bytes);
    if sector != 512 && sector != 4096 {
        return Err(PlanError::SectorSize(disk.sector_bytes));
    }
    let mib = 1_u64 << 20;
    let esp_bytes = layout.esp_size.bytes();
    if esp_bytes < ESP_BYTES_MIN {
        return Err(PlanError::EspTooSmall {
            needed: ESP_BYTES_MIN,
            found: esp_bytes,
        });
    }
    let swap_bytes = layout.swap.as_ref().map_or(0, |(_, size)| size.bytes());
    // One mebibyte in front and one behind hold both GPT copies at either sector size.
    let end = (disk.size_bytes / mib).saturating_sub(1) * mib;
    let needed = mib
        .saturating_add(esp_bytes)
        .saturating_add(swap_bytes)
        .saturating_add(ROOT_BYTES_MIN)
        .saturating_add(mib);
    if disk.size_bytes < needed {
        return Err(PlanError::TooSmall {
            disk: disk.name(),
            needed,
            found: disk.size_bytes,
        });
    }
    let root_start = mib + esp_bytes;
    let root_end = end - swap_bytes;
    let entry = |number: u32, what: &str, type_guid: Uuid, name: &str, from: u64, to: u64| GptEntry {
        number,
        type_guid,
        partuuid: install.id(&format!("partition {what}")),
        first_lba: from / sector,
        last_lba: to / sector - 1,
        name: name.to_owned(),
    };
    let mut entries = vec![entry(
        1,
        "esp",
        TYPE_ESP,
        layout.esp_label.as_str(),
        mib,
        root_start,
    )];
    entries.push(match &layout.luks_label {
        Some(label) => entry(2, "root", TYPE_LUKS, label.as_str(), root_start, root_end),
        None => entry(
            2,
            "root",
            layout.machine.root_type(),
            layout.root_label.as_str(),
            root_start,
            root_end,
        ),
    });
    if let Some((label, _)) = &layout.swap {
        entries.push(entry(3, "swap", TYPE_SWAP, label.as_str(), root_end, end));
    }
    Ok(GptTable {
        disk_guid: install.disk_guid(),
        sector_bytes: disk.sector_bytes,
        entries,
    })
}

#[cfg(test)]
#[path = "plan_tests.rs"]
pub(crate) mod tests;
