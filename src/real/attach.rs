//! Attaches this install and takes it down again, for `Real`.
//!
//! The kernel's tables are the only truth about what is attached. Attaching twice is attaching once, also after a killed run.
//! What does not belong to this install is left alone (I17).
//!
//! `mount::attached` has the single mounts and the record of what this run attached; it knows nothing of `Real`.

use crate::real::fs::target_root::{Dir, Root};
use crate::real::mount::attached::{
    Attach, ESP_DATA, MountOrder, NESTED_MAX, STORE_FLAGS, cut_off, foreign, mount, sync_filesystem, table,
    target_dir, unmount,
};
use crate::real::mount::hooks;
use crate::real::mount::table::{At, at, leftovers};
use crate::real::volume::block_io::{device_number, flush, io_fault};
use crate::real::volume::filesystems::{Checked, check_root, damaged_root};
use crate::real::volume::luks::{self, Mapped};
use crate::real::volume::{build_swap, cryptsetup, device_mapper, esp};
use crate::real::{MOUNT_ROOT, Real};
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::fault::{DeviceFault, Fault, Kind, PlaceFault, Remedy};
use landfall_states::plan::Role;
use nix::mount::MsFlags;
use sys_mount::MountFlags;

impl Real {
    /// Attaches, if it is not attached already. What a killed run left attached is taken over.
    ///
    /// # Errors
    /// A device, the container or a filesystem cannot be opened or mounted, or somebody else uses it.
    pub async fn attach(&mut self, what: Attach) -> Result<(), Fault> {
        match what {
            Attach::Checkpoint => {
                self.repair_stopped_esp().await?;
                let place = Root::live().made_dir(esp::store_mount().as_str(), 0o755)?;
                self.attach_esp(place, STORE_FLAGS).await
            }
            Attach::Container => self.attach_container().await,
            Attach::Target => {
                self.attach_root(false).await?;
                self.repair_stopped_esp().await?;
                // Where the target itself would mount it: a link at /boot is followed inside the target.
                let boot = Root::target().made_dir("/boot", 0o755)?;
                self.attach_esp(boot, MountFlags::NODEV.union(MountFlags::NOSUID))
                    .await
            }
            Attach::TargetReadOnly => self.attach_root(true).await,
        }
    }

    async fn attach_esp(&mut self, place: Dir, flags: MountFlags) -> Result<(), Fault> {
        let device = self.partition(Role::Esp).await?;
        let target = place.path();
        match at(&table()?, target, device_number(&device)?) {
            At::Ours { read_only: false } => {
                self.attached.unflushed = true;
                return Ok(());
            }
            At::Ours { read_only: true } | At::Stopped => {
                return Err(PlaceFault::TurnedReadOnly {
                    on: format!("ESP at {target}"),
                }
                .into());
            }
            At::Foreign(what) => return Err(foreign(target, &what)),
            At::Nothing => {}
        }
        if !self.is_mounted(&device)? {
            let volume = self.planned()?.esp.clone();
            esp::repair_esp(&device, &volume, &self.reporter, &self.stop).await?;
        }
        self.attached.unflushed = true;
        mount(&MountOrder {
            device: &device,
            target: &place,
            kind: "vfat",
            flags,
            data: ESP_DATA,
        })
    }

    /// Where the kernel met an error in the ESP, it is repaired, once in a run, and mounted for the checkpoint store again where it was.
    /// Whoever wants it mounted opens its place afterwards: an open directory in it would keep it busy.
    async fn repair_stopped_esp(&mut self) -> Result<(), Fault> {
        let device = self.partition(Role::Esp).await?;
        let number = device_number(&device)?;
        self.attached.esp = Some(number);
        if self.attached.esp_repaired || !self.esp_is_stopped() {
            return Ok(());
        }
        self.attached.esp_repaired = true;
        let store = esp::store_mount();
        let has_store = table()?.iter().any(|m| m.target == store && m.device == number);
        self.detach_esp().await?;
        let volume = self.planned()?.esp.clone();
        esp::repair_damaged_esp(&device, &volume, &self.reporter, &self.stop).await?;
        if has_store {
            self.attached.unflushed = true;
            mount(&MountOrder {
                device: &device,
                target: &Root::live().made_dir(store.as_str(), 0o755)?,
                kind: "vfat",
                flags: STORE_FLAGS,
                data: ESP_DATA,
            })?;
        }
        Ok(())
    }

    /// Whether the kernel stopped the ESP. Looked at where it can be.
    pub fn esp_is_stopped(&self) -> bool {
        let is_stopped = |esp| {
            table().is_ok_and(|table| {
                table
                    .iter()
                    .any(|m| m.device == esp && (m.stopped || m.read_only))
            })
        };
        self.attached.esp.is_some_and(is_stopped)
    }

