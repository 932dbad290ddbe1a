//! `landfall doctor`: checks what the troubleshooting table lists, where landfall runs.
//!
//! No check writes anything. Each is bounded in time, has a unique name, and reports what it found, what is wrong with the
//! command that helps, or why it could not look. What an install checks before its first write is checked by the same
//! functions here (`real::preflight`).
//!
//! | file | what it has |
//! |---|---|
//! | `installer` | checks of the medium that installs: firmware, memory, disks, service |
//! | `network`, `remote` | of the same: link, names, portals, caches and their keys; the repository |
//! | `operator` | of the computer where installers are built: flake, host, keys, image |
//! | `installed` | of a host that runs: ESP, boot entry, labels, receipt, agenix |
//! | `flake`, `http`, `decrypt`, `signature` | asking Nix, a server, an age file; signatures of caches |
//!
//! When Nix evaluates, it keeps what it keeps of every evaluation: the flake's source in its store, its own cache; and, where the flake
//! reads a path of the store that it makes itself, that path. Nothing is built, and nothing is repaired.
//!
//! `cli::doctor` prints, and chooses the exit code.

mod decrypt;
mod flake;
mod http;
mod installed;
mod installer;
mod network;
mod operator;
mod remote;
mod signature;

pub use installer::LastRun;

use crate::config::{Config, Overrides};
use crate::real::fs::target_root::Root;
use crate::real::process::context::CommandContext;
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::fault::{Fault, FaultClass};
use landfall_states::names::HostName;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime};

/// Where a check has something to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A medium that installs.
    Installer,
    /// The computer where installers are built.
    Operator,
    /// A NixOS host that is installed.
    Installed,
}

impl Place {
    /// All of them.
    pub const ALL: [Place; 3] = [Place::Installer, Place::Operator, Place::Installed];

    /// Its name in options and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Place::Installer => "installer",
            Place::Operator => "operator",
            Place::Installed => "installed",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Place::Installer => "an installer",
            Place::Operator => "the operator's computer",
            Place::Installed => "an installed NixOS host",
        })
    }
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The thing, and its value.
    pub what: String,
    /// What is wrong with it.
    pub why: String,
    /// The things that it is wrong with, where they are several.
    pub list: Vec<String>,
    /// The command that helps, or the change.
    pub next: String,
    /// What may be done about it.
    pub class: FaultClass,
}

impl From<Fault> for Finding {
    fn from(fault: Fault) -> Self {
        let (why, list) = fault.reasons();
        Finding {
            what: fault.what(),
            why,
            list,
            next: fault.next(),
            class: fault.class,
        }
    }
}

/// What a check came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is wrong: what was found.
    Fine(String),
    /// Something is wrong.
    Finding(Finding),
    /// It did not look: why.
    Skipped(String),
}

impl Outcome {
    fn fine(found: impl Into<String>) -> Self {
        Outcome::Fine(found.into())
    }

    fn skipped(why: impl Into<String>) -> Self {
        Outcome::Skipped(why.into())
    }

    fn wrong(
        class: FaultClass,
        what: impl Into<String>,
        why: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Outcome::wrong_list(class, what, why, vec![], next)
    }

    fn wrong_list(
        class: FaultClass,
        what: impl Into<String>,
        why: impl Into<String>,
        list: Vec<String>,
        next: impl Into<String>,
    ) -> Self {
        Outcome::Finding(Finding {
            what: what.into(),
            why: why.into(),
            list,
            next: next.into(),
            class,
        })
    }
}

impl From<Fault> for Outcome {
    fn from(fault: Fault) -> Self {
        Outcome::Finding(fault.into())
    }
}

impl From<Result<String, Fault>> for Outcome {
    fn from(result: Result<String, Fault>) -> Self {
        result.map_or_else(Outcome::from, Outcome::Fine)
    }
}

