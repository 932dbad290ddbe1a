//! Nix as landfall runs it: the two stores, the settings, and following what it says. A program that was killed is a fault that passes; what another ending means is judged in `tool_errors`.

use crate::real::fs::target_root::{self, Root};
use crate::real::fs::{marks, skeleton};
use crate::real::nix::log::{NixProgress, Told};
use crate::real::nix::pack::REGISTRATION;
use crate::real::process::command::{Ended, OnStop, Program};
use crate::real::process::context::CommandContext;
use crate::real::process::limits::Memory;
use crate::real::tool_errors::{self, Places};
use crate::real::volume::free_space;
use landfall_states::fault::{self, Cause, Fault, FaultClass, ImageFault, Kind, Remedy};
use landfall_states::image::Image;
use landfall_states::names::{HostName, Revision, StorePath};
use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::time::{Duration, Instant};

/// Scratch space on the target while installing, so that the live system's memory is spared.
pub const SCRATCH: &str = "/var/tmp/landfall";

/// Shortest time between two events of one count.
pub(crate) const TELL_EVERY: Duration = Duration::from_millis(250);

/// Longest silence of a copy, a verification or a build; a compiler may say nothing for minutes.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(30 * 60);

/// The stores, and how Nix is set while installing.
#[derive(Debug, Clone)]
pub struct Stores {
    /// Root directory of the target store.
    pub root: Root,
    /// The installer's store: `auto`, or a directory in tests.
    pub source: String,
    /// Further caches.
    pub substituters: Vec<String>,
    /// Their keys.
    pub trusted_public_keys: Vec<String>,
    /// Seconds for a connection to be made.
    pub connect_s: u32,
    /// Seconds without a byte.
    pub stall_s: u32,
    /// The longest a program may run.
    pub deadline: Duration,
}

impl Stores {
    fn trusted_source(&self) -> String {
        format!("{}?trusted=1", self.source)
    }

    /// Nix settings for everything that may fetch or build. `accept-flake-config` is never on.
    pub(crate) fn settings(&self) -> Vec<String> {
        let caches = [self.trusted_source()]
            .into_iter()
            .chain(self.substituters.iter().cloned())
            .collect::<Vec<_>>()
            .join(" ");
        let (connect, stall) = (self.connect_s.to_string(), self.stall_s.to_string());
        let keys = self.trusted_public_keys.join(" ");
        let mut settings = vec![
            ("accept-flake-config", "false"),
            ("narinfo-cache-negative-ttl", "0"),
            ("fallback", "false"),
            ("download-attempts", "3"),
            ("connect-timeout", connect.as_str()),
            ("stalled-download-timeout", stall.as_str()),
            ("fsync-store-paths", "true"),
            ("extra-substituters", caches.as_str()),
        ];
        if !keys.is_empty() {
            settings.push(("extra-trusted-public-keys", &keys));
        }
        settings
            .iter()
            .flat_map(|(key, value)| ["--option".to_owned(), (*key).to_owned(), (*value).to_owned()])
            .collect()
    }

    /// `nix`, with what is still called experimental.
    pub(crate) fn nix<'a>(&self) -> Program<'a> {
        self.limits(Program::new("nix").args(["--extra-experimental-features", "nix-command flakes"]))
    }

    pub(crate) fn nix_store<'a>(&self) -> Program<'a> {
        self.nix_store_at(&self.root.as_arg())
    }

    /// `nix-store` on any store.
    pub(crate) fn nix_store_at<'a>(&self, store: &str) -> Program<'a> {
        let features = ["--extra-experimental-features", "nix-command flakes"];
        self.limits(Program::new("nix-store").args(features).args(["--store", store]))
    }

