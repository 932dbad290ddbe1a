//! The command line. Law: one file per command; a command reads its arguments, asks the rest of landfall, prints, and
//! says how it ended in one of the codes of `exit`. Whatever is printed here comes from facts or typed events.
//!
//! Absent: decisions about disks and phases (the states and the driver make them).

pub mod check;
mod comparison;
pub mod disks;
pub mod doctor;
mod failure;
pub mod flash;
pub mod flash_args;
mod flash_consent;
mod flash_keys;
mod flash_words;
mod flash_write;
pub mod host;
pub mod image;
mod image_words;
pub mod install;
pub mod log;
mod next_step;
pub mod plan;
pub mod progress;
pub mod reference;
pub mod relabel;
mod run_dir;
mod saves;
pub mod service;
pub mod simulate;
pub mod status;
pub mod words;

use crate::clock::since_boot_ms;
use crate::exit::Exit;
use crate::real::RUN_DIR;
use crate::real::secret::SecretText;
use crate::real::secrets::descriptor::passphrase_from_fd;
use crate::sim::between::Between;
use crate::sim::case::Before;
use crate::sim::faults::Schedule;
use crate::sim::tally::Sort;
use camino::Utf8PathBuf;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
pub use failure::Failure;
use failure::OutputError;
use landfall_states::names::HostName;
use std::io::Write;

/// Where a configuration is looked for, in this order, when none is named.
pub const CONFIG_FILES: [&str; 2] = ["/etc/landfall/install.json", "/etc/landfall/install.ron"];

/// A NixOS installer that never has to start over
///
/// landfall installs one host. Whatever interrupts it (a power cut, a dropped network, kill -9), the next start goes on
/// at the right phase; the disk is never partitioned twice and nothing finished is formatted again.
#[derive(Debug, Parser)]
#[command(
    name = "landfall",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_long_help = Exit::table()
)]
pub struct Cli {
    /// Say more: what programs print, and landfall's own trace on standard error
    #[arg(long, short, global = true)]
    pub verbose: bool,
    /// Where landfall keeps what lives until the next boot
    #[arg(long, global = true, hide = true, default_value = RUN_DIR, value_name = "DIR")]
    pub run_dir: Utf8PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Install this host, or go on with an install that was cut off
    ///
    /// This is what the service runs. Before the first byte is written, everything that can be checked is checked, and
    /// somebody has agreed to the erasure of exactly this disk.
    #[command(after_long_help = Exit::table())]
    Install(InstallArgs),
    /// Go on with an install that was cut off; never begin one
    #[command(after_long_help = Exit::table())]
    Resume(ResumeArgs),
    /// Show where the install is
    Status(StatusArgs),
    /// Show what would be done, byte for byte; touch nothing
    ///
    /// For the disk that an install would choose, or for a disk that is only described (--disk-size with --disk-serial
    /// or --disk-wwn): the ids are those that the install on that disk will have.
    Plan(PlanArgs),
    /// Show the disks, which one would be chosen, and why not the others
    Disks(DisksArgs),
    /// Look for what is wrong here, and say the command that helps; write nothing
    ///
    /// It looks at an installer, at the computer where installers are built (a flake), or at an installed NixOS host, and says
    /// which it found. The exit code is that of the worst finding; what could not be looked at is said, and is no finding.
    /// Where Nix evaluates a flake, it keeps what it keeps of every evaluation in its own store and cache.
    #[command(after_long_help = Exit::table())]
    Doctor(DoctorArgs),
    /// Show what happened
    Log(LogArgs),
    /// Check a configuration file
    Check(CheckArgs),
    /// Try what this configuration survives, in a simulated world; touch nothing
    ///
    /// The driver that installs is run on disks in memory, and dies or fails at every point: every misfortune by itself, or
    /// every pair. Each time the next runs have to bring the install to its end without losing anything. A failure prints
    /// the command that tells it again; the exit code is 7 then.
    Simulate(SimulateArgs),
    /// Make, check and write images of a prebuilt system
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Image {
        /// What to do with images
        #[command(subcommand)]
        command: image::ImageCommand,
    },
    /// Make hosts of a flake, on your own computer
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Host {
        /// What to do with hosts
        #[command(subcommand)]
        command: host::HostCommand,
    },
    /// Move this NixOS from UUIDs to labels, as an installer of landfall makes them
    ///
    /// Shows the plan: each device, its old label and its new, the edit of hardware-configuration.nix, and what the next boot looks for.
    /// With --apply the labels are made first, then their links are waited for, then the file is written; the UUIDs do not change, so
    /// the machine boots at every instant. Interrupted anywhere, run it again.
    Relabel(relabel::RelabelArgs),
    /// Write an installer's image to a USB stick or card, and prove that it is there
    ///
    /// Without a DEVICE: list the sticks, and why each may or may not be written. The image is read whole before the first write, and
    /// the stick is read back whole after it; the first MiB is written last, so that a stick without that proof does not boot.
    #[command(after_long_help = Exit::table())]
    Flash(flash_args::FlashArgs),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual pages
    Man {
        /// Write all pages into this directory instead of printing the first
        #[arg(long, value_name = "DIR")]
        out: Option<Utf8PathBuf>,
    },
}