/// What the checks look at.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The root of the machine; another one is for tests.
    pub root: Utf8PathBuf,
    /// For running programs.
    pub context: CommandContext,
    /// The time now.
    pub now: SystemTime,
    /// The installer's configuration, and its file.
    pub config: Option<(Utf8PathBuf, Result<Config, String>)>,
    /// What the environment replaces in it.
    pub overrides: Overrides,
    /// The last run of this boot.
    pub last_run: Option<LastRun>,
    /// Addresses of network interfaces, by the interface's name.
    pub addresses: Vec<(String, std::net::IpAddr)>,
    /// The flake.
    pub flake: Option<Utf8PathBuf>,
    /// The host in it.
    pub host: Option<HostName>,
    /// Files of age identities, or of ssh keys that are used as such.
    pub identities: Vec<Utf8PathBuf>,
    /// The private key that the installer fetches the repository with.
    pub ssh_key: Option<Utf8PathBuf>,
    /// The image that was built.
    pub image: Option<Utf8PathBuf>,
    /// The command that looks, with its options, as a shell reads it.
    pub command: String,
}

impl Scene {
    /// A machine about which nothing was said on the command line.
    pub fn new(root: impl Into<Utf8PathBuf>, context: CommandContext, now: SystemTime) -> Self {
        Scene {
            root: root.into(),
            context,
            now,
            config: None,
            overrides: Overrides::default(),
            last_run: None,
            addresses: vec![],
            flake: None,
            host: None,
            identities: vec![],
            ssh_key: None,
            image: None,
            command: "landfall doctor".to_owned(),
        }
    }

    fn root(&self) -> Root {
        Root::at(&self.root)
    }

    /// Whether this machine itself is looked at, and no copy of its files.
    fn is_live(&self) -> bool {
        self.root == Utf8Path::new("/")
    }

    /// Why a check of this machine's devices does not look, where landfall does not run as root.
    fn root_alone(&self) -> Result<(), Outcome> {
        if self.is_live() && !nix::unistd::geteuid().is_root() {
            return Err(Outcome::skipped(format!("it needs root: sudo {}", self.command)));
        }
        Ok(())
    }

    /// The configuration, where it is there and right; else why a check that needs it does not look.
    fn config(&self) -> Result<&Config, Outcome> {
        match &self.config {
            Some((_, Ok(config))) => Ok(config),
            Some((file, Err(_))) => Err(Outcome::skipped(format!(
                "{file} is not valid (see the check settings)"
            ))),
            None => Err(Outcome::skipped(
                "there is no configuration (see the check settings)",
            )),
        }
    }
}

/// A check at work.
type Looking<'s> = Pin<Box<dyn Future<Output = Outcome> + 's>>;

/// One check.
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// Where it looks.
    pub place: Place,
    /// What it looks at.
    pub looks_at: &'static str,
    /// The longest it may take.
    pub deadline: Duration,
    look: fn(&Scene) -> Looking<'_>,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Check({})", self.name)
    }
}

/// How long landfall waits for a check that is in a system call, after the check's deadline.
const GRACE: Duration = Duration::from_secs(5);

impl Check {
    const fn of(
        place: Place,
        name: &'static str,
        deadline_s: u64,
        looks_at: &'static str,
        look: fn(&Scene) -> Looking<'_>,
    ) -> Self {
        Check {
            name,
            place,
            looks_at,
            deadline: Duration::from_secs(deadline_s),
            look,
        }
    }

    /// Looks. It has a thread of its own: a read from a disk that hangs ends with neither a signal nor a deadline, and the thread is left
    /// to it then.
    pub fn run(&'static self, scene: &Arc<Scene>) -> Outcome {
        self.run_within(scene, self.deadline, GRACE)
    }

