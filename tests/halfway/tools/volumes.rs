//! The ESP, the LUKS container, root and swap: `mkfs.vfat`, `mkfs.ext4`, `e2fsck`, `tune2fs`, `mkswap`, `swaplabel` and
//! libcryptsetup, each between landfall's own writes.
//!
//! The partition had an earlier life with exactly the same ids, of which landfall wiped both ends and the copies of a
//! superblock and left the rest: what is found there must not be taken for the new. What another maker left there is for the
//! choice of the disk.
//!
//! `attached` has device-mapper (activation).

use super::{Subject, Tool, block_on};
use crate::image::Image;
use crate::oracles;
use crate::steps::carry;
use camino::Utf8Path;
use landfall::event::Reporter;
use landfall::image::{BLOCK_BYTES, ext4};
use landfall::real::process::stop::Stop;
use landfall::real::secret::SecretText;
use landfall::real::volume::luks::{self, Cost};
use landfall::real::volume::probe::probe;
use landfall::real::volume::{esp, filesystems, superblock};
use landfall_states::actions::anchor_checkpoint::{AnchorCheckpoint, AnchorOrder};
use landfall_states::actions::encrypt_volumes::{Container, EncryptVolumes, LuksFacts};
use landfall_states::actions::format_volumes::{FormatVolumes, Target, VolumesFacts};
use landfall_states::plan::{DiskIdentity, GptEntry, Volume};
use landfall_states::{Probe, VolumeState};
use uuid::Uuid;

/// The planned id, as programs show it.
const PLANNED: &str = "deadbeef-0000-0000-0000-00000000000a";
/// The slots' files, as `fsck.vfat` lists them.
const SLOTS: [&str; 2] = ["/EFI/LANDFALL/CKPT0.BIN", "/EFI/LANDFALL/CKPT1.BIN"];
/// What opens the container.
const PASSPHRASE: &str = "half a way";
/// What landfall wipes of a new partition's start and end (`src/real/steps/partition.rs`); and the blocks of ext4's copies of its superblock.
const WIPED_HEAD: u64 = 8 << 20;
/// See [`WIPED_HEAD`].
const WIPED_TAIL: u64 = 1 << 20;
/// Argon2id as cheap as it can be: its cost changes nothing in what is written.
pub const CHEAP: Cost = Cost {
    time_ms: 0,
    memory_kib_max: 32,
    threads_max: 1,
    iterations: Some(4),
    memory_min: None,
};
/// Where a LUKS2 container of libcryptsetup's default size has its second header (LUKS2 on-disk format, section 2).
const SECOND_HEADER: usize = 16_384;

fn volume(label: &str) -> Volume {
    Volume {
        id: Uuid::from_u128(0xDEAD_BEEF << 96 | 0xA),
        provisional: Uuid::from_u128(0x0BAD_CAFE << 96 | 0xB),
        label: label.into(),
    }
}

fn disk() -> DiskIdentity {
    DiskIdentity {
        wwn: None,
        serial: Some("halfway".into()),
        path: None,
        size_bytes: 8 << 30,
        sector_bytes: 512,
    }
}

fn partition(number: u32) -> GptEntry {
    GptEntry {
        number,
        type_guid: Uuid::from_u128(1),
        partuuid: Uuid::from_u128(u128::from(number)),
        first_lba: 2_048,
        last_lba: 1 << 20,
        name: "halfway".into(),
    }
}

fn passphrase() -> SecretText {
    SecretText::from(PASSPHRASE)
}

/// A blank file, a former life in it, and what landfall wipes before it writes its table.
fn former_life(tool: &dyn Tool, place: &Utf8Path, subject: &Utf8Path, bytes: u64) -> Result<(), String> {
    let io = |e: std::io::Error| e.to_string();
    fs_err::File::create(subject)
        .map_err(io)?
        .set_len(bytes)
        .map_err(io)?;
    tool.carry(place, subject, false)?;
    let mut image = Image::read(subject).map_err(io)?;
    image.zero(0, WIPED_HEAD);
    image.zero(bytes - WIPED_TAIL, WIPED_TAIL);
    let block = BLOCK_BYTES as u64;
    for copy in ext4::copies(bytes / block) {
        image.zero(copy * block, block);
    }
    image.write(subject).map_err(io)
}