/// Which configuration.
#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    /// The configuration, RON or JSON [default: /etc/landfall/install.json, then /etc/landfall/install.ron]
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<Utf8PathBuf>,
}

/// Arguments of both `install` and `resume`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Begin the counts of attempts anew, after their limit was reached and the cause mended
    #[arg(long)]
    pub forgive: bool,
    /// Take the revision that the reference names now, instead of the one that the record on the disk asks for
    #[arg(long)]
    pub repin: bool,
    /// How progress is shown; auto: a status line on a terminal, else plain lines
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    pub progress: ProgressMode,
    /// Read the LUKS passphrase from this open file descriptor: one line, to its end (--passphrase-fd 3 3< FILE)
    #[arg(long, value_name = "N", value_parser = passphrase_fd)]
    pub passphrase_fd: Option<i32>,
}

/// Arguments of `install`.
#[derive(Debug, Clone, Args)]
pub struct InstallArgs {
    /// Arguments shared with `resume`.
    #[command(flatten)]
    pub run: RunArgs,
    /// Begin anew, even on a disk where an install has landed; somebody has to agree again
    #[arg(long)]
    pub reinstall: bool,
    /// Agree in advance to the erasure of this disk, by the name that `landfall disks` prints: WWN, serial number, bus address, or a link in
    /// /dev/disk/by-id or by-path
    #[arg(long, value_name = "NAME", value_parser = disk_name)]
    pub erase_disk: Option<String>,
}

/// Arguments of `resume`.
#[derive(Debug, Clone, Args)]
pub struct ResumeArgs {
    /// Arguments shared with `install`.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Arguments of `status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// As one JSON object
    #[arg(long)]
    pub json: bool,
    /// Show it again every second, until the run has ended
    #[arg(long)]
    pub watch: bool,
}

