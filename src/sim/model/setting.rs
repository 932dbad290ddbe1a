//! Everything that a case decides, worked out: plan, request, disks, revisions.
//!
//! A function of the case and of what is installed, without chance or clock.
//!
//! `model::machine` is the machine that it runs on.

use crate::driver::Request;
use crate::sim::model::case::{Before, Case, Consenter, Kind, Mode};
use crate::sim::model::contents::REMOTE_TOKEN;
use crate::sim::model::contents::files;
use crate::sim::model::contents::finished;
use crate::sim::model::disk::{Disk, Fs, Header, Key, Region, Value};
use crate::sim::model::environment::Moved;
use crate::sim::model::image::made_up_image;
use crate::sim::model::trap::{Trap, unknown};
use landfall_states::fault::Budget;
use landfall_states::names::{BadValue, Digest, HostName, Revision, StorePath};
use landfall_states::plan::{
    DiskIdentity, Layout, Machine, Payload, Plan, Reference, Repository, RepositorySource, SystemSource,
    Volume,
};
use std::rc::Rc;

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
            mode: match self.payload.system {
                SystemSource::Prebuilt(_) => Mode::Prebuilt,
                SystemSource::Image(_) => Mode::Image,
                SystemSource::Flake => Mode::Flake,
            },
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
                    source: RepositorySource::Remote(
                        format!("https://{REMOTE_TOKEN}@forge.example/o/r")
                            .parse()
                            .map_err(text)?,
                    ),
                    reference: Reference::Default,
                    clone_path: "/mnt/nix-config".parse().map_err(text)?,
                },
                system: match case.mode {
                    Mode::Prebuilt => SystemSource::Prebuilt(SYSTEM.parse().map_err(text)?),
                    Mode::Image => made_up_image(&SYSTEM.parse().map_err(text)?),
                    Mode::Flake => SystemSource::Flake,
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

/// The system that is installed when the flake of the default branch is built.
const SYSTEM: &str = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-web";

/// Where the remote's reference is now. Each reference has a revision of its own.
fn revision_of(payload: &Payload) -> Result<Revision, BadValue> {
    match &payload.repository.reference {
        Reference::Revision(revision) => Ok(revision.clone()),
        Reference::Default => "a".repeat(40).parse(),
        Reference::Branch(branch) => Digest::of(branch.as_str().as_bytes()).as_str()[..40].parse(),
    }
}

/// The system that a payload comes to.
fn system_of(payload: &Payload) -> Result<StorePath, BadValue> {
    match (&payload.system, &payload.repository.reference) {
        (SystemSource::Prebuilt(system), _) => Ok(system.clone()),
        (SystemSource::Image(image), _) => Ok(image.system.clone()),
        (SystemSource::Flake, Reference::Default) => SYSTEM.parse(),
        (SystemSource::Flake, Reference::Branch(_) | Reference::Revision(_)) => {
            // Nix's base 32 has no e.
            let hash = revision_of(payload)?.as_str()[..32].replace('e', "x");
            format!("/nix/store/{hash}-nixos-system-web").parse()
        }
    }
}

/// Another one.
const OTHER_SYSTEM: &str = "/nix/store/1123456789abcdfghijklmnpqrsvwxyz-nixos-system-web";

/// Everything that a case decides, worked out.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The case.
    pub case: Case,
    subject: Subject,
    /// What is asked of the driver.
    pub request: Request,
    /// The plan that should come out.
    pub plan: Plan,
    /// The revision that the install is to come to.
    pub revision: Revision,
    /// The one that the remote's reference named first.
    pub first: Revision,
    /// Where that reference has gone since.
    pub moved: Moved,
    /// The system.
    pub system: StorePath,
    /// The target first, then three that must not change.
    pub disks: Vec<Rc<Disk>>,
    /// What is wrong with the machine.
    pub trap: Option<Trap>,
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

/// A disk with somebody's photos, with a table as a plan has it.
fn foreign(plan: Plan) -> Disk {
    let Plan { disk, mut table, .. } = plan;
    table.entries.truncate(2);
    // Random, as everybody's but ours are.
    let serial_bytes = disk.serial.as_ref().map_or(0, String::len);
    table.disk_guid = uuid::Uuid::from_u128(0x8d7b_0c0e_1111_4222_8333_0000_0000_0000 | serial_bytes as u128);
    let header = |kind, id: &str, label: &str| {
        Value::Header(Header {
            kind,
            id: id.into(),
            label: label.into(),
            making: 900,
            within: 0,
        })
    };
    Disk::new(
        disk,
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
    )
}

/// The plan of another host, copied partition by partition from ours: udev has two candidates for each link.
fn twin(mut twin: Plan, ours: &Plan) -> Plan {
    twin.table.disk_guid = uuid::Uuid::from_u128(0x8d7b_0c0e_2222_4222_8333_0000_0000_0000);
    for (theirs, ours) in twin.table.entries.iter_mut().zip(&ours.table.entries) {
        theirs.partuuid = ours.partuuid;
    }
    twin
}

/// The disk without what says how far its install came.
fn without_slots(mut disk: Disk) -> Disk {
    for which in 0..2 {
        disk.write(super::disk::Held::Device, Key::SlotFile(which), None);
        for sector in 0..super::disk::SLOT_SECTORS {
            disk.write(super::disk::Held::Device, Key::Sector(which, sector), None);
        }
    }
    disk.flush();
    disk
}

impl Setting {
    /// Works a case out, with made-up contents.
    ///
    /// # Errors
    /// A plan that is not possible, or a defect of the simulation.
    pub fn new(case: Case) -> Result<Setting, String> {
        Setting::of(case, Subject::made_up(case)?)
    }

    /// Works a case out. The error is a plan that is not possible, or a defect of the simulation: its values are fixed
    /// texts.
    ///
    /// # Errors
    /// A plan that is not possible, or a defect of the simulation.
    pub fn of(case: Case, subject: Subject) -> Result<Setting, String> {
        let text = |error: BadValue| error.to_string();
        let kept = subject.clone();
        let disk_bytes = subject.disk_bytes();
        let identity = |serial: &str| identity(serial, disk_bytes);
        let Subject {
            host,
            layout,
            payload,
            reinstall: number,
            budget,
        } = subject;
        let system = system_of(&payload).map_err(text)?;
        let revision = revision_of(&payload).map_err(text)?;
        let plan_of = |host: &HostName, serial: &str, nonce: u32| {
            Plan::derive(host, &layout, &payload, &identity(serial), nonce).map_err(|e| e.to_string())
        };
        let reinstall = number + u32::from(case.before == Before::Finished);
        let plan = plan_of(&host, "TARGET", reinstall)?;
        let other: HostName = format!("{host}-other").parse().map_err(text)?;
        let photos: HostName = "photos".parse().map_err(text)?;
        let foreign = |serial: &str| plan_of(&photos, serial, 0).map(foreign);
        let target = match case.before {
            Before::Blank => Disk::new(identity("TARGET"), []),
            Before::Foreign => {
                let mut disk = foreign("TARGET")?;
                let former = Header {
                    kind: "ext4",
                    id: plan.root.id.to_string().into(),
                    label: plan.root.label.as_str().into(),
                    making: 901,
                    within: 0,
                };
                disk.put(Key::Copies, Value::Header(former));
                disk
            }
            Before::Finished => finished(&plan_of(&host, "TARGET", number)?, &revision, &system)?,
        };
        // The same labels everywhere: a disk that some other installer made, one on which another host has landed.
        let twin = twin(plan_of(&other, "TWIN", 0)?, &plan);
        let begun = without_slots(finished(&twin, &revision, &system)?);
        let landed = finished(&plan_of(&other, "LANDED", 0)?, &revision, &system)?;
        Ok(Setting {
            request: Request {
                host,
                layout: layout.clone(),
                payload: payload.clone(),
                reinstall,
                reinstall_requested: false,
                resume_only: false,
                reset_attempts: false,
                repin: false,
                budget,
            },
            plan,
            first: revision.clone(),
            revision,
            moved: Moved::No,
            system,
            disks: [target, foreign("DATA")?, begun, landed].map(Rc::new).to_vec(),
            case,
            subject: kept,
            trap: None,
        })
    }

    /// The same case on a machine that must not be believed.
    ///
    /// # Errors
    /// A plan that is not possible, or a defect of the simulation.
    pub fn trapped(case: Case, trap: Trap) -> Result<Setting, String> {
        let mut setting = Setting::new(trap.case(case))?;
        setting.trap = Some(trap);
        if trap == Trap::Unknown
            && let Some(data) = setting.disks.get_mut(1)
        {
            *data = Rc::new(unknown(&data.identity));
        }
        Ok(setting)
    }

    /// The same machine, and this is asked for.
    fn asking(&self, subject: Subject, nonce: u32) -> Result<Setting, String> {
        let text = |error: BadValue| error.to_string();
        let Subject {
            host,
            layout,
            payload,
            reinstall: _,
            budget,
        } = subject.clone();
        let plan =
            Plan::derive(&host, &layout, &payload, &self.plan.disk, nonce).map_err(|e| e.to_string())?;
        Ok(Setting {
            case: self.case,
            plan,
            revision: revision_of(&payload).map_err(text)?,
            first: revision_of(&payload).map_err(text)?,
            moved: self.moved,
            system: system_of(&payload).map_err(text)?,
            disks: self.disks.clone(),
            trap: self.trap,
            request: Request {
                host,
                layout,
                payload,
                budget,
                ..self.request.clone()
            },
            subject,
        })
    }

    /// The same with another payload: another branch, and what is built of it.
    ///
    /// # Errors
    /// A plan that is not possible, or a defect of the simulation.
    pub fn other_payload(&self) -> Result<Setting, String> {
        let text = |error: BadValue| error.to_string();
        let mut subject = self.subject.clone();
        subject.payload.repository.reference = Reference::Branch("other".parse().map_err(text)?);
        match &mut subject.payload.system {
            SystemSource::Prebuilt(system) => *system = OTHER_SYSTEM.parse().map_err(text)?,
            image @ SystemSource::Image(_) => *image = made_up_image(&OTHER_SYSTEM.parse().map_err(text)?),
            SystemSource::Flake => {}
        }
        self.asking(subject, self.plan.nonce)
    }

    /// The same with another layout.
    ///
    /// # Errors
    /// A plan that is not possible, or a defect of the simulation.
    pub fn other_layout(&self) -> Result<Setting, String> {
        let mut subject = self.subject.clone();
        let label = if subject.layout.root_label.as_str() == "other" {
            "another"
        } else {
            "other"
        };
        subject.layout.root_label = label.parse().map_err(|e: BadValue| e.to_string())?;
        self.asking(subject, self.plan.nonce)
    }

    /// The same, and a person asks for a new install, which will have this number.
    ///
    /// # Errors
    /// A plan that is not possible, or a defect of the simulation.
    pub fn anew(&self, nonce: u32) -> Result<Setting, String> {
        let mut setting = self.asking(self.subject.clone(), nonce)?;
        setting.request.reinstall_requested = true;
        Ok(setting)
    }

    /// The same, and nobody asks for a new install any more.
    pub fn unasked(&self) -> Setting {
        let mut setting = self.clone();
        setting.request.reinstall_requested = false;
        setting
    }

    /// Where the remote's reference is.
    pub fn revision_of(&self, payload: &Payload) -> Revision {
        revision_of(payload).unwrap_or_else(|_| self.revision.clone())
    }

    /// Another disk with a finished install of the same host.
    ///
    /// # Errors
    /// A plan that is not possible, or a defect of the simulation.
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