    pub(crate) fn limits<'a>(&self, program: Program<'a>) -> Program<'a> {
        program
            .memory(Memory::Nix)
            .deadline(self.deadline)
            .silence_max(SILENCE_MAX)
            .on_stop(OnStop::End)
            .env("TMPDIR", self.root.told(SCRATCH))
            .env("XDG_CACHE_HOME", self.root.told(CACHES_DIR))
    }

    /// Whether the database has this path as valid, which in Nix means its whole closure.
    ///
    /// # Errors
    /// Nix fails.
    pub async fn is_registered(&self, context: &CommandContext, path: &StorePath) -> Result<bool, Fault> {
        let ended = context
            .run(self.nix_store().args(["--check-validity", path.as_str()]))
            .await?;
        Ok(survived(&format!("search for {path} in the target store"), ended)?.success())
    }

    /// Registers what the image brought. Its files were read back from the disk before the filesystem got its id; the
    /// database is made of them in one transaction.
    ///
    /// # Errors
    /// Nix fails, the list of the image is damaged, or the target cannot be written.
    pub async fn register(&self, context: &CommandContext, image: &Image) -> Result<(), Fault> {
        let what = format!("registration of {} in the target store", image.system);
        if self.is_registered(context, &image.system).await? {
            return Ok(());
        }
        context
            .reporter
            .step(format!("register the closure of {}", image.system));
        let mut list = target_root::open_file(&self.root, REGISTRATION)?.ok_or_else(|| {
            Fault::from(ImageFault::Incomplete {
                on: what.clone(),
                missing: REGISTRATION.into(),
            })
        })?;
        if !names(&mut list, &image.system).map_err(|e| target_root::io_fault(what.clone(), &e))? {
            return Err(ImageFault::WithoutSystem {
                image: image.file.clone(),
                system: image.system.to_string(),
            }
            .into());
        }
        let load = self.nix_store().arg("--load-db").stdin(list);
        let ended = context.run(load).await?;
        if !ended.success() {
            let said = ended.said();
            return Err(tool_errors::nix_plain(
                &what,
                ended.how(),
                &said,
                Places(&[&self.root.as_arg()]),
            ));
        }
        if !self.is_registered(context, &image.system).await? {
            return Err(ImageFault::Incomplete {
                on: what,
                missing: "the system among what is to be registered".into(),
            }
            .into());
        }
        target_root::sync_filesystem(&self.root)
    }

    /// Copies a closure from the installer's store.
    ///
    /// # Errors
    /// Nix fails, or there is no room.
    pub async fn copy(&self, context: &CommandContext, system: &StorePath) -> Result<(), Fault> {
        context.reporter.step(format!("copy the closure of {system}"));
        let mut program = self
            .nix()
            .args(["copy", "--no-check-sigs", "--to", &self.root.as_arg()]);
        if self.source != "auto" {
            program = program.args(["--from", self.source.as_str()]);
        }
        let program = program
            .args([
                "--log-format",
                "internal-json",
                "--option",
                "fsync-store-paths",
                "true",
            ])
            .arg(system.as_str());
        let (ended, log) = follow(context, program, false).await?;
        succeeded(&format!("copy of {system}"), ended, &log, &self.root).map(drop)
    }

    /// Keeps the system from Nix's garbage collector and writes down what it is of. Only after a sync.
    ///
    /// # Errors
    /// The target cannot be written.
    pub fn record(&self, revision: &Revision, host: &HostName, system: &StorePath) -> Result<(), Fault> {
        target_root::sync_filesystem(&self.root)?;
        let roots = target_root::ensure_dir(&self.root, "/nix/var/nix/gcroots", 0o755)?;
        let name = "landfall-system";
        let made = match nix::unistd::unlinkat(&roots, name, nix::unistd::UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(nix::errno::Errno::ENOENT) => nix::unistd::symlinkat(system.as_str(), &roots, name),
            Err(e) => Err(e),
        };
        made.map_err(|e| target_root::io_fault("garbage collector root on the target", &e.into()))?;
        let text = marks::system_record(revision, host, system);
        target_root::write(
            &self.root,
            RECORD,
            text.as_bytes(),
            target_root::Access::root(0o644),
        )?;
        target_root::sync_filesystem(&self.root)
    }

    /// The recorded system of this revision and host.
    ///
    /// # Errors
    /// The target cannot be read.
    pub fn recorded(&self, revision: &Revision, host: &HostName) -> Result<Option<StorePath>, Fault> {
        Ok(target_root::read_text(&self.root, RECORD)?
            .and_then(|text| marks::recorded_system(&text, revision, host)))
    }

    /// Directories that Nix needs on the target.
    ///
    /// # Errors
    /// The target cannot be written.
    pub fn prepare(&self, context: &CommandContext) -> Result<(), Fault> {
        skeleton::clear(context, &self.root)?;
        target_root::ensure_dir(&self.root, "/tmp", 0o1777)?;
        target_root::ensure_dir(&self.root, "/var/tmp", 0o1777)?;
        target_root::ensure_dir(&self.root, CACHES_DIR, 0o755)?;
        target_root::ensure_dir(&self.root, "/nix/store", 0o755).map(drop)
    }
}

/// Follows a Nix program: counts and messages are told, errors kept.
pub(crate) async fn follow(
    context: &CommandContext,
    program: Program<'_>,
    tell_messages: bool,
) -> Result<(Ended, NixProgress), Fault> {
    followed(context, program, tell_messages, NixProgress::default()).await
}

/// The same of a Nix that evaluates a configuration.
pub(crate) async fn follow_evaluation(
    context: &CommandContext,
    program: Program<'_>,
) -> Result<(Ended, NixProgress), Fault> {
    followed(context, program, true, NixProgress::of_evaluation()).await
}

