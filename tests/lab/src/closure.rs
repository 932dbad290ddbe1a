//! NixOS-shaped systems, built offline with real Nix.
//!
//! A system is a function of its parameters, the expressions in `tests/lab/closure` and the Debian packages that stand in
//! nixpkgs' place. The same three give the same store paths, and a second call for them starts nothing. Everything is below
//! the given cache folder: the machine's own `/nix` and Nix settings are neither read nor written. There is no nixpkgs, no
//! substituter, no network (except once, for Debian's packages), no daemon and no garbage collection.

mod debian;
mod params;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use fs_err as fs;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cache::{alone, used};
use crate::ending;
use crate::nixos_tools::NixosTools;
use crate::removal::remove;

pub use debian::debian_tree;
pub use params::{ClosureParams, Devices, ENCRYPTED, PASSWORD_HASH, PasswordFile, SECRET_IDENTITY};
pub use tree::registered;
use tree::{fresh, link, records};

/// The laboratory's `nixos-install`, a bash script for the installer's `bin`.
pub const NIXOS_INSTALL: &str = include_str!("../closure/nixos-install");
/// The laboratory's `nixos-enter`, a bash script for the installer's `bin`.
pub const NIXOS_ENTER: &str = include_str!("../closure/nixos-enter");

/// The expressions and their builders, by the path that they have to each other.
pub(crate) const EXPRESSIONS: &[(&str, &str)] = &[
    ("default.nix", include_str!("../closure/default.nix")),
    ("inputs.nix", include_str!("../closure/inputs.nix")),
    ("run.nix", include_str!("../closure/run.nix")),
    ("system.nix", include_str!("../closure/system.nix")),
    ("stage-1.sh", include_str!("../closure/stage-1.sh")),
    ("stage-2.sh", include_str!("../closure/stage-2.sh")),
    ("marker.sh", include_str!("../closure/marker.sh")),
    ("activate.sh", include_str!("../closure/activate.sh")),
    ("password.age", include_str!("../closure/password.age")),
    (
        "switch-to-configuration.sh",
        include_str!("../closure/switch-to-configuration.sh"),
    ),
    (
        "install-boot-loader.sh",
        include_str!("../closure/install-boot-loader.sh"),
    ),
    (
        "append-initrd-secrets.sh",
        include_str!("../closure/append-initrd-secrets.sh"),
    ),
    (
        "build/append-initrd-secrets.sh",
        include_str!("../closure/build/append-initrd-secrets.sh"),
    ),
    ("build/tools.sh", include_str!("../closure/build/tools.sh")),
    ("build/kernel.sh", include_str!("../closure/build/kernel.sh")),
    (
        "build/stage-1-base.sh",
        include_str!("../closure/build/stage-1-base.sh"),
    ),
    ("build/initrd.sh", include_str!("../closure/build/initrd.sh")),
    ("build/filler.sh", include_str!("../closure/build/filler.sh")),
    ("build/system.sh", include_str!("../closure/build/system.sh")),
];

/// No step of a build takes longer than this on the slowest machine that was tried, by a factor of ten.
const BUILD_LIMIT: Duration = Duration::from_secs(1_800);

/// A built system, or other store paths with all that they refer to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Closure {
    /// The store path that was asked for: `/nix/store/…-nixos-system-<host>-<version>`.
    pub toplevel: String,
    /// A folder to be had as `nix/` of the payload: `store/…` and `registration`. Its files are hard links into the
    /// cache: read them, do not write.
    pub nix_tree: PathBuf,
    /// What `nix-store --load-db` reads.
    pub registration: String,
    /// Every store path, sorted.
    pub paths: Vec<String>,
    /// The paths' sizes as NARs, in bytes.
    pub bytes: u64,
}

/// The ready store paths that a flake's systems are built from, by the names that `system.nix` has for them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Inputs {
    /// `busybox`, `tools`, `kernel` and `stage1`, each a store path; `version`, the kernel's.
    pub named: BTreeMap<String, String>,
    /// All of them with what they refer to; put it into the payload of every flake install.
    pub closure: Closure,
    /// Files that belong to the expressions, by their paths there: what takes the place of the laboratory's programs.
    #[serde(default)]
    pub foreign: BTreeMap<String, Vec<u8>>,
}

