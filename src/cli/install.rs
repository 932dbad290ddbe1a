//! `landfall install` and `landfall resume`.
//!
//! This file prepares a run (configuration, lock, listeners, signals) and reports its end; the driver makes the run. After a failure
//! the machine stays on, and the last lines name the phase, the reason and the one command to continue.

use super::next_step::{Completing, Told};
use super::service::{self, Doing, ServiceManager};
use super::{
    Failure, InstallArgs, ProgressMode, ResumeArgs, RunArgs, config_path, print_error, progress, run_dir,
    since_boot_ms, words,
};
use crate::config::{Config, OnSuccess, Overrides};
use crate::driver::{self, Request};
use crate::event::{Event, Listener, Reporter};
use crate::exit::Exit;
use crate::lock::holders::{Process, run_dir_of};
use crate::lock::machine::{self, MachineLock};
use crate::lock::{Lock, LockError, make_private_dir};
use crate::real::boot::kernel_settings;
use crate::real::mount::attached::Attached;
use crate::real::preflight;
use crate::real::process::command::Program;
use crate::real::process::stop::Stop;
use crate::real::secret::SecretText;
use crate::real::secrets::credentials::{self, Credentials};
use crate::real::volume::{build_swap, luks, root_image};
use crate::real::{RUN_DIR, Real};
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::Phase;
use landfall_states::fault::{ConfigFault, Fault, FaultClass, Remedy};
use landfall_states::plan::Machine;
use std::time::Duration;

/// What a run was asked to do.
#[derive(Debug, Clone)]
pub struct InstallOptions {
    /// The configuration file, if one was named.
    pub config: Option<Utf8PathBuf>,
    /// Never begin an install.
    pub resume_only: bool,
    /// Begin the counts of attempts again.
    pub reset_attempts: bool,
    /// Resolve the reference again, whatever revision the record asks for.
    pub repin: bool,
    /// Begin again on a finished disk; somebody has to agree.
    pub reinstall: bool,
    /// How progress is shown.
    pub progress: ProgressMode,
    /// Another terminal with the screen.
    pub screen: Option<Utf8PathBuf>,
    /// The passphrase, from the descriptor that was named.
    pub passphrase: Option<SecretText>,
    /// The disk whose erasure was agreed to on the command line: serial number, WWN or by-id name.
    pub erase_disk: Option<String>,
}

impl InstallOptions {
    /// The command's name, as in [`Event::Started`].
    pub fn command(&self) -> &'static str {
        if self.resume_only { "resume" } else { "install" }
    }
}

impl From<&InstallArgs> for InstallOptions {
    fn from(args: &InstallArgs) -> Self {
        let InstallArgs {
            run,
            reinstall,
            erase_disk,
        } = args;
        InstallOptions {
            reinstall: *reinstall,
            erase_disk: erase_disk.clone(),
            resume_only: false,
            ..run.into()
        }
    }
}

impl From<&ResumeArgs> for InstallOptions {
    fn from(args: &ResumeArgs) -> Self {
        let ResumeArgs { run } = args;
        run.into()
    }
}

impl From<&RunArgs> for InstallOptions {
    fn from(args: &RunArgs) -> Self {
        let RunArgs {
            config,
            reset_attempts,
            repin,
            progress,
            screen,
            passphrase_fd: _,
        } = args;
        InstallOptions {
            config: config.config.clone(),
            resume_only: true,
            reset_attempts: *reset_attempts,
            repin: *repin,
            reinstall: false,
            progress: *progress,
            screen: screen.clone(),
            passphrase: None,
            erase_disk: None,
        }
    }
}

/// What a run has at hand.
#[derive(Debug)]
pub struct Session {
    /// The configuration, with the environment's overrides in it.
    pub config: Config,
    /// What the environment says besides (`INSTALL_DISK`).
    pub overrides: Overrides,
    /// Where events go.
    pub reporter: Reporter,
    /// The wish to stop.
    pub stop: Stop,
    /// Where landfall keeps what lives until the next boot.
    pub run_dir: Utf8PathBuf,
}

/// How a run ended that did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It landed now.
    Landed,
    /// It had landed before (rule 16); nothing was touched.
    AlreadyLanded,
    /// There is nothing to resume.
    NothingToResume {
        /// Why.
        why: String,
        /// What the reason lists.
        list: Vec<String>,
        /// What to do.
        remedy: Remedy,
    },
}

/// Stopped before the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// Where; `None` when nothing was begun, and no disk was written to.
    pub phase: Option<Phase>,
    /// Why, and what to do.
    pub fault: Fault,
}

impl Stopped {
    /// With the command that goes on: nothing was begun that `resume` would find.
    fn going_on(self, options: &InstallOptions) -> Self {
        match self.phase {
            None if !options.resume_only => Stopped {
                fault: self.fault.before_begin(),
                ..self
            },
            Some(_) | None => self,
        }
    }
}

