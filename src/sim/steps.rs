//! Looking and acting, step by step: table and volumes here, what lies in them in `target`. Law: the effects of an order and their order are those of the real world's rooms
//! (`real::table`, `esp`, `luks`, `volumes`, `repository`, `closure`, `install`, `boot`, `provision`, `land`); where the
//! kernel promises less than a reader would think, less is promised here.
//!
//! Absent: judging.

use super::bugs::Bug;
use super::case::PASSPHRASE;
use super::checks::Found;
use super::contents::{
    CLOSURE, DATABASE, DATABASE_BEGUN, DATABASE_MADE, MODE, MODE_RIGHT, REGISTERED, sectors,
};
use super::disk::{Disk, Fs, Header, Held, Key, Region, SLOT_SECTORS, Value};
use super::machine::Machine;
use super::world::{Act, SimWorld};
use crate::sim::faults::failed;
use crate::world::Perform;
use landfall_states::anchored::{EncryptOrder, EncryptVolumes, LuksFacts};
use landfall_states::checkpoint::{Choice, Record, SLOT_BYTES, choose};
use landfall_states::cloned::{Contents, Database, RealiseOrder};
use landfall_states::encrypted::{FormatOrder, FormatVolumes, VolumesFacts};
use landfall_states::fault::{Fault, FaultClass};
use landfall_states::partitioned::{AnchorCheckpoint, AnchorOrder, EspFacts, SlotFile};
use landfall_states::planned::{GptCopy, PartitionDisk, TableFacts, TableOrder};
use landfall_states::{Phase, Probe, Step};
use std::rc::Rc;

/// A step's script.
#[allow(async_fn_in_trait)]
pub trait Script: Step {
    /// Looks.
    async fn look(&self, world: &mut SimWorld) -> Result<Self::Facts, Fault>;
    /// Carries an order out.
    async fn carry(&self, world: &mut SimWorld, order: &Self::Order) -> Result<(), Fault>;
    /// Whether an order makes anything. One that only asks what is there redoes nothing (I21).
    fn redoes(_order: &Self::Order) -> bool {
        true
    }
}

impl<S: Script> Perform<S> for SimWorld {
    async fn observe(&mut self, step: &S) -> Result<S::Facts, Fault> {
        let before = self.disk().writes();
        let facts = step.look(self).await;
        let after = self.disk().writes();
        self.checks.get_mut().looked(S::PHASE, before, after);
        facts
    }

    async fn perform(&mut self, step: &S, order: S::Order) -> Result<(), Fault> {
        self.orders += 1;
        self.ordered_in = Some(S::PHASE);
        let disk = &self.machine.disks[self.target()];
        if S::redoes(&order) {
            self.checks
                .borrow_mut()
                .order_begins(&self.setting, disk, S::PHASE);
        }
        let carried = step.carry(self, &order).await;
        // Whatever came of it, part of it may be in caches only.
        self.written_out = false;
        match carried {
            // How it ended is not known, and it is tried again without a look.
            Err(fault) if self.has(Bug::RetryBlind) && fault.class == FaultClass::Transient => {
                step.carry(self, &order).await?;
            }
            result => result?,
        }
        if self.setting.case.twice {
            self.checks.get_mut().again = true;
            let second = step.carry(self, &order).await;
            self.checks.get_mut().again = false;
            second?;
        }
        Ok(())
    }
}

impl SimWorld {
    /// A file's text, as whoever reads it now sees it.
    pub fn text(&self, fs: Fs, name: &'static str) -> Option<&str> {
        let region = match fs {
            Fs::Esp => Region::Esp,
            Fs::Root => self.setting.root_region(),
        };
        self.disk().text(fs, region, name)
    }

    /// A write of a file, for the filesystem that is there now.
    pub fn file(&self, fs: Fs, name: &'static str, text: Option<String>) -> (Key, Option<Value>) {
        let region = match fs {
            Fs::Esp => Region::Esp,
            Fs::Root => self.setting.root_region(),
        };
        let making = self.disk().header(region).map_or(0, |h| h.making);
        let value = text.map(|text| Value::Text(making, text.into()));
        (Key::File(fs, name), value)
    }

