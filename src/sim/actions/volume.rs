//! Making a volume: everything under the provisional id, flush, the planned id, flush.

use crate::sim::check::watch::Found;
use crate::sim::inject::faults::failed;
use crate::sim::inject::planted::planted;
use crate::sim::model::disk::{Disk, Header, Held, Key, Region, Value};
use crate::sim::world::run::{Act, SimWorld};
use landfall_states::fault::{Fault, FaultClass};
use std::rc::Rc;

impl SimWorld {
    /// Makes a volume: everything under the provisional id, flush, the planned id, flush.
    pub(crate) async fn make(
        &mut self,
        region: Region,
        extra: Vec<(Key, Option<Value>)>,
    ) -> Result<(), Fault> {
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
        let (target, found) = self.where_to_make(region, &label);
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
        if !planted!(self, CommitUnflushed) {
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
        if !whole && !planted!(self, CommitUnchecked) {
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

    /// The disk on which a volume is made, and how it is found: by its identity, but for planted bugs.
    fn where_to_make(&self, region: Region, label: &str) -> (usize, Found) {
        if planted!(self, ByLabel) && region == Region::Esp {
            let labelled = self
                .machine
                .disks
                .iter()
                .position(|d| d.header(region).is_some_and(|h| *h.label == *label));
            (labelled.unwrap_or(self.target()), Found::ByLabel)
        } else if planted!(self, LabelBelow) {
            (self.target(), Found::ByLabel)
        } else if planted!(self, LinkWinner) {
            (self.link_winner(), Found::ByIdentity)
        } else if planted!(self, ReuseMapper) && self.machine.name_taken && region != Region::Esp {
            // What has the name is a mapping of the data disk.
            (self.foreign_disk(), Found::ByIdentity)
        } else if planted!(self, FirstDisk) {
            (0, Found::ByIdentity)
        } else {
            (self.target(), Found::ByIdentity)
        }
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
}
