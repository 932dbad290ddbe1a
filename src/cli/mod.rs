//! The command line: it defines every command and option, runs the chosen command, and returns an exit code (`exit`).
//!
//! Each command has its own file. A command reads its arguments, calls the rest of landfall, and prints. Everything it prints comes
//! from facts or typed events.
//!
//! Decisions about disks and phases are made by the states and the driver, not here.

pub mod check;
pub mod disks;
pub mod doctor;
mod failure;
pub mod flash;
pub mod flash_args;
mod flash_consent;
mod flash_keys;
mod flash_run;
mod flash_words;
mod flash_write;
pub mod host;
pub mod image;
mod image_record;
mod image_words;
pub mod install;
pub mod line;
pub mod log;
mod next_step;
mod numbers;
pub mod plan;
pub mod plan_disk;
pub mod progress;
pub mod reference;
pub mod relabel;
mod report;
mod run_dir;
mod run_process;
pub mod run_status;
pub mod screen;
pub mod service;
pub mod simulate;
pub mod status;
mod watch;
pub mod words;

use crate::clock::since_boot_ms;
use crate::exit::Exit;
use crate::real::RUN_DIR;
use crate::real::secret::SecretText;
use crate::real::secrets::descriptor::passphrase_from_fd;
use crate::sim::inject::faults::FaultSort;
use crate::sim::inject::operator::OperatorAction;
use crate::sim::inject::schedule::Schedule;
use crate::sim::model::case::Before;
use camino::Utf8PathBuf;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
pub use failure::Failure;
use failure::OutputError;
use landfall_states::names::HostName;
use std::io::Write;

/// Where a configuration is looked for, in this order, when none is named.
pub const CONFIG_FILES: [&str; 2] = ["/etc/landfall/install.json", "/etc/landfall/install.ron"];

/// A NixOS installer that can be interrupted at any point and continues
///
/// landfall installs one host. After any interruption (a power cut, a lost network, kill -9), the next start continues at
/// the phase that was reached. It never partitions the disk twice, and never formats a finished filesystem again.
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
    /// Also show the output of programs, and debug messages on standard error
    #[arg(long, short, global = true, display_order = 998)]
    pub verbose: bool,
    /// Directory for files that are kept until the next boot
    #[arg(long, global = true, hide = true, default_value = RUN_DIR, value_name = "DIR", value_parser = directory)]
    pub run_dir: Utf8PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Install this host, or continue an interrupted install
    ///
    /// The systemd service runs this command. Before it writes the first byte, landfall checks everything that can be checked,
    /// and a person or the configuration must have agreed to erase exactly this disk.
    #[command(after_long_help = Exit::table())]
    Install(InstallArgs),
    /// Continue an interrupted install; never start a new one
    #[command(after_long_help = Exit::table())]
    Resume(ResumeArgs),
    /// Show the state of the install
    Status(StatusArgs),
    /// Show exactly what an install would write; change nothing
    ///
    /// The plan is for the disk that an install would choose, or for a disk that you describe as `landfall disks`
    /// prints it: --disk-size with --disk-serial, --disk-wwn or both; with --disk-unit where a unit is printed; or --disk-address with the name to
    /// use, where that is an address. The ids in it are the ids that an install on that disk will have.
    Plan(PlanArgs),
    /// List the disks: which one an install would choose, and why not the others
    Disks(DisksArgs),
    /// Find problems on this machine and show the command that fixes each; change nothing
    ///
    /// It checks an installer, the computer where you build installers (a flake), or an installed NixOS host, and shows which of
    /// them it found. The exit code is that of the worst problem. A check that could not run is listed, and does not count as a
    /// problem. Where Nix evaluates a flake, Nix writes to its own store and cache, as in every evaluation.
    #[command(after_long_help = Exit::table_without(&[Exit::NothingToResume, Exit::Locked, Exit::AlreadyLanded]))]
    Doctor(DoctorArgs),
    /// Show the log of the install
    Log(LogArgs),
    /// Check a configuration file
    Check(CheckArgs),
    /// Simulate installs of this configuration with faults; change nothing
    ///
    /// The same code that installs runs on disks in memory, and is stopped or fails at every point: with each fault alone, or
    /// with every pair of faults. Each time, the next starts must finish the install without losing data. For a failure,
    /// landfall prints the command that repeats it, and ends with exit code 7.
    Simulate(SimulateArgs),
    /// Build, check and write images of a prebuilt system
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Image {
        /// The command for images
        #[command(subcommand)]
        command: image::ImageCommand,
    },
    /// Add hosts to a flake, on your own computer
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Host {
        /// The command for hosts
        #[command(subcommand)]
        command: host::HostCommand,
    },
    /// Label this host's filesystems, and make its NixOS configuration use the labels instead of UUIDs
    ///
    /// landfall shows the plan: the old and new label of each device, the edit of hardware-configuration.nix, and the devices that the next
    /// boot will look for. With --apply, landfall sets the labels first, waits for their links in /dev/disk/by-label, and then
    /// writes the file. The UUIDs do not change, so the machine can boot at any moment. After an interruption, run it again.
    Relabel(relabel::RelabelArgs),
    /// Write an installer image to a USB stick or SD card, and verify it
    ///
    /// Without DEVICE: list the sticks, and why each can or cannot be written. landfall reads the whole image before the first
    /// write, and reads the whole stick back after it. It writes the first MiB last, so an unverified stick does not boot.
    #[command(after_long_help = Exit::table_without(&[Exit::AlreadyLanded]))]
    Flash(flash_args::FlashArgs),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual pages
    Man {
        /// Write all pages into this directory, instead of printing the first one
        #[arg(long, value_name = "DIR")]
        out: Option<Utf8PathBuf>,
    },
}

