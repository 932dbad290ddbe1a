//! `landfall flash`: writes an installer image to a stick.
//!
//! Nothing is written before the whole image was read, the stick was checked twice, and somebody agreed. The stick is opened
//! exclusively, and its identity is checked again just before the first byte. The last line says what to do next.
//!
//! Other files have the rest: the arguments (`flash_args`), the order of writing (`flash_write`), texts and lists (`flash_words`),
//! consent (`flash_consent`), removing keys (`flash_keys`); `flash` writes and verifies.

use super::flash_args::FlashArgs;
use super::flash_run::{Ejected, Run, Taken};
use super::flash_words as words;
use super::progress::on_stdout;
use super::service::{self, Doing};
use super::{Failure, ProgressMode, failure};
use crate::event::Reporter;
use crate::exit::Exit;
use crate::flash::error::Error;
use crate::flash::keys;
use crate::flash::record::{Place as Kept, Record};
use crate::flash::source::{Digests, Source, hexadecimal};
use crate::flash::sticks::{self, Judged};
use crate::flash::table::{self, Place};
use crate::flash::{CHUNK_BYTES, loops};
use crate::image::disk::FileDisk;
use crate::os_error::errno;
use crate::real::disk::named::{self, Meaning, Named};
use crate::real::disk::sysfs::device_number;
use crate::real::disk::usage::{Machine, option_word, shell};
use crate::real::disk::{HeldDisk, Sysfs, locked, scan};
use crate::real::process::stop::Stop;
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::plan::DiskIdentity;
use nix::errno::Errno;
use std::io::Write;

/// The machine's disks at one moment.
pub(super) struct Seen {
    pub(super) machine: Machine,
    pub(super) links: Vec<(String, (u32, u32))>,
    pub(super) names: Vec<Named>,
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
                // The thread that watched has nothing more to say.
                drop(watching.await);
            }
        });
    });
    match caught.recv() {
        Ok(()) => Ok(stop),
        Err(_) => Err(Failure::new(Exit::Internal, "landfall cannot handle signals")),
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
    let meant = args.meant().map_err(Wrong::Flash);
    let begun = meant.and_then(|()| begin(args, run_dir).map_err(Wrong::Failure));
    let done = begun.and_then(|run| match (&args.forget_keys, &args.image) {
        (Some(device), _) => run.forget_keys(device.as_deref(), out),
        (None, Some(image)) => run.flash(image, out),
        (None, None) => run.list(None, out).map(|()| Exit::Ok),
    });
    done.map_err(|wrong| {
        let (told, failure) = match wrong {
            Wrong::Flash(error) => (words::failed(&error), words::failure(&error)),
            Wrong::Failure(failure) => (failure.told(), failure),
        };
        failure::tell(args.json && failure.exit != Exit::Ok, &told, out);
        failure
    })
}

