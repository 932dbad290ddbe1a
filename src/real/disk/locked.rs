//! The confirmed disk, open.
//!
//! It is found by its identity, addressed by its open file, and identified again before every destructive operation. Its
//! partitions are found below it, by number, place and PARTUUID, never by a label or a global link. While it is locked, udev
//! does not touch it (systemd's block device locking).
//!
//! `table` and `volume` write it.

use super::{Sysfs, disk_lock, io_fault, open};
use crate::event::Reporter;
use crate::lock::target::TargetLock;
use crate::os_error;
use crate::real::process::command::Program;
use crate::real::process::stop::Stop;
use crate::real::table::gpt;
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::actions::partition_disk::KernelPartition;
use landfall_states::fault::{DeviceFault, Fault, Kind, Remedy};
use landfall_states::plan::{DiskIdentity, GptEntry};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, PosixFadviseAdvice, posix_fadvise};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;
use tokio::time::Instant;

use super::sysfs::{Block, device, device_number};

/// How long udev may hold the disk before landfall gives up.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long a device node may take to appear.
const NODE_WAIT_MAX: Duration = Duration::from_secs(20);
/// How long the kernel's view may take to follow.
const VIEW_WAIT_MAX: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Debug)]
pub struct HeldDisk {
    sysfs: Sysfs,
    name: String,
    identity: DiskIdentity,
    sequence: Option<String>,
    file: File,
    lock: Option<Flock<File>>,
    /// Of the whole run; see `disk_lock`.
    taken: Option<TargetLock>,
}

impl HeldDisk {
    /// Finds the disk with this identity and opens it. None: a fault that says so; two: unsafe.
    ///
    /// # Errors
    /// No disk or several have this identity, or it cannot be opened.
    pub fn hold(identity: &DiskIdentity) -> Result<HeldDisk, Fault> {
        Self::hold_in(Sysfs::real(), identity)
    }

    fn hold_in(sysfs: Sysfs, identity: &DiskIdentity) -> Result<HeldDisk, Fault> {
        let what = || format!("disk {}", identity.name());
        let blocks = sysfs
            .blocks()
            .map_err(|e| io_fault(what(), "look for it among the block devices", &e))?;
        let found: Vec<&Block> = blocks
            .iter()
            .filter(|b| b.identity == *identity && !b.hidden)
            .collect();
        match found[..] {
            [] => Err(DeviceFault::DiskAbsent {
                disk: what(),
                size_bytes: Some(identity.size_bytes),
            }
            .into()),
            [block] => Self::open(sysfs, block),
            [..] => {
                let names: Vec<String> = found.iter().map(|b| b.device()).collect();
                Err(Fault::of(
                    Kind::Twins {
                        disk: what(),
                        devices: names,
                    },
                    Remedy::change("detach all but the right one"),
                ))
            }
        }
    }

    /// Opens a block device by kernel name, whatever it is. For tests and tools; an install goes through [`Self::hold`].
    ///
    /// # Errors
    /// The device cannot be opened.
    pub fn open_name(name: &str) -> Result<HeldDisk, Fault> {
        let sysfs = Sysfs::real();
        let what = || format!("device {}", device(name));
        let block = sysfs
            .block(name)
            .map_err(|e| io_fault(what(), "look at it", &e))?;
        let block = block.ok_or_else(|| {
            Fault::of(
                DeviceFault::DiskAbsent {
                    disk: what(),
                    size_bytes: None,
                },
                Remedy::Command("landfall disks".into()),
            )
        })?;
        Self::open(sysfs, &block)
    }

    fn open(sysfs: Sysfs, block: &Block) -> Result<HeldDisk, Fault> {
        let what = || format!("disk {} ({})", block.device(), block.identity.name());
        let file = open(Utf8Path::new(&block.device()), OFlag::O_RDWR)
            .map_err(|e| io_fault(what(), "open it for writing", &e))?;
        let held = HeldDisk {
            sequence: sequence(&sysfs, &block.name),
            sysfs,
            name: block.name.clone(),
            identity: block.identity.clone(),
            file,
            lock: None,
            taken: None,
        };
        // What was opened is what was looked at, or something else answers to the name by now.
        let now = held.identify()?;
        if now != held.identity {
            return Err(Fault::of(
                Kind::OtherDisk {
                    disk: what(),
                    found: now.to_string(),
                    expected: None,
                },
                Remedy::Command("landfall disks".into()),
            ));
        }
        Ok(held)
    }