    async fn attach_container(&mut self) -> Result<(), Fault> {
        let Some(volume) = self.planned()?.luks.clone() else {
            return Ok(());
        };
        let partition = self.partition(Role::Root).await?;
        let name = self.config.luks.mapper_name.clone();
        self.clear_mappings(&partition)?;
        if self.container_is_open(&partition)? {
            self.attached.unflushed = true;
            return Ok(());
        }
        match luks::header(&partition).await? {
            Some(header) if header.uuid == volume.id => {}
            other => {
                return Err(DeviceFault::OtherHeader {
                    on: format!("LUKS container on {partition}"),
                    expected: volume.id.to_string(),
                    found: luks::seen(other.as_ref()),
                }
                .into());
            }
        }
        let passphrase = self.passphrase()?;
        self.reporter
            .step(format!("open LUKS container {}", volume.label));
        self.attached.unflushed = true;
        luks::activate(&partition, name.as_str(), &passphrase)
            .await
            .map(|_path| ())
    }

    /// Whether the mapping of the configured name is this install's, and open. A mapping of that name that is another's is a fault.
    fn container_is_open(&self, partition: &Utf8Path) -> Result<bool, Fault> {
        Ok(self.mapped(partition)? == Mapped::Open)
    }

    fn mapped(&self, partition: &Utf8Path) -> Result<Mapped, Fault> {
        let Some(volume) = self.planned()?.luks.clone() else {
            return Ok(Mapped::Nothing);
        };
        let name = self.config.luks.mapper_name.as_str();
        let found = device_mapper::find(name)?;
        let mapped = Mapped::of(found.as_ref(), name, &volume.id, device_number(partition)?);
        let (Mapped::Foreign, Some(mapping)) = (&mapped, found) else {
            return Ok(mapped);
        };
        Err(Fault::of(
            PlaceFault::ForeignUse {
                on: format!("device-mapper name {name}"),
                by: format!(
                    "device-mapper UUID {}, {}",
                    if mapping.uuid.is_empty() {
                        "none"
                    } else {
                        &mapping.uuid
                    },
                    if mapping.slaves.is_empty() {
                        "on no device".to_owned()
                    } else {
                        format!("on devices {}", mapping.slaves.join(", "))
                    },
                ),
            },
            Remedy::change(format!("dmsetup remove {name}, or set another luks.mapper_name")),
        ))
    }

    /// Removes what a killed activation left: it keeps the name, and may keep the device.
    fn clear_mappings(&self, partition: &Utf8Path) -> Result<(), Fault> {
        let name = self.config.luks.mapper_name.as_str();
        if let Mapped::Left(what) = self.mapped(partition)? {
            device_mapper::remove(name).map_err(|fault| {
                fault.with_next(Remedy::change(format!(
                    "stop what uses /dev/mapper/{name}, then dmsetup remove {name}"
                )))
            })?;
            self.reporter
                .notice(format!("device-mapper name {name}: {what} was removed"));
        }
        for name in luks::remove_temporary(device_number(partition)?)? {
            self.reporter.notice(format!(
                "device-mapper name {name}: left by a killed libcryptsetup, removed"
            ));
        }
        Ok(())
    }

    /// The node of the opened container.
    ///
    /// # Errors
    /// The container is not open, or device-mapper does not answer.
    pub fn container_device(&self) -> Result<Utf8PathBuf, Fault> {
        Ok(cryptsetup::mapper_path(self.config.luks.mapper_name.as_str()))
    }

    async fn root_device(&self) -> Result<Utf8PathBuf, Fault> {
        match self.planned()?.luks {
            Some(_) => self.container_device(),
            None => self.partition(Role::Root).await,
        }
    }

    /// Whether the kernel stopped the root filesystem. Looked at where it can be.
    pub fn root_is_stopped(&self) -> bool {
        let target = Utf8Path::new(MOUNT_ROOT);
        let is_stopped = |root| table().is_ok_and(|table| at(&table, target, root) == At::Stopped);
        self.attached.root.is_some_and(is_stopped)
    }

