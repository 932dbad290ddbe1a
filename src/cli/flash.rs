//! `landfall flash`: an installer's image onto a stick. Law: nothing is written before the image was read whole, the stick was judged
//! twice and somebody agreed; a stick is taken exclusively and identified again right before the first byte; what is printed last is
//! what to do next.
//!
//! Absent: how a stick is written and judged (`flash`), the words of questions and lists (`flash_words`),
//! who agrees to what (`flash_consent`), taking keys off a stick again (`flash_keys`).

use super::flash_words as words;
use super::progress::on_stdout;
use super::service::{self, Doing};
use super::{Failure, ProgressMode};
use crate::event::{Event, Reporter};
use crate::exit::Exit;
use crate::flash::error::Error;
use crate::flash::keys::{self, Keys};
use crate::flash::record::{Place as Kept, Record, VERSION};
use crate::flash::source::{Digests, Source, hexadecimal};
use crate::flash::sticks::{self, Judged};
use crate::flash::table::{self, Place};
use crate::flash::verdict;
use crate::flash::write::{self, Counts, Stick};
use crate::flash::{CHUNK_BYTES, HEAD_BYTES, Watch, eject};
use crate::image::disk::FileDisk;
use crate::os::errno;
use crate::real::disk::named::{self, Meaning, Named};
use crate::real::disk::sysfs::{Block, device_number};
use crate::real::disk::usage::{Machine, shell};
use crate::real::disk::{HeldDisk, Sysfs, gather, held};
use crate::real::stop::Stop;
use camino::{Utf8Path, Utf8PathBuf};
use clap::Args;
use landfall_states::plan::DiskIdentity;
use nix::errno::Errno;
use std::io::Write;
use std::time::{Duration, Instant};

/// After an error a device is given so long to go from the kernel's list.
const GONE_WITHIN: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(100);

/// Arguments of `flash`.
#[derive(Debug, Clone, Args)]
pub struct FlashArgs {
    /// The image: raw, or packed as .zst, .xz or .gz; a list of digests beside it (IMAGE.sha256) is obeyed
    pub image: Option<Utf8PathBuf>,
    /// The stick, by its path or by a name that `landfall flash` prints; without it the sticks are listed
    pub device: Option<String>,
    /// The same as DEVICE
    #[arg(long = "device", value_name = "DEVICE", conflicts_with = "device")]
    pub device_named: Option<String>,
    /// Agree in advance to the erasure of this disk, by the name that `landfall flash` prints; a fixed disk, or one of more than 256 GiB,
    /// is not erased without it unless somebody types that name
    #[arg(long, value_name = "NAME", value_parser = super::disk_name)]
    pub erase_disk: Option<String>,
    /// Do not ask; never enough for a fixed disk or a large one
    #[arg(long, short)]
    pub yes: bool,
    /// Make a second partition behind the image, with the label LF-KEYS and the keys of this folder: ssh-key, deploy-key, age-identity,
    /// luks-passphrase, consent, repository-token, record-key
    #[arg(long, value_name = "DIR")]
    pub keys: Option<Utf8PathBuf>,
    /// Overwrite the keys on a stick with zeros and remove their partition; the image stays
    #[arg(long, value_name = "DEVICE", num_args = 0..=1, conflicts_with_all = ["image", "device_named", "keys", "resume", "erase_disk"])]
    pub forget_keys: Option<Option<String>>,
    /// Go on where an earlier run of the same image was cut off; what it wrote is compared, not believed
    #[arg(long)]
    pub resume: bool,
    /// Show what would be done, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Leave the stick switched on
    #[arg(long)]
    pub no_eject: bool,
    /// Progress and the result as JSON lines
    #[arg(long)]
    pub json: bool,
}

/// What a run works with.
pub(super) struct Run<'a> {
    pub(super) args: &'a FlashArgs,
    runtime: tokio::runtime::Runtime,
    reporter: Reporter,
    pub(super) stop: Stop,
    folder: Utf8PathBuf,
}

impl Watch for Run<'_> {
    fn progress(&self, what: &'static str, done: u64, total: u64) {
        self.reporter.tell(Event::Progress {
            what: what.to_owned(),
            done,
            total: Some(total),
            unit: "bytes".into(),
        });
    }

    fn stops(&self) -> bool {
        self.stop.is_requested()
    }
}

/// The machine's disks at one moment.
pub(super) struct Seen {
    pub(super) machine: Machine,
    pub(super) links: Vec<(String, (u32, u32))>,
    pub(super) names: Vec<Named>,
}

