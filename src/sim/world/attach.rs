//! What a run has attached: mounts and the mapping.
//!
//! Attaching goes through the one function of `run`, and a power cut undoes it by itself.
//!
//! `sim::actions` uses what is attached.

use crate::sim::inject::planted::planted;
use crate::sim::model::disk::{Fs, Key, Region};
use crate::sim::world::repair::written_by_kernel;
use crate::sim::world::run::{Act, SimWorld};
use landfall_states::Phase;
use landfall_states::fault::Kind;
use landfall_states::fault::{Fault, PlaceFault, Remedy};

impl SimWorld {
    /// Identifies the held disk again.
    ///
    /// # Errors
    /// The fault that the schedule has for one of its effects. It is another disk now, or gone.
    pub async fn identify(&mut self) -> Result<(), Fault> {
        self.look_which();
        if planted!(self, SkipIdentity) || (planted!(self, IdentifyOnce) && self.phase.get() > Phase::Planned)
        {
            return Ok(());
        }
        self.act("identify the disk", Act::Look).await?;
        let confirmed = self.confirmed.as_ref().unwrap_or(&self.setting.plan.disk);
        if self.disk().identity != *confirmed {
            return Err(Fault::of(
                Kind::OtherDisk {
                    disk: format!("disk {}", confirmed.name()),
                    found: "another one has its name".into(),
                    expected: None,
                },
                Remedy::change("attach the confirmed disk again"),
            ));
        }
        self.checks.get_mut().identified();
        Ok(())
    }

    /// Mounts the ESP, for the store or for the target: one filesystem, one cache.
    ///
    /// # Errors
    /// The fault that the schedule has for one of its effects.
    pub async fn attach_esp(&mut self) -> Result<(), Fault> {
        if !self.machine.esp_mounted {
            self.mountable(Region::Esp)?;
            self.quiet = false;
            // What is made there is written into the root directory as well.
            self.act(
                "mount the ESP",
                Act::Ram(|machine, disk| {
                    machine.disk_mut(disk).rewrite(Key::Directory);
                    machine.esp_mounted = true;
                }),
            )
            .await?;
        }
        Ok(())
    }

    /// Opens the container, when there is one.
    ///
    /// # Errors
    /// The fault that the schedule has for one of its effects.
    pub async fn attach_container(&mut self) -> Result<(), Fault> {
        if !self.setting.case.kind.luks {
            return Ok(());
        }
        self.own_names()?;
        if self.machine.mapping_empty {
            if planted!(self, EmptyIsConflict) {
                return Err(Fault::of(
                    PlaceFault::ForeignUse {
                        on: "cryptroot".into(),
                        by: "another mapping".into(),
                    },
                    Remedy::change("dmsetup remove cryptroot"),
                ));
            }
            self.remove_empty_mapping().await?;
        }
        let making = self.disk().header(Region::Root).map(|h| h.making);
        if self.machine.mapped.is_none() || self.machine.mapped != making {
            self.mountable(Region::Root)?;
            self.quiet = false;
            // libcryptsetup gives the mapping its name first, and its table then.
            self.act(
                "name the mapping",
                Act::Ram(|machine, _| machine.mapping_empty = true),
            )
            .await?;
            self.act(
                "open the container",
                Act::Ram(|machine, disk| {
                    machine.mapping_empty = false;
                    machine.mapped = machine.disk(disk).header(Region::Root).map(|h| h.making);
                }),
            )
            .await?;
        }
        Ok(())
    }

    async fn remove_empty_mapping(&mut self) -> Result<(), Fault> {
        self.act(
            "remove the empty mapping",
            Act::Ram(|machine, _| machine.mapping_empty = false),
        )
        .await
    }

    /// Mounts the target.
    ///
    /// # Errors
    /// The fault that the schedule has for one of its effects.
    pub async fn attach_root(&mut self) -> Result<(), Fault> {
        self.own_names()?;
        self.attach_container().await?;
        self.repair_root().await?;
        if self.machine.root_mounted && !self.written_out && !self.trusts_caches() {
            // Left by a killed run, or by an order: what is in caches must be durable before it is believed.
            self.act("sync what was left", Act::Sync(Fs::Root)).await?;
        }
        self.written_out = true;
        if !self.machine.root_mounted {
            self.mountable(self.setting.root_region())?;
            self.quiet = false;
            self.act(
                "mount the root",
                Act::Ram(|machine, disk| {
                    written_by_kernel(machine, disk);
                    machine.root_mounted = true;
                }),
            )
            .await?;
        }
        Ok(())
    }