    async fn attach_root(&mut self, read_only: bool) -> Result<(), Fault> {
        let target = Utf8Path::new(MOUNT_ROOT);
        self.attach_container().await?;
        let device = self.root_device().await?;
        let number = device_number(&device)?;
        self.attached.root = Some(number);
        let at = at(&table()?, target, number);
        match at {
            At::Ours { read_only: now } if !now || read_only => {
                self.attached.unflushed = true;
                // Killed right behind mounting, it still has peers in services' own tables. What is mounted in it would be copied
                // there, and the copies would outlive it and keep the device busy.
                cut_off(target).map_err(|e| io_fault(format!("mount at {target}"), &e))?;
                // What a killed run, or an order that failed before its end, left in caches would be seen, judged and claimed,
                // and lost in the next power cut.
                if !self.attached.root_written_out {
                    sync_filesystem(target)?;
                }
                self.attached.root_written_out = read_only;
                return Ok(());
            }
            // Left by a look that was killed, or the kernel met an error in it.
            At::Ours { .. } | At::Stopped => {
                self.detach_target().await?;
                self.detach_container().await?;
                self.attach_container().await?;
            }
            At::Foreign(ref what) => return Err(foreign(target, what)),
            At::Nothing => {}
        }
        self.refuse_mounted(&device)?;
        if !read_only || at == At::Stopped {
            let repair = self.attached.root_repair_due;
            match check_root(&device, repair, &self.reporter, &self.stop).await? {
                Checked::Sound => self.attached.root_repair_due = false,
                Checked::Damaged => {
                    self.attached.root_damages += 1;
                    self.attached.root_repair_due = true;
                    return Err(damaged_root(&device));
                }
            }
        }
        let place = target_dir()?;
        // Also when it is for reading: after an unclean stop the kernel replays the journal first.
        self.attached.unflushed = true;
        self.attached.root_written_out = read_only;
        hooks::forget()?;
        let flags = if read_only {
            MountFlags::RDONLY
                .union(MountFlags::NODEV)
                .union(MountFlags::NOSUID)
        } else {
            MountFlags::NOATIME
        };
        mount(&MountOrder {
            device: &device,
            target: &place,
            kind: "ext4",
            flags,
            data: "errors=remount-ro",
        })
    }

    /// Whether a device is mounted anywhere.
    ///
    /// # Errors
    /// The kernel's list of mounts cannot be read.
    pub fn is_mounted(&self, device: &Utf8Path) -> Result<bool, Fault> {
        let number = device_number(device)?;
        Ok(table()?.iter().any(|m| m.device == number))
    }

    /// A fault when a device is mounted anywhere.
    ///
    /// # Errors
    /// It is mounted, or the kernel's list of mounts cannot be read.
    pub fn refuse_mounted(&self, device: &Utf8Path) -> Result<(), Fault> {
        let number = device_number(device)?;
        match table()?.iter().find(|m| m.device == number) {
            None => Ok(()),
            Some(mount) => Err(Fault::of(
                Kind::InUse {
                    on: format!("device {device}"),
                    by: vec![format!("mounted at {}", mount.target)],
                },
                Remedy::change(format!("umount {}", mount.target)),
            )),
        }
    }

    /// Mounts and mappings of this install that are there now, without the store's own. The numbers of the devices are
    /// those of its partitions and of its opened container.
    ///
    /// # Errors
    /// The kernel's lists cannot be read.
    pub async fn attached_now(&self) -> Result<Vec<String>, Fault> {
        let (numbers, open) = self.our_devices().await?;
        let store = esp::store_mount();
        let mut found: Vec<String> = table()?
            .into_iter()
            .filter(|m| numbers.contains(&m.device) && m.target != store)
            .map(|m| m.target.into_string())
            .collect();
        if open {
            found.push(format!("mapping {}", self.config.luks.mapper_name));
        }
        if build_swap::is_on()? {
            found.push(format!("swap on {}", build_swap::NAME));
        }
        Ok(found)
    }

    async fn our_devices(&self) -> Result<(Vec<(u64, u64)>, bool), Fault> {
        let mut numbers = vec![];
        for entry in &self.planned()?.table.entries {
            numbers.push(device_number(&self.disk()?.partition_device(entry).await?)?);
        }
        let partition = self.partition(Role::Root).await?;
        let open = self.container_is_open(&partition)?;
        if open {
            numbers.push(device_number(&self.container_device()?)?);
        }
        Ok((numbers, open))
    }

    /// Unmounts the target, with what a killed nixos-enter left mounted in it. A target that is not ours stays.
    ///
    /// # Errors
    /// A mount stays busy, or is somebody else's.
    async fn detach_target(&mut self) -> Result<(), Fault> {
        let target = Utf8Path::new(MOUNT_ROOT);
        let (ours, _open) = self.our_devices().await?;
        if table()?
            .iter()
            .any(|m| m.target == target && ours.contains(&m.device))
        {
            // A bind mount of /dev is a peer of /dev: without this, unmounting /mnt/dev/pts would unmount /dev/pts as well.
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            nix::mount::mount(
                None::<&str>,
                target.as_std_path(),
                None::<&str>,
                private,
                None::<&str>,
            )
            .map_err(|e| io_fault(format!("mounts below {target}"), &e.into()))?;
        }
        for _ in 0..NESTED_MAX {
            let table = table()?;
            let lowest = table.iter().find(|m| m.target == target);
            match lowest {
                None => return Ok(()),
                Some(m) if ours.contains(&m.device) => {}
                Some(_) => return Ok(()),
            }
            let takes_writes = lowest.is_some_and(|m| !m.read_only && !m.stopped);
            let undo = leftovers(&table, target, &ours).map_err(|what| foreign(target, &what))?;
            let Some(next) = undo.first() else {
                return Ok(());
            };
            // One that the kernel stopped has nothing that it could write out, and says so with an error (EROFS, Linux 6.18).
            if next == target && takes_writes {
                sync_filesystem(target)?;
            }
            unmount(next).await?;
        }
        Err(PlaceFault::MountsStacked {
            on: MOUNT_ROOT.into(),
            max: NESTED_MAX as u64,
        }
        .into())
    }