/// A stick that nobody else has.
pub(super) struct Taken {
    pub(super) held: HeldDisk,
    pub(super) disk: FileDisk,
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Catches signals in a thread of its own: this one waits for disks. Returns when they are caught.
fn catch_signals(reporter: &Reporter) -> Result<Stop, Failure> {
    let (wish, stop) = Stop::new();
    let (ready, caught) = std::sync::mpsc::channel();
    let (reporter, doing) = (reporter.clone(), Doing::default());
    reporter.add(Box::new(doing.clone()));
    let own = runtime()?;
    std::thread::spawn(move || {
        own.block_on(async {
            let watching = tokio::spawn(service::watch_signals(wish, reporter, doing));
            tokio::task::yield_now().await;
            if !watching.is_finished() && ready.send(()).is_ok() {
                drop(watching.await);
            }
        });
    });
    match caught.recv() {
        Ok(()) => Ok(stop),
        Err(_) => Err(Failure::new(Exit::Internal, "signals cannot be caught")),
    }
}

/// Where records are kept (XDG Base Directory Specification).
fn folder(run_dir: &Utf8Path) -> Utf8PathBuf {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| value.starts_with('/'));
    let state = variable("XDG_STATE_HOME").map(Utf8PathBuf::from);
    let home = || variable("HOME").map(|home| Utf8PathBuf::from(home).join(".local/state"));
    match state.or_else(home) {
        Some(state) => state.join("landfall/flash"),
        None => run_dir.join("flash"),
    }
}

pub(super) fn command(args: &FlashArgs, run_dir: &Utf8Path, out: &mut dyn Write) -> Result<Exit, Failure> {
    let reporter = Reporter::default();
    let mode = if args.json {
        ProgressMode::Json
    } else {
        ProgressMode::Auto
    };
    reporter.add(on_stdout(mode, false));
    let run = Run {
        args,
        runtime: runtime()?,
        stop: catch_signals(&reporter)?,
        reporter,
        folder: folder(run_dir),
    };
    let done = match (&args.forget_keys, &args.image) {
        (Some(device), _) => run.forget_keys(device.as_deref(), out),
        (None, Some(image)) => run.flash(image, out),
        (None, None) => run.list(out).map(|()| Exit::Ok),
    };
    done.map_err(|wrong| match wrong {
        Wrong::Flash(error) => {
            if args.json {
                let told = words::failed(&error);
                writeln!(out, "{told}").map_or_else(Failure::from, |()| words::failure(&error))
            } else {
                words::failure(&error)
            }
        }
        Wrong::Failure(failure) => failure,
    })
}

/// Either of the two ways in which it can go wrong.
#[derive(Debug)]
pub(super) enum Wrong {
    Flash(Error),
    Failure(Failure),
}

impl<E: Into<Error>> From<E> for Wrong {
    fn from(error: E) -> Self {
        Wrong::Flash(error.into())
    }
}

pub(super) fn output(error: std::io::Error) -> Wrong {
    Wrong::Failure(error.into())
}