/// The run. Tells its events (from `Started` to `Landed` or `Stopped`) to the session's reporter.
///
/// # Errors
/// [`Stopped`], with the reason that was told, its exit code and the command that continues.
pub async fn run(options: &InstallOptions, session: Session) -> Result<Outcome, Stopped> {
    session.reporter.tell(Event::Started {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: session.config.host.to_string(),
        command: options.command().to_owned(),
    });
    let (run_dir, reporter) = (session.run_dir.clone(), session.reporter.clone());
    // What a killed run left; under the lock nobody else can need it. Only root can take it away, and the reason is not the thing.
    preflight::privileges()
        .map_err(|fault| fault.with_next(Remedy::Command(format!("sudo landfall {}", options.command()))))
        .and_then(|_root| credentials::unmount_medium(&reporter))
        .and_then(|()| credentials::remove_keys(&run_dir))
        .and_then(|()| kernel_settings::put_back(Utf8Path::new(RUN_DIR), &reporter))
        .map_err(|fault| Stopped { phase: None, fault }.going_on(options))?;
    let ended = travel(options, session)
        .await
        .map_err(|stopped| stopped.going_on(options));
    // Good or bad, and also after a signal, which ends the run above like any other stop.
    if let Err(fault) = credentials::remove_keys(&run_dir) {
        reporter.notice(format!(
            "{fault}; remove the secrets: rm {run_dir}/ssh-key {run_dir}/repository-token"
        ));
    }
    ended
}

async fn travel(options: &InstallOptions, session: Session) -> Result<Outcome, Stopped> {
    let stopped = |fault: Fault| Stopped { phase: None, fault };
    luks::no_core_files().map_err(stopped)?;
    let Session {
        mut config,
        overrides,
        reporter,
        stop,
        run_dir,
    } = session;
    if let Some(name) = &options.erase_disk {
        config.unattended.disk = Some(name.clone());
    }
    let refused = |e: crate::config::ConfigError| stopped(ConfigFault::from(e).into());
    let payload = config.payload().map_err(refused)?;
    let payload = root_image::payload(&config, payload).map_err(stopped)?;
    let request = Request {
        host: config.host.clone(),
        layout: config.layout(Machine::native()).map_err(refused)?,
        payload,
        reinstall: config.reinstall,
        reinstall_requested: options.reinstall,
        resume_only: options.resume_only,
        reset_attempts: options.reset_attempts,
        repin: options.repin,
        budget: config.retry,
    };
    let mut credentials = Credentials::load(options.passphrase.clone(), &run_dir).map_err(stopped)?;
    let taken = credentials.take_from_medium(&config, &reporter, &stop).await;
    taken.map_err(stopped)?;
    let mut world = Real {
        config,
        install_disk: overrides.install_disk,
        labels: vec![],
        reporter,
        stop,
        plan: None,
        held: None,
        attached: Attached::default(),
        progress: root_image::Progress::default(),
        credentials,
        keys: Default::default(),
        granted: None,
        evaluated: None,
    };
    match driver::run(&mut world, &request).await {
        Ok(driver::Outcome::Landed { .. }) => Ok(Outcome::Landed),
        Ok(driver::Outcome::AlreadyLanded { .. }) => Ok(Outcome::AlreadyLanded),
        Ok(driver::Outcome::NothingToResume { why, list, remedy }) => {
            Ok(Outcome::NothingToResume { why, list, remedy })
        }
        Err(driver::Halt {
            phase,
            fault,
            rule: _,
        }) => Err(Stopped { phase, fault }),
    }
}