/// Arguments of `plan`.
#[derive(Debug, Clone, Args)]
pub struct PlanArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// As JSON
    #[arg(long, conflicts_with = "dot")]
    pub json: bool,
    /// As a graph for Graphviz
    #[arg(long)]
    pub dot: bool,
    /// An image of a disk: also show what would be decided about it; it is only read
    #[arg(long, value_name = "FILE", group = "described", conflicts_with_all = ["disk_size", "dot"])]
    pub image: Option<Utf8PathBuf>,
    /// Size of a disk that is only described, in bytes or as 64G
    #[arg(long, value_name = "SIZE", value_parser = plan::disk_size, group = "described")]
    pub disk_size: Option<u64>,
    /// Serial number of that disk
    #[arg(long, value_name = "SERIAL", requires = "described", value_parser = plan::disk_serial)]
    pub disk_serial: Option<String>,
    /// World Wide Name of that disk, as lsblk, a link in /dev/disk/by-id or landfall disks has it
    #[arg(long, value_name = "WWN", requires = "described", value_parser = plan::disk_wwn)]
    pub disk_wwn: Option<String>,
    /// Bus address of that disk; counts only where it has neither a serial number nor a World Wide Name
    #[arg(long, value_name = "ADDRESS", requires = "described", value_parser = plan::disk_address)]
    pub disk_address: Option<String>,
    /// Bytes of a logical sector of that disk: 512 or 4096
    #[arg(long, value_name = "BYTES", requires = "described", default_value_t = 512)]
    pub sector_bytes: u32,
}

/// Arguments of `disks`.
#[derive(Debug, Clone, Args)]
pub struct DisksArgs {
    /// As a JSON list
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `doctor`.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// The installer's configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The flake of the hosts [default: the working directory, where it has a flake.nix]
    #[arg(long, value_name = "DIR")]
    pub flake: Option<Utf8PathBuf>,
    /// The host in it
    #[arg(long, value_name = "NAME")]
    pub host: Option<HostName>,
    /// A file with an age identity, or an ssh private key that is used as one; may be given again
    #[arg(long, value_name = "FILE")]
    pub identity: Vec<Utf8PathBuf>,
    /// The private ssh key that the installer fetches the repository with
    #[arg(long, value_name = "FILE")]
    pub ssh_key: Option<Utf8PathBuf>,
    /// What `nix build` made of the host's installer [default: result in the flake]
    #[arg(long, value_name = "PATH")]
    pub image: Option<Utf8PathBuf>,
    /// Only this check; may be given again
    #[arg(long, value_name = "NAME", value_parser = doctor::check_name)]
    pub check: Vec<&'static crate::doctor::Check>,
    /// What to look at, in the place of what is found: installer, operator or installed
    #[arg(long = "at", value_name = "PLACE", value_parser = doctor::place_name)]
    pub place: Option<crate::doctor::Place>,
    /// Show the checks and what each looks at
    #[arg(long)]
    pub list: bool,
    /// As JSON lines, one for each check
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `log`.
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// As JSON lines, as they were kept
    #[arg(long)]
    pub json: bool,
    /// Go on as more happens, until the run has ended
    #[arg(long, short)]
    pub follow: bool,
    /// Another log, such as /mnt/var/log/landfall/install.jsonl of an installed system
    #[arg(long, value_name = "FILE")]
    pub file: Option<Utf8PathBuf>,
}

/// Arguments of `check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// The file, RON or JSON
    pub file: Utf8PathBuf,
    /// Print the normal form: every option, defaults included, in RON
    #[arg(long)]
    pub print: bool,
}

/// Stories, and states of slots, that one call tells at most: more than a computer tells in its life.
const STORIES_MAX: u64 = 1_000_000_000;
/// Minutes that stories are told for at most: a year.
const MINUTES_MAX: u64 = 366 * 24 * 60;