    /// Writes files of the root's filesystem, which holds them back.
    pub async fn put(
        &mut self,
        label: &'static str,
        files: Vec<(&'static str, Option<String>)>,
    ) -> Result<(), Fault> {
        let writes = files
            .into_iter()
            .map(|(name, text)| self.file(Fs::Root, name, text))
            .collect();
        self.act(label, Act::Write(Held::Mount(Fs::Root), writes)).await
    }

    /// Syncs the root.
    pub async fn sync(&mut self) -> Result<(), Fault> {
        self.act("sync the root", Act::Sync(Fs::Root)).await
    }

    /// Syncs the root, unless it is the bug not to.
    pub async fn sync_unless(&mut self, bug: Bug) -> Result<(), Fault> {
        if self.has(bug) { Ok(()) } else { self.sync().await }
    }

    /// Makes a volume: everything under the provisional id, flush, the planned id, flush.
    async fn make(&mut self, region: Region, extra: Vec<(Key, Option<Value>)>) -> Result<(), Fault> {
        let Some((kind, volume, id, provisional)) = self.setting.volume(region) else {
            return Err(Fault::defect("volume", "not planned"));
        };
        let label: Rc<str> = volume.label.as_str().into();
        self.machine.makings += 1;
        let making = self.machine.makings;
        let within = match region {
            Region::Inner => self.machine.mapped.unwrap_or(0),
            Region::Esp | Region::Root | Region::Swap => 0,
        };
        let header = |id: String| {
            Some(Value::Header(Header {
                kind,
                id: id.into(),
                label: label.clone(),
                making,
                within,
            }))
        };
        let of = |write: (Key, Option<Value>)| match write {
            (key, Some(Value::Of(_))) => (key, Some(Value::Of(making))),
            other => other,
        };
        let (target, found) = if self.has(Bug::ByLabel) && region == Region::Esp {
            let labelled = self
                .machine
                .disks
                .iter()
                .position(|d| d.header(region).is_some_and(|h| h.label == label));
            (labelled.unwrap_or(self.target()), Found::ByLabel)
        } else if self.has(Bug::LabelBelow) {
            (self.target(), Found::ByLabel)
        } else if self.has(Bug::LinkWinner) {
            (self.link_winner(), Found::ByIdentity)
        } else if self.has(Bug::ReuseMapper) && self.machine.squatted && region != Region::Esp {
            // What has the name is a mapping of the data disk.
            (self.stranger(), Found::ByIdentity)
        } else if self.has(Bug::FirstDisk) {
            (0, Found::ByIdentity)
        } else {
            (self.target(), Found::ByIdentity)
        };
        let is_root = region == self.setting.root_region();
        if is_root {
            self.forget_copies().await?;
        }
        let mut writes = vec![
            (Key::Header(region), header(provisional.clone())),
            (Key::Body(region), Some(Value::Of(making))),
        ];
        writes.extend(extra.into_iter().map(of));
        self.act_on("make a volume", Act::Write(Held::Device, writes), target, found)
            .await?;
        if !self.has(Bug::CommitUnflushed) {
            self.act("flush the volume", Act::Flush).await?;
        }
        let there = self.disk().header(region).cloned();
        let made = there.as_ref().is_some_and(|h| *h.id == *provisional);
        // A program that lied leaves what an earlier attempt made, which may be whole; its id is changed, and nothing else.
        let making = there.map_or(making, |h| h.making);
        let header = |id| match header(id) {
            Some(Value::Header(header)) => Some(Value::Header(Header { making, ..header })),
            other => other,
        };
        // A container is tried with the passphrase before it gets its id.
        let opens = kind != "crypto_LUKS" || self.disk().see(Key::Keyslot) == Some(&Value::Of(making));
        let whole = made && opens && self.disk().is_mountable(region);
        if !whole && !self.has(Bug::CommitUnchecked) {
            let what = format!("volume {region:?}");
            return Err(failed(
                FaultClass::Transient,
                what,
                "blkid",
                "what was made is not there",
            ));
        }
        let header = header(id);
        if is_root {
            self.commit_copies(header.clone()).await?;
        }
        self.act_on(
            "give it its id",
            Act::Write(Held::Device, vec![(Key::Header(region), header)]),
            target,
            found,
        )
        .await?;
        self.act("flush the id", Act::Flush).await
    }

    /// The disk to which the link with the PARTUUID of our first partition leads: another disk has the same one, and the
    /// last that udev comes to wins.
    fn link_winner(&self) -> usize {
        let wanted = self
            .setting
            .plan
            .table
            .entries
            .first()
            .map(|entry| entry.partuuid);
        let has = |disk: &Rc<Disk>| {
            let copy = disk.copy(Key::Primary);
            let first = copy.table().and_then(|table| table.entries.first());
            first.map(|entry| entry.partuuid) == wanted
        };
        self.machine.disks.iter().rposition(has).unwrap_or(self.target())
    }

    /// What a verification of the store finds.
    pub fn verify(&self) -> Contents {
        let corrupt: Vec<String> = CLOSURE
            .into_iter()
            .zip(REGISTERED)
            .filter(|(path, valid)| {
                self.text(Fs::Root, valid).is_some() && self.text(Fs::Root, path) != Some(*path)
            })
            .map(|(path, _)| path.to_owned())
            .collect();
        let wrong =
            self.text(Fs::Root, CLOSURE[2]).is_some() && self.text(Fs::Root, MODE) != Some(MODE_RIGHT);
        if corrupt.is_empty() && wrong && !self.has(Bug::ModesTrusted) {
            Contents::Permissions(vec![CLOSURE[2].to_owned()])
        } else if corrupt.is_empty() || self.has(Bug::TrustDatabase) {
            Contents::Verified
        } else {
            Contents::Corrupt(corrupt)
        }
    }

    /// Forgets corrupt paths, so that they are written again.
    pub async fn heal(&mut self, corrupt: &[String]) -> Result<(), Fault> {
        for (path, valid) in CLOSURE.into_iter().zip(REGISTERED) {
            if corrupt.iter().any(|c| c == path) {
                self.put("forget a path", vec![(valid, None)]).await?;
            }
        }
        if !corrupt.is_empty() {
            self.sync().await?;
        }
        Ok(())
    }

    /// Makes owner and permissions right, where that is asked for: it needs no contents.
    pub async fn mend_modes(&mut self, asked: bool) -> Result<(), Fault> {
        let there = self.text(Fs::Root, CLOSURE[2]).is_some();
        if !asked || !there || self.text(Fs::Root, MODE) == Some(MODE_RIGHT) || self.has(Bug::ModesTrusted) {
            return Ok(());
        }
        self.put("mend permissions", vec![(MODE, Some(MODE_RIGHT.into()))])
            .await?;
        self.sync().await
    }

    /// The store's database. A torn entry is a page of it that was torn.
    pub fn database(&self) -> Database {
        let torn = |name| self.text(Fs::Root, name) == Some("torn");
        match self.text(Fs::Root, DATABASE) {
            None => Database::Absent,
            Some(DATABASE_MADE) if !REGISTERED.into_iter().any(torn) => Database::Usable,
            Some(DATABASE_MADE) => Database::Unusable("malformed".into()),
            Some(_) => Database::Unusable("no tables".into()),
        }
    }

    /// An unusable database is put aside: its entries, which nobody can see, and then the name itself, which is one rename.
    pub async fn put_database_aside(&mut self, order: &RealiseOrder) -> Result<(), Fault> {
        if order.put_aside.is_none() {
            return Ok(());
        }
        self.forget_entries().await?;
        self.put("put the database aside", vec![(DATABASE, None)]).await
    }

    /// Nix makes its database, where there is none: a file with a header first, the tables in a log beside it, which a power
    /// cut can take away.
    pub async fn make_database(&mut self) -> Result<(), Fault> {
        if self.text(Fs::Root, DATABASE).is_some() {
            return Ok(());
        }
        self.forget_entries().await?;
        let made = [DATABASE_BEGUN, DATABASE_MADE].map(|text| (DATABASE, Some(text.to_owned())));
        self.put("make the database", made.into()).await
    }

    /// What lies in no database is nothing, and does not come back in the next one.
    async fn forget_entries(&mut self) -> Result<(), Fault> {
        let there = REGISTERED
            .into_iter()
            .filter(|valid| self.text(Fs::Root, valid).is_some());
        let forgotten: Vec<_> = there.map(|valid| (valid, None)).collect();
        if forgotten.is_empty() {
            return Ok(());
        }
        self.put("forget the entries", forgotten).await?;
        self.sync().await
    }
}

impl Script for PartitionDisk {
    async fn look(&self, world: &mut SimWorld) -> Result<TableFacts, Fault> {
        world.act("look at the table", Act::Look).await?;
        if world.has(Bug::LookWipes) && !world.disk().has_table(&self.table) {
            let wipe = vec![(Key::Header(Region::Root), None)];
            world.act("wipe", Act::Write(Held::Device, wipe)).await?;
        }
        let disk = world.disk();
        let mut contents: Vec<String> = [Key::Primary, Key::Backup]
            .into_iter()
            .map(|key| match disk.copy(key) {
                GptCopy::Absent => format!("{key:?}: none"),
                GptCopy::Damaged(how) => format!("{key:?}: {how}"),
                GptCopy::Whole(table) => format!("{key:?}: {}", table.disk_guid),
            })
            .collect();
        contents.extend(Region::ALL.map(|region| format!("{region:?}: {}", disk.probe(region))));
        let finished_work = [0, 1].iter().any(|which| {
            disk.slot(*which)
                .and_then(|bytes| Record::decode(&bytes).ok())
                .is_some_and(|record| record.phase() == Phase::Landed)
        });
        let is_fork = || {
            let slots = [0, 1].map(|which| disk.slot(which));
            matches!(
                choose([slots[0].as_deref(), slots[1].as_deref()]),
                Choice::Fork { .. }
            )
        };
        let (primary, backup) = if world.has(Bug::ForkIsFresh) && is_fork() {
            (GptCopy::Absent, GptCopy::Absent)
        } else if world.has(Bug::RewritePrimary) && world.run > 0 {
            (GptCopy::Damaged("so it seems".into()), disk.copy(Key::Backup))
        } else if world.run > 0
            && (world.has(Bug::RewriteTable)
                || (world.has(Bug::RewriteEarly) && disk.probe(Region::Esp) == Probe::Blank))
        {
            (disk.copy(Key::Primary), GptCopy::Damaged("so it seems".into()))
        } else {
            (disk.copy(Key::Primary), disk.copy(Key::Backup))
        };
        Ok(TableFacts {
            disk: disk.identity.clone(),
            in_use: vec![],
            primary,
            backup,
            protective_mbr: disk.see(Key::Mbr).is_some(),
            contents,
            finished_work,
            kernel: world.machine.kernel.clone(),
        })
    }