fn probed(subject: &Utf8Path) -> Result<Probe, String> {
    block_on(probe(subject, &Reporter::default(), &Stop::never()))?.map_err(|fault| fault.to_string())
}

fn word(state: VolumeState) -> &'static str {
    match state {
        VolumeState::Complete => "planned id",
        VolumeState::Incomplete => "provisional id",
        VolumeState::Blank => "no signature",
        VolumeState::Foreign => "another signature",
    }
}

/// `mkfs.vfat`, the slots, the volume id.
pub struct Esp;

impl Tool for Esp {
    fn name(&self) -> &'static str {
        "esp"
    }
    fn programs(&self) -> &'static [&'static str] {
        &["mkfs.vfat", "fsck.vfat", "blkid"]
    }
    fn subject(&self) -> Subject {
        Subject::Image
    }
    fn prepare(&self, place: &Utf8Path, subject: &Utf8Path) -> Result<(), String> {
        former_life(self, place, subject, 300 << 20)
    }
    fn carry(&self, _place: &Utf8Path, subject: &Utf8Path, _later: bool) -> Result<(), String> {
        let (reporter, stop) = (Reporter::default(), Stop::never());
        let action = AnchorCheckpoint {
            disk: disk(),
            partition: partition(1),
            volume: volume("ESP-WEB"),
            claimed: false,
            consent: None,
        };
        block_on(carry(
            &action,
            async || {
                if esp::is_cut_off(subject, &action.volume)? {
                    esp::repair_esp(subject, &action.volume, &reporter, &stop).await?;
                }
                esp::observe_esp(subject, &reporter, &stop).await
            },
            async |order| match order {
                AnchorOrder::Format { volume, .. } => {
                    esp::make_esp(subject, &volume, 512, &reporter, &stop).await
                }
                AnchorOrder::AllocateSlots { missing, .. } => {
                    esp::repair_esp(subject, &action.volume, &reporter, &stop).await?;
                    esp::allocate_slots(subject, missing)
                }
            },
        ))?
    }
    fn proven(&self, _place: &Utf8Path, subject: &Utf8Path) -> Result<(), String> {
        oracles::identity(subject, "vfat", "DEAD-BEEF", "ESP-WEB")?;
        oracles::fat(subject, &SLOTS)
    }
    fn state(&self, _place: &Utf8Path, subject: &Utf8Path) -> Result<String, String> {
        let volume = volume("ESP-WEB");
        let (id, begun) = (
            Volume::fat_serial_text(&volume.id),
            Volume::fat_serial_text(&volume.provisional),
        );
        let seen = probed(subject)?;
        let state = match seen.compare("vfat", &id, &begun, &volume.label) {
            VolumeState::Foreign => match &seen {
                Probe::Found(found) if found.kind == "vfat" => "another id or no label",
                Probe::Found(_) | Probe::Blank | Probe::Ambiguous(_) => "another signature",
            },
            other => word(other),
        };
        if state == "no signature" {
            return Ok("fat: no boot sector".into());
        }
        let slots = esp::locate_on(subject).map_err(|fault| fault.to_string())?;
        let slots = match slots.map(|slot| slot.is_some()) {
            [false, false] => "no slot",
            [true, true] => "two slots",
            [true, false] | [false, true] => "one slot",
        };
        Ok(format!("fat: {state}, {slots}"))
    }
}

/// `mkfs.ext4`, `e2fsck`, `tune2fs`.
pub struct Root;
/// `mkswap`, `swaplabel`.
pub struct Swap;