impl Run<'_> {
    pub(super) fn look(&self) -> Result<Seen, Error> {
        let sysfs = Sysfs::real();
        let quiet = Reporter::default();
        let machine = self.runtime.block_on(async {
            held::settle(&sysfs, &quiet, &self.stop).await?;
            gather::machine(&sysfs, &quiet, &self.stop).await
        })?;
        let links = named::links(&sysfs).map_err(Error::Internal)?;
        let names = sticks::names(&machine, &links);
        Ok(Seen {
            machine,
            links,
            names,
        })
    }

    fn list(&self, out: &mut dyn Write) -> Result<(), Wrong> {
        let Seen { machine, links, .. } = self.look()?;
        let all = sticks::all(&machine, &links);
        if self.args.json {
            let told: Vec<_> = all.iter().map(Judged::told).collect();
            let text = serde_json::to_string(&told).map_err(|e| output(e.into()))?;
            writeln!(out, "{text}").map_err(output)?;
        } else {
            words::list(&all, out).map_err(output)?;
        }
        Ok(())
    }

    /// The disk that a name or a path means.
    pub(super) fn find(&self, given: &str, seen: &Seen) -> Result<Judged, Error> {
        let bad = |reason: String| Error::Name {
            given: given.to_owned(),
            reason,
        };
        let block = if given.starts_with('/') {
            let dev = device_number(Utf8Path::new(given)).map_err(|e| bad(crate::os::said(&e)))?;
            let dev = dev.ok_or_else(|| bad("it is no block device".into()))?;
            match Sysfs::find(&seen.machine.blocks, dev) {
                Some((block, None)) => block,
                Some((block, Some(part))) => {
                    let number = part.kernel.number;
                    return Err(bad(format!(
                        "it is partition {number}; an image goes onto the whole stick, which is {}",
                        block.device()
                    )));
                }
                None => return Err(bad("the kernel has no such disk".into())),
            }
        } else {
            let index = match named::meaning(given, &seen.names) {
                Meaning::One(index, _) => index,
                Meaning::Nothing => return Err(bad("no disk is called so".into())),
                Meaning::Several(found) => {
                    return Err(bad(format!("{} disks are called so", found.len())));
                }
            };
            let device = seen
                .names
                .get(index)
                .map(|named| named.device.clone())
                .unwrap_or_default();
            let found = seen.machine.blocks.iter().find(|block| block.device() == device);
            found.ok_or_else(|| bad("it is gone".into()))?
        };
        Ok(sticks::judge(&seen.machine, block, &seen.names))
    }

    /// The stick that is meant: the one that was named, or, where a run goes on, the one that has a record of this image.
    fn stick(&self, image: &str, seen: &Seen) -> Result<Option<Judged>, Error> {
        let given = self.args.device.as_ref().or(self.args.device_named.as_ref());
        if let Some(given) = given {
            return self.find(given, seen).map(Some);
        }
        if !self.args.resume {
            return Ok(None);
        }
        let mut found = vec![];
        for judged in sticks::all(&seen.machine, &seen.links) {
            let record = Kept::of(&self.folder, &judged.identity()).read()?;
            if record.is_some_and(|record| record.image == image && record.stick == judged.identity()) {
                found.push(judged);
            }
        }
        let one = (found.len() == 1).then(|| found.pop()).flatten();
        match one {
            Some(judged) => Ok(Some(judged)),
            None => Err(Error::NoRecord {
                stick: "sticks".into(),
                reason: format!("{} of those attached have a record of this image", found.len()),
                next: format!("landfall flash {} DEVICE --resume", self.image_word()),
            }),
        }
    }

    pub(super) fn image_word(&self) -> String {
        self.args
            .image
            .as_ref()
            .map_or("IMAGE".into(), |image| shell(image.as_str()))
    }

    /// The command that goes on.
    fn again(&self, judged: &Judged) -> String {
        let device = judged.name.clone().unwrap_or_else(|| judged.block.device());
        let mut text = format!("landfall flash {} {} --resume", self.image_word(), shell(&device));
        if let Some(keys) = &self.args.keys {
            text.push_str(&format!(" --keys {}", shell(keys.as_str())));
        }
        text
    }

    fn flash(&self, image: &Utf8Path, out: &mut dyn Write) -> Result<Exit, Wrong> {
        let keys = self.args.keys.as_deref().map(keys::read).transpose()?;
        let source = Source::open(image)?;
        let seen = self.look()?;
        // A name that means no stick, or one that may not be taken, is told before the image is read.
        let is_named = self.args.device.is_some() || self.args.device_named.is_some();
        if is_named {
            words::refuse_never(&self.stick("", &seen)?)?;
        } else if !self.args.resume {
            self.list(out)?;
            return Ok(Exit::Usage);
        }
        let digests = source.look(self)?;
        let sum = hexadecimal(&digests.sha256);
        let judged = self.stick(&sum, &seen)?;
        words::refuse_never(&judged)?;
        let Some(judged) = judged else {
            return Ok(Exit::Usage);
        };
        let size_bytes = judged.block.identity.size_bytes;
        let keys = match &keys {
            Some(keys) => Some((keys, self.room_for_keys(&digests, &judged)?)),
            None => None,
        };
        let kept = Kept::of(&self.folder, &judged.identity());
        let record = kept
            .read()?
            .filter(|record| record.image == sum && record.stick == judged.identity());
        let wanted_bytes = digests.bytes;
        if size_bytes < wanted_bytes {
            return Err(Error::TooSmall {
                stick: judged.shown(),
                has_bytes: size_bytes,
                wanted_bytes,
            }
            .into());
        }
        let record = self.to_go_on_with(record, &judged)?;
        let plan = words::Plan {
            image,
            digests: &digests,
            judged: &judged,
            keys: keys.as_ref().map(|(keys, place)| (*keys, place)),
            claimed_bytes: record.map_or(0, |chunks| chunks * CHUNK_BYTES as u64),
            ejects: !self.args.no_eject,
        };
        if !self.args.json {
            words::plan(&plan, out).map_err(output)?;
        }
        if self.args.dry_run {
            if self.args.json {
                writeln!(out, "{}", words::planned(&plan)).map_err(output)?;
            }
            return Ok(Exit::Ok);
        }
        self.agree(&judged, &seen, keys.is_some(), out)?;
        let judged = self.again_as_before(&judged)?;
        let taken = self.take(&judged)?;
        let done = self.write(&taken, &judged, &source, &digests, record, keys, &kept)?;
        let ejected = self.let_go(taken, &judged)?;
        if self.args.json {
            let told = words::flashed(&plan, &done, ejected).map_err(Wrong::Failure)?;
            writeln!(out, "{told}").map_err(output)?;
        } else {
            words::end(&plan, &done, ejected, out).map_err(output)?;
        }
        Ok(Exit::Ok)
    }

    fn room_for_keys(&self, digests: &Digests, judged: &Judged) -> Result<Place, Error> {
        let DiskIdentity {
            size_bytes,
            sector_bytes,
            ..
        } = judged.block.identity;
        let head = digests.head.bytes();
        table::planned(head, digests.bytes, size_bytes, sector_bytes).map_err(|reason| Error::Keys {
            reason,
            next: "flash it without --keys, and put the keys onto a stick of their own (docs/operations.md)"
                .into(),
        })
    }

    /// With `--resume`: chunks that an earlier run flushed. A record that is there without it is told.
    fn to_go_on_with(&self, record: Option<Record>, judged: &Judged) -> Result<Option<u64>, Error> {
        match (record, self.args.resume) {
            (Some(record), true) => Ok(Some(record.flushed)),
            (None, true) => Err(Error::NoRecord {
                stick: judged.shown(),
                reason: "no run of this image onto this stick was cut off".into(),
                next: format!(
                    "landfall flash {} {}",
                    self.image_word(),
                    shell(&judged.block.device())
                ),
            }),
            (Some(_), false) => {
                self.reporter.notice(format!(
                    "an earlier run of this image was cut off; this one begins anew. To go on: {}",
                    self.again(judged)
                ));
                Ok(None)
            }
            (None, false) => Ok(None),
        }
    }

    /// Looks at the machine again: what was judged and agreed to is what is still there.
    fn again_as_before(&self, judged: &Judged) -> Result<Judged, Error> {
        let now = self.find(&judged.block.device(), &self.look()?)?;
        words::refuse_never(&Some(now.clone()))?;
        if now.identity() != judged.identity() || now.standing != judged.standing {
            return Err(Error::Refused {
                stick: judged.shown(),
                reasons: vec![format!(
                    "it has changed since it was looked at: it is {} now",
                    now.shown()
                )],
                next: "landfall flash (lists the sticks)".into(),
                is_systems: false,
            });
        }
        Ok(now)
    }

    /// Takes the stick for itself: landfall's lock, udev's, and the kernel's.
    pub(super) fn take(&self, judged: &Judged) -> Result<Taken, Error> {
        let device = judged.block.device();
        let path = Utf8Path::new(&device);
        let access = nix::unistd::AccessFlags::R_OK | nix::unistd::AccessFlags::W_OK;
        if let Err(Errno::EACCES | Errno::EPERM) = nix::unistd::access(path.as_std_path(), access) {
            return Err(Error::Refused {
                stick: judged.shown(),
                reasons: vec!["this user may not write to it".into()],
                next: format!("sudo landfall flash {} {device}", self.image_word()),
                is_systems: false,
            });
        }
        let mut held = HeldDisk::open_name(&judged.block.name)?;
        self.runtime.block_on(async {
            held.take().await?;
            held.lock().await
        })?;
        let disk = FileDisk::open(path, true).map_err(|error| match errno(&error).map(Errno::from_raw) {
            Some(Errno::EBUSY) => Error::Refused {
                stick: judged.shown(),
                reasons: vec!["something took it just now (an automounter?)".into()],
                next: "landfall flash (says what uses it, and how to free it)".into(),
                is_systems: false,
            },
            Some(Errno::EROFS | Errno::EACCES | Errno::EPERM) => Error::Refused {
                stick: judged.shown(),
                reasons: vec!["it is write-protected".into()],
                next: "move its switch, or use another stick".into(),
                is_systems: false,
            },
            _ => Error::Stick {
                stick: judged.shown(),
                doing: "opened",
                at: 0,
                error,
            },
        })?;
        // The name was opened twice: both are the disk that was agreed to, or the kernel's number of it would be another one.
        held.confirm(&judged.block.identity)?;
        Ok(Taken { held, disk })
    }

    #[allow(clippy::too_many_arguments)] // what was found and decided so far, each once
    fn write(
        &self,
        taken: &Taken,
        judged: &Judged,
        source: &Source,
        digests: &Digests,
        record: Option<u64>,
        keys: Option<(&Keys, Place)>,
        kept: &Kept,
    ) -> Result<words::Done, Error> {
        let is_gone = || is_gone(&taken.held);
        let stick = Stick {
            disk: &taken.disk,
            name: judged.shown(),
            sector_bytes: judged.block.identity.sector_bytes,
            is_gone: &is_gone,
            again: self.again(judged),
        };
        write::fits(&stick, digests.bytes)?;
        let keep = |flushed: u64| {
            kept.keep(&Record {
                version: VERSION,
                image: hexadecimal(&digests.sha256),
                stick: judged.identity(),
                flushed,
            })
        };
        let claimed = record.unwrap_or(0);
        // Before the first byte: a stick whose progress cannot be kept could not be gone on with.
        keep(claimed)?;
        let begun = Instant::now();
        // Behind a smaller image they would be readable still.
        let old = keys::on(&stick).map_err(|error| stick.failed("read", 0, digests.bytes, error))?;
        for place in &old {
            keys::zero(&stick, place)?;
        }
        write::wipe(&stick, digests.bytes)?;
        let counts = write::body(&stick, source, digests, claimed, self, &mut |flushed| {
            keep(flushed.max(claimed))
        })?;
        let written = Instant::now();
        self.prove(taken, &stick, source, digests, kept)?;
        let done = Instant::now();
        if let Some((keys, place)) = &keys {
            keys::put(&stick, keys, place, &digests.sha256)?;
        }
        kept.forget()?;
        let Counts {
            written_bytes,
            found_bytes,
        } = counts;
        Ok(words::Done {
            written_bytes: written_bytes + digests.bytes.min(HEAD_BYTES as u64),
            found_bytes,
            write_s: (written - begun).as_secs_f64(),
            verify_s: (done - written).as_secs_f64(),
        })
    }

    /// Reads everything back; only then the first MiB is written, and read back itself.
    fn prove(
        &self,
        taken: &Taken,
        stick: &Stick<'_>,
        source: &Source,
        digests: &Digests,
        kept: &Kept,
    ) -> Result<(), Error> {
        taken.held.forget_cache()?;
        let found = verdict::read_back(stick, digests, self)?;
        if !found.is_good() {
            let verdict = verdict::explain(stick, source, digests, &found, self)?;
            // What was written is not there: nothing is to be gone on with.
            kept.forget()?;
            return Err(Error::Differs {
                stick: stick.name.clone(),
                verdict,
            });
        }
        if write::head(stick, digests)? {
            return Ok(());
        }
        write::wipe(stick, digests.bytes)?;
        kept.forget()?;
        Err(Error::Differs {
            stick: stick.name.clone(),
            verdict: verdict::Verdict::of_head(digests, stick.disk.length()),
        })
    }

    /// Gives the stick back, and switches it off.
    fn let_go(&self, taken: Taken, judged: &Judged) -> Result<bool, Error> {
        let Taken { mut held, disk } = taken;
        drop(disk);
        if self.args.no_eject {
            held.reread_table();
            held.drop_lock();
            return Ok(false);
        }
        let sysfs = Sysfs::real();
        let failed = |error| Error::Eject {
            stick: judged.shown(),
            error,
        };
        let blocks: Vec<Block> = sysfs.blocks().map_err(failed)?;
        let way = eject::way(&sysfs, &judged.block, &blocks);
        // While the lock is held nobody mounts what was just written.
        let ejected = eject::eject(&sysfs, &judged.block, &way).map_err(failed)?;
        if !ejected {
            held.reread_table();
        }
        held.drop_lock();
        Ok(ejected)
    }
}

/// Whether the stick is away, asked after an error: the kernel takes a moment to see it.
pub(super) fn is_gone(held: &HeldDisk) -> bool {
    let end = Instant::now() + GONE_WITHIN;
    loop {
        if held.block().is_err() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(POLL);
    }
}
