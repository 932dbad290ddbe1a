//! What is simulated: a layout, a mode, what the disk held before, and who agrees. Law: a case is text and decides
//! everything that chance would decide; names, ids and contents are functions of it.
//!
//! Absent: what goes wrong (`faults`).

use super::disk::{Disk, Fs, Header, Key, Region, SECTOR_BYTES, Value};
use crate::driver::Request;
use landfall_states::Claim;
use landfall_states::checkpoint::{Mark, Record};
use landfall_states::fault::{Attempts, Budget};
use landfall_states::names::{BadValue, HostName, Revision, StorePath};
use landfall_states::plan::*;
use std::fmt;
use std::rc::Rc;
use std::str::FromStr;

/// The store paths of the system's closure, in the order in which they are written; the last one is the system.
pub const CLOSURE: [&str; 3] = ["glibc", "kernel", "system"];
/// The registrations of these, by the same index.
pub const REGISTERED: [&str; 3] = ["glibc.valid", "kernel.valid", "system.valid"];
/// How secrets begin.
pub const CANARY: &str = "canary-";
/// The passphrase. It must never be seen anywhere (I15).
pub const PASSPHRASE: &str = "canary-passphrase-7d1f";
/// The age identity. It may be seen in one file of the target, nowhere else (I15).
pub const AGE_IDENTITY: &str = "canary-age-identity-52ac";

/// The ESP's files that booting needs, with their contents.
pub const BOOT_FILES: [(&str, &str); 5] = [
    ("kernel", "the kernel"),
    ("initrd", "the initrd"),
    ("entry", "entry of the system"),
    ("loader", "systemd-boot"),
    ("fallback", "systemd-boot"),
];

/// Which volumes there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kind {
    /// A container around the root.
    pub luks: bool,
    /// Swap.
    pub swap: bool,
}

/// What the target held before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Before {
    /// Nothing.
    Blank,
    /// Somebody's partitions, with filesystems where the planned ones will begin.
    Foreign,
    /// A finished install of the same host and layout; the configuration's `reinstall` number was raised.
    Finished,
}

impl Before {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Before::Blank => "blank",
            Before::Foreign => "foreign",
            Before::Finished => "finished",
        }
    }
}

/// Who agrees to the erasure, and who types the passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Consenter {
    /// A person, who is asked.
    Person,
    /// A credential that names the disk.
    InAdvance,
    /// A person, who says no.
    Refuses,
}

/// A case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Case {
    /// Which volumes.
    pub kind: Kind,
    /// Whether the closure is carried along; else it is built from the flake.
    pub prebuilt: bool,
    /// What the disk held.
    pub before: Before,
    /// Who agrees.
    pub consenter: Consenter,
    /// Every order is carried out twice (I23).
    pub twice: bool,
}

impl Case {
    /// Every layout in both modes, on a disk with foreign contents and with a person, which is the longest way.
    pub fn all() -> Vec<Case> {
        let mut cases = vec![];
        for luks in [false, true] {
            for swap in [false, true] {
                for prebuilt in [true, false] {
                    cases.push(Case {
                        kind: Kind { luks, swap },
                        prebuilt,
                        before: Before::Foreign,
                        consenter: Consenter::Person,
                        twice: false,
                    });
                }
            }
        }
        cases
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind {
                luks: false,
                swap: false,
            } => "plain",
            Kind {
                luks: false,
                swap: true,
            } => "swap",
            Kind {
                luks: true,
                swap: false,
            } => "luks",
            Kind {
                luks: true,
                swap: true,
            } => "luks-swap",
        };
        let mode = if self.prebuilt { "prebuilt" } else { "flake" };
        let before = self.before.name();
        let consenter = match self.consenter {
            Consenter::Person => "person",
            Consenter::InAdvance => "in-advance",
            Consenter::Refuses => "refuses",
        };
        let twice = if self.twice { "/twice" } else { "" };
        write!(f, "{kind}/{mode}/{before}/{consenter}{twice}")
    }
}