fn format(root: bool, subject: &Utf8Path) -> Result<(), String> {
    let (reporter, stop) = (Reporter::default(), Stop::never());
    let target = |label: &str| Target {
        partition: partition(2),
        volume: volume(label),
        inside_luks: false,
    };
    let action = FormatVolumes {
        disk: disk(),
        root: target("root-web"),
        swap: (!root).then(|| target("swap-web")),
        image: None,
        image_progress: None,
        claimed: false,
        consent: None,
    };
    let whole = Probe::Found(landfall_states::Signature {
        kind: "ext4".into(),
        id: Some(action.root.volume.id.to_string()),
        label: Some(action.root.volume.label.clone()),
    });
    block_on(carry(
        &action,
        async || {
            let seen = if root {
                let root = volume("root-web");
                if let Some(copy) = superblock::torn(subject, &root, &reporter, &stop).await? {
                    superblock::repair(subject, &root, copy, &reporter, &stop).await?;
                }
                filesystems::observe_volume(subject, &root, &reporter, &stop).await?
            } else {
                filesystems::observe_volume(subject, &volume("swap-web"), &reporter, &stop).await?
            };
            Ok(if root {
                VolumesFacts {
                    root: seen,
                    swap: Probe::Blank,
                    image_progress: None,
                }
            } else {
                VolumesFacts {
                    root: whole.clone(),
                    swap: seen,
                    image_progress: None,
                }
            })
        },
        async |order| {
            if let Some(target) = &order.root {
                filesystems::make_ext4(subject, &target.volume, &reporter, &stop).await?;
            }
            if let Some(target) = &order.swap {
                filesystems::make_swap(subject, &target.volume, &reporter, &stop).await?;
            }
            Ok(())
        },
    ))?
}

fn formatted(kind: &str, label: &str, subject: &Utf8Path) -> Result<VolumeState, String> {
    let volume = volume(label);
    Ok(probed(subject)?.compare(
        kind,
        &volume.id.to_string(),
        &volume.provisional.to_string(),
        label,
    ))
}

impl Tool for Root {
    fn name(&self) -> &'static str {
        "root"
    }
    fn programs(&self) -> &'static [&'static str] {
        &["mkfs.ext4", "e2fsck", "tune2fs", "blkid"]
    }
    fn subject(&self) -> Subject {
        Subject::Image
    }
    fn prepare(&self, place: &Utf8Path, subject: &Utf8Path) -> Result<(), String> {
        former_life(self, place, subject, 160 << 20)
    }
    fn carry(&self, _place: &Utf8Path, subject: &Utf8Path, _later: bool) -> Result<(), String> {
        format(true, subject)
    }
    fn proven(&self, _place: &Utf8Path, subject: &Utf8Path) -> Result<(), String> {
        oracles::identity(subject, "ext4", PLANNED, "root-web")?;
        // What is taken for whole is mounted next, and checked before that (`src/real/mount/attached.rs`); then it has to be sound.
        oracles::ext4_repaired(subject)?;
        oracles::ext4(subject)
    }
    fn state(&self, _place: &Utf8Path, subject: &Utf8Path) -> Result<String, String> {
        let state = formatted("ext4", "root-web", subject)?;
        if state == VolumeState::Blank {
            return Ok("ext4: no superblock".into());
        }
        let sound = std::process::Command::new("e2fsck")
            .args(["-f", "-n", subject.as_str()])
            .output()
            .map_err(|e| format!("e2fsck: {e}"))?
            .status
            .success();
        let sound = if sound { "sound" } else { "not sound" };
        Ok(format!("ext4: {}, {sound}", word(state)))
    }
}

impl Tool for Swap {
    fn name(&self) -> &'static str {
        "swap"
    }
    fn programs(&self) -> &'static [&'static str] {
        &["mkswap", "swaplabel", "blkid"]
    }
    fn subject(&self) -> Subject {
        Subject::Image
    }
    fn prepare(&self, place: &Utf8Path, subject: &Utf8Path) -> Result<(), String> {
        former_life(self, place, subject, 32 << 20)
    }
    fn carry(&self, _place: &Utf8Path, subject: &Utf8Path, _later: bool) -> Result<(), String> {
        format(false, subject)
    }
    fn proven(&self, _place: &Utf8Path, subject: &Utf8Path) -> Result<(), String> {
        oracles::identity(subject, "swap", PLANNED, "swap-web")
    }
    fn state(&self, _place: &Utf8Path, subject: &Utf8Path) -> Result<String, String> {
        Ok(format!("swap: {}", word(formatted("swap", "swap-web", subject)?)))
    }
}

/// The control: a root filesystem with its planned id that `dd` copies from its first block on. A cut then leaves one that is
/// taken for whole and is not. (`mkfs.ext4` with the planned id would not do: it writes the superblock last, and what a cut
/// leaves of it has copies to be repaired from.)
pub struct Hasty;

/// The filesystem that is copied.
const FINISHED: &str = "finished";