    fn run_within(&'static self, scene: &Arc<Scene>, deadline: Duration, grace: Duration) -> Outcome {
        let (done, outcome) = mpsc::channel();
        let scene = Arc::clone(scene);
        let work = move || {
            let looked = bounded(self, &scene, deadline);
            // Nobody waits any more when it came too late.
            done.send(looked).unwrap_or_default();
        };
        match std::thread::Builder::new()
            .name(format!("doctor-{}", self.name))
            .spawn(work)
        {
            // The handle is let go of: what hangs cannot be joined.
            Ok(_thread) => {}
            Err(e) => return Outcome::skipped(format!("no thread: {}", crate::os_error::said(&e))),
        }
        match outcome.recv_timeout(deadline + grace) {
            Ok(Some(outcome)) => outcome,
            Ok(None) | Err(mpsc::RecvTimeoutError::Timeout) => self.timed_out(deadline),
            Err(mpsc::RecvTimeoutError::Disconnected) => Outcome::wrong(
                FaultClass::Permanent,
                format!("check {}", self.name),
                "it ended without a result",
                "report this as a defect of landfall",
            ),
        }
    }

    fn timed_out(&self, deadline: Duration) -> Outcome {
        Outcome::wrong(
            FaultClass::Transient,
            format!("check {}", self.name),
            format!("no result after {} s", deadline.as_secs()),
            format!("landfall doctor --check {}", self.name),
        )
    }
}

/// `None`: it took too long.
fn bounded(check: &Check, scene: &Scene, deadline: Duration) -> Option<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => {
            return Some(Outcome::skipped(format!(
                "no runtime: {}",
                crate::os_error::said(&e)
            )));
        }
    };
    let looked = runtime.block_on(async { tokio::time::timeout(deadline, (check.look)(scene)).await.ok() });
    runtime.shutdown_background();
    looked
}