    /// Whether what is in caches is believed.
    fn trusts_caches(&self) -> bool {
        planted!(self, TakeOverUnsynced)
            || planted!(self, ProfileUnsynced)
            || planted!(self, CloneUnsynced)
            || planted!(self, RecordUnsynced)
            || planted!(self, KeysUnsynced)
    }

    /// Our mapping's name and the mount points are nobody else's.
    fn own_names(&self) -> Result<(), Fault> {
        if self.machine.name_taken && !planted!(self, ReuseMapper) {
            return Err(PlaceFault::ForeignUse {
                on: "cryptroot and /mnt".into(),
                by: "somebody else".into(),
            }
            .into());
        }
        Ok(())
    }

    /// The place of a disk that is somebody else's.
    pub fn foreign_disk(&self) -> usize {
        let data = &self.setting.data_disk().identity;
        let at = self.machine.disks.iter().position(|d| d.identity == *data);
        at.unwrap_or(self.target())
    }

    /// A program that a killed run left comes to its end.
    pub fn child_ends(&mut self) {
        if let Some(rest) = self.machine.child.take() {
            let target = self.machine.target(&self.setting);
            for (held, key, value) in rest.iter() {
                self.machine.disk_mut(target).write(*held, *key, value.clone());
            }
        }
    }

    fn mountable(&self, region: Region) -> Result<(), Fault> {
        if self.disk().is_mountable(region) {
            Ok(())
        } else {
            Err(Fault::defect(
                format!("mount of {region:?}"),
                "the filesystem is damaged",
            ))
        }
    }

    pub(crate) async fn detach_root(&mut self) -> Result<(), Fault> {
        if self.machine.root_mounted {
            self.act("sync the root", Act::Sync(Fs::Root)).await?;
            self.act(
                "unmount the root",
                Act::Ram(|machine, disk| {
                    written_by_kernel(machine, disk);
                    machine.root_mounted = false;
                }),
            )
            .await?;
        }
        Ok(())
    }

    /// Unmounts the target and closes the container. The store's mount stays.
    ///
    /// # Errors
    /// The fault that the schedule has for one of its effects.
    pub async fn detach(&mut self) -> Result<(), Fault> {
        self.detach_root().await?;
        if self.machine.mapping_empty && !planted!(self, EmptyIsConflict) {
            self.remove_empty_mapping().await?;
        }
        if self.machine.mapped.is_some() {
            self.act(
                "close the container",
                Act::Ram(|machine, _| machine.mapped = None),
            )
            .await?;
        }
        if planted!(self, CloseAll) {
            self.act(
                "close all",
                Act::Ram(|machine, _| machine.foreign_mapping = false),
            )
            .await?;
        }
        if self.machine.esp_mounted {
            self.act("write out the ESP", Act::Sync(Fs::Esp)).await?;
        }
        Ok(())
    }

    /// Flushes every device of the install.
    ///
    /// # Errors
    /// The fault that the schedule has for one of its effects.
    pub async fn flush_devices(&mut self) -> Result<(), Fault> {
        self.act("flush the devices", Act::Flush).await?;
        self.quiet = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::sim::check::invariants::Invariant;
    use crate::sim::explore::harness::Harness;
    use crate::sim::explore::run::Ending;
    use crate::sim::inject::planted::Bug;

    /// A cut that ruins the block of the ESP's root directory, whenever it was on its way.
    #[test]
    fn an_esp_without_its_root_directory_gets_it_again() {
        let case = "plain/prebuilt/foreign/person";
        let harness = || Harness::new(case.parse().unwrap()).unwrap();
        let sound = harness();
        let points = sound.points.iter().enumerate();
        let mounts: Vec<usize> = points
            .filter(|(_, point)| point.label == "mount the ESP")
            .map(|(at, _)| at)
            .collect();
        assert!(!mounts.is_empty());
        let careless = harness().with(Bug::LostLabelIsForeign);
        for at in mounts {
            let schedule = format!("0.{at}:after:cut=ruined0");
            let report = sound.run(&schedule.parse().unwrap(), true);
            assert_eq!(
                (report.breaches, report.ending),
                (vec![], Ending::Landed),
                "{schedule}"
            );
            let is_repaired = |line: &String| line.ends_with("make the root directory again");
            assert!(
                report.lines.iter().any(is_repaired),
                "{schedule}: {:#?}",
                report.lines
            );
            // The control.
            let breaches = careless.run(&schedule.parse().unwrap(), false).breaches;
            let is_caught = breaches.iter().any(|breach| breach.invariant == Invariant::Lands);
            assert!(is_caught, "{schedule}: {breaches:?}");
        }
    }
}