/// Which configuration.
#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    /// The configuration file, RON or JSON [default: /etc/landfall/install.json, then /etc/landfall/install.ron]
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<Utf8PathBuf>,
}

/// Arguments of both `install` and `resume`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Reset the attempt counters (after fixing the cause)
    #[arg(long, alias = "forgive")]
    pub reset_attempts: bool,
    /// Take the current commit of the configured branch or revision, and forget the one that was pinned when the install began
    #[arg(long)]
    pub repin: bool,
    /// How to show progress
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    pub progress: ProgressMode,
    /// Also show the screen on this terminal, such as /dev/tty1; a terminal that does not exist is ignored
    #[arg(long, value_name = "TERMINAL")]
    pub screen: Option<Utf8PathBuf>,
    /// Read the LUKS passphrase from this open file descriptor, as one line
    ///
    /// Example: `--passphrase-fd 3 3<FILE`
    #[arg(long, value_name = "N", value_parser = passphrase_fd)]
    pub passphrase_fd: Option<i32>,
}

/// Arguments of `install`.
#[derive(Debug, Clone, Args)]
pub struct InstallArgs {
    /// Arguments shared with `resume`.
    #[command(flatten)]
    pub run: RunArgs,
    /// Start a new install, even on a disk that has a finished one; a person or the configuration must agree again
    #[arg(long)]
    pub reinstall: bool,
    /// The disk that may be erased without asking, by a name that `landfall disks` prints: WWN, serial number, bus address, or a link in
    /// /dev/disk/by-id or by-path
    #[arg(long, value_name = "NAME", allow_hyphen_values = true, value_parser = disk_name)]
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
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Show the state again every second, until the run ends
    #[arg(long)]
    pub watch: bool,
}

/// Arguments of `plan`.
#[derive(Debug, Clone, Args)]
pub struct PlanArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Print JSON
    #[arg(long, conflicts_with = "dot")]
    pub json: bool,
    /// Print a graph for Graphviz
    #[arg(long)]
    pub dot: bool,
    /// An image of a disk: also show what an install would decide about it. landfall only reads it
    #[arg(long, alias = "image", value_name = "FILE", conflicts_with_all = ["disk_size", "dot"])]
    pub disk_image: Option<Utf8PathBuf>,
    /// The disk.
    #[command(flatten)]
    pub disk: plan_disk::DescribedDisk,
}