    /// Device and identity, for faults.
    pub fn what(&self) -> String {
        format!("disk {} ({})", self.device(), self.identity.name())
    }

    /// The path of the whole disk now, `/dev/…`. For people and for programs that are told what to do with it at once.
    pub fn device(&self) -> Utf8PathBuf {
        device(&self.name).into()
    }

    /// The kernel name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The identity that it was opened by.
    pub fn identity(&self) -> &DiskIdentity {
        &self.identity
    }

    /// A further handle on the open device.
    ///
    /// # Errors
    /// The descriptor cannot be copied.
    pub fn file(&self) -> Result<File, Fault> {
        self.file
            .try_clone()
            .map_err(|e| io_fault(self.what(), "use it", &e))
    }

    pub(crate) fn sysfs(&self) -> &Sysfs {
        &self.sysfs
    }

    /// The kernel's entry for it as it is now; a fault when the open device is not the one that bears the name.
    ///
    /// # Errors
    /// Another device bears the name by now, or `/sys` cannot be read.
    pub fn block(&self) -> Result<Block, Fault> {
        let away = |replaced| {
            Fault::from(DeviceFault::DiskAway {
                disk: self.what(),
                replaced,
            })
        };
        let metadata = self
            .file
            .metadata()
            .map_err(|e| io_fault(self.what(), "look at it", &e))?;
        let block = self
            .sysfs
            .block(&self.name)
            .map_err(|e| io_fault(self.what(), "look at it", &e))?
            .ok_or_else(|| away(false))?;
        let opened = metadata.rdev();
        if (nix::sys::stat::major(opened), nix::sys::stat::minor(opened))
            != (u64::from(block.dev.0), u64::from(block.dev.1))
            || sequence(&self.sysfs, &self.name) != self.sequence
        {
            return Err(away(true));
        }
        Ok(block)
    }

    /// Reads the identity again.
    ///
    /// # Errors
    /// The device is gone, or cannot be asked.
    pub fn identify(&self) -> Result<DiskIdentity, Fault> {
        Ok(self.block()?.identity)
    }

    /// Makes sure that the open device still is `wanted`.
    ///
    /// # Errors
    /// It is another disk, or gone.
    pub fn confirm(&self, wanted: &DiskIdentity) -> Result<(), Fault> {
        let now = self.identify()?;
        if now == *wanted {
            return Ok(());
        }
        Err(Fault::of(
            Kind::OtherDisk {
                disk: self.what(),
                found: now.to_string(),
                expected: Some(wanted.to_string()),
            },
            Remedy::change("attach the confirmed disk again"),
        ))
    }

    /// Takes the disk for as long as it is held, so that no other landfall writes to it; the programs that are started have a part
    /// in it.
    ///
    /// # Errors
    /// Another landfall, or a program that it left, is at work on the disk.
    pub async fn take(&mut self) -> Result<(), Fault> {
        if self.taken.is_none() {
            let taken = disk_lock::take(&self.what(), &self.device()).await?;
            taken.inherit();
            self.taken = Some(taken);
            // The node was opened by its name a second time.
            self.block()?;
        }
        Ok(())
    }

