//! Writes the root filesystem from an image.
//!
//! The filesystem carries the provisional id while it is written. It gets the planned one last, after it was read back
//! completely, found clean, grown to its partition and flushed.
//!
//! It is written in slices, and everything is durable after each slice. After some slices the driver saves the progress; what
//! is durable and not yet saved is compared by the next run, and not written again. A run that was interrupted after the last
//! chunk may have left a filesystem that is only partly grown; reading back shows that, and the differences are written
//! again.
//!
//! `image` reads and writes the bytes, and `nix::pack` makes images.

use crate::config::{Config, SystemConfig};
use crate::event::{Event, Reporter};
use crate::image::bytes::FileBytes;
use crate::image::disk::{Disk, FileDisk};
use crate::image::ext4::Superblock;
use crate::image::manifest::{FORMAT_VERSION, MAGIC};
use crate::image::open::Opened;
use crate::image::pool::Buffer;
use crate::image::verify::verify;
use crate::image::write::{Stamp, Writer};
use crate::image::{BLOCK_BYTES, CHUNK_BYTES_MAX, Error};
use crate::os_error;
use crate::real::process::command::Program;
use crate::real::process::stop::Stop;
use crate::real::volume::block_io::{flush, io_fault, tool_fault};
use camino::Utf8Path;
use landfall_states::actions::format_volumes::ImageOrder;
use landfall_states::fault::{DeviceFault, Fault, ImageFault, Kind, Os, Remedy, RoomFault};
use landfall_states::image::ImageProgress;
use landfall_states::image::READS_MAX;
use landfall_states::plan::{Payload, SystemSource, Volume};
use std::sync::Arc;
use std::time::Duration;

/// Longest run of a program that checks or grows a root filesystem from an image.
const DEADLINE: Duration = Duration::from_secs(3_600);

/// How long one order writes before the checkpoint is saved, except for one slice of the writer. After each order the volume is looked at and the
/// checkpoint is saved, which on a slow disk takes a good part of a second.
const STRETCH: Duration = Duration::from_secs(5);

/// Bytes of a group of blocks.
const GROUP_BYTES: u64 = 128 << 20;

/// Where NixOS's ISO has its own files.
const MEDIUM: &str = "/iso";

/// How far this run has come with its image. Outlives a fault; the writer does not.
#[derive(Debug, Default)]
pub struct Progress {
    writer: Option<Writer>,
    image_progress: Option<ImageProgress>,
}

impl Progress {
    /// Whether a writer waits for its next slice.
    pub fn is_under_way(&self) -> bool {
        self.writer.is_some()
    }

    /// Lets go of the device. What is durable stays known.
    pub fn close(&mut self) {
        self.writer = None;
    }

    /// What is durable.
    pub fn image_progress(&self) -> Option<ImageProgress> {
        self.image_progress.clone()
    }
}

/// Opens an image.
///
/// # Errors
/// The image cannot be read, is none, or is damaged.
pub fn open(file: &Utf8Path) -> Result<Opened, Fault> {
    let what = format!("image {file}");
    let bytes = FileBytes::open(file).map_err(|error| match error {
        Error::Missing if file.starts_with(MEDIUM) => not_on_the_medium(file),
        error => fault(&what, error),
    })?;
    Opened::open(Arc::new(bytes)).map_err(|e| fault(&what, e))
}

/// What is installed: as the configuration says, with what the image says of itself where it names one. Its digest is that of the
/// manifest, which has the digest of every chunk: so this is known before the first write, and after a resume without reading more.
///
/// # Errors
/// The image cannot be read, or is another one than the configuration names.
pub fn payload(config: &Config, payload: Payload) -> Result<Payload, Fault> {
    let SystemConfig::Image { system, file, digest } = &config.system else {
        return Ok(payload);
    };
    let image = open(file)?;
    if let Some(pinned) = digest
        && *pinned != image.digest
    {
        return Err(ImageFault::NotPinned {
            image: format!("image {file}"),
            found: image.digest.to_string(),
            pinned: pinned.to_string(),
        }
        .into());
    }
    let said = image.manifest.summary(file.as_str(), &image.digest);
    if &said.system != system {
        return Err(ImageFault::OtherSystem {
            image: format!("image {file}"),
            found: said.system.to_string(),
            expected: system.to_string(),
        }
        .into());
    }
    Ok(Payload {
        system: SystemSource::Image(Box::new(said)),
        ..payload
    })
}

/// The image lies on the stick, whose files are at [`MEDIUM`], or a copy of them in memory.
fn not_on_the_medium(file: &Utf8Path) -> Fault {
    ImageFault::MediumGone {
        image: format!("image {file}"),
        medium: MEDIUM.into(),
    }
    .into()
}

