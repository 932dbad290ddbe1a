//! What every scenario starts from: landfall itself, the hosts it can install, and one stick that carries all of it.
//!
//! One stick serves every scenario, so that its booted state is saved once. What differs between scenarios (the configuration
//! file, credentials, disks) comes from outside.
//!
//! `install` runs landfall.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fs_err as fs;

use crate::closure::{self, Closure, ClosureParams, ENCRYPTED, Inputs, PasswordFile};
use crate::command::Program;
use crate::disk;
use crate::environment::{Environment, Stick, StickSpec};
use crate::git::Repository;
use crate::nixos_tools::NixosTools;
use crate::setup::Lab;

/// What the containers of the laboratory are opened with.
pub const PASSPHRASE: &str = "canary-passphrase-7f3a";
/// Serial number of the disk that is installed to.
pub const TARGET_SERIAL: &str = "LFTARGET";
/// Bytes of it. Sparse.
pub const TARGET_BYTES: u64 = 4 << 30;
/// The program on [`Kit::tests_stick`].
pub const UNIT_TESTS: &str = "landfall-unit-tests";
/// Longest build of landfall.
const BUILD_LIMIT: Duration = Duration::from_secs(1_800);

/// A layout of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// ESP and root.
    Plain,
    /// With swap.
    Swap,
    /// Root in LUKS2.
    Luks,
    /// Both.
    LuksSwap,
}

impl Layout {
    /// Every layout.
    pub const ALL: [Layout; 4] = [Layout::Plain, Layout::Swap, Layout::Luks, Layout::LuksSwap];

    /// The host that has it.
    pub fn host(self) -> &'static str {
        match self {
            Layout::Plain => "plain",
            Layout::Swap => "swap",
            Layout::Luks => "luks",
            Layout::LuksSwap => "luks-swap",
        }
    }

    /// Whether root is encrypted.
    pub fn has_luks(self) -> bool {
        matches!(self, Layout::Luks | Layout::LuksSwap)
    }

    /// Whether there is swap.
    pub fn has_swap(self) -> bool {
        matches!(self, Layout::Swap | Layout::LuksSwap)
    }

    /// What tells its host's system from another.
    pub fn params(self) -> ClosureParams {
        let mut params = ClosureParams::plain(self.host());
        params.esp_label = "ESP-LAB".into();
        params.root_label = "root-lab".into();
        if self.has_luks() {
            params = params.with_luks("luks-lab", "cryptroot");
        }
        if self.has_swap() {
            params = params.with_swap("swap-lab");
        }
        params
    }
}

/// A host beside those of the layouts, with a habit of real NixOS's that they do not have. Its layout is [`Layout::Plain`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// Three specialisations, with boot loader entries of their own.
    Specialised,
    /// Boots are counted, and there are specialisations.
    Counted,
    /// The age identity is appended to the initrd on the ESP.
    InitrdSecret,
    /// The account's password is in a file that only the age identity decrypts.
    PasswordFile,
    /// A snippet of the activation fails.
    BrokenSnippet,
    /// The firmware's variables are not to be touched.
    NoVariables,
}

impl Special {
    /// Each of them.
    pub const ALL: [Special; 6] = [
        Special::Specialised,
        Special::Counted,
        Special::InitrdSecret,
        Special::PasswordFile,
        Special::BrokenSnippet,
        Special::NoVariables,
    ];