/// Builds the system that `params` describe, or takes it from `cache`. `tools` may have programs that take the place of its own.
///
/// # Errors
/// A program that it needs is missing, Debian's packages cannot be had, or Nix fails; its last words are in the message.
pub fn build(cache: &Path, params: &ClosureParams, tools: Option<&NixosTools>) -> Result<Closure> {
    let ground = Ground::prepare(cache, tools)?;
    let json = params.to_json()?;
    let key = ground.key(&["system", &json]);
    ground.cached(&key, || {
        let mut nix = ground.nix("nix-build");
        nix.arg("--no-out-link")
            .args(["--attr", "system"])
            .args(["--argstr", "params", &json]);
        nix.arg("--argstr")
            .arg("source")
            .arg(&ground.source)
            .arg(ground.expressions.join("default.nix"));
        let printed = output(nix, &format!("building the system {}", params.host), BUILD_LIMIT)?;
        let toplevel = last_line(&printed)
            .context("nix-build printed no store path")?
            .to_owned();
        ground.closure(&key, &toplevel, std::slice::from_ref(&toplevel))
    })
}

/// Builds what a flake's systems are made of: see [`crate::git`].
///
/// # Errors
/// As [`build`].
pub fn build_inputs(cache: &Path, tools: Option<&NixosTools>) -> Result<Inputs> {
    let ground = Ground::prepare(cache, tools)?;
    let key = ground.key(&["inputs"]);
    ground.cached(&key, || {
        let mut named = BTreeMap::new();
        let mut paths = Vec::new();
        for name in ["busybox", "tools", "kernel", "stage1"] {
            let mut nix = ground.nix("nix-build");
            nix.arg("--no-out-link")
                .args(["--attr", &format!("inputs.{name}")]);
            nix.arg("--argstr")
                .arg("source")
                .arg(&ground.source)
                .arg(ground.expressions.join("default.nix"));
            // A source is no derivation: nix-build has nothing to build, nix-instantiate puts it into the store.
            if name == "busybox" {
                nix = ground.nix("nix-instantiate");
                nix.args([
                    "--eval",
                    "--strict",
                    "--read-write-mode",
                    "--attr",
                    "inputs.busybox",
                ]);
                nix.arg("--argstr").arg("source").arg(&ground.source);
                nix.arg(ground.expressions.join("default.nix"));
            }
            let printed = output(nix, &format!("building the input {name}"), BUILD_LIMIT)?;
            let path = last_line(&printed).with_context(|| format!("no store path for the input {name}"))?;
            let path = path.trim_matches('"').to_owned();
            paths.push(path.clone());
            named.insert(name.to_owned(), path);
        }
        named.insert(
            "version".to_owned(),
            fs::read_to_string(ground.source.join("parts/kernel/version"))?,
        );
        let first = paths.first().cloned().unwrap_or_default();
        let closure = ground.closure(&key, &first, &paths)?;
        Ok(Inputs {
            named,
            closure,
            foreign: tools.map(foreign_files).unwrap_or_default(),
        })
    })
}

/// Writes one `nix/` tree at `into` that holds all of `closures`. A tree that is there is replaced.
///
/// # Errors
/// `into` lies on another filesystem than the cache and has no room, or cannot be written.
pub fn merge(closures: &[&Closure], into: &Path) -> Result<()> {
    let mut seen = BTreeSet::new();
    let mut registration = String::new();
    remove(into)?;
    fs::create_dir_all(into.join("store"))?;
    for closure in closures {
        let fresh: Vec<&String> = closure
            .paths
            .iter()
            .filter(|path| seen.insert((*path).clone()))
            .collect();
        link(&closure.nix_tree.join("store"), &fresh, &into.join("store"))?;
        for record in records(&closure.registration)? {
            if fresh.iter().any(|path| path.as_str() == record.path) {
                registration.push_str(record.text);
            }
        }
    }
    fs::write(into.join("registration"), registration)?;
    Ok(())
}