pub(super) fn command(
    mut options: InstallOptions,
    passphrase: Option<SecretText>,
    dir: &Utf8Path,
    verbose: bool,
) -> Result<Exit, Failure> {
    // What is made on the target is for its users; what is not for them has a mode of its own.
    nix::sys::stat::umask(crate::os_error::everybody_may_read());
    options.passphrase = passphrase;
    let overrides = Overrides::from_environment()?;
    let path = config_path(&super::ConfigArgs {
        config: options.config.clone(),
    })?;
    let config = Config::read_with(&path, &overrides)?;
    for warning in config.warnings() {
        print_error(&format!("warning: {warning}"));
    }
    let told = Told::of(options.config.as_deref(), dir);
    let unusable = |path: &Utf8Path, error: &std::io::Error| {
        run_dir::failure(
            path,
            error,
            &told.command(options.command()),
            nix::unistd::geteuid().is_root(),
        )
    };
    make_private_dir(dir).map_err(|e| unusable(dir, &e))?;
    let _lock = Lock::take(dir, options.command(), since_boot_ms()).map_err(|error| match error {
        LockError::Held(..) => Failure::new(
            Exit::Locked,
            format!("{error}\n    next: {}", told.in_words("landfall status --watch")),
        ),
        LockError::Io(error) => unusable(&dir.join("lock"), &error),
    })?;
    let log = progress::LogFile::open(dir).map_err(|e| unusable(&dir.join("log.jsonl"), &e))?;
    // A run directory can be another one, or be deleted while a run is at work.
    let _machine = MachineLock::take().map_err(machine_locked)?;
    let doing = Doing::default();
    let reporter = reporter_to(&options, &told, verbose, dir, log);
    reporter.add(Box::new(doing.clone()));
    let (wish, stop) = Stop::new();
    let on_success = config.on_success;
    let session = Session {
        config,
        overrides,
        reporter: reporter.clone(),
        stop,
        run_dir: dir.to_owned(),
    };
    // One thread: the order of effects is the order of the code.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(async {
        tokio::spawn(service::feed_watchdog());
        let signals = tokio::spawn(service::watch_signals(wish, reporter.clone(), doing.clone()));
        // The handlers stand before anything is done that a signal could cut off.
        tokio::task::yield_now().await;
        if signals.is_finished() {
            return Err(Failure::new(Exit::Internal, "landfall cannot handle signals"));
        }
        if nix::unistd::geteuid().is_root() {
            build_swap::end_left(&reporter).await;
        }
        Ok(run(&options, session).await)
    })?;
    match done {
        Ok(outcome) => {
            let leave = || runtime.block_on(leave(on_success, &reporter));
            ended(outcome, &options, &told, leave)
        }
        Err(stopped) => {
            // Whatever the run told: a watcher of the status learns of the end.
            if !doing.has_ended() {
                reporter.tell(Event::Stopped {
                    phase: stopped.phase,
                    fault: (&stopped.fault).into(),
                });
            }
            Err(failure_of(&stopped, &told))
        }
    }
}

fn machine_locked(refused: machine::Refused) -> Failure {
    match refused {
        machine::Refused::Held(by) => Failure::new(
            Exit::Locked,
            format!(
                "another landfall is running on this machine: {}\n    next: {}",
                named(&by),
                status_of(&by)
            ),
        ),
        machine::Refused::Io(e) => Failure::new(
            Exit::Internal,
            format!("landfall cannot lock this machine: {}", crate::os_error::said(&e)),
        ),
    }
}

/// What everybody listens with: people, the log, the status and the service manager.
fn reporter_to(
    options: &InstallOptions,
    told: &Told,
    verbose: bool,
    dir: &Utf8Path,
    log: progress::LogFile,
) -> Reporter {
    let reporter = Reporter::default();
    let add = |listener: Box<dyn Listener>| {
        reporter.add(Box::new(Completing {
            told: told.clone(),
            listener,
        }));
    };
    add(progress::of_install(options.progress, verbose, told));
    let beside = options.screen.as_deref();
    if let Some(screen) = beside.and_then(|path| progress::on_terminal(path, verbose, told)) {
        add(screen);
    }
    add(Box::new(log));
    add(Box::new(progress::StatusFile::new(
        dir,
        options.config.as_deref(),
    )));
    reporter.add(Box::new(ServiceManager::default()));
    reporter
}

/// The end of a run that did not fail. `leave` does what is configured for a success.
fn ended(
    outcome: Outcome,
    options: &InstallOptions,
    told: &Told,
    leave: impl FnOnce() -> Result<(), Failure>,
) -> Result<Exit, Failure> {
    match outcome {
        Outcome::Landed => {
            leave()?;
            Ok(Exit::Ok)
        }
        Outcome::AlreadyLanded => {
            // A person who types `resume` wants to know; only the unattended start ends as configured.
            if !options.resume_only {
                leave()?;
            }
            Ok(Exit::AlreadyLanded)
        }
        Outcome::NothingToResume { why, list, remedy } => Err(Failure::new(
            Exit::NothingToResume,
            format!(
                "nothing to resume: {why}{}\n    next: {}",
                words::listed(&list),
                told.in_remedy(&remedy)
            ),
        )),
    }
}