    async fn carry(&self, world: &mut SimWorld, order: &TableOrder) -> Result<(), Fault> {
        world.identify().await?;
        if let TableOrder::Write { table, wipe, .. } = order {
            if *wipe {
                // As the real one does: while a copy of the old table can be read, nothing behind it is touched.
                for (key, what, flush) in [
                    (Key::Backup, "wipe the backup copy", "flush the wiped backup copy"),
                    (
                        Key::Primary,
                        "wipe the primary copy",
                        "flush the wiped primary copy",
                    ),
                ] {
                    if world.disk().see(key).is_some() {
                        world
                            .act(what, Act::Write(Held::Device, vec![(key, None)]))
                            .await?;
                        world.act(flush, Act::Flush).await?;
                    }
                }
                let old = Region::ALL
                    .into_iter()
                    .flat_map(|region| [Key::Header(region), Key::Body(region)]);
                let copies = (!world.has(Bug::CopiesOutliveWipe)).then_some(Key::Copies);
                let slots = [0, 1]
                    .into_iter()
                    .flat_map(|which| (0..SLOT_SECTORS).map(move |sector| Key::Sector(which, sector)));
                let writes = [Key::Mbr]
                    .into_iter()
                    .chain(old)
                    .chain(copies)
                    .chain(slots)
                    .filter(|key| world.disk().see(*key).is_some())
                    .map(|key| (key, None))
                    .collect();
                world.act("wipe", Act::Write(Held::Device, writes)).await?;
                if !world.has(Bug::WipeUnflushed) {
                    world.act("flush the wipe", Act::Flush).await?;
                }
            }
            let value = Some(Value::Table(Rc::new(table.clone())));
            let primary = vec![(Key::Mbr, Some(Value::Mbr)), (Key::Primary, value.clone())];
            world
                .act("write the primary copy", Act::Write(Held::Device, primary))
                .await?;
            world.act("flush the primary copy", Act::Flush).await?;
            let backup = vec![(Key::Backup, value)];
            world
                .act("write the backup copy", Act::Write(Held::Device, backup))
                .await?;
            world.act("flush the backup copy", Act::Flush).await?;
        }
        if world.has(Bug::TouchOther) {
            let (other, header) = (world.stranger(), vec![(Key::Header(Region::Root), None)]);
            world
                .act_on("wipe", Act::Write(Held::Device, header), other, Found::ByIdentity)
                .await?;
        }
        if world.has(Bug::SameBytesElsewhere) {
            let (other, header) = (world.stranger(), Key::Header(Region::Root));
            let same = vec![(header, world.machine.disks[other].see(header).cloned())];
            world
                .act_on(
                    "write it again",
                    Act::Write(Held::Device, same),
                    other,
                    Found::ByIdentity,
                )
                .await?;
        }
        if world.has(Bug::ForgetKernel) {
            return Ok(());
        }
        world.act("tell the kernel", Act::Ram(Machine::read_table)).await
    }
}

impl Script for AnchorCheckpoint {
    async fn look(&self, world: &mut SimWorld) -> Result<EspFacts, Fault> {
        world.act("flush the ESP", Act::Flush).await?;
        world.mend_directory().await?;
        let disk = world.disk();
        let slots = [0, 1].map(|which| {
            if disk.has_slot_file(which) {
                SlotFile::Allocated
            } else {
                SlotFile::Missing
            }
        });
        let mut probe = disk.probe(Region::Esp);
        if let Probe::Found(found) = &mut probe
            && disk.lost_directory()
        {
            found.label = None;
        }
        if world.has(Bug::EspAgain)
            && world.run > 0
            && world.orders == 0
            && let Probe::Found(found) = &mut probe
            && let Some((_, _, _, provisional)) = world.setting.volume(Region::Esp)
        {
            found.id = Some(provisional);
        }
        Ok(EspFacts { probe, slots })
    }