/// Writes the laboratory's `nixos-install` and `nixos-enter` into `bin`, ready to be run. They are bash scripts that
/// start nix, nix-env, jq, unshare, mount, mktemp and realpath.
///
/// # Errors
/// `bin` cannot be written.
pub fn write_install_scripts(bin: &Path) -> Result<()> {
    fs::create_dir_all(bin)?;
    for (name, text) in [("nixos-install", NIXOS_INSTALL), ("nixos-enter", NIXOS_ENTER)] {
        fs::write(bin.join(name), text)?;
        fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// What every build stands on: the expressions, Debian's parts laid out, a store and settings of its own.
struct Ground {
    /// `<cache>/closure`.
    home: PathBuf,
    expressions: PathBuf,
    source: PathBuf,
    /// Nix's root: its store is `root/nix/store`.
    root: PathBuf,
    digest: String,
    /// Two laboratories on one cache build one after the other.
    _lock: Flock<std::fs::File>,
    /// The same, for the programs that build.
    held: Arc<OwnedFd>,
}

impl Ground {
    fn prepare(cache: &Path, tools: Option<&NixosTools>) -> Result<Ground> {
        fs::create_dir_all(cache.join("closure"))?;
        let cache = fs::canonicalize(cache)?;
        let home = cache.join("closure");
        let lock = fs::File::create(home.join("lock"))?;
        let lock = Flock::lock(lock.into_file(), FlockArg::LockExclusive)
            .map_err(|(_, error)| error)
            .with_context(|| format!("the lock of {}", home.display()))?;
        for entry in fs::read_dir(&home)? {
            let entry = entry?;
            // Of a laboratory that was killed: whoever makes one holds the lock.
            if entry.file_name().as_encoded_bytes().ends_with(b".partial") {
                match entry.file_type()?.is_dir() {
                    true => remove(&entry.path())?,
                    false => fs::remove_file(entry.path())?,
                }
            }
        }
        let temporary = home.join("temporary");
        remove(&temporary)?;
        fs::create_dir_all(&temporary)?;
        let debian = debian_tree(&cache)?;
        let mut parts: Vec<&[u8]> = vec![debian.as_os_str().as_encoded_bytes()];
        parts.extend(
            EXPRESSIONS
                .iter()
                .flat_map(|(name, text)| [name.as_bytes(), text.as_bytes()]),
        );
        parts.extend(debian::choice().map(|name| name.as_bytes()));
        let foreign = tools.map(foreign_files).unwrap_or_default();
        parts.extend(
            foreign
                .iter()
                .flat_map(|(name, text)| [name.as_bytes(), text.as_slice()]),
        );
        let digest = hex(&parts);
        let expressions = home.join(format!("expressions-{}", &digest[..12]));
        let source = home.join(format!("source-{}", &digest[..12]));
        if !expressions.exists() {
            former(&home)?;
            let partial = fresh(&expressions)?;
            write_expressions(&partial, &foreign)?;
            fs::rename(partial, &expressions)?;
        }
        if !source.exists() {
            let partial = fresh(&source)?;
            debian::lay_out(&debian, &partial).context("laying out Debian's parts for the closure")?;
            fs::rename(partial, &source)?;
        }
        let settings = home.join("nix-conf");
        fs::create_dir_all(&settings)?;
        fs::write(
            settings.join("nix.conf"),
            "substituters =\nbuild-users-group =\nsandbox = false\nsandbox-fallback = false\nsandbox-paths =\nfilter-syscalls = false\n\
             experimental-features = nix-command\nsync-before-registering = false\nwarn-dirty = false\n",
        )?;
        let root = home.join("root");
        fs::create_dir_all(&root)?;
        let ground = Ground {
            home,
            expressions,
            source,
            root,
            digest,
            held: Arc::new(OwnedFd::from(lock.try_clone()?)),
            _lock: lock,
        };
        if let Some(store) = tools.and_then(|tools| tools.store.as_ref()) {
            ground.import(store)?;
        }
        Ok(ground)
    }

    /// Takes ready store paths into the store that is built in.
    fn import(&self, closure: &Closure) -> Result<()> {
        let store = self.root.join("nix/store");
        fs::create_dir_all(&store)?;
        let missing: Vec<&String> = closure
            .paths
            .iter()
            .filter(|path| {
                path.strip_prefix("/nix/store/")
                    .is_some_and(|name| fs::symlink_metadata(store.join(name)).is_err())
            })
            .collect();
        link(&closure.nix_tree.join("store"), &missing, &store)?;
        let text = self.home.join("foreign-registration");
        fs::write(&text, &closure.registration)?;
        let mut load = self.nix("nix-store");
        load.arg("--load-db").stdin(fs::File::open(&text)?.into_parts().0);
        output_with_input(load, "registering the store paths of --nixos-tools", BUILD_LIMIT).map(|_| ())
    }

    fn key(&self, parts: &[&str]) -> String {
        let mut all = vec![self.digest.as_bytes()];
        all.extend(parts.iter().map(|part| part.as_bytes()));
        hex(&all)[..16].to_owned()
    }

    /// One of Nix's old commands, on this store, with these settings and nobody else's.
    fn nix(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("NIX_") {
                command.env_remove(name);
            }
        }
        command.env("NIX_CONF_DIR", self.home.join("nix-conf"));
        command
            .env("NIX_USER_CONF_FILES", "/dev/null")
            .env("HOME", self.home.join("home"))
            .env("TMPDIR", self.home.join("temporary"));
        command.env("XDG_CACHE_HOME", self.home.join("home/cache"));
        command.arg("--store").arg(&self.root);
        ending::inherits(&mut command, Arc::clone(&self.held));
        command
    }

    /// The value saved under `key`, or the one that `make` makes, saved. What was saved counts only while its tree
    /// stands.
    fn cached<T: Serialize + for<'a> Deserialize<'a> + HasTree>(
        &self,
        key: &str,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let saved = self.home.join(format!("{key}.json"));
        if saved.exists() {
            let value: T = serde_json::from_str(&fs::read_to_string(&saved)?)
                .with_context(|| format!("{} is damaged: delete it", saved.display()))?;
            if used(value.tree())? && value.tree().join("registration").exists() {
                return Ok(value);
            }
        }
        let value = make()?;
        if !used(value.tree())? {
            bail!("{} was removed just now: run this again", value.tree().display());
        }
        let partial = saved.with_extension("partial");
        fs::write(&partial, serde_json::to_string(&value)?)?;
        fs::rename(partial, saved)?;
        Ok(value)
    }

    /// Collects the closure of `of` into a tree of its own.
    fn closure(&self, key: &str, toplevel: &str, of: &[String]) -> Result<Closure> {
        let mut query = self.nix("nix-store");
        query.args(["--query", "--requisites"]).args(of);
        let printed = output(query, "asking for the closure", BUILD_LIMIT)?;
        let mut paths: Vec<String> = printed.lines().map(str::to_owned).collect();
        paths.sort();
        paths.dedup();
        let mut registration = String::new();
        // Few at a time: a command line is finite.
        for some in paths.chunks(200) {
            let mut dump = self.nix("nix-store");
            dump.arg("--dump-db").args(some);
            registration.push_str(&output(dump, "writing the registration", BUILD_LIMIT)?);
        }
        let known = records(&registration)?;
        ensure!(
            known.len() == paths.len(),
            "nix-store --dump-db told of {} of {} paths: delete {} and start again",
            known.len(),
            paths.len(),
            self.home.display()
        );
        let bytes = known.iter().map(|record| record.size).sum();
        let nix_tree = self.home.join(format!("{key}.nix"));
        let partial = fresh(&nix_tree)?;
        fs::create_dir_all(partial.join("store"))?;
        link(
            &self.root.join("nix/store"),
            &paths.iter().collect::<Vec<_>>(),
            &partial.join("store"),
        )?;
        fs::write(partial.join("registration"), &registration)?;
        remove(&nix_tree)?;
        fs::rename(partial, &nix_tree)?;
        Ok(Closure {
            toplevel: toplevel.to_owned(),
            nix_tree,
            registration,
            paths,
            bytes,
        })
    }
}

/// Before the first closure of other expressions is built: what was built of the former ones goes, unless somebody uses it.
fn former(home: &Path) -> Result<()> {
    for entry in fs::read_dir(home)? {
        let place = entry?.path();
        let name = place
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with("expressions-") || name.starts_with("source-") {
            remove(&place)?;
        } else if let Some(key) = name.strip_suffix(".nix")
            && let Some(_alone) = alone(&place)?
        {
            remove(&place)?;
            match fs::remove_file(home.join(format!("{key}.json"))) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// What [`Ground::cached`] asks of a value.
trait HasTree {
    fn tree(&self) -> &Path;
}
impl HasTree for Closure {
    fn tree(&self) -> &Path {
        &self.nix_tree
    }
}
impl HasTree for Inputs {
    fn tree(&self) -> &Path {
        &self.closure.nix_tree
    }
}

/// What of a folder with NixOS's programs becomes part of the expressions: the programs for the systems and, a line for each, the
/// store paths that they name.
fn foreign_files(tools: &NixosTools) -> BTreeMap<String, Vec<u8>> {
    let mut files: BTreeMap<String, Vec<u8>> = tools
        .targets
        .iter()
        .map(|(name, text)| (format!("target/{name}"), text.clone()))
        .collect();
    if !files.is_empty() {
        files.insert(
            "target/paths".to_owned(),
            tools.target_paths().join("\n").into_bytes(),
        );
    }
    files
}

/// Writes the expressions and builders below `folder`, and `foreign` among them.
pub(crate) fn write_expressions(folder: &Path, foreign: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    let own = EXPRESSIONS.iter().map(|(name, text)| (*name, text.as_bytes()));
    let foreign = foreign
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_slice()));
    for (name, text) in own.chain(foreign) {
        let file = folder.join(name);
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(file, text)?;
    }
    Ok(())
}

fn last_line(text: &str) -> Option<&str> {
    text.lines().rfind(|line| !line.trim().is_empty()).map(str::trim)
}

/// SHA-256 over the parts and their lengths, in hexadecimal.
fn hex(parts: &[&[u8]]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Runs a program to its end and gives what it printed. Its standard input is empty.
///
/// # Errors
/// It cannot be started, takes longer than `limit` (it is killed then), or ends with another status than 0: the end of
/// what it said is in the message.
pub(crate) fn output(mut command: Command, what: &str, limit: Duration) -> Result<String> {
    command.stdin(Stdio::null());
    output_with_input(command, what, limit)
}

/// The same with the standard input that the command has.
fn output_with_input(mut command: Command, what: &str, limit: Duration) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = ending::spawn(command, Signal::SIGKILL)
        .with_context(|| format!("{what}: {program} cannot be started; is it installed?"))?;
    let drain = |pipe: Option<Box<dyn Read + Send>>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(Err(error)) = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes)) {
                bytes.extend_from_slice(format!("\n({error})").as_bytes());
            }
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let printed = drain(
        child
            .stdout
            .take()
            .map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
    );
    let complained = drain(
        child
            .stderr
            .take()
            .map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
    );
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child
            .try_wait()
            .with_context(|| format!("{what}: waiting for {program}"))?
        {
            break status;
        }
        if started.elapsed() > limit {
            child
                .kill()
                .with_context(|| format!("{what}: ending {program}"))?;
            child
                .wait()
                .with_context(|| format!("{what}: waiting for {program}"))?;
            bail!(
                "{what}: {program} took longer than {} s and was ended",
                limit.as_secs()
            );
        }
        thread::sleep(Duration::from_millis(10));
    };
    let printed = printed
        .join()
        .map_err(|_| anyhow!("{what}: reading what {program} printed"))?;
    let complained = complained
        .join()
        .map_err(|_| anyhow!("{what}: reading what {program} printed"))?;
    if !status.success() {
        let lines: Vec<&str> = complained.lines().collect();
        let end = lines[lines.len().saturating_sub(30)..].join("\n");
        bail!("{what}: {program} ended with {status}\n{end}");
    }
    Ok(printed)
}

#[cfg(test)]
#[path = "closure_tests.rs"]
mod tests;