impl Tool for Hasty {
    fn name(&self) -> &'static str {
        "control"
    }
    fn programs(&self) -> &'static [&'static str] {
        Root.programs()
    }
    fn subject(&self) -> Subject {
        Subject::Image
    }
    fn prepare(&self, place: &Utf8Path, subject: &Utf8Path) -> Result<(), String> {
        Root.prepare(place, subject)?;
        let finished = place.join(FINISHED);
        fs_err::copy(subject, &finished).map_err(|e| e.to_string())?;
        format(true, &finished)
    }
    fn carry(&self, place: &Utf8Path, subject: &Utf8Path, later: bool) -> Result<(), String> {
        if later {
            return Root.carry(place, subject, true);
        }
        let copied = std::process::Command::new("dd")
            .arg(format!("if={}", place.join(FINISHED)))
            .arg(format!("of={subject}"))
            .args(["bs=4M", "conv=notrunc,fsync", "status=none"])
            .status()
            .map_err(|e| format!("dd: {e}"))?;
        if copied.success() {
            Ok(())
        } else {
            Err(format!("dd: {copied}"))
        }
    }
    fn proven(&self, place: &Utf8Path, subject: &Utf8Path) -> Result<(), String> {
        Root.proven(place, subject)
    }
    fn state(&self, place: &Utf8Path, subject: &Utf8Path) -> Result<String, String> {
        Root.state(place, subject)
    }
}

/// libcryptsetup: format, key slot, UUID.
pub struct Luks;

impl Tool for Luks {
    fn name(&self) -> &'static str {
        "luks"
    }
    fn programs(&self) -> &'static [&'static str] {
        &["blkid", "cryptsetup"]
    }
    fn subject(&self) -> Subject {
        Subject::Image
    }
    fn prepare(&self, place: &Utf8Path, subject: &Utf8Path) -> Result<(), String> {
        former_life(self, place, subject, 64 << 20)
    }
    fn carry(&self, _place: &Utf8Path, subject: &Utf8Path, _later: bool) -> Result<(), String> {
        let (reporter, stop) = (Reporter::default(), Stop::never());
        let container = Container {
            partition: partition(2),
            volume: volume("luks-web"),
        };
        let id = container.volume.id;
        let action = EncryptVolumes {
            disk: disk(),
            container: Some(container),
            claimed: false,
            consent: None,
        };
        block_on(carry(
            &action,
            async || {
                let (probe, seen) =
                    luks::observe_container(subject, &volume("luks-web"), &reporter, &stop).await?;
                let opens = match seen.is_some_and(|header| header.uuid == id) {
                    true => Some(luks::opens(subject, &passphrase()).await?),
                    false => None,
                };
                Ok(LuksFacts::Planned { probe, opens })
            },
            async |order| {
                luks::make(subject, &order.container.volume, &passphrase(), CHEAP)
                    .await
                    .map(drop)
            },
        ))?
    }
    fn proven(&self, place: &Utf8Path, subject: &Utf8Path) -> Result<(), String> {
        let key = place.join("key");
        fs_err::write(&key, PASSPHRASE).map_err(|e| e.to_string())?;
        oracles::container(subject, PLANNED, "luks-web", &key)
    }
    fn state(&self, _place: &Utf8Path, subject: &Utf8Path) -> Result<String, String> {
        let head = fs_err::read(subject).map_err(|e| e.to_string())?;
        let volume = volume("luks-web");
        let copy = |at: usize, magic: &[u8; 6]| {
            let uuid = String::from_utf8_lossy(&head[at + 168..at + 204]).into_owned();
            if &head[at..at + 6] != magic {
                "none"
            } else if uuid == volume.id.to_string() {
                "planned"
            } else if uuid == volume.provisional.to_string() {
                "provisional"
            } else {
                "damaged"
            }
        };
        let (first, second) = (copy(0, b"LUKS\xba\xbe"), copy(SECOND_HEADER, b"SKUL\xba\xbe"));
        let read = block_on(luks::header(subject))?.map_err(|fault| fault.to_string())?;
        let read = match read {
            None => "unreadable",
            Some(header) if header.keyslots == 0 => "no key slot",
            Some(_) => "a key slot",
        };
        Ok(format!("luks2: first header {first}, second {second}, {read}"))
    }
}