    /// Unmounts the ESP everywhere in this install's places.
    ///
    /// # Errors
    /// A mount stays busy.
    pub async fn detach_esp(&mut self) -> Result<(), Fault> {
        let device = self.partition(Role::Esp).await?;
        let number = device_number(&device)?;
        let store = esp::store_mount();
        for _ in 0..NESTED_MAX {
            // The last one of them lies on top.
            let Some(target) = table()?
                .into_iter()
                .rev()
                .find(|m| m.device == number && (m.target == store || m.target.starts_with(MOUNT_ROOT)))
                .map(|m| m.target)
            else {
                break;
            };
            sync_filesystem(&target)?;
            unmount(&target).await?;
        }
        self.refuse_mounted(&device)?;
        flush(&device)
    }

    /// Closes the container. A mapping of that name that is not ours stays.
    ///
    /// # Errors
    /// The mapping stays busy, or device-mapper refuses.
    async fn detach_container(&mut self) -> Result<(), Fault> {
        if self.planned()?.luks.is_none() {
            return Ok(());
        }
        let partition = self.partition(Role::Root).await?;
        self.clear_mappings(&partition)?;
        if !self.container_is_open(&partition)? {
            return Ok(());
        }
        flush(&self.container_device()?)?;
        let name = self.config.luks.mapper_name.clone();
        cryptsetup::close(name.as_str()).await
    }

    /// Flushes every block device of the install: partitions, opened container, whole disk.
    ///
    /// # Errors
    /// A device reports an error.
    pub async fn flush_devices(&mut self) -> Result<(), Fault> {
        let partition = self.partition(Role::Root).await?;
        if self.container_is_open(&partition)? {
            flush(&self.container_device()?)?;
        }
        for entry in &self.planned()?.table.entries {
            flush(&self.disk()?.partition_device(entry).await?)?;
        }
        flush(&self.disk()?.device())?;
        if self.attached_now().await?.is_empty() {
            self.attached.unflushed = false;
        }
        Ok(())
    }

    /// Whether nothing was attached since the last flush of every device.
    pub fn is_flushed(&self) -> bool {
        !self.attached.unflushed
    }

    /// Detaches the target and the container; the store's mount stays.
    ///
    /// # Errors
    /// As `Real::detach_target` and `Real::detach_container`.
    pub async fn detach(&mut self) -> Result<(), Fault> {
        let forgotten = hooks::forget();
        let unmounted = self.detach_target().await;
        let closed = match &unmounted {
            Ok(()) => self.detach_container().await,
            Err(_) => Ok(()),
        };
        unmounted.and(closed).and(forgotten)
    }

    /// Undoes every attachment of the install and flushes its devices. Every part is tried; the first fault is told. Before
    /// a disk is held, or while its table is not there yet, there is nothing to undo.
    ///
    /// # Errors
    /// The first part that could not be undone or flushed.
    pub async fn release(&mut self) -> Result<(), Fault> {
        if self.plan.is_none() || self.held.is_none() {
            return Ok(());
        }
        if let Err(fault) = self.partition(Role::Esp).await {
            // Without its partitions nothing of the install can be attached, unless this run attached it.
            return if self.attached.unflushed {
                Err(fault)
            } else {
                Ok(())
            };
        }
        let swap = build_swap::end().await;
        let target = self.detach().await;
        let store = self.detach_esp().await;
        let flushed = self.flush_devices().await;
        if store.is_ok() && target.is_ok() && flushed.is_ok() {
            self.attached.unflushed = false;
        }
        target.and(store).and(flushed).and(swap.map(drop))
    }
}

impl Real {
    /// Makes the extra directories and runs the commands that have not run since the target was mounted.
    ///
    /// # Errors
    /// A directory cannot be made, or a command failed.
    pub async fn run_hooks_after_mounting(&self) -> Result<(), Fault> {
        let context = self.context();
        let marker = hooks::marker()?;
        let salt = self
            .plan
            .as_ref()
            .map_or_else(String::new, |plan| plan.install.to_string());
        hooks::make_dirs(&context, &Root::target(), &self.config.extra_mount_dirs)?;
        hooks::run_commands(&context, &self.config.extra_post_mount_commands, &salt, &marker).await
    }
}
