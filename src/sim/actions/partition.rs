//! Partition the disk: wipe what was there, write both copies of the table, tell the kernel.
//!
//! In every file here the effects of an order, and their order, are those of the real step. Where the kernel promises less than a
//! reader would think, less is promised here. No file here judges: the states do.

use crate::sim::check::watch::Found;
use crate::sim::inject::planted::planted;
use crate::sim::model::disk::{Held, Key, Region, SLOT_SECTORS, Value};
use crate::sim::model::machine::Machine;
use crate::sim::world::perform::Script;
use crate::sim::world::run::{Act, SimWorld};
use landfall_states::actions::partition_disk::{GptCopy, PartitionDisk, TableFacts, TableOrder};
use landfall_states::checkpoint::{Choice, Record, choose};
use landfall_states::fault::Fault;
use landfall_states::{Phase, Probe};
use std::rc::Rc;

impl Script for PartitionDisk {
    async fn look(&self, world: &mut SimWorld) -> Result<TableFacts, Fault> {
        world.act("look at the table", Act::Look).await?;
        if planted!(world, LookWipes) && !world.disk().has_table(&self.table) {
            let wipe = vec![(Key::Header(Region::Root), None)];
            world.act("wipe", Act::Write(Held::Device, wipe)).await?;
        }
        let disk = world.disk();
        let mut contents: Vec<String> = [Key::Primary, Key::Backup]
            .into_iter()
            .map(|key| match disk.copy(key) {
                GptCopy::Absent => format!("{key:?}: none"),
                GptCopy::Damaged(how) => format!("{key:?}: {how}"),
                GptCopy::Complete(table) => format!("{key:?}: {}", table.disk_guid),
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
        let (primary, backup) = if planted!(world, ForkIsFresh) && is_fork() {
            (GptCopy::Absent, GptCopy::Absent)
        } else if planted!(world, RewritePrimary) && world.run > 0 {
            (GptCopy::Damaged("so it seems".into()), disk.copy(Key::Backup))
        } else if world.run > 0
            && (planted!(world, RewriteTable)
                || (planted!(world, RewriteEarly) && disk.probe(Region::Esp) == Probe::Blank))
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
                let copies = (!planted!(world, CopiesOutliveWipe)).then_some(Key::Copies);
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
                if !planted!(world, WipeUnflushed) {
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
        if planted!(world, TouchOther) {
            let (other, header) = (world.foreign_disk(), vec![(Key::Header(Region::Root), None)]);
            world
                .act_on("wipe", Act::Write(Held::Device, header), other, Found::ByIdentity)
                .await?;
        }
        if planted!(world, SameBytesElsewhere) {
            let (other, header) = (world.foreign_disk(), Key::Header(Region::Root));
            let same = vec![(header, world.machine.disk(other).see(header).cloned())];
            world
                .act_on(
                    "write it again",
                    Act::Write(Held::Device, same),
                    other,
                    Found::ByIdentity,
                )
                .await?;
        }
        if planted!(world, ForgetKernel) {
            return Ok(());
        }
        world.act("tell the kernel", Act::Ram(Machine::read_table)).await
    }
}