fn begin<'a>(args: &'a FlashArgs, run_dir: &Utf8Path) -> Result<Run<'a>, Failure> {
    let reporter = Reporter::default();
    let mode = if args.json {
        ProgressMode::Json
    } else {
        ProgressMode::Auto
    };
    reporter.add(on_stdout(mode, false));
    Ok(Run {
        args,
        runtime: runtime()?,
        stop: catch_signals(&reporter)?,
        reporter,
        folder: folder(run_dir),
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

/// A file for a shell: one that begins with a hyphen is no option.
fn file_word(file: &Utf8Path) -> String {
    match file.as_str() {
        name if name.starts_with('-') => shell(&format!("./{name}")),
        name => shell(name),
    }
}

/// The stick, where a command has it.
fn device_word(name: &str) -> String {
    match name.starts_with('-') {
        true => option_word("--device", name),
        false => shell(name),
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
            locked::settle(&sysfs, &quiet, &self.stop).await?;
            scan::machine(&sysfs, &quiet, &self.stop).await
        })?;
        let links = named::links(&sysfs).map_err(Error::Internal)?;
        let names = sticks::names(&machine, &links);
        Ok(Seen {
            machine,
            links,
            names,
        })
    }

    /// The disks; `missing` is what a command lacks that named none.
    fn list(&self, missing: Option<&str>, out: &mut dyn Write) -> Result<(), Wrong> {
        let Seen { machine, links, .. } = self.look()?;
        let all = sticks::all(&machine, &links);
        if self.args.json {
            writeln!(out, "{}", words::listed(&all, missing)).map_err(output)?;
        } else {
            words::list(&all, out).map_err(output)?;
            if let Some(missing) = missing {
                let again = format!("landfall flash {} DEVICE{}", self.image_word(), self.options());
                writeln!(out, "\n{missing}\nnext: {again}").map_err(output)?;
            }
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
            let dev = device_number(Utf8Path::new(given)).map_err(|e| match e.kind() {
                std::io::ErrorKind::NotFound => bad("there is no such file or device".into()),
                _ => bad(crate::os_error::said(&e)),
            })?;
            let dev = dev.ok_or_else(|| bad("it is not a block device".into()))?;
            match Sysfs::find(&seen.machine.blocks, dev) {
                Some((block, None)) => block,
                Some((block, Some(part))) => {
                    let number = part.kernel.number;
                    return Err(bad(format!(
                        "it is partition {number}; an image is written to the whole stick, which is {}",
                        block.device()
                    )));
                }
                None => return Err(bad("the kernel does not know this disk".into())),
            }
        } else {
            let index = match named::meaning(given, &seen.names) {
                Meaning::One(index, _) => index,
                Meaning::Nothing => return Err(bad("no disk has this name".into())),
                Meaning::Several(found) => {
                    return Err(bad(format!("{} disks have this name", found.len())));
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
                reason: format!(
                    "{} of the attached sticks have a record of this image",
                    found.len()
                ),
                next: format!(
                    "landfall flash {} DEVICE --resume{}",
                    self.image_word(),
                    self.options()
                ),
            }),
        }
    }

    pub(super) fn image_word(&self) -> String {
        self.args
            .image
            .as_ref()
            .map_or("IMAGE".into(), |image| file_word(image))
    }

    /// The command that goes on.
    pub(super) fn again(&self, judged: &Judged) -> String {
        let device = judged.name.clone().unwrap_or_else(|| judged.block.device());
        format!(
            "landfall flash {} {} --resume{}",
            self.image_word(),
            device_word(&device),
            self.options()
        )
    }

    /// The options that belong to the same work.
    fn options(&self) -> String {
        let mut text = self.options_but_consent();
        if let Some(name) = &self.args.erase_disk {
            text.push_str(&format!(" {}", option_word("--erase-disk", name)));
        }
        text
    }

    /// The same without what agrees.
    pub(super) fn options_but_consent(&self) -> String {
        let mut text = String::new();
        if let Some(keys) = &self.args.keys {
            text.push_str(&format!(" --keys {}", file_word(keys)));
        }
        if self.args.no_eject {
            text.push_str(" --no-eject");
        }
        text
    }

    /// The same command once more.
    fn same(&self, judged: &Judged) -> String {
        let device = shell(&judged.block.device());
        let mut text = match &self.args.forget_keys {
            Some(_) => format!("landfall flash --forget-keys {device}{}", self.options()),
            None => format!("landfall flash {} {device}{}", self.image_word(), self.options()),
        };
        if self.args.resume {
            text.push_str(" --resume");
        }
        for (option, is_given) in [
            (" --yes", self.args.yes),
            (" --dry-run", self.args.dry_run),
            (" --json", self.args.json),
        ] {
            if is_given {
                text.push_str(option);
            }
        }
        text
    }

    fn flash(&self, image: &Utf8Path, out: &mut dyn Write) -> Result<Exit, Wrong> {
        let keys = self.args.keys.as_deref().map(keys::read).transpose()?;
        let source = Source::open(image)?;
        let seen = self.look()?;
        // A name that means no stick, one that may not be taken or is too small, is told before the image is read.
        let mut fits = None;
        let is_named = self.args.device.is_some() || self.args.device_named.is_some();
        if is_named {
            let judged = self.stick("", &seen)?;
            words::refuse_never(&judged)?;
            fits = judged
                .as_ref()
                .map(|judged| self.room(&source, judged))
                .transpose()?;
        } else if !self.args.resume {
            self.list(Some("no stick was named"), out)?;
            return Ok(Exit::Usage);
        }
        let digests = source.look(fits.as_ref().map(|(stick, bytes)| (stick.as_str(), *bytes)), self)?;
        let sum = hexadecimal(&digests.sha256);
        let judged = self.stick(&sum, &seen)?;
        words::refuse_never(&judged)?;
        let Some(judged) = judged else {
            return Ok(Exit::Usage);
        };
        self.room(&source, &judged)?;
        let size_bytes = judged.block.identity.size_bytes;
        let wanted_bytes = digests.bytes;
        if size_bytes < wanted_bytes {
            return Err(Error::TooSmall {
                stick: judged.shown(),
                has_bytes: size_bytes,
                wanted_bytes,
                is_all: true,
            }
            .into());
        }
        let keys = match &keys {
            Some(keys) => Some((keys, self.room_for_keys(&digests, &judged)?)),
            None => None,
        };
        let kept = Kept::of(&self.folder, &judged.identity());
        let record = kept
            .read()?
            .filter(|record| record.image == sum && record.stick == judged.identity());
        let record = self.to_go_on_with(record, &judged)?;
        let plan = words::Plan {
            image,
            digests: &digests,
            judged: &judged,
            keys: keys.as_ref().map(|(keys, place)| (*keys, place)),
            claimed_bytes: record.map_or(0, |chunks| {
                chunks.saturating_mul(CHUNK_BYTES as u64).min(digests.bytes)
            }),
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
        // The stick is finished; what is left of the record is compared with it, should somebody go on with it.
        if let Err(error) = kept.forget() {
            self.reporter.notice(error.to_string());
        }
        self.report(&plan, &done, &ejected, out)?;
        Ok(Exit::Ok)
    }

    /// The end, for its reader. Nobody is to write the stick again because of a full disk behind a pipe.
    fn report(
        &self,
        plan: &words::Plan<'_>,
        done: &words::Done,
        ejected: &Ejected,
        out: &mut dyn Write,
    ) -> Result<(), Wrong> {
        let told = if self.args.json {
            writeln!(out, "{}", words::flashed(plan, done, ejected))
        } else {
            words::end(plan, done, ejected, out)
        };
        told.and_then(|()| out.flush()).map_err(|error| {
            Wrong::Failure(Failure::new(
                Exit::Internal,
                format!(
                    "standard output cannot be written: {}; {} was written and verified, and can be used",
                    crate::os_error::said(&error),
                    plan.judged.shown()
                ),
            ))
        })
    }

    /// The stick and its bytes, into which an image has to fit that is not read yet.
    fn room(&self, source: &Source, judged: &Judged) -> Result<(String, u64), Error> {
        let is_image = judged.block.loop_file.as_deref().is_some_and(|file| {
            let behind = loops::file_behind(Utf8Path::new(&judged.block.device()));
            match (behind, source.is_at(file.into())) {
                (Ok(behind), named) => source.is_file(behind) || named.unwrap_or(false),
                (Err(error), named) => {
                    tracing::info!(%error, "the file of a loop device");
                    named.unwrap_or(false)
                }
            }
        });
        if is_image {
            return Err(Error::Refused {
                stick: judged.shown(),
                reasons: vec!["it is the image itself: its contents are this file".into()],
                next: "landfall flash (it lists the sticks)".into(),
                is_systems: false,
            });
        }
        let has_bytes = judged.block.identity.size_bytes;
        let wanted_bytes = source.bytes_min();
        if has_bytes < wanted_bytes {
            return Err(Error::TooSmall {
                stick: judged.shown(),
                has_bytes,
                wanted_bytes,
                is_all: true,
            });
        }
        Ok((judged.shown(), has_bytes))
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
            next: "flash it without --keys, and put the keys on another stick (docs/operate/operations.md)"
                .into(),
        })
    }

    /// With `--resume`: chunks that an earlier run flushed. A record that is there without it is told.
    fn to_go_on_with(&self, record: Option<Record>, judged: &Judged) -> Result<Option<u64>, Error> {
        match (record, self.args.resume) {
            (Some(record), true) => Ok(Some(record.flushed)),
            (None, true) => Err(Error::NoRecord {
                stick: judged.shown(),
                reason: "there is no interrupted run of this image and this stick".into(),
                next: format!(
                    "landfall flash {} {}{}",
                    self.image_word(),
                    shell(&judged.block.device()),
                    self.options()
                ),
            }),
            (Some(_), false) => {
                self.reporter.notice(format!(
                    "an earlier run of this image was interrupted; this run starts from the beginning. To continue the earlier one: {}",
                    self.again(judged)
                ));
                Ok(None)
            }
            (None, false) => Ok(None),
        }
    }

    /// Takes the stick for itself: landfall's lock, udev's, and the kernel's.
    pub(super) fn take(&self, judged: &Judged) -> Result<Taken, Error> {
        let device = judged.block.device();
        let path = Utf8Path::new(&device);
        let access = nix::unistd::AccessFlags::R_OK | nix::unistd::AccessFlags::W_OK;
        if let Err(Errno::EACCES | Errno::EPERM) = nix::unistd::access(path.as_std_path(), access) {
            return Err(Error::Refused {
                stick: judged.shown(),
                reasons: vec!["this user has no permission to write to it".into()],
                next: format!("sudo {}", self.same(judged)),
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
                reasons: vec!["another program has just opened it (an automounter?)".into()],
                next: "landfall flash (it shows what uses the stick, and how to free it)".into(),
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
}