impl FromStr for Case {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |what: &str, allowed: &str| format!("case {text:?}: {what} is one of {allowed}");
        let mut words = text.split('/');
        let kind = match words.next() {
            Some("plain") => Kind {
                luks: false,
                swap: false,
            },
            Some("swap") => Kind {
                luks: false,
                swap: true,
            },
            Some("luks") => Kind {
                luks: true,
                swap: false,
            },
            Some("luks-swap") => Kind {
                luks: true,
                swap: true,
            },
            Some(_) | None => return Err(bad("the layout", "plain, swap, luks, luks-swap")),
        };
        let prebuilt = match words.next() {
            Some("prebuilt") => true,
            Some("flake") => false,
            Some(_) | None => return Err(bad("the mode", "prebuilt, flake")),
        };
        let before = match words.next() {
            Some("blank") => Before::Blank,
            Some("foreign") => Before::Foreign,
            Some("finished") => Before::Finished,
            Some(_) | None => return Err(bad("what the disk held", "blank, foreign, finished")),
        };
        let consenter = match words.next() {
            Some("person") => Consenter::Person,
            Some("in-advance") => Consenter::InAdvance,
            Some("refuses") => Consenter::Refuses,
            Some(_) | None => return Err(bad("who agrees", "person, in-advance, refuses")),
        };
        let twice = match (words.next(), words.next()) {
            (None, _) => false,
            (Some("twice"), None) => true,
            (Some(_), _) => return Err(bad("the rest", "nothing, twice")),
        };
        Ok(Case {
            kind,
            prebuilt,
            before,
            consenter,
            twice,
        })
    }
}

/// What is installed, when it is not made up: a user's own configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The host.
    pub host: HostName,
    /// Its layout.
    pub layout: Layout,
    /// Its payload.
    pub payload: Payload,
    /// The configuration's reinstall number.
    pub reinstall: u32,
    /// Retries.
    pub budget: Budget,
}

impl Subject {
    /// The case that is a subject's own: its volumes and its mode.
    pub fn case(&self, before: Before, consenter: Consenter) -> Case {
        Case {
            kind: Kind {
                luks: self.layout.luks_label.is_some(),
                swap: self.layout.swap.is_some(),
            },
            prebuilt: matches!(self.payload.system, SystemSource::Prebuilt(_)),
            before,
            consenter,
            twice: false,
        }
    }

    /// The one that is made up for a case.
    fn made_up(case: Case) -> Result<Subject, String> {
        let text = |error: BadValue| error.to_string();
        Ok(Subject {
            host: HOST.parse().map_err(text)?,
            layout: layout(case.kind).map_err(text)?,
            payload: Payload {
                repository: Repository {
                    source: RepositorySource::Remote("https://forge.example/o/r".parse().map_err(text)?),
                    reference: Reference::Default,
                    clone_path: "/mnt/nix-config".parse().map_err(text)?,
                },
                system: if case.prebuilt {
                    SystemSource::Prebuilt(SYSTEM.parse().map_err(text)?)
                } else {
                    SystemSource::Flake
                },
            },
            reinstall: 0,
            budget: Budget::default(),
        })
    }

    /// Room for the layout, and 64 GiB for the root.
    fn disk_bytes(&self) -> u64 {
        let swap = self.layout.swap.as_ref().map_or(0, |(_, size)| size.bytes());
        (64 << 30) + self.layout.esp_size.bytes() + swap
    }
}

/// The system that is installed when a flake is built.
const SYSTEM: &str = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-web";

/// Everything that a case decides, worked out.
#[derive(Debug)]
pub struct Setting {
    /// The case.
    pub case: Case,
    /// What is asked of the driver.
    pub request: Request,
    /// The plan that should come out.
    pub plan: Plan,
    /// The revision that the remote has.
    pub revision: Revision,
    /// The system.
    pub system: StorePath,
    /// The target first, then three that must not change.
    pub disks: Vec<Rc<Disk>>,
}