/// Arguments of `disks`.
#[derive(Debug, Clone, Args)]
pub struct DisksArgs {
    /// Print a JSON list
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `doctor`.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// The installer's configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Directory of the flake that defines the hosts [default: the working directory, if it has a flake.nix]
    #[arg(long, value_name = "DIR")]
    pub flake: Option<Utf8PathBuf>,
    /// Name of the host in the flake
    #[arg(long, value_name = "NAME")]
    pub host: Option<HostName>,
    /// File with an age identity, or with an SSH private key used as one; can be given several times
    #[arg(long, value_name = "FILE")]
    pub identity: Vec<Utf8PathBuf>,
    /// The SSH private key with which the installer fetches the repository
    #[arg(long, value_name = "FILE")]
    pub ssh_key: Option<Utf8PathBuf>,
    /// Output of `nix build` for the host's installer [default: result in the flake]
    #[arg(long, value_name = "PATH")]
    pub image: Option<Utf8PathBuf>,
    /// Run only this check; can be given several times
    #[arg(long, value_name = "NAME", value_parser = doctor::check_name)]
    pub check: Vec<&'static crate::doctor::Check>,
    /// Check this kind of machine, instead of detecting it: installer, operator (your computer) or installed
    #[arg(long = "at", value_name = "PLACE", value_parser = doctor::place_name)]
    pub place: Option<crate::doctor::Place>,
    /// List the checks, and what each one examines
    #[arg(long)]
    pub list: bool,
    /// Print JSON lines, one for each check
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `log`.
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// Print the JSON lines of the log file
    #[arg(long)]
    pub json: bool,
    /// Print new events as they happen, until the run ends
    #[arg(long, short)]
    pub follow: bool,
    /// Show this log file, for example /mnt/var/log/landfall/install.jsonl of an installed system
    #[arg(long, value_name = "FILE", conflicts_with = "follow")]
    pub file: Option<Utf8PathBuf>,
}

/// Arguments of `check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// The configuration file, RON or JSON
    pub file: Utf8PathBuf,
    /// Print the complete configuration in RON, with the defaults
    #[arg(long)]
    pub print: bool,
}

/// Largest number of scenarios, and of slot states, of one call.
const SCENARIOS_MAX: u64 = 1_000_000_000;
/// Longest time that one call simulates, in minutes: a year.
const MINUTES_MAX: u64 = 366 * 24 * 60;

/// Arguments of `simulate`.
#[derive(Debug, Clone, Args)]
pub struct SimulateArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Faults per scenario. 1: each fault alone, and each operator action after the first start. 2: all pairs, too.
    /// 3: triples, too, where a pair leaves a disk state not seen before
    #[arg(long, alias = "exhaust", value_name = "1|2|3", default_value_t = 1, value_parser = numbers::within::<u8, 1, 3>)]
    pub depth: u8,
    /// Kinds of faults, separated by commas: kill, cut (power), transient, needs-change, permanent, hardware, false-success (a program
    /// reports success but did nothing), partial (it did only a part), network, environment (clock, disk or boot medium fails), stop
    /// [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub faults: Vec<FaultSort>,
    /// Contents of the disk before the install: blank, foreign, or finished (an earlier install)
    #[arg(long, value_name = "WHAT", default_value = "foreign", value_parser = simulate::before)]
    pub before: Before,
    /// Random faults, up to four per scenario; the same seed gives the same scenarios
    #[arg(long, value_name = "N", conflicts_with = "depth", value_parser = numbers::within::<u64, 0, { u64::MAX }>)]
    pub seed: Option<u64>,
    /// Number of random scenarios
    #[arg(long, alias = "stories", value_name = "N", default_value_t = 1_000, requires = "seed", value_parser = numbers::within::<u64, 1, SCENARIOS_MAX>)]
    pub scenarios: u64,
    /// Simulate random scenarios for this many minutes
    #[arg(long, value_name = "N", requires = "seed", conflicts_with = "scenarios", value_parser = numbers::within::<u64, 1, MINUTES_MAX>)]
    pub minutes: Option<u64>,
    /// Test only the checkpoint: read at least this many states that power cuts leave in its two slots. Another --seed gives
    /// other states
    #[arg(long, alias = "saves", value_name = "STATES", conflicts_with_all = ["depth", "faults", "scenarios", "minutes", "operator_action"], value_parser = numbers::within::<u64, 1, SCENARIOS_MAX>)]
    pub slot_states: Option<u64>,
    /// Simulate one scenario and print each line of it; for example 0.17:after:cut=none
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["depth", "faults", "seed", "scenarios", "minutes", "slot_states"])]
    pub schedule: Option<Schedule>,
    /// Only print the decision about every disk state that a power cut can leave
    #[arg(long, conflicts_with_all = ["depth", "seed", "scenarios", "minutes", "schedule", "faults", "operator_action", "writes", "slot_states"])]
    pub decisions: bool,
    /// Only print the writes and flushes of a run without faults, in order: tables, volumes, checkpoints
    #[arg(long, conflicts_with_all = ["depth", "faults", "seed", "scenarios", "minutes", "schedule", "operator_action", "slot_states"])]
    pub writes: bool,
    /// What an operator or an attacker does after the first start. Needs --schedule with faults in the first start only (0.…)
    ///
    ///   payload:    another branch is configured
    ///   layout:     another layout is configured
    ///   reinstall:  a new install is requested
    ///   edit:       the partition table is edited
    ///   away:       the disk is removed
    ///   second:     a disk with another install is attached
    ///   copy:       a copy of the disk is attached
    ///   clock:      the clock is wrong
    ///   firmware:   the firmware loses its boot entries
    ///   orders:     Git commands are planted in the clone
    ///   forged:     a false checkpoint is written
    ///   stripped:   a false checkpoint is written, without its proof
    ///   moved-on:   the branch has new commits
    ///   moved-away: the branch was force-pushed
    #[arg(
        long,
        alias = "between",
        value_name = "WHAT",
        requires = "schedule",
        verbatim_doc_comment
    )]
    pub operator_action: Option<OperatorAction>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// A screen on a graphical, virtual or ssh terminal; plain lines elsewhere and with --verbose
    #[default]
    Auto,
    /// A screen with the phases, the current work and the last events
    Tty,
    /// Plain lines, for serial consoles and journals
    Plain,
    /// JSON lines, one for each event
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
        Ok(_) | Err(_) => {
            Err("give a file descriptor that is open for reading: 0, or 3 and above".to_owned())
        }
    }
}

