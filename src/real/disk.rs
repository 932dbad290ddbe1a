//! Disks: which are there, which may be written, and the one that is held.

use crate::event::Reporter;
use crate::real::stop::Stop;
use camino::Utf8PathBuf;
use landfall_states::fault::Fault;
use landfall_states::plan::{DiskIdentity, GptEntry};

/// The confirmed disk, open and locked. (Stand-in until the disk branch is merged.)
#[derive(Debug)]
pub struct HeldDisk {
    device: Utf8PathBuf,
}

impl HeldDisk {
    /// Its device node.
    pub fn device(&self) -> Utf8PathBuf {
        self.device.clone()
    }
    /// Takes the exclusive lock that keeps udev off.
    pub async fn lock(&mut self) -> Result<(), Fault> {
        Ok(())
    }
    /// Gives it back.
    pub async fn unlock(&mut self, _reporter: &Reporter, _stop: &Stop) -> Result<(), Fault> {
        Ok(())
    }
    /// What the disk says of itself now.
    pub fn identify(&self) -> Result<DiskIdentity, Fault> {
        Err(Fault::unsafe_("disk", "stand-in", "merge the disk branch"))
    }
    /// The device node of a partition, verified by PARTUUID and parent.
    pub async fn partition_device(&self, entry: &GptEntry) -> Result<Utf8PathBuf, Fault> {
        Err(Fault::unsafe_(
            format!("partition {}", entry.number),
            "stand-in",
            "merge the disk branch",
        ))
    }
}