/// Arguments of `simulate`.
#[derive(Debug, Clone, Args)]
pub struct SimulateArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// How many misfortunes: 1, each by itself, and what people may do between two runs; 2, also every pair of them, in one
    /// run or in two; 3, also a third one in the next run, wherever two leave a disk that fewer do not
    #[arg(long, value_name = "1|2|3", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3))]
    pub exhaust: u8,
    /// Which misfortunes, with commas between: kill, cut, transient, needs-change, permanent, hardware, lie, partial,
    /// network, around, stop [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub faults: Vec<Sort>,
    /// What the disk holds before: blank, foreign, or a finished install
    #[arg(long, value_name = "WHAT", default_value = "foreign", value_parser = simulate::before)]
    pub before: Before,
    /// Up to four misfortunes a story, by chance; the same seed gives the same stories
    #[arg(long, value_name = "N", conflicts_with = "exhaust")]
    pub seed: Option<u64>,
    /// How many stories by chance
    #[arg(long, value_name = "N", default_value_t = 1_000, requires = "seed", value_parser = clap::value_parser!(u64).range(1..=STORIES_MAX))]
    pub stories: u64,
    /// Stories by chance for so many minutes
    #[arg(long, value_name = "N", requires = "seed", conflicts_with = "stories", value_parser = clap::value_parser!(u64).range(1..=MINUTES_MAX))]
    pub minutes: Option<u64>,
    /// Only the checkpoint: read at least so many states that power cuts leave in its two slots; with --seed, others
    #[arg(long, value_name = "STATES", conflicts_with_all = ["exhaust", "faults", "stories", "minutes"], value_parser = clap::value_parser!(u64).range(1..=STORIES_MAX))]
    pub saves: Option<u64>,
    /// Tell this one story, line by line, such as 0.17:after:cut=none
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["exhaust", "faults", "seed", "saves"])]
    pub schedule: Option<Schedule>,
    /// Only print what is decided about every disk that a power cut may leave of a run, by what can be seen on it
    #[arg(long, conflicts_with_all = ["exhaust", "seed", "schedule", "faults", "between", "writes", "saves"])]
    pub decisions: bool,
    /// Only print what a run without misfortunes writes and flushes, in order: tables, volumes, checkpoints
    #[arg(long, conflicts_with_all = ["exhaust", "faults", "seed", "schedule", "saves"])]
    pub writes: bool,
    /// With --schedule, of which the first run alone (0.…) counts: what people do after that run: payload, layout, anew, edit, away, second, copy, clock,
    /// firmware, orders, forged, stripped, moved-on, moved-away
    #[arg(long, value_name = "WHAT", requires = "schedule")]
    pub between: Option<Between>,
    /// As one JSON object
    #[arg(long)]
    pub json: bool,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// tty on a terminal, else plain
    #[default]
    Auto,
    /// A status line under the steps
    Tty,
    /// Plain lines, for serial consoles and journals
    Plain,
    /// JSON lines, one event each
    Json,
}

impl Command {
    fn passphrase_fd(&self) -> Option<i32> {
        match self {
            Command::Install(args) => args.run.passphrase_fd,
            Command::Resume(args) => args.run.passphrase_fd,
            _ => None,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Command::Install(_) => "install",
            _ => "resume",
        }
    }
}

/// Whether a file descriptor is open.
fn is_open(fd: i32) -> bool {
    // SAFETY: borrowed for this one call, which fails cleanly when it is not open.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_GETFD).is_ok()
}

fn passphrase_fd(text: &str) -> Result<i32, String> {
    match text.parse::<i32>() {
        Ok(fd) if fd == 0 || fd > 2 => Ok(fd),
        Ok(_) | Err(_) => Err("a file descriptor that is open for reading: 0, or 3 and above".to_owned()),
    }
}

fn disk_name(text: &str) -> Result<String, String> {
    match crate::config::disk_name_objection(text) {
        None => Ok(text.to_owned()),
        Some(why) => Err(format!(
            "{why}; give the name to use that landfall disks prints: a serial number, a WWN, a bus address, or a link in \
             /dev/disk/by-id or by-path without the path"
        )),
    }
}

/// Standard output, whose errors say that they are its own.
struct Output(std::io::Stdout);