fn disk_name(text: &str) -> Result<String, String> {
    not_an_option(text)?;
    match crate::config::disk_name_objection(text) {
        None => Ok(text.to_owned()),
        Some(why) => Err(format!(
            "{why}; give the name that `landfall disks` prints: a serial number, a WWN, a bus address, or a link in \
             /dev/disk/by-id or by-path without the path"
        )),
    }
}

/// A name may begin with a hyphen, as serial numbers do; what is written as an option is one, whose own value is missing before it.
fn not_an_option(text: &str) -> Result<(), String> {
    let is_option = text.strip_prefix("--").is_some_and(|name| {
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
    });
    match is_option {
        true => Err("this is an option, and the value before it is missing".to_owned()),
        false => Ok(()),
    }
}

/// A text that may begin with a hyphen.
fn no_option(text: &str) -> Result<String, String> {
    not_an_option(text).map(|()| text.to_owned())
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
            let words: Vec<_> = std::env::args_os().collect();
            return failure::refuse(&error, &words);
        }
    };
    // First of all: a number that nobody opened would be that of the next file that landfall opens for itself.
    if let Some(fd) = cli.command.passphrase_fd().filter(|fd| !is_open(*fd)) {
        print_error(&format!(
            "landfall: --passphrase-fd {fd}: this file descriptor is not open\n    next: landfall {} --passphrase-fd {fd} {fd}< FILE",
            cli.command.name()
        ));
        return Exit::Usage;
    }
    let passphrase = match cli.command.passphrase_fd().map(passphrase_from_fd).transpose() {
        Ok(passphrase) => passphrase,
        Err(fault) => {
            let Failure { exit, text } = fault.into();
            print_error(&format!("landfall: {text}"));
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
                print_error(&format!("landfall: {text}"));
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

/// A directory on the command line. An empty name is a variable that is not set, in a shell.
fn directory(text: &str) -> Result<Utf8PathBuf, String> {
    if text.is_empty() {
        return Err("it is empty; name a directory, or leave the option out".to_owned());
    }
    Ok(text.into())
}

/// A line on standard error. `eprintln!` would panic when it is gone (a serial console that hung up), and a panic must not
/// end an install; where standard error fails there is nobody left to be told.
pub(crate) fn print_error(text: &str) {
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
///
/// # Errors
/// No file was named, and none is at the usual places.
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
            "no configuration was found: neither {} exists\n    next: name one with --config FILE",
            CONFIG_FILES.join(" nor ")
        ),
    ))
}
