//! What landfall attaches: the container through libcryptsetup and device-mapper, root and ESP through the kernel.
//!
//! A step attaches and detaches again. The later one must find everything attached that it needs, and leave nothing,
//! including mappings of libcryptsetup's own.
//!
//! `installed` has what is then done in the target.

use super::whole::{PASSPHRASE, formatted, step, world};
use super::{Subject, Tool, block_on};
use crate::choice::Watch;
use crate::ground::{self, MAPPER, MountSeen};
use crate::oracles_attached;
use camino::Utf8Path;
use landfall::real::mount::attached::Attach;
use landfall::real::volume::device_mapper;
use landfall::real::{MOUNT_BOOT, MOUNT_ROOT, Real};

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attached {
    /// The container alone.
    Activate,
    /// Container, root and ESP.
    Mount,
}

fn told(fault: &landfall_states::fault::Fault) -> String {
    fault.to_string()
}

impl Attached {
    async fn attach(self, world: &mut Real) -> Result<(), String> {
        match self {
            // The look at the root filesystem is the first that opens the container.
            Attached::Activate => {
                let (action, made) = formatted(world).await?;
                if made != 0 {
                    return Err("what was whole was made again".into());
                }
                step(world, &action).await?;
                let found = device_mapper::find(MAPPER).map_err(|fault| told(&fault))?;
                if !found.is_some_and(|mapping| mapping.has_table && !mapping.suspended) {
                    return Err("everything is judged done, and the container is not open".into());
                }
            }
            Attached::Mount => {
                world.attach(Attach::Target).await.map_err(|fault| told(&fault))?;
                let now = world.attached_now().await.map_err(|fault| told(&fault))?;
                for place in [MOUNT_ROOT, MOUNT_BOOT] {
                    if !now.iter().any(|attached| attached == place) {
                        return Err(format!("{place} is not attached: {now:?}"));
                    }
                }
                let written = Utf8Path::new(MOUNT_BOOT).join("halfway");
                fs_err::write(&written, "written")
                    .and_then(|()| fs_err::remove_file(&written))
                    .map_err(|e| e.to_string())?;
            }
        }
        world.release().await.map_err(|fault| told(&fault))
    }
}

/// A mapping in words.
fn mapping(name: &str) -> Result<&'static str, String> {
    let found = device_mapper::find(name).map_err(|fault| told(&fault))?;
    Ok(match found {
        None => "none",
        Some(mapping) => match (mapping.has_table, mapping.suspended, mapping.slaves.is_empty()) {
            (true, false, _) => "open",
            (true, true, _) => "suspended",
            (false, _, true) => "a name without a table",
            (false, _, false) => "a table that is not in effect",
        },
    })
}

impl Tool for Attached {
    fn name(&self) -> &'static str {
        match self {
            Attached::Activate => "activate",
            Attached::Mount => "mount",
        }
    }
    fn programs(&self) -> &'static [&'static str] {
        &[
            "losetup",
            "udevadm",
            "mkfs.vfat",
            "mkfs.ext4",
            "e2fsck",
            "fsck.vfat",
            "blkid",
        ]
    }
    fn subject(&self) -> Subject {
        Subject::Machine
    }
    fn watch(&self, _subject: &Utf8Path) -> Watch {
        Watch {
            mappings: true,
            mounts: *self == Attached::Mount,
            ..Watch::default()
        }
    }
    fn prepare(&self, _place: &Utf8Path, subject: &Utf8Path) -> Result<(), String> {
        block_on(async {
            let mut world = world(subject, true, "")?;
            formatted(&mut world).await?;
            world.release().await.map_err(|fault| told(&fault))
        })?
    }
    fn carry(&self, _place: &Utf8Path, subject: &Utf8Path, later: bool) -> Result<(), String> {
        block_on(async {
            let mut world = world(subject, true, "")?;
            self.attach(&mut world).await
        })??;
        if !later {
            return Ok(());
        }
        let (mounts, mappings) = (ground::mounts()?, ground::mappings()?);
        if mounts.is_empty() && mappings.is_empty() {
            Ok(())
        } else {
            Err(format!("left behind: {mounts:?}, {mappings:?}"))
        }
    }
    fn proven(&self, place: &Utf8Path, subject: &Utf8Path) -> Result<(), String> {
        let key = place.join("key");
        fs_err::write(&key, PASSPHRASE).map_err(|e| e.to_string())?;
        oracles_attached::detached(subject, &key)
    }
    fn state(&self, _place: &Utf8Path, _subject: &Utf8Path) -> Result<String, String> {
        let temporary = ground::mappings()?.iter().any(|name| name != MAPPER);
        let temporary = if temporary {
            ", one of libcryptsetup's own"
        } else {
            ""
        };
        let mapping = format!("mapping: {}{temporary}", mapping(MAPPER)?);
        if *self == Attached::Activate {
            return Ok(mapping);
        }
        let mounts = ground::mounts()?;
        let mounted = |place: &str| mounts.iter().find(|MountSeen { target, .. }| target == place);
        let mounts = match (mounted(MOUNT_ROOT), mounted(MOUNT_BOOT)) {
            (None, None) => "nothing mounted",
            (Some(_), None) => "root mounted",
            (Some(_), Some(_)) => "root and ESP mounted",
            (None, Some(_)) => "ESP mounted alone",
        };
        Ok(format!("{mapping}; {mounts}"))
    }
}