    /// Name of the host.
    pub fn host(self) -> &'static str {
        match self {
            Special::Specialised => "specialised",
            Special::Counted => "counted",
            Special::InitrdSecret => "initrd-secret",
            Special::PasswordFile => "password-file",
            Special::BrokenSnippet => "broken-snippet",
            Special::NoVariables => "no-variables",
        }
    }

    /// What tells its system from another.
    pub fn params(self) -> ClosureParams {
        let mut params = Layout::Plain.params();
        params.host = self.host().to_owned();
        let identity = format!("/etc/age/{}.agekey", self.host());
        match self {
            Special::Specialised => params.specialisations = SPECIALISATIONS.map(str::to_owned).to_vec(),
            Special::Counted => {
                params.specialisations = SPECIALISATIONS.map(str::to_owned).to_vec();
                params.boot_counting = Some(3);
            }
            Special::InitrdSecret => params.initrd_secret = Some(identity),
            Special::PasswordFile => {
                params.password_file = Some(PasswordFile {
                    path: "/run/agenix/password".to_owned(),
                    identity,
                    encrypted: ENCRYPTED.to_owned(),
                });
            }
            Special::BrokenSnippet => params.broken_snippet = true,
            Special::NoVariables => params.can_touch_efi_variables = false,
        }
        params
    }
}

/// Specialisations of the hosts that have some.
pub const SPECIALISATIONS: [&str; 3] = ["games", "rescue", "travel"];

/// How the system comes to the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// From the stick: closure and a bundle of the configuration.
    Prebuilt,
    /// Closure from the stick, configuration cloned from this address.
    Remote(String),
    /// From the flake at this address.
    Flake(String),
}

/// Everything.
#[derive(Debug)]
pub struct Kit {
    /// The laboratory.
    pub lab: Lab,
    /// The installer environment.
    pub environment: Environment,
    /// The stick.
    pub stick: Stick,
    /// Systems by host.
    pub systems: BTreeMap<String, Closure>,
    /// What the systems of a flake are built from.
    pub inputs: Inputs,
    /// The configuration repository; served by the scenarios that fetch it.
    pub repository: Repository,
    /// The payload, for sticks of a scenario's own.
    pub payload: PathBuf,
    /// landfall itself, as it runs on this computer.
    pub program: PathBuf,
}

impl Kit {
    /// Sets up what is missing, builds landfall and everything else.
    pub fn open() -> Result<Kit> {
        Kit::with(&[], Profile::Development, None)
    }

    /// The same with what a folder of NixOS's own programs has in the place of the laboratory's.
    pub fn with_tools(folder: Option<&Path>) -> Result<Kit> {
        Kit::with(&[], Profile::Development, folder)
    }

    /// The same with further systems on the stick, and landfall as it is released: for what is measured.
    pub fn released(more: &[ClosureParams]) -> Result<Kit> {
        Kit::with(more, Profile::Release, None)
    }

    fn with(more: &[ClosureParams], profile: Profile, tools: Option<&Path>) -> Result<Kit> {
        let lab = Lab::open()?;
        let environment = Environment::open(&lab)?;
        let tools = tools
            .map(|folder| NixosTools::open(folder, &environment))
            .transpose()?;
        let tools = tools.as_ref();
        let program = build_landfall(&lab.cache.workspace, profile)?;
        let cache = &lab.cache.root;
        let mut hosts: Vec<ClosureParams> = Layout::ALL.iter().map(|layout| layout.params()).collect();
        hosts.extend(Special::ALL.iter().map(|special| special.params()));
        let mut systems = BTreeMap::new();
        for params in hosts.iter().chain(more) {
            let mut system = closure::build(cache, params, tools)
                .with_context(|| format!("the system of host {}", params.host))?;
            if let Some((foreign, toplevel)) =
                tools.and_then(|tools| tools.store.as_ref().zip(tools.systems.get(&params.host)))
            {
                system = foreign.clone();
                system.toplevel.clone_from(toplevel);
            }
            systems.insert(params.host.clone(), system);
        }
        let inputs = closure::build_inputs(cache, tools)?;
        let mut repository = Repository::create(&cache.join("git"), "config", "main", &hosts, &inputs)?;
        // Large enough that a transfer of it can be cut off in the middle.
        repository.fatten(2_000_000)?;
        let foreign = tools.and_then(|tools| tools.store.as_ref());
        let payload = payload(
            &lab,
            &program,
            systems.values().chain([&inputs.closure]).chain(foreign),
            &repository,
            tools,
        )?;
        let stick = environment.stick(
            &lab,
            &StickSpec {
                label: "LANDFALL_lab".into(),
                payload: Some(payload.clone()),
                files: BTreeMap::new(),
            },
        )?;
        Ok(Kit {
            lab,
            environment,
            stick,
            systems,
            inputs,
            repository,
            payload,
            program,
        })
    }