/// The host's name.
const HOST: &str = "web";

fn identity(serial: &str, size_bytes: u64) -> DiskIdentity {
    DiskIdentity {
        wwn: None,
        serial: Some(serial.to_owned()),
        path: None,
        size_bytes,
        sector_bytes: 512,
    }
}

fn layout(kind: Kind) -> Result<Layout, BadValue> {
    Ok(Layout {
        esp_label: "ESP".parse()?,
        esp_size: "1G".parse()?,
        root_label: "root".parse()?,
        luks_label: if kind.luks { Some("luks".parse()?) } else { None },
        swap: if kind.swap {
            Some(("swap".parse()?, "512M".parse()?))
        } else {
            None
        },
        machine: Machine::X86_64,
    })
}

impl Setting {
    /// Works a case out, with made-up contents.
    pub fn new(case: Case) -> Result<Setting, String> {
        Setting::of(case, Subject::made_up(case)?)
    }

    /// Works a case out. The error is a plan that is not possible, or a defect of the simulation: its values are fixed
    /// texts.
    pub fn of(case: Case, subject: Subject) -> Result<Setting, String> {
        let text = |error: BadValue| error.to_string();
        let disk_bytes = subject.disk_bytes();
        let identity = |serial: &str| identity(serial, disk_bytes);
        let Subject {
            host,
            layout,
            payload,
            reinstall: number,
            budget,
        } = subject;
        let system: StorePath = match &payload.system {
            SystemSource::Prebuilt(system) => system.clone(),
            SystemSource::Flake => SYSTEM.parse().map_err(text)?,
        };
        let revision: Revision = match &payload.repository.reference {
            Reference::Revision(revision) => revision.clone(),
            Reference::Default | Reference::Branch(_) => "a".repeat(40).parse().map_err(text)?,
        };
        let plan_of = |host: &HostName, serial: &str, nonce: u32| {
            Plan::derive(host, &layout, &payload, &identity(serial), nonce).map_err(|e| e.to_string())
        };
        let reinstall = number + u32::from(case.before == Before::Finished);
        let plan = plan_of(&host, "TARGET", reinstall)?;
        let other: HostName = format!("{host}-other").parse().map_err(text)?;
        let foreign = |serial: &str| -> Result<Disk, String> {
            let mut table = plan_of(&"photos".parse().map_err(text)?, serial, 0)?.table;
            table.entries.truncate(2);
            // Random, as everybody's but ours are.
            table.disk_guid =
                uuid::Uuid::from_u128(0x8d7b_0c0e_1111_4222_8333_0000_0000_0000 | serial.len() as u128);
            let header = |kind, id: &str, label: &str| {
                Value::Header(Header {
                    kind,
                    id: id.into(),
                    label: label.into(),
                    making: 900,
                    within: 0,
                })
            };
            Ok(Disk::new(
                identity(serial),
                [
                    (Key::Mbr, Value::Mbr),
                    (Key::Primary, Value::Table(Rc::new(table.clone()))),
                    (Key::Backup, Value::Table(Rc::new(table))),
                    (Key::Header(Region::Esp), header("vfat", "AAAA-BBBB", "EFI")),
                    (
                        Key::Header(Region::Root),
                        header("ext4", "8d7b0c0e-photos", "photos"),
                    ),
                    (
                        Key::File(Fs::Root, "photos"),
                        Value::Text(900, "photos of 2019".into()),
                    ),
                ],
            ))
        };
        let target = match case.before {
            Before::Blank => Disk::new(identity("TARGET"), []),
            Before::Foreign => foreign("TARGET")?,
            Before::Finished => finished(&plan_of(&host, "TARGET", number)?, &revision, &system)?,
        };
        // The same labels everywhere: a disk that some other installer made, one on which another host has landed.
        let mut twin = plan_of(&other, "TWIN", 0)?;
        twin.table.disk_guid = uuid::Uuid::from_u128(0x8d7b_0c0e_2222_4222_8333_0000_0000_0000);
        let mut begun = finished(&twin, &revision, &system)?;
        for which in 0..2 {
            begun.write(super::disk::Held::Device, Key::SlotFile(which), None);
            for sector in 0..super::disk::SLOT_SECTORS {
                begun.write(super::disk::Held::Device, Key::Sector(which, sector), None);
            }
        }
        begun.flush();
        let landed = finished(&plan_of(&other, "LANDED", 0)?, &revision, &system)?;
        Ok(Setting {
            request: Request {
                host,
                layout: layout.clone(),
                payload: payload.clone(),
                reinstall,
                asked_anew: false,
                resume_only: false,
                forgive: false,
                budget,
            },
            plan,
            revision,
            system,
            disks: [target, foreign("DATA")?, begun, landed].map(Rc::new).to_vec(),
            case,
        })
    }