async fn followed(
    context: &CommandContext,
    program: Program<'_>,
    tell_messages: bool,
    mut log: NixProgress,
) -> Result<(Ended, NixProgress), Fault> {
    let mut last = Instant::now();
    let program = program.on_line(|line| match log.take(line) {
        Some(Told::Count(count)) => {
            if last.elapsed() >= TELL_EVERY || count.total == Some(count.done) {
                last = Instant::now();
                context.progress(count.what, count.done, count.total, count.unit);
            }
        }
        Some(Told::Message(line)) if tell_messages => {
            context.reporter.tell(crate::event::Event::Output {
                program: "nix".into(),
                line,
            });
        }
        Some(Told::Message(_)) | None => {}
    });
    let ended = context.run(program).await?;
    Ok((ended, log))
}

/// The fault of a Nix that was followed; `root` is the target's.
pub(crate) fn failed(what: &str, ended: &Ended, log: &NixProgress, root: &Root) -> Fault {
    let how = fault::Ended {
        last_lines: log.last_lines(),
        ..ended.how()
    };
    let fault = tool_errors::nix(what, how, log.sorted(), Places(&[&root.as_arg()]));
    where_full(HERE, fault)
}

/// Where the installer's own store has its database.
const HERE: &str = "/nix/var/nix";

/// The same fault, or that there is no room `here`. SQLite calls every failure of its own files one of the disk, also that of a
/// filesystem in memory that is full.
fn where_full(here: &str, fault: Fault) -> Fault {
    let of_here = format!("disk I/O error (in '{here}/");
    match &*fault.kind {
        Kind::Ending {
            on,
            ended,
            cause: Cause::InputOutput,
            line,
        } if line.contains(&of_here)
            && free_space::free(&Root::at(here)).is_ok_and(|free| free < free_space::LEAST) =>
        {
            Fault::ending(Cause::NoRoomHere, on, ended.clone(), line)
        }
        _ => fault,
    }
}

pub(crate) fn succeeded(what: &str, ended: Ended, log: &NixProgress, root: &Root) -> Result<Ended, Fault> {
    if ended.success() {
        Ok(ended)
    } else {
        Err(failed(what, &ended, log, root))
    }
}

/// An answer, whatever it is, and no death by a signal.
pub(crate) fn survived(what: &str, ended: Ended) -> Result<Ended, Fault> {
    match ended.code {
        Some(_) => Ok(ended),
        None => Err(Fault::program(
            FaultClass::Transient,
            what,
            ended.how(),
            Remedy::resume(),
        )),
    }
}

pub(crate) const RECORD: &str = "/nix/var/landfall/system";

/// Whether a registration has this path; the file is at its start again afterwards.
pub(crate) fn names(list: &mut File, system: &StorePath) -> std::io::Result<bool> {
    let mut found = false;
    for line in BufReader::new(&mut *list).lines() {
        if line? == system.as_str() {
            found = true;
            break;
        }
    }
    list.rewind()?;
    Ok(found)
}

/// Where; below [`crate::real::nix::client::SCRATCH`].
pub const CACHES_DIR: &str = "var/tmp/landfall/cache";

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_store_of_the_installer_that_is_full_has_no_errors() {
        let keep = tempfile::tempdir().unwrap();
        let here = keep.path().to_str().unwrap();
        let fault = |path: &str| {
            let said = format!("executing SQLite statement '…': disk I/O error (in '{path}/db/db.sqlite')");
            let how = fault::Ended {
                program: "nix".into(),
                code: Some(1),
                last_lines: vec![said.clone()],
                note: None,
            };
            Fault::ending(Cause::InputOutput, "nix copy", how, said)
        };
        let cause = |path: &str| where_full(here, fault(path)).cause();
        assert_eq!(
            cause(here),
            Some(Cause::InputOutput),
            "the control: there is room"
        );
        let tmpfs = nix::mount::mount(
            Some("tmpfs"),
            keep.path(),
            Some("tmpfs"),
            nix::mount::MsFlags::empty(),
            Some("size=8m"),
        );
        // Only root may mount.
        if tmpfs.is_err() {
            return;
        }
        let mut filler = fs_err::File::create(keep.path().join("filler")).unwrap();
        while filler.write_all(&[1; 4096]).is_ok() {}
        let seen = [cause(here), cause("/mnt/nix/var/nix")];
        drop(filler);
        nix::mount::umount2(keep.path(), nix::mount::MntFlags::MNT_DETACH).unwrap();
        assert_eq!(seen, [Some(Cause::NoRoomHere), Some(Cause::InputOutput)]);
    }
}