    /// Takes the lock that keeps udev off. Waits for udev, within a bound.
    ///
    /// # Errors
    /// Somebody holds the lock for too long.
    pub async fn lock(&mut self) -> Result<(), Fault> {
        if self.lock.is_some() {
            return Ok(());
        }
        let end = Instant::now() + LOCK_WAIT_MAX;
        let mut file = self.file()?;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => {
                    self.lock = Some(lock);
                    return Ok(());
                }
                Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) if Instant::now() < end => file = back,
                Err((_, errno)) => {
                    return Err(DeviceFault::DiskLocked {
                        disk: self.what(),
                        waited_s: LOCK_WAIT_MAX.as_secs(),
                        os: os_error::of(&errno.into()),
                    }
                    .into());
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Gives the lock back and lets udev catch up.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn unlock(&mut self, reporter: &Reporter, stop: &Stop) -> Result<(), Fault> {
        self.drop_lock();
        settle(&self.sysfs, reporter, stop).await
    }

    /// Gives the lock back.
    pub fn drop_lock(&mut self) {
        if let Some(lock) = self.lock.take() {
            // Both handles share one lock: without this it would stay until the disk is closed.
            if let Err((_, errno)) = lock.unlock() {
                tracing::warn!(disk = %self.name, %errno, "unlock");
            }
        }
    }

    /// Forgets what the kernel cached of the whole disk: partitions have caches of their own, so it may be stale.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn forget_cache(&self) -> Result<(), Fault> {
        forget_cache(&self.file).map_err(|e| io_fault(self.what(), "drop its cache", &e))
    }