    /// A stick whose payload is landfall's unit tests alone, as the program [`UNIT_TESTS`].
    pub fn tests_stick(&self) -> Result<Stick> {
        let program = build_tests(&self.lab.cache.workspace, &["--lib"])?;
        let hash = disk::sha256(&program)?;
        let place = self
            .lab
            .cache
            .artefact("tests-payload", &[hash.as_bytes()], |scratch| {
                let tree = scratch.join("tree");
                fs::create_dir_all(tree.join("bin"))?;
                add_program(&program, &tree, UNIT_TESTS)?;
                squash(&tree, &scratch.join("payload.squashfs"))
            })?;
        let spec = StickSpec {
            label: "LANDFALL_tests".into(),
            payload: Some(place.join("payload.squashfs")),
            files: BTreeMap::new(),
        };
        self.environment.stick(&self.lab, &spec)
    }

    /// The system of a layout's host.
    pub fn system(&self, layout: Layout) -> Result<&Closure> {
        self.system_of(layout.host())
    }

    /// The system of a host.
    pub fn system_of(&self, host: &str) -> Result<&Closure> {
        self.systems
            .get(host)
            .with_context(|| format!("no system of host {host}"))
    }

    /// landfall's configuration for a layout's host, in RON; `more` is put in front of the closing parenthesis.
    pub fn configuration(&self, layout: Layout, mode: &Mode, more: &str) -> Result<String> {
        self.configuration_of(layout.host(), layout, mode, more)
    }

    /// The same for any host, which has this layout.
    pub fn configuration_of(&self, host: &str, layout: Layout, mode: &Mode, more: &str) -> Result<String> {
        let luks = if layout.has_luks() {
            "luks: (enable: true, iteration_time_ms: 100),"
        } else {
            ""
        };
        let swap = if layout.has_swap() {
            "swap: (enable: true, size: \"256M\"),"
        } else {
            ""
        };
        let (repository, system) = match mode {
            Mode::Prebuilt => (
                "bundle: \"/run/payload/config.bundle\"".to_owned(),
                format!("Prebuilt(\"{}\")", self.system_of(host)?.toplevel),
            ),
            Mode::Remote(url) => (
                format!("remote: \"{url}\""),
                format!("Prebuilt(\"{}\")", self.system_of(host)?.toplevel),
            ),
            Mode::Flake(url) => (format!("remote: \"{url}\""), "Flake".to_owned()),
        };
        let (luks_label, swap_label) = (
            if layout.has_luks() {
                ", luks: \"luks-lab\""
            } else {
                ""
            },
            if layout.has_swap() {
                ", swap: \"swap-lab\""
            } else {
                ""
            },
        );
        Ok(format!(
            "(\n  host: \"{host}\",\n  labels: (efi: \"ESP-LAB\", root: \"root-lab\"{luks_label}{swap_label}),\n  \
             {luks} {swap}\n  repository: ({repository}),\n  system: {system},\n  target_user: \"operator\",\n  \
             esp_size: \"512M\",\n  {more}\n)\n"
        ))
    }
}

/// How landfall is built: quickly, or to be quick.
#[derive(Debug, Clone, Copy)]
enum Profile {
    Development,
    Release,
}