/// Seconds since 1970; a clock before that is at its beginning.
fn unix_s(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Every check, in the order in which they are made: what others need comes first.
pub static CHECKS: [Check; 32] = {
    use Place::{Installed, Installer, Operator};
    [
        Check::of(
            Installer,
            "privileges",
            10,
            "whether landfall runs as root",
            |s| Box::pin(installer::privileges(s)),
        ),
        Check::of(
            Installer,
            "settings",
            10,
            "the installer's configuration file",
            |s| Box::pin(installer::settings(s)),
        ),
        Check::of(Installer, "firmware", 10, "UEFI, and its width", |s| {
            Box::pin(installer::firmware(s))
        }),
        Check::of(Installer, "secure-boot", 10, "whether Secure Boot is off", |s| {
            Box::pin(installer::secure_boot(s))
        }),
        Check::of(
            Installer,
            "tpm",
            10,
            "whether the kernel has the TPM that the firmware describes",
            |s| Box::pin(installer::tpm(s)),
        ),
        Check::of(
            Installer,
            "tools",
            10,
            "the programs that an install starts",
            |s| Box::pin(installer::tools(s)),
        ),
        Check::of(
            Installer,
            "memory",
            10,
            "memory, compared with what the install needs",
            |s| Box::pin(installer::memory(s)),
        ),
        Check::of(Installer, "scratch", 10, "free space below /run and /tmp", |s| {
            Box::pin(installer::scratch(s))
        }),
        Check::of(
            Installer,
            "payload",
            30,
            "the image, closure or bundle in the installer",
            |s| Box::pin(installer::payload(s)),
        ),
        Check::of(
            Installer,
            "clock",
            10,
            "the clock, compared with the age of this installer",
            |s| Box::pin(installer::clock(s)),
        ),
        Check::of(
            Installer,
            "network",
            10,
            "links, addresses and the default route",
            |s| Box::pin(network::link(s)),
        ),
        Check::of(
            Installer,
            "names",
            30,
            "whether the names of the remote and the caches resolve",
            |s| Box::pin(network::names(s)),
        ),
        Check::of(
            Installer,
            "portal",
            30,
            "whether a captive portal answers instead of a cache",
            |s| Box::pin(network::portal(s)),
        ),
        Check::of(
            Installer,
            "remote",
            180,
            "whether the repository can be read, with the key and the known hosts",
            |s| Box::pin(remote::remote(s)),
        ),
        Check::of(
            Installer,
            "caches",
            120,
            "whether each binary cache answers",
            |s| Box::pin(network::caches(s)),
        ),
        Check::of(
            Installer,
            "cache-keys",
            120,
            "whether the signing key of each cache is trusted",
            |s| Box::pin(network::cache_keys(s)),
        ),
        Check::of(
            Installer,
            "disks",
            180,
            "the disks: which one an install would choose, and why not the others",
            |s| Box::pin(installer::disks(s)),
        ),
        Check::of(Installer, "checkpoint", 180, "the installs on the disks", |s| {
            Box::pin(installer::checkpoint(s))
        }),
        Check::of(
            Installer,
            "service",
            20,
            "the service, and the last failure of this boot",
            |s| Box::pin(installer::service(s)),
        ),
        Check::of(
            Operator,
            "tracked",
            60,
            "files of the flake that Git does not track",
            |s| Box::pin(operator::tracked(s)),
        ),
        Check::of(Operator, "flake", 600, "whether the flake evaluates", |s| {
            Box::pin(operator::flake(s))
        }),
        Check::of(
            Operator,
            "host",
            600,
            "whether the host is in it, and evaluates",
            |s| Box::pin(operator::host(s)),
        ),
        Check::of(
            Operator,
            "agreement",
            600,
            "whether the installer's labels and options fit the host",
            |s| Box::pin(operator::agreement(s)),
        ),
        Check::of(
            Operator,
            "key-pair",
            600,
            "whether public keys belong to the private ones",
            |s| Box::pin(operator::key_pair(s)),
        ),
        Check::of(
            Operator,
            "secrets",
            600,
            "whether the identity decrypts the host's secrets",
            |s| Box::pin(operator::secrets(s)),
        ),
        Check::of(
            Operator,
            "image",
            600,
            "whether the image was built from the flake as it is now",
            |s| Box::pin(operator::image(s)),
        ),
        Check::of(
            Operator,
            "version",
            600,
            "the versions of landfall here and in the installer",
            |s| Box::pin(operator::version(s)),
        ),
        Check::of(
            Installed,
            "esp",
            300,
            "boot loader, entry, kernel and initrd on the ESP, compared with the store",
            |s| Box::pin(installed::esp(s)),
        ),
        Check::of(
            Installed,
            "boot-entry",
            30,
            "the firmware's entry for the ESP",
            |s| Box::pin(installed::boot_entry(s)),
        ),
        Check::of(
            Installed,
            "labels",
            60,
            "whether each label in fstab exists exactly once",
            |s| Box::pin(installed::labels(s)),
        ),
        Check::of(
            Installed,
            "receipt",
            10,
            "landfall's receipt of the install",
            |s| Box::pin(installed::receipt(s)),
        ),
        Check::of(
            Installed,
            "agenix",
            120,
            "whether an identity of agenix decrypts each secret",
            |s| Box::pin(installed::agenix(s)),
        ),
    ]
};

/// The check of a name.
pub fn by_name(name: &str) -> Option<&'static Check> {
    CHECKS.iter().find(|check| check.name == name)
}

/// Where this is, and by what that was seen; `None`: nothing shows it.
///
/// # Errors
/// A file that shows where this is cannot be read.
pub fn place_of(root: &Utf8Path, flake: Option<&Utf8Path>) -> Result<Option<(Place, String)>, Fault> {
    use crate::real::fs::target_root::is_there;
    let at = Root::at(root);
    for file in ["/etc/landfall/install.json", "/etc/landfall/install.ron"] {
        if is_there(&at, file)? {
            return Ok(Some((Place::Installer, format!("{file} is there"))));
        }
    }
    if let Some(dir) = flake
        && is_there(&Root::at(dir), "flake.nix")?
    {
        return Ok(Some((Place::Operator, format!("{dir}/flake.nix exists"))));
    }
    if is_there(&at, "/run/current-system")? && is_there(&at, "/etc/NIXOS")? {
        return Ok(Some((
            Place::Installed,
            "/run/current-system and /etc/NIXOS exist".into(),
        )));
    }
    Ok(None)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may end where it stands
#[path = "bounds_tests.rs"]
mod tests;