    async fn carry(&self, world: &mut SimWorld, order: &AnchorOrder) -> Result<(), Fault> {
        world.identify().await?;
        let blank = |which: usize| {
            let mut writes = vec![(Key::SlotFile(which), Some(Value::Of(0)))];
            writes.extend(sectors(which, &[b'\n'; SLOT_BYTES]));
            writes
        };
        if world.has(Bug::MbrAgain) && world.run == 0 {
            let same = vec![(Key::Mbr, Some(Value::Mbr))];
            world
                .act("write it again", Act::Write(Held::Device, same))
                .await?;
            world.act("flush the wipe", Act::Flush).await?;
        }
        match order {
            AnchorOrder::Format { .. } => {
                let mut slots = vec![(Key::Directory, Some(Value::Of(0)))];
                slots.extend(blank(0));
                slots.extend(blank(1));
                world.make(Region::Esp, slots).await
            }
            AnchorOrder::AllocateSlots { missing, .. } => {
                let making = world.disk().header(Region::Esp).map_or(0, |h| h.making);
                let writes = [0, 1]
                    .into_iter()
                    .filter(|which| missing[*which])
                    .flat_map(blank)
                    .map(|(key, value)| match value {
                        Some(Value::Of(_)) => (key, Some(Value::Of(making))),
                        other => (key, other),
                    })
                    .collect();
                world
                    .act("allocate slots", Act::Write(Held::Device, writes))
                    .await?;
                world.act("flush the slots", Act::Flush).await
            }
        }
    }
}

impl Script for EncryptVolumes {
    async fn look(&self, world: &mut SimWorld) -> Result<LuksFacts, Fault> {
        if self.container.is_none() {
            return Ok(LuksFacts::NotPlanned);
        }
        world.act("flush the container", Act::Flush).await?;
        let disk = world.disk();
        let probe = disk.probe(Region::Root);
        let opens = disk
            .header(Region::Root)
            .filter(|h| {
                Some(&*h.id)
                    == world
                        .setting
                        .plan
                        .luks
                        .as_ref()
                        .map(|l| l.id.to_string())
                        .as_deref()
            })
            .map(|h| disk.see(Key::Keyslot) == Some(&Value::Of(h.making)));
        if opens == Some(true) {
            world.container_opened();
        }
        Ok(LuksFacts::Planned { probe, opens })
    }