/// One slice of the work, or its end. What came of it is seen by looking.
///
/// # Errors
/// The device or the image reports an error, or a program fails.
pub async fn land(
    mut progress: Progress,
    device: &Utf8Path,
    volume: &Volume,
    order: &ImageOrder,
    reporter: &Reporter,
    stop: &Stop,
) -> (Progress, Result<(), Fault>) {
    let work = Work {
        device: device.to_string(),
        stamp: Stamp {
            id: volume.provisional,
            label: volume.label.clone(),
        },
        order: order.clone(),
        reporter: reporter.clone(),
        stop: stop.clone(),
    };
    let what = work.what();
    // Disks block; what else this thread has to do goes on meanwhile.
    let worked = tokio::task::spawn_blocking(move || {
        let outcome = work.slice(&mut progress);
        (progress, outcome)
    })
    .await;
    let (progress, outcome) = match worked {
        Ok((progress, outcome)) => (progress, outcome),
        Err(error) => {
            let why = format!("a thread ended early: {error}");
            let fault = Fault::defect(what, why);
            return (Progress::default(), Err(fault));
        }
    };
    match outcome {
        Ok(true) => {
            let ended = finish(device, volume, reporter, stop).await;
            (progress, ended)
        }
        Ok(false) => (progress, Ok(())),
        Err(fault) => (progress, Err(fault)),
    }
}

struct Work {
    device: String,
    stamp: Stamp,
    order: ImageOrder,
    reporter: Reporter,
    stop: Stop,
}

impl Work {
    fn what(&self) -> String {
        format!("root filesystem {} on {}", self.stamp.label, self.device)
    }

    fn tell(&self, what: &str, done: u64, total: u64) {
        self.reporter.tell(Event::Progress {
            what: what.to_owned(),
            done,
            total: Some(total),
            unit: "bytes".into(),
        });
    }

    /// Writes for a while. True when all is written and was read back.
    fn slice(&self, progress: &mut Progress) -> Result<bool, Fault> {
        let ImageOrder { image, from } = &self.order;
        // A writer that failed is not gone on with: what it had under way is looked at again.
        let mut writer = match progress.writer.take() {
            Some(writer) if writer.durable() == *from => writer,
            Some(_) | None => {
                let opened = open(Utf8Path::new(&image.file))?;
                if opened.digest != image.digest {
                    return Err(ImageFault::Changed {
                        image: format!("image {}", image.file),
                        found: opened.digest.to_string(),
                        expected: image.digest.to_string(),
                    }
                    .into());
                }
                let disk: Arc<dyn Disk> = Arc::new(self.open_disk()?);
                let stamp = Some(self.stamp.clone());
                Writer::new(&opened, disk, stamp, *from).map_err(|e| fault(&self.what(), e))?
            }
        };
        if !writer.is_done() {
            let told = &mut |counts: crate::image::write::Counts| {
                self.tell("write the image", counts.done_bytes, image.plain_bytes);
            };
            let stop = &|| self.stop.is_requested();
            // Also what a fault comes behind is durable.
            let flushed = &mut |chunks| {
                progress.image_progress = Some(ImageProgress {
                    image: image.digest.clone(),
                    chunks,
                });
                Ok(())
            };
            writer
                .stretch(STRETCH, stop, told, flushed)
                .map_err(|e| fault(&self.what(), e))?;
            progress.writer = Some(writer);
            return Ok(false);
        }
        drop(writer);
        self.read_back()?;
        Ok(true)
    }

    fn open_disk(&self) -> Result<FileDisk, Fault> {
        FileDisk::open(Utf8Path::new(&self.device), true).map_err(|e| io_fault(self.what(), &e))
    }

    fn read_back(&self) -> Result<(), Fault> {
        let image = &self.order.image;
        let opened = open(Utf8Path::new(&image.file))?;
        self.reporter.step(format!(
            "read back {} chunks of up to {CHUNK_BYTES_MAX} bytes",
            image.chunks
        ));
        let verified = verify(
            &opened,
            &self.open_disk()?,
            Some(&self.stamp),
            true,
            &|| self.stop.is_requested(),
            &|done, total| self.tell("read back what was written", done, total),
        )
        .map_err(|e| fault(&self.what(), e))?;
        for part in verified.repaired {
            self.reporter
                .notice(format!("{}: {part} differed and was written again", self.what()));
        }
        Ok(())
    }
}

async fn tool(what: &str, program: Program<'_>, reporter: &Reporter, stop: &Stop) -> Result<(), Fault> {
    let ended = program.deadline(DEADLINE).run(reporter, stop).await?;
    ended.or_fault(|how| tool_fault(what, how)).map(drop)
}

/// `resize2fs` leaves out a last group that is too small to be worth it, and nothing more.
fn is_grown(device: &Utf8Path, what: &str) -> Result<(), Fault> {
    let disk = FileDisk::open(device, true).map_err(|e| io_fault(what, &e))?;
    let mut block = Buffer::new(BLOCK_BYTES);
    disk.read_exact_at(block.bytes_mut(), 0)
        .map_err(|e| io_fault(what, &e))?;
    let superblock = Superblock::decode(block.bytes()).map_err(|e| fault(what, e))?;
    let grown = superblock.blocks.saturating_mul(BLOCK_BYTES as u64);
    if grown.saturating_add(GROUP_BYTES) > disk.length() {
        return Ok(());
    }
    Err(DeviceFault::NotGrown {
        on: what.to_owned(),
        filesystem_bytes: grown,
        device_bytes: disk.length(),
    }
    .into())
}