/// Builds landfall with the Cargo that runs the laboratory.
fn build_landfall(workspace: &Path, profile: Profile) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    eprintln!("lab: building landfall");
    let (name, folder) = match profile {
        Profile::Development => ("dev", "debug"),
        Profile::Release => ("release", "release"),
    };
    Program::new(cargo)
        .args(["build", "--quiet", "--package", "landfall", "--bin", "landfall"])
        .args(["--profile", name])
        .directory(workspace)
        .timeout(BUILD_LIMIT)
        .run()
        .context("building landfall")?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    Ok(target.join(folder).join("landfall"))
}

/// Builds the program of `tests/halfway`.
pub fn halfway_program(workspace: &Path) -> Result<PathBuf> {
    build_tests(workspace, &["--test", "halfway"])
}

/// Builds tests of landfall's, as a plain `cargo test` with these arguments would, and gives the program that runs them.
fn build_tests(workspace: &Path, which: &[&str]) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    eprintln!("lab: building landfall's tests ({})", which.join(" "));
    let built = Program::new(cargo)
        .args(["test", "--quiet", "--package", "landfall", "--no-run"])
        .args(which)
        .arg("--message-format=json")
        .directory(workspace)
        .timeout(BUILD_LIMIT)
        .run()
        .context("building landfall's tests")?;
    for line in built.text().lines() {
        let message: serde_json::Value = serde_json::from_str(line).context("what Cargo says")?;
        let is_test = message["profile"]["test"].as_bool() == Some(true);
        if let (true, Some(program)) = (is_test, message["executable"].as_str()) {
            return Ok(program.into());
        }
    }
    bail!("Cargo names no program of landfall's tests ({})", which.join(" "))
}

/// Puts a program, without its debug information, into a payload's tree.
fn add_program(program: &Path, tree: &Path, name: &str) -> Result<()> {
    Program::new("strip")
        .args(["--strip-debug", "-o"])
        .arg(tree.join("bin").join(name))
        .arg(program)
        .run()
        .map(|_| ())
}

/// Makes a payload of a tree, and removes the tree.
fn squash(tree: &Path, to: &Path) -> Result<()> {
    Program::new("mksquashfs")
        .arg(tree)
        .arg(to)
        .args(["-quiet", "-no-progress", "-all-root", "-comp", "lz4"])
        .timeout(Duration::from_secs(600))
        .run()?;
    Ok(fs::remove_dir_all(tree)?)
}

/// The squashfs with programs, store and the configuration's bundle.
fn payload<'a>(
    lab: &Lab,
    program: &Path,
    closures: impl Iterator<Item = &'a Closure>,
    repository: &Repository,
    tools: Option<&NixosTools>,
) -> Result<PathBuf> {
    let closures: Vec<&Closure> = closures.collect();
    let program_hash = disk::sha256(program)?;
    let mut inputs: Vec<&[u8]> = vec![program_hash.as_bytes(), repository.revision.as_bytes()];
    inputs.extend(closures.iter().map(|c| c.toplevel.as_bytes()));
    let scripts = [closure::NIXOS_INSTALL.as_bytes(), closure::NIXOS_ENTER.as_bytes()];
    inputs.extend(scripts);
    let mut foreign = BTreeMap::new();
    for (name, file) in tools.iter().flat_map(|tools| &tools.programs) {
        foreign.insert(name, fs::read(file)?);
    }
    inputs.extend(
        foreign
            .iter()
            .flat_map(|(name, text)| [name.as_bytes(), text.as_slice()]),
    );
    let place = lab.cache.artefact("payload", &inputs, |scratch| {
        let tree = scratch.join("tree");
        closure::merge(&closures, &tree.join("nix"))?;
        let bin = tree.join("bin");
        closure::write_install_scripts(&bin)?;
        for (name, text) in &foreign {
            fs::write(bin.join(name), text)?;
            fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755))?;
        }
        add_program(program, &tree, "landfall")?;
        repository.bundle(&tree.join("config.bundle"))?;
        squash(&tree, &scratch.join("payload.squashfs"))
    })?;
    Ok(place.join("payload.squashfs"))
}
