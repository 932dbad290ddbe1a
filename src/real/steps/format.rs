//! The step that makes the root filesystem and swap.

use crate::real::Real;
use crate::real::mount::attached::Attach;
use crate::real::volume::block_io::flush;
use crate::real::volume::filesystems::{make_ext4, make_swap, observe_volume};
use crate::real::volume::{root_image, superblock};
use crate::world::Perform;
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::Probe;
use landfall_states::actions::format_volumes::{
    FormatOrder, FormatVolumes, ImageOrder, Target, VolumesFacts,
};
use landfall_states::fault::Fault;
use landfall_states::plan::{DiskIdentity, Volume};

impl Real {
    async fn land_slice(
        &mut self,
        device: &Utf8Path,
        volume: &Volume,
        order: &ImageOrder,
    ) -> Result<(), Fault> {
        let progress = std::mem::take(&mut self.progress);
        let (progress, made) =
            root_image::land(progress, device, volume, order, &self.reporter, &self.stop).await;
        self.progress = progress;
        made
    }

    async fn volume_device(&mut self, target: &Target) -> Result<Utf8PathBuf, Fault> {
        if target.inside_luks {
            self.attach(Attach::Container).await?;
            self.container_device()
        } else {
            self.disk()?.partition_device(&target.partition).await
        }
    }

    /// What is on the device of root. A finished filesystem whose superblock was torn is repaired first, unless it is mounted.
    async fn probe_root(&mut self, disk: &DiskIdentity, target: &Target) -> Result<Probe, Fault> {
        let (device, volume) = (self.volume_device(target).await?, &target.volume);
        if !self.is_mounted(&device)? {
            flush(&device)?;
            if let Some(copy) = superblock::torn(&device, volume, &self.reporter, &self.stop).await? {
                // The repair may take files away, and calls that a success.
                self.attached.root_damages += 1;
                self.permit(disk).await?;
                let repaired = superblock::repair(&device, volume, copy, &self.reporter, &self.stop).await;
                self.permit_ends(repaired).await?;
            }
        }
        observe_volume(&device, volume, &self.reporter, &self.stop).await
    }

    async fn probe_swap(&mut self, target: &Target) -> Result<Probe, Fault> {
        let device = self.volume_device(target).await?;
        observe_volume(&device, &target.volume, &self.reporter, &self.stop).await
    }
}

impl Perform<FormatVolumes> for Real {
    async fn observe(&mut self, step: &FormatVolumes) -> Result<VolumesFacts, Fault> {
        let root = self.probe_root(&step.disk, &step.root).await?;
        let swap = match &step.swap {
            Some(target) => self.probe_swap(target).await?,
            None => Probe::Blank,
        };
        Ok(VolumesFacts {
            root,
            swap,
            image_progress: self.progress.image_progress(),
        })
    }

    async fn perform(&mut self, _step: &FormatVolumes, order: FormatOrder) -> Result<(), Fault> {
        let FormatOrder {
            disk,
            root,
            swap,
            image,
        } = order;
        if let Some(target) = root {
            let device = self.volume_device(&target).await?;
            self.refuse_mounted(&device)?;
            self.permit(&disk).await?;
            let made = match &image {
                None => make_ext4(&device, &target.volume, &self.reporter, &self.stop).await,
                Some(image) => {
                    if image.from == 0 {
                        superblock::forget(&device)?;
                    }
                    self.land_slice(&device, &target.volume, image).await
                }
            };
            if image.is_some() && made.is_ok() && self.progress.is_under_way() {
                // Between two slices: everything is flushed, and the device stays open, so that udev has nothing to look at.
                if let Some(held) = &mut self.held {
                    held.drop_lock();
                }
                return Ok(());
            }
            self.permit_ends(made).await?;
        }
        if let Some(target) = swap {
            let device = self.volume_device(&target).await?;
            self.permit(&disk).await?;
            let made = make_swap(&device, &target.volume, &self.reporter, &self.stop).await;
            self.permit_ends(made).await?;
        }
        self.flush_devices().await
    }
}