    async fn carry(&self, world: &mut SimWorld, _order: &EncryptOrder) -> Result<(), Fault> {
        world.identify().await?;
        if world.has(Bug::LogPassphrase) {
            world
                .checks
                .get_mut()
                .told(&format!("cryptsetup --key {PASSPHRASE}"));
        }
        let keyslot = if world.has(Bug::NoKeyslot) {
            vec![]
        } else {
            vec![(Key::Keyslot, Some(Value::Of(0)))]
        };
        world.make(Region::Root, keyslot).await
    }
}

impl Script for FormatVolumes {
    async fn look(&self, world: &mut SimWorld) -> Result<VolumesFacts, Fault> {
        world.attach_container().await?;
        world.act("flush the volumes", Act::Flush).await?;
        world.mend_superblock().await?;
        let root = world.setting.root_region();
        let mut probe = world.disk().probe(root);
        let early = world.has(Bug::FormatEarly) && world.recorded() < Some(Phase::Formatted);
        let other_payload = world.has(Bug::PayloadFormats) && world.recorded_payload_differs();
        if (world.has(Bug::FormatAgain) || early || other_payload)
            && world.run > 0
            && world.orders == 0
            && let Probe::Found(found) = &mut probe
        {
            found.id = Some(self.root.volume.provisional.to_string());
        }
        Ok(VolumesFacts {
            root: probe,
            swap: if self.swap.is_some() && !(world.has(Bug::SwapAgain) && world.orders == 0) {
                world.disk().probe(Region::Swap)
            } else {
                Probe::Blank
            },
            landing: world.landing.clone(),
        })
    }

    async fn carry(&self, world: &mut SimWorld, order: &FormatOrder) -> Result<(), Fault> {
        world.attach_container().await?;
        world.identify().await?;
        if order.root.is_some() {
            let region = world.setting.root_region();
            match &order.image {
                None => world.make(region, vec![]).await?,
                Some(image) => {
                    if !world.land(region, image).await? {
                        return Ok(());
                    }
                }
            }
        }
        if order.swap.is_some() {
            world.make(Region::Swap, vec![]).await?;
        }
        Ok(())
    }
}