    /// Another disk with a finished install of the same host.
    pub fn second(&self) -> Result<Disk, String> {
        let Request {
            host,
            layout,
            payload,
            reinstall,
            ..
        } = &self.request;
        let disk = DiskIdentity {
            serial: Some("SECOND".into()),
            ..self.plan.disk.clone()
        };
        let plan = Plan::derive(host, layout, payload, &disk, *reinstall).map_err(|e| e.to_string())?;
        finished(&plan, &self.revision, &self.system)
    }

    /// Where the root filesystem's header is.
    pub fn root_region(&self) -> Region {
        if self.case.kind.luks {
            Region::Inner
        } else {
            Region::Root
        }
    }

    /// The planned volume of a region, its kind, and its ids as a prober writes them: planned, provisional.
    pub fn volume(&self, region: Region) -> Option<(&'static str, &Volume, String, String)> {
        let plan = &self.plan;
        let luks = plan.luks.as_ref();
        let (kind, volume) = match region {
            Region::Esp => {
                let ids = (
                    Volume::fat_serial_text(&plan.esp.id),
                    Volume::fat_serial_text(&plan.esp.provisional),
                );
                return Some(("vfat", &plan.esp, ids.0, ids.1));
            }
            Region::Root => luks.map_or(("ext4", &plan.root), |luks| ("crypto_LUKS", luks)),
            Region::Inner => {
                luks?;
                ("ext4", &plan.root)
            }
            Region::Swap => ("swap", plan.swap.as_ref()?),
        };
        Some((
            kind,
            volume,
            volume.id.to_string(),
            volume.provisional.to_string(),
        ))
    }

    /// What a file of the finished target holds.
    pub fn files(&self) -> Vec<(Fs, &'static str, String)> {
        files(&self.plan, &self.revision, &self.system)
    }
}

fn files(plan: &Plan, revision: &Revision, system: &StorePath) -> Vec<(Fs, &'static str, String)> {
    let mut files: Vec<(Fs, &'static str, String)> = vec![
        (Fs::Root, "clone", clone_text(plan, revision)),
        (Fs::Root, "clone.data", revision.to_string()),
        (Fs::Root, "record", record_text(plan, revision, system)),
        (Fs::Root, "profile", system.to_string()),
        (Fs::Root, "etc/NIXOS", String::new()),
        (Fs::Root, "activated", system.to_string()),
        (Fs::Root, "age", AGE_IDENTITY.to_owned()),
        (Fs::Root, "age.mode", "0400 root".to_owned()),
        (Fs::Root, "receipt", receipt_text(plan, system)),
        (Fs::Root, "log", "log".to_owned()),
    ];
    for (path, valid) in CLOSURE.into_iter().zip(REGISTERED) {
        files.push((Fs::Root, path, path.to_owned()));
        files.push((Fs::Root, valid, "valid".to_owned()));
    }
    files.extend(BOOT_FILES.map(|(name, text)| (Fs::Esp, name, text.to_owned())));
    files
}