    /// The device node of a partition of this disk. Waits until the kernel knows it and the node is there.
    ///
    /// # Errors
    /// The kernel does not show the partition in time, or shows another.
    pub async fn partition_device(&self, entry: &GptEntry) -> Result<Utf8PathBuf, Fault> {
        let what = || format!("partition {} ({}) of {}", entry.number, entry.name, self.what());
        let end = Instant::now() + NODE_WAIT_MAX;
        loop {
            let why = match self.partition_now(entry)? {
                Ok(path) => {
                    self.check_table(entry)?;
                    return Ok(path);
                }
                Err(why) => why,
            };
            if Instant::now() >= end {
                return Err(DeviceFault::PartitionNotReady {
                    on: what(),
                    found: why,
                }
                .into());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The same without waiting. `None`: it is not there as planned, for now.
    ///
    /// # Errors
    /// `/sys` cannot be read.
    pub fn partition_at_once(&self, entry: &GptEntry) -> Result<Option<Utf8PathBuf>, Fault> {
        match self.partition_now(entry)? {
            Ok(path) => self.check_table(entry).map(|()| Some(path)),
            Err(_) => Ok(None),
        }
    }

    fn partition_now(&self, entry: &GptEntry) -> Result<Result<Utf8PathBuf, String>, Fault> {
        let block = self.block()?;
        let Some(partition) = block.partitions.iter().find(|p| p.kernel.number == entry.number) else {
            return Ok(Err("the kernel does not know it".into()));
        };
        let KernelPartition {
            first_lba, sectors, ..
        } = partition.kernel;
        if (first_lba, sectors) != (entry.first_lba, entry.sectors()) {
            return Ok(Err(format!(
                "the kernel has it at sector {first_lba} with {sectors} sectors, but the plan has {} and {}",
                entry.first_lba,
                entry.sectors()
            )));
        }
        if let Some(partuuid) = &partition.partuuid
            && !partuuid.eq_ignore_ascii_case(&entry.partuuid.to_string())
        {
            return Ok(Err(format!(
                "its PARTUUID is {partuuid}, but the plan has {}",
                entry.partuuid
            )));
        }
        let path: Utf8PathBuf = device(&partition.name).into();
        Ok(match device_number(&path) {
            Ok(Some(dev)) if dev == partition.dev => Ok(path),
            Ok(found) => Err(format!(
                "{path} is {} instead of device {}:{}",
                found.map_or_else(
                    || "no block device".to_owned(),
                    |(major, minor)| format!("device {major}:{minor}")
                ),
                partition.dev.0,
                partition.dev.1
            )),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(format!("{path} is not there")),
            Err(e) => return Err(io_fault(self.what(), "look at its partition", &e)),
        })
    }

    /// The table on the disk says the same: not every kernel tells PARTUUIDs.
    fn check_table(&self, entry: &GptEntry) -> Result<(), Fault> {
        self.forget_cache()?;
        let on_disk = gpt::read(&mut self.file()?, self.identity.sector_bytes)
            .map_err(|e| io_fault(self.what(), "read its partition table", &e))?;
        if on_disk.table().is_some_and(|table| table.entries.contains(entry)) {
            return Ok(());
        }
        Err(DeviceFault::PartitionNotListed {
            number: entry.number,
            disk: self.what(),
            name: entry.name.clone(),
            partuuid: entry.partuuid.to_string(),
        }
        .into())
    }

    /// The kernel's view.
    ///
    /// # Errors
    /// `/sys` cannot be read.
    pub fn kernel_view(&self) -> Result<Vec<KernelPartition>, Fault> {
        Ok(self.block()?.partitions.into_iter().map(|p| p.kernel).collect())
    }

    /// Makes the kernel's view the table's: reads the table again, and where the kernel cannot (no GPT support), adds
    /// and removes partitions one by one. The kernel refuses to do either to a partition that is open.
    ///
    /// # Errors
    /// A partition is in use, or the kernel refuses.
    pub async fn tell_kernel(&self, entries: &[GptEntry]) -> Result<(), Fault> {
        let end = Instant::now() + VIEW_WAIT_MAX;
        let mut reread = false;
        loop {
            if is_view(&self.kernel_view()?, entries) {
                return Ok(());
            }
            let mut said = String::from("the kernel has not read the new table yet");
            if !reread {
                // SAFETY: the ioctl takes no argument, and the descriptor is open.
                match unsafe { ioctl::blkrrpart(self.file.as_raw_fd()) } {
                    Ok(_) => reread = true,
                    Err(errno @ (Errno::EIO | Errno::ENXIO | Errno::ENODEV)) => {
                        return Err(io_fault(self.what(), "have its table read again", &errno.into()));
                    }
                    Err(errno) => said = errno.to_string(),
                }
            }
            let view = self.kernel_view()?;
            if !is_view(&view, entries)
                && let Err(errno) = self.correct(&view, entries)
            {
                said = errno.to_string();
            }
            if is_view(&self.kernel_view()?, entries) {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(DeviceFault::OldView {
                    disk: self.what(),
                    said,
                }
                .into());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Has the kernel read the table again, when nobody has the disk open exclusively. What it cannot read it reads when the disk is
    /// attached again.
    pub fn reread_table(&self) {
        // SAFETY: the ioctl takes no argument, and the descriptor is open.
        if let Err(errno) = unsafe { ioctl::blkrrpart(self.file.as_raw_fd()) } {
            tracing::info!(disk = %self.name, %errno, "reading the table again");
        }
    }

    fn correct(&self, view: &[KernelPartition], entries: &[GptEntry]) -> nix::Result<()> {
        let sector = u64::from(self.identity.sector_bytes);
        for known in view {
            if !entries.iter().any(|e| is_same(known, e)) {
                self.blkpg(ioctl::BLKPG_DEL_PARTITION, known.number, 0, 0)?;
            }
        }
        for entry in entries {
            if !view.iter().any(|known| is_same(known, entry)) {
                let (start, length) = (entry.first_lba * sector, entry.sectors() * sector);
                self.blkpg(ioctl::BLKPG_ADD_PARTITION, entry.number, start, length)?;
            }
        }
        Ok(())
    }

    fn blkpg(&self, op: i32, number: u32, start: u64, length: u64) -> nix::Result<()> {
        let signed = |n: u64| i64::try_from(n).map_err(|_| Errno::EOVERFLOW);
        let mut partition = ioctl::BlkpgPartition {
            start: signed(start)?,
            length: signed(length)?,
            pno: i32::try_from(number).map_err(|_| Errno::EOVERFLOW)?,
            devname: [0; 64],
            volname: [0; 64],
        };
        let arg = ioctl::BlkpgArg {
            op,
            flags: 0,
            datalen: size_of::<ioctl::BlkpgPartition>() as i32,
            data: &raw mut partition,
        };
        // SAFETY: both structures are laid out as linux/blkpg.h says and outlive the call.
        unsafe { ioctl::blkpg(self.file.as_raw_fd(), &raw const arg) }.map(|_| ())
    }
}

fn is_same(known: &KernelPartition, entry: &GptEntry) -> bool {
    (known.number, known.first_lba, known.sectors) == (entry.number, entry.first_lba, entry.sectors())
}

fn is_view(view: &[KernelPartition], entries: &[GptEntry]) -> bool {
    view.len() == entries.len() && entries.iter().all(|e| view.iter().any(|known| is_same(known, e)))
}

/// The kernel's running number of the disk behind a name: another one is another attachment.
fn sequence(sysfs: &Sysfs, name: &str) -> Option<String> {
    match sysfs.text(&format!("sys/block/{name}/diskseq")) {
        Ok(sequence) => sequence,
        Err(error) => {
            tracing::warn!(%error, name, "diskseq");
            None
        }
    }
}

/// See [`HeldDisk::forget_cache`].
///
/// # Errors
/// The kernel refuses.
pub(crate) fn forget_cache(file: &File) -> std::io::Result<()> {
    Ok(posix_fadvise(
        file,
        0,
        0,
        PosixFadviseAdvice::POSIX_FADV_DONTNEED,
    )?)
}

/// Lets udev finish what it is at, where there is a udev.
///
/// # Errors
/// udev does not finish in time.
pub async fn settle(sysfs: &Sysfs, reporter: &Reporter, stop: &Stop) -> Result<(), Fault> {
    if !sysfs.at("run/udev/control").exists() {
        return Ok(());
    }
    let ended = Program::that_looks("udevadm")
        .args(["settle", "--timeout=30"])
        .deadline(Duration::from_secs(40))
        .run(reporter, stop)
        .await?;
    if !ended.success() {
        // Nothing depends on udev's links; what is waited for is looked at directly.
        tracing::warn!(how = %ended.how(), "udevadm settle");
    }
    Ok(())
}

/// linux/fs.h and linux/blkpg.h.
mod ioctl {
    pub(crate) const BLKPG_ADD_PARTITION: i32 = 1;
    pub(crate) const BLKPG_DEL_PARTITION: i32 = 2;

    #[repr(C)]
    pub(crate) struct BlkpgArg {
        pub op: i32,
        pub flags: i32,
        pub datalen: i32,
        pub data: *mut BlkpgPartition,
    }

    #[repr(C)]
    pub(crate) struct BlkpgPartition {
        /// Bytes.
        pub start: i64,
        /// Bytes.
        pub length: i64,
        pub pno: i32,
        pub devname: [u8; 64],
        pub volname: [u8; 64],
    }

    nix::ioctl_none!(blkrrpart, 0x12, 95);
    nix::ioctl_write_ptr_bad!(blkpg, nix::request_code_none!(0x12, 105), BlkpgArg);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::real::disk::sysfs::tests::Tree;
    use landfall_states::fault::FaultClass;

    #[test]
    fn two_disks_of_one_identity_are_never_held() {
        let tree = Tree::new();
        for (name, dev) in [("sda", "8:0"), ("sdb", "8:16"), ("sdc", "8:32")] {
            tree.disk(name, dev, 100);
            tree.put(
                &format!("sys/block/{name}/serial"),
                if name == "sdc" { "OTHER" } else { "TWIN" },
            );
        }
        let identity = tree.sysfs().block("sda").unwrap().unwrap().identity;
        let fault = HeldDisk::hold_in(tree.sysfs(), &identity).unwrap_err();
        assert_eq!(fault.class, FaultClass::Unsafe);
        assert!(fault.why().contains("/dev/sda and /dev/sdb"), "{fault}");
        let larger = DiskIdentity {
            size_bytes: 1,
            ..identity
        };
        assert_eq!(
            HeldDisk::hold_in(tree.sysfs(), &larger).unwrap_err().class,
            FaultClass::NeedsChange
        );
    }

    #[test]
    fn a_view_is_the_tables_only_when_it_is_all_of_it() {
        let entry = GptEntry {
            number: 1,
            type_guid: uuid::Uuid::nil(),
            partuuid: uuid::Uuid::nil(),
            first_lba: 2048,
            last_lba: 4095,
            name: String::new(),
        };
        let known = KernelPartition {
            number: 1,
            first_lba: 2048,
            sectors: 2048,
        };
        let more = KernelPartition {
            number: 2,
            ..known.clone()
        };
        assert!(is_view(
            std::slice::from_ref(&known),
            std::slice::from_ref(&entry)
        ));
        assert!(!is_view(&[], std::slice::from_ref(&entry)));
        assert!(!is_view(&[known, more], &[entry]));
        assert!(is_view(&[], &[]));
    }
}