/// Processes, for a person.
fn named(processes: &[Process]) -> String {
    match processes {
        [] => "a process that is not visible from here".to_owned(),
        some => some
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// The command that shows the run of these processes: in their run directory, where the kernel names it.
fn status_of(processes: &[Process]) -> String {
    let dir = processes.iter().find_map(|process| run_dir_of(process.pid));
    let told = dir.map_or(Told::default(), |dir| Told::of(None, &dir));
    told.in_words("landfall status --watch")
}

/// The last lines after a failure.
fn failure_of(stopped: &Stopped, told: &Told) -> Failure {
    let Stopped { phase, fault } = stopped;
    let fault = &fault.clone().with_next(told.in_remedy(&fault.remedy));
    let phase = match phase {
        Some(phase) => match words::action(*phase) {
            Some(action) => format!("stopped in phase {phase}: {action} is not done"),
            None => format!("stopped in phase {phase}"),
        },
        None => words::stopped(None),
    };
    Failure::new(
        Exit::of(fault),
        format!(
            "{phase} ({})\n{}\n    log:  {}",
            fault.class,
            words::laid_out(fault),
            told.in_words("landfall log")
        ),
    )
}

/// Powers off or reboots, as configured.
async fn leave(what: OnSuccess, reporter: &Reporter) -> Result<(), Failure> {
    let verb = match what {
        OnSuccess::PowerOff => "poweroff",
        OnSuccess::Reboot => "reboot",
        OnSuccess::Stay => return Ok(()),
    };
    reporter.step(format!("systemctl {verb}"));
    Program::new("systemctl")
        .arg(verb)
        .deadline(Duration::from_secs(60))
        .run(reporter, &Stop::never())
        .await?
        .or_fault(|how| {
            Fault::program(
                FaultClass::NeedsChange,
                format!("systemctl {verb}"),
                how,
                Remedy::words("the install is finished; switch the machine off"),
            )
        })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_states::fault::{Kind, Remedy};

    #[test]
    fn the_last_lines_name_phase_reason_and_one_command() {
        let failure = failure_of(
            &Stopped {
                phase: Some(Phase::Formatted),
                fault: Fault::injected(
                    FaultClass::Transient,
                    "clone of https://forge.example/o/r",
                    "connection reset",
                ),
            },
            &Told::default(),
        );
        assert_eq!(failure.exit, Exit::Transient);
        expect_test::expect![[r#"
            stopped in phase Formatted: Clone configuration is not done (transient)
                what: clone of https://forge.example/o/r
                why:  connection reset
                next: landfall resume
                log:  landfall log"#]]
        .assert_eq(&failure.text);
    }

    #[test]
    fn a_list_is_laid_out() {
        let failure = failure_of(
            &Stopped {
                phase: None,
                fault: Fault::of(
                    Kind::InUse {
                        on: "disk sda".into(),
                        by: vec!["mounted at /srv".into(), "swap".into()],
                    },
                    Remedy::change("unmount it, or stop what uses it"),
                ),
            },
            &Told::default(),
        );
        expect_test::expect![[r#"
            stopped before the install started; this run wrote to no disk (needs a change)
                what: disk sda
                why:  it is in use:
                      mounted at /srv
                      swap
                next: unmount it, or stop what uses it, then: landfall resume
                log:  landfall log"#]]
        .assert_eq(&failure.text);
    }

    #[test]
    fn before_anything_is_begun_nothing_was_written_and_no_phase_is_named() {
        let failure = failure_of(
            &Stopped {
                phase: None,
                fault: Fault::injected(FaultClass::NeedsChange, "clock", "it says 1970")
                    .with_next(Remedy::change_and_install("set it")),
            },
            &Told::default(),
        );
        expect_test::expect![[r#"
            stopped before the install started; this run wrote to no disk (needs a change)
                what: clock
                why:  it says 1970
                next: set it, then: landfall install
                log:  landfall log"#]]
        .assert_eq(&failure.text);
    }

    #[test]
    fn the_next_command_continues_where_nothing_was_begun_and_with_the_file_that_was_named() {
        let options = |resume_only, config: Option<&str>| InstallOptions {
            config: config.map(Utf8PathBuf::from),
            resume_only,
            reset_attempts: false,
            repin: false,
            reinstall: false,
            progress: ProgressMode::Plain,
            screen: None,
            passphrase: None,
            erase_disk: None,
        };
        let stopped = |phase| Stopped {
            phase,
            fault: Fault::injected(FaultClass::NeedsChange, "ssh.key /x", "it is not there")
                .with_next(Remedy::change("put it there")),
        };
        for (phase, resume_only, config, next) in [
            (None, false, None, "put it there, then: landfall install"),
            (
                None,
                false,
                Some("/srv/a.ron"),
                "put it there, then: landfall install --config /srv/a.ron",
            ),
            (
                None,
                true,
                Some("/srv/a.ron"),
                "put it there, then: landfall resume --config /srv/a.ron",
            ),
            (
                Some(Phase::Cloned),
                false,
                Some("/srv/a.ron"),
                "put it there, then: landfall resume --config /srv/a.ron",
            ),
        ] {
            let options = options(resume_only, config);
            let told = Told::of(options.config.as_deref(), Utf8Path::new(RUN_DIR));
            let text = failure_of(&stopped(phase).going_on(&options), &told).text;
            assert!(text.contains(&format!("next: {next}\n")), "{text}");
        }
    }
}