/// The clone's head and mark.
pub fn clone_text(plan: &Plan, revision: &Revision) -> String {
    format!("{revision} {}", plan.install)
}

/// The record of a realised system.
pub fn record_text(plan: &Plan, revision: &Revision, system: &StorePath) -> String {
    format!("{revision} {} {system}", plan.host)
}

/// The receipt.
pub fn receipt_text(plan: &Plan, system: &StorePath) -> String {
    format!("{} {system}", plan.install)
}

/// A slot's sectors.
pub fn sectors(which: usize, bytes: &[u8]) -> Vec<(Key, Option<Value>)> {
    bytes
        .chunks(SECTOR_BYTES)
        .enumerate()
        .map(|(index, sector)| (Key::Sector(which, index), Some(Value::Sector(sector.into()))))
        .collect()
}

/// A disk with a finished install.
fn finished(plan: &Plan, revision: &Revision, system: &StorePath) -> Result<Disk, String> {
    let mut contents: Vec<(Key, Value)> = vec![
        (Key::Mbr, Value::Mbr),
        (Key::Primary, Value::Table(Rc::new(plan.table.clone()))),
        (Key::Backup, Value::Table(Rc::new(plan.table.clone()))),
    ];
    let mut volume =
        |region: Region, kind: &'static str, id: String, label: &str, making: u32, within: u32| {
            let header = Header {
                kind,
                id: id.into(),
                label: label.into(),
                making,
                within,
            };
            contents.push((Key::Header(region), Value::Header(header)));
            contents.push((Key::Body(region), Value::Of(making)));
        };
    volume(
        Region::Esp,
        "vfat",
        Volume::fat_serial_text(&plan.esp.id),
        &plan.esp.label,
        801,
        0,
    );
    match &plan.luks {
        Some(luks) => {
            volume(
                Region::Root,
                "crypto_LUKS",
                luks.id.to_string(),
                &luks.label,
                802,
                0,
            );
            volume(
                Region::Inner,
                "ext4",
                plan.root.id.to_string(),
                &plan.root.label,
                803,
                802,
            );
        }
        None => volume(
            Region::Root,
            "ext4",
            plan.root.id.to_string(),
            &plan.root.label,
            803,
            0,
        ),
    }
    if let Some(swap) = &plan.swap {
        volume(Region::Swap, "swap", swap.id.to_string(), &swap.label, 804, 0);
    }
    if plan.luks.is_some() {
        contents.push((Key::Keyslot, Value::Of(802)));
    }
    for (fs, name, text) in files(plan, revision, system) {
        let making = if fs == Fs::Esp { 801 } else { 803 };
        contents.push((Key::File(fs, name), Value::Text(making, text.into())));
    }
    let record = |sequence, parent, claim| Record {
        sequence,
        parent,
        host: plan.host.clone(),
        install: plan.install,
        nonce: plan.nonce,
        layout: plan.layout_digest.clone(),
        payload: plan.payload_digest.clone(),
        disk: plan.disk.clone(),
        revision: revision.clone(),
        claim,
        mark: Mark::Reached,
        attempts: Attempts::default(),
        boot: "finished".into(),
        last_fault: None,
    };
    let older = record(30, None, Claim::Provisioned(system.clone()))
        .encode()
        .map_err(|e| e.to_string())?;
    let newer = record(31, Some(Record::digest_of(&older)), Claim::Landed(system.clone()))
        .encode()
        .map_err(|e| e.to_string())?;
    for (which, bytes) in [older, newer].iter().enumerate() {
        contents.push((Key::SlotFile(which), Value::Of(801)));
        for (key, value) in sectors(which, bytes) {
            contents.extend(value.map(|value| (key, value)));
        }
    }
    Ok(Disk::new(plan.disk.clone(), contents))
}