/// Grows, flushes, checks; then the commit.
async fn finish(device: &Utf8Path, volume: &Volume, reporter: &Reporter, stop: &Stop) -> Result<(), Fault> {
    let what = format!("root filesystem {} on {device}", volume.label);
    flush(device)?;
    reporter.step(format!("grow and check {}", volume.label));
    // It was clean when the image was made, and what was read back is that image. `-f`: it asks for a check before, which
    // would write when it was made.
    let grow = Program::new("resize2fs").args(["-f", device.as_str()]);
    tool(&what, grow, reporter, stop).await?;
    flush(device)?;
    is_grown(device, &what)?;
    let check = Program::that_looks("e2fsck").args(["-f", "-n", device.as_str()]);
    tool(&what, check, reporter, stop).await?;
    let id = volume.id.to_string();
    let commit = Program::new("tune2fs").args(["-L", &volume.label, "-U", &id, device.as_str()]);
    tool(&what, commit, reporter, stop).await?;
    flush(device)
}

/// The fault that an error stands for; `what` is the image or the device.
pub fn fault(what: &str, error: Error) -> Fault {
    let said = error.to_string();
    let image = what.to_owned();
    match error {
        Error::Foreign => {
            let magic = MAGIC.into();
            ImageFault::Foreign { image, magic }.into()
        }
        Error::Missing => ImageFault::Missing { image }.into(),
        Error::NoFile(found) => {
            let found = found.into();
            ImageFault::NoFile { image, found }.into()
        }
        Error::Truncated { found, wanted } => ImageFault::CutOff {
            image,
            found_bytes: found,
            wanted_bytes: wanted,
        }
        .into(),
        Error::Newer { version } => ImageFault::Newer {
            image,
            version,
            known: FORMAT_VERSION,
        }
        .into(),
        Error::Damaged(reason) => ImageFault::Damaged { image, reason }.into(),
        Error::SourceRead { part, error } => ImageFault::PartUnreadable {
            image,
            part,
            reads: READS_MAX,
            said: os_error::said(&error),
        }
        .into(),
        Error::SourceBytes { part } => ImageFault::PartWrong {
            image,
            part,
            reads: READS_MAX,
        }
        .into(),
        Error::Target { error, .. } | Error::TargetRead { error, .. } | Error::Io { error, .. } => {
            let os = Os {
                doing: None,
                errno: os_error::errno(&error),
                // Which part of what, and the error's own words.
                said,
            };
            Fault::os(what, os)
        }
        Error::TargetBytes { .. } => Fault::read_back(what, said),
        Error::Differs { part } => ImageFault::Differs { on: image, part }.into(),
        Error::TooSmall { found, wanted } => RoomFault::Target {
            on: image,
            needed_bytes: wanted,
            available_bytes: found,
        }
        .into(),
        Error::NotExt4(reason) => ImageFault::NotExt4 { on: image, reason }.into(),
        Error::Stopped => Fault::of(Kind::Stopped { by: None }, Remedy::resume()),
        Error::Worker => Fault::defect(what, said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_states::fault::FaultClass;
    use std::io;

    #[test]
    fn an_image_that_went_with_the_stick_is_told_from_a_wrong_name() {
        let said = |file: &str| open(Utf8Path::new(file)).unwrap_err();
        let gone = said("/iso/landfall/root.image");
        assert_eq!(gone.class, FaultClass::NeedsChange);
        assert!(gone.why().contains("the stick was removed"), "{gone}");
        assert!(gone.next().contains("boot the installer from it again"), "{gone}");
        assert!(!said("/isolated/root.image").why().contains("stick"));
    }

    #[test]
    fn the_class_says_who_has_to_act() {
        let eio = || io::Error::from_raw_os_error(5);
        for (error, class) in [
            (Error::Foreign, FaultClass::NeedsChange),
            (Error::Missing, FaultClass::NeedsChange),
            (Error::Truncated { found: 1, wanted: 2 }, FaultClass::NeedsChange),
            (Error::Newer { version: 2 }, FaultClass::Permanent),
            (Error::SourceBytes { part: "x".into() }, FaultClass::Hardware),
            (Error::TargetBytes { part: "x".into() }, FaultClass::Hardware),
            (Error::TooSmall { found: 1, wanted: 2 }, FaultClass::NeedsChange),
            (Error::NoFile("FIFO"), FaultClass::NeedsChange),
            (Error::Differs { part: "x".into() }, FaultClass::NeedsChange),
            (
                Error::TargetRead {
                    part: "x".into(),
                    error: eio(),
                },
                FaultClass::Hardware,
            ),
            (
                Error::Target {
                    verb: crate::image::Verb::Write,
                    at: 0,
                    bytes: 1,
                    error: eio(),
                },
                FaultClass::Hardware,
            ),
            (Error::Stopped, FaultClass::Interrupted),
        ] {
            assert_eq!(fault("x", error).class, class);
        }
    }
}