impl Output {
    fn named<T>(done: std::io::Result<T>) -> std::io::Result<T> {
        done.map_err(|e| std::io::Error::new(e.kind(), OutputError(e)))
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.0.write(bytes) {
            // `write_all` goes on by itself only when it sees this.
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => Err(e),
            done => Self::named(done),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Self::named(self.0.flush())
    }
}

/// The command as clap knows it.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command line of this process.
pub fn main() -> Exit {
    let parsed = command()
        .try_get_matches()
        .and_then(|found| Cli::from_arg_matches(&found));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            if error.use_stderr() {
                let json = std::env::args_os().any(|word| word == "--json");
                failure::tell(json, &failure::usage(&error), &mut std::io::stdout());
            }
            error.exit()
        }
    };
    // First of all: a number that nobody opened would be that of the next file that landfall opens for itself.
    if let Some(fd) = cli.command.passphrase_fd().filter(|fd| !is_open(*fd)) {
        complain(&format!(
            "landfall: --passphrase-fd {fd}: this file descriptor is not open\n    next: landfall {} --passphrase-fd {fd} {fd}< FILE",
            cli.command.name()
        ));
        return Exit::Usage;
    }
    let passphrase = match cli.command.passphrase_fd().map(passphrase_from_fd).transpose() {
        Ok(passphrase) => passphrase,
        Err(fault) => {
            let Failure { exit, text } = fault.into();
            complain(&format!("landfall: {text}"));
            return exit;
        }
    };
    if cli.verbose {
        service::trace_to_stderr();
    }
    // Not locked: listeners write to it too, and not all of them from this thread.
    let mut out = Output(std::io::stdout());
    let done = run(&cli, passphrase, &mut out).and_then(|exit| {
        out.flush()?;
        Ok(exit)
    });
    match done {
        Ok(exit) => exit,
        Err(Failure { exit, text }) => {
            if !text.is_empty() {
                complain(&format!("landfall: {text}"));
            }
            exit
        }
    }
}

fn run(cli: &Cli, passphrase: Option<SecretText>, out: &mut dyn Write) -> Result<Exit, Failure> {
    let Cli {
        verbose,
        run_dir,
        command,
    } = cli;
    match command {
        Command::Install(args) => install::command(args.into(), passphrase, run_dir, *verbose),
        Command::Resume(args) => install::command(args.into(), passphrase, run_dir, *verbose),
        Command::Status(args) => status::command(args, run_dir, out),
        Command::Plan(args) => plan::command(args, out),
        Command::Disks(args) => disks::command(args, out),
        Command::Doctor(args) => doctor::command(args, run_dir, out),
        Command::Log(args) => log::command(args, run_dir, out),
        Command::Check(args) => check::command(args, out),
        Command::Simulate(args) => simulate::command(args, out),
        Command::Image { command } => image::command(command, out),
        Command::Host { command } => host::command(command, out),
        Command::Relabel(args) => relabel::command(args, out),
        Command::Flash(args) => flash::command(args, run_dir, out),
        Command::Completions { shell } => reference::completions(*shell, out),
        Command::Man { out: dir } => reference::man(dir.as_deref(), out),
    }
}

/// A line on standard error. `eprintln!` would panic when it is gone (a serial console that hung up), and a panic must not
/// end an install; where standard error fails there is nobody left to be told.
pub(crate) fn complain(text: &str) {
    match writeln!(std::io::stderr(), "{text}") {
        Ok(()) | Err(_) => {}
    }
}

/// The first of these files that is there. A file that cannot even be looked for is an error, not an absent one.
fn first_of(files: &[Utf8PathBuf]) -> Result<Option<Utf8PathBuf>, Failure> {
    for path in files {
        if path.try_exists()? {
            return Ok(Some(path.clone()));
        }
    }
    Ok(None)
}

/// The configuration that a command means.
pub fn config_path(args: &ConfigArgs) -> Result<Utf8PathBuf, Failure> {
    if let Some(path) = &args.config {
        return Ok(path.clone());
    }
    if let Some(path) = first_of(&CONFIG_FILES.map(Utf8PathBuf::from))? {
        return Ok(path);
    }
    Err(Failure::new(
        Exit::Usage,
        format!(
            "there is no configuration: neither {} exists\n    next: give one with --config FILE",
            CONFIG_FILES.join(" nor ")
        ),
    ))
}
