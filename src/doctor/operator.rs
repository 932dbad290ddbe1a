//! The checks of the computer where installers are built.
//!
//! Nix evaluates the flake as a build would. A secret is decrypted in memory and used for nothing else. Git only reads.
//!
//! `landfall host new` makes hosts and re-encrypts secrets.

use super::decrypt::{self, PrivateKey, Unopened};
use super::flake::{NoAnswer, Reference, ask, attribute, dir, is_missing};
use super::{Outcome, Scene};
use crate::real::disk::usage::shell;
use crate::real::process::command::Program;
use crate::real::secrets::age_file::Undecrypted;
use crate::safe_open::{self, Links};
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::fault::FaultClass;
use landfall_states::names::quoted;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest file of a public key.
const PUBLIC_BYTES_MAX: u64 = 64 << 10;
/// Most names that one finding lists.
const NAMED_MAX: usize = 20;

/// What a flake is made of, as Git is told it.
const WANTED: [&str; 3] = ["*.nix", "*.age", "flake.lock"];

fn is_of(file: &str, kind: &str) -> bool {
    match kind.strip_prefix('*') {
        Some(end) => file.ends_with(end),
        None => file == kind,
    }
}

pub(super) async fn tracked(scene: &Scene) -> Outcome {
    let dir = match dir(scene) {
        Ok(dir) => dir,
        Err(outcome) => return outcome,
    };
    // Git takes no lock for looking, and nothing of the repository's is run.
    let asked = Program::that_looks("git")
        .args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"])
        .args([
            "-C",
            dir.as_str(),
            "ls-files",
            "--others",
            "--exclude-standard",
            "-z",
        ])
        .env("GIT_OPTIONAL_LOCKS", "0")
        .deadline(Duration::from_secs(30));
    let ended = match scene.context.run(asked).await {
        Ok(ended) => ended,
        Err(fault) if is_missing(&fault) => return Outcome::skipped("git is not in PATH"),
        Err(fault) => return fault.into(),
    };
    if !ended.success() {
        let is_none = ended.stderr.contains("not a git repository");
        return Outcome::skipped(if is_none {
            format!("{dir} is not in a Git repository: Nix uses all of its files")
        } else {
            format!("git: {}", ended.said().trim())
        });
    }
    let is_wanted = |name: &&str| WANTED.iter().any(|kind| is_of(name, kind));
    let mut untracked: Vec<String> = ended
        .stdout
        .split('\0')
        .filter(is_wanted)
        .map(str::to_owned)
        .collect();
    if untracked.is_empty() {
        return Outcome::fine("Git tracks every .nix and .age file of the flake");
    }
    let count = untracked.len();
    let next = added(dir, &untracked);
    untracked.truncate(NAMED_MAX);
    Outcome::wrong_list(
        FaultClass::NeedsChange,
        format!("{count} files of {dir}"),
        "Git does not track them, so Nix does not see them",
        untracked,
        next,
    )
}

/// The command that has Git track these files, and nothing else that nobody tracks.
fn added(dir: &Utf8Path, files: &[String]) -> String {
    let mut words = vec!["git".to_owned(), "-C".to_owned(), shell(dir.as_str())];
    let is_plain =
        |file: &String| !file.contains(char::is_control) && !file.contains(char::REPLACEMENT_CHARACTER);
    if files.len() <= NAMED_MAX && files.iter().all(is_plain) {
        // A name is a name, also with a star in it or a colon before it.
        words.extend(["--literal-pathspecs", "add", "--"].map(str::to_owned));
        words.extend(files.iter().map(|file| shell(file)));
    } else {
        words.extend(["add", "--"].map(str::to_owned));
        // One that fits nothing would have Git add none of the others.
        let kinds = WANTED
            .iter()
            .filter(|kind| files.iter().any(|file| is_of(file, kind)));
        words.extend(kinds.map(|kind| shell(kind)));
    }
    words.join(" ")
}

/// The names of the flake's hosts.
async fn hosts(scene: &Scene, dir: &Utf8Path) -> Result<Vec<String>, NoAnswer> {
    match ask(scene, dir, "nixosConfigurations", "builtins.attrNames").await {
        Err(NoAnswer::NoAttribute(_)) => Ok(vec![]),
        asked => asked,
    }
}

pub(super) async fn flake(scene: &Scene) -> Outcome {
    let dir = match dir(scene) {
        Ok(dir) => dir,
        Err(outcome) => return outcome,
    };
    let what = format!("flake {dir}");
    match hosts(scene, dir).await {
        Ok(hosts) if hosts.is_empty() => Outcome::wrong(
            FaultClass::NeedsChange,
            what,
            "it has no nixosConfigurations",
            "name the flake of the hosts: landfall doctor --flake DIR; or make a new one: nix flake init --template git+https://…/landfall (where landfall comes from)",
        ),
        Ok(hosts) => Outcome::fine(format!("{what} has the hosts {}", hosts.join(", "))),
        Err(no) => no.outcome(&what, &shown_more(dir)),
    }
}

fn shown_more(dir: &Utf8Path) -> String {
    let check = Reference::of(dir).command("flake check", "");
    format!("correct it (this command shows more: {check})")
}

/// Flake and host.
fn named(scene: &Scene) -> Result<(&Utf8PathBuf, &str), Outcome> {
    let dir = dir(scene)?;
    match &scene.host {
        Some(host) => Ok((dir, host.as_str())),
        None => Err(Outcome::skipped("no host was given: --host NAME")),
    }
}

pub(super) async fn host(scene: &Scene) -> Outcome {
    look_at_host(scene).await.unwrap_or_else(|outcome| outcome)
}

async fn look_at_host(scene: &Scene) -> Result<Outcome, Outcome> {
    let (dir, host) = named(scene)?;
    let what = format!("host {host}");
    let next = "fix the error that Nix reports in the host's configuration";
    let hosts = hosts(scene, dir)
        .await
        .map_err(|no| no.outcome(&format!("flake {dir}"), next))?;
    if !hosts.iter().any(|known| known == host) {
        return Err(Outcome::wrong_list(
            FaultClass::NeedsChange,
            what,
            format!("the flake {dir} has no nixosConfigurations.{host}"),
            hosts
                .iter()
                .take(NAMED_MAX)
                .map(|known| format!("it has {known}"))
                .collect(),
            format!("add nixosConfigurations.{host} to {dir}/flake.nix, or name another host"),
        ));
    }
    let path = format!(
        "nixosConfigurations.{}.config.system.build.toplevel.outPath",
        attribute(host)
    );
    let system: String = ask(scene, dir, &path, "path: path")
        .await
        .map_err(|no| no.outcome(&what, next))?;
    Ok(Outcome::fine(format!("{host} evaluates to {system}")))
}

/// What an installer of landfall says of itself.
#[derive(Debug, Deserialize)]
struct Installer {
    /// The public half of the key with which it fetches.
    #[serde(rename = "publicKey")]
    public_key: Option<String>,
    /// landfall's version in it.
    version: String,
    /// What of the host does not fit it, in words.
    disagreements: Vec<String>,
}

/// The systems of hosts, that of this computer first: `nix build` takes it.
fn systems() -> [&'static str; 2] {
    match std::env::consts::ARCH {
        "aarch64" => ["aarch64-linux", "x86_64-linux"],
        _ => ["x86_64-linux", "aarch64-linux"],
    }
}

/// Where `nix build .#NAME` finds a package, in its order.
const OUTPUTS: [&str; 2] = ["packages", "legacyPackages"];

/// The attribute of the host's installer.
async fn installer_attribute(scene: &Scene, dir: &Utf8Path, host: &str) -> Result<String, Outcome> {
    let name = attribute(&format!("{host}InstallerIso"));
    let systems = systems();
    let function = format!(
        "packages: builtins.filter (s: packages ? ${{s}}.{name}) {}",
        nix_list(&systems)
    );
    let mut found: Vec<(usize, &str, String)> = vec![];
    for output in OUTPUTS {
        let has: Vec<String> = match ask(scene, dir, output, &function).await {
            Ok(has) => has,
            Err(NoAnswer::NoAttribute(_)) => continue,
            Err(no) => return Err(no.outcome(&format!("{output} of {dir}"), &shown_more(dir))),
        };
        found.extend(has.into_iter().map(|system| {
            let rank = systems.iter().position(|known| *known == system);
            (rank.unwrap_or(systems.len()), output, system)
        }));
        // Nix looks no further, and each answer is an evaluation.
        if found.iter().any(|(rank, _, _)| *rank == 0) {
            break;
        }
    }
    // The first of one system stays the first.
    found.sort_by_key(|(rank, _, _)| *rank);
    match found.first() {
        Some((_, output, system)) => Ok(format!("{output}.{}.{name}", attribute(system))),
        None => Err(Outcome::skipped(format!(
            "{dir} has no package {host}InstallerIso, neither in packages nor in legacyPackages (mkInstallerPackages makes it)"
        ))),
    }
}

fn nix_list(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| attribute(word)).collect();
    format!("[ {} ]", words.join(" "))
}

async fn installer(scene: &Scene) -> Result<(String, Installer), Outcome> {
    let (dir, host) = named(scene)?;
    let package = installer_attribute(scene, dir, host).await?;
    let next = "correct the option that Nix names (docs/reference/options.md has the rules of each option)";
    let said = ask(scene, dir, &format!("{package}.landfall"), "said: said").await;
    match said {
        Ok(said) => Ok((package, said)),
        Err(NoAnswer::NoAttribute(_)) => Err(Outcome::skipped(
            "the installer has an older landfall, which this check cannot read; run nix flake update landfall",
        )),
        Err(no) => Err(no.outcome(&format!("installer of {host}"), next)),
    }
}

pub(super) async fn agreement(scene: &Scene) -> Outcome {
    match installer(scene).await {
        Err(outcome) => outcome,
        Ok((_, Installer { disagreements, .. })) if disagreements.is_empty() => {
            Outcome::fine("fileSystems, LUKS, swap and boot loader of the host match the installer")
        }
        Ok((package, Installer { disagreements, .. })) => Outcome::wrong_list(
            FaultClass::NeedsChange,
            format!("installer {package}"),
            "the host does not match it: it would wait for a device, or would not boot",
            disagreements,
            "do what each line says; or import landfall.nixosModules.target in the host (it sets labels, LUKS and swap)",
        ),
    }
}

/// The keys in these files, and what is wrong with the others.
pub(super) fn keys(files: &[Utf8PathBuf]) -> (Vec<PrivateKey>, Vec<String>) {
    let (mut keys, mut flaws) = (Vec::new(), Vec::new());
    for file in files {
        match decrypt::key_file(file) {
            Ok(key) => keys.push(key),
            Err(error) => flaws.push(format!("{file}: {error}")),
        }
    }
    (keys, flaws)
}

/// A public key without its comment.
fn bare(key: &str) -> String {
    let words: Vec<&str> = key.split_whitespace().take(2).collect();
    words.join(" ")
}

/// What is wrong with the file of the public half beside a private key; `Ok(true)`: it is there and right.
fn beside(file: &Utf8Path, public: &[String]) -> Result<bool, String> {
    let path = Utf8PathBuf::from(format!("{file}.pub"));
    match safe_open::read_if_there(&path, Links::Follow, PUBLIC_BYTES_MAX) {
        Ok(None) => Ok(false),
        Ok(Some(bytes)) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines = text
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty() && !line.starts_with('#'));
            let said: Vec<String> = lines.map(bare).collect();
            if said
                .iter()
                .any(|said| public.iter().any(|own| bare(own) == *said))
            {
                Ok(true)
            } else {
                Err(format!(
                    "{path} has {}, but the private key has {}",
                    quoted(&said.join(", ")),
                    quoted(&public.join(", "))
                ))
            }
        }
        Err(refused) => Err(format!("{path}: {}", refused.why())),
    }
}

pub(super) async fn key_pair(scene: &Scene) -> Outcome {
    let mut files = scene.identities.clone();
    files.extend(scene.ssh_key.clone());
    if files.is_empty() {
        return Outcome::skipped("no private key was given: --identity FILE, --ssh-key FILE");
    }
    let (mut found, mut flaws, mut unread) = (Vec::new(), Vec::new(), Vec::new());
    for file in &files {
        let key = match decrypt::key_file(file) {
            Ok(key) => key,
            Err(error) => {
                unread.push(format!("{file}: {error}"));
                continue;
            }
        };
        match beside(file, &key.public) {
            Ok(is_there) => found.push(format!(
                "{file} is of {}{}",
                key.public.join(", "),
                if is_there { ", as its .pub says" } else { "" }
            )),
            Err(why) => flaws.push(why),
        }
        if scene.ssh_key.as_ref() == Some(file) && scene.host.is_some() && scene.flake.is_some() {
            match installer(scene).await {
                Ok((
                    _,
                    Installer {
                        public_key: Some(printed),
                        ..
                    },
                )) => {
                    if key.public.iter().any(|own| bare(own) == bare(&printed)) {
                        found.push("the installer prints its public key".to_owned());
                    } else {
                        flaws.push(format!(
                            "the installer prints {}, but {file} has {}",
                            quoted(&printed),
                            quoted(&key.public.join(", "))
                        ));
                    }
                }
                Ok((_, Installer { public_key: None, .. })) => {
                    flaws.push(
                        "the installer prints no key: autoInstaller.ssh.publicKey is not set".to_owned(),
                    );
                }
                Err(_) => found
                    .push("the installer's own key could not be read (see the check agreement)".to_owned()),
            }
        }
    }
    if flaws.is_empty() && unread.is_empty() {
        return Outcome::fine(found.join("; "));
    }
    if flaws.is_empty() {
        return Outcome::wrong_list(
            FaultClass::NeedsChange,
            "keys",
            "a private key cannot be used",
            unread,
            "name an SSH private key or an age identity that this account can read: --identity FILE, --ssh-key FILE",
        );
    }
    flaws.extend(unread);
    Outcome::wrong_list(
        FaultClass::NeedsChange,
        "keys",
        "the private and public keys do not match",
        flaws,
        "write the public key (ssh-keygen -y -f FILE or age-keygen -y FILE prints it) to FILE.pub and to autoInstaller.ssh.publicKey, or give the right private key",
    )
}

pub(super) async fn secrets(scene: &Scene) -> Outcome {
    look_at_secrets(scene).await.unwrap_or_else(|outcome| outcome)
}

async fn look_at_secrets(scene: &Scene) -> Result<Outcome, Outcome> {
    let (dir, host) = named(scene)?;
    if scene.identities.is_empty() {
        return Err(Outcome::skipped("no identity was given: --identity FILE"));
    }
    let path = format!("nixosConfigurations.{}.config", attribute(host));
    let function = "c: builtins.mapAttrs (_: s: toString s.file) (c.age.secrets or { })";
    let files: BTreeMap<String, String> = ask(scene, dir, &path, function).await.map_err(|no| {
        no.outcome(
            &format!("host {host}"),
            "fix the error that Nix reports in the host's configuration",
        )
    })?;
    if files.is_empty() {
        return Err(Outcome::skipped(format!("{host} has no age.secrets")));
    }
    let (keys, flaws) = keys(&scene.identities);
    if keys.is_empty() {
        return Err(Outcome::wrong_list(
            FaultClass::NeedsChange,
            "identity",
            "it cannot be used",
            flaws,
            "name the host's private key: --identity FILE",
        ));
    }
    let mut unopened = Unopened::default();
    for (name, file) in &files {
        let shown = format!("{name} ({})", in_flake(file));
        match opens(&keys, dir, file) {
            Ok(true) => {}
            Ok(false) => unopened.push_absent(&shown, &shell(in_flake(file))),
            Err(why) => unopened.push(&shown, &why),
        }
    }
    if unopened.list.is_empty() {
        return Ok(Outcome::fine(format!(
            "{} of {} secrets of {host} decrypt",
            files.len(),
            files.len()
        )));
    }
    let count = unopened.list.len();
    let next = unopened.next(&format!(
        "add the host's public key to the rules file, if it is not there, then {}",
        rekey(dir)
    ));
    unopened.list.truncate(NAMED_MAX);
    Err(Outcome::wrong_list(
        FaultClass::NeedsChange,
        format!("secrets of {host}"),
        format!("{count} of {} do not decrypt with this identity", files.len()),
        unopened.list,
        next,
    ))
}

/// A file of the flake, from its top: `/nix/store/<hash>-source/secrets/a.age` → `secrets/a.age`. A store elsewhere has its own root
/// before that.
fn in_flake(file: &str) -> &str {
    let rest = file
        .split_once("/nix/store/")
        .and_then(|(_, rest)| rest.split_once('/'));
    rest.map_or(file, |(_, rest)| rest)
}

/// Whether it is there, of a file as it is in the work tree now, which is what somebody re-keys; what is not there is of another flake, in the store.
fn opens(keys: &[PrivateKey], dir: &Utf8Path, file: &str) -> Result<bool, Undecrypted> {
    let here = dir.join(in_flake(file));
    let opened = match decrypt::encrypted(&here) {
        Err(safe_open::Refused::Absent) => decrypt::encrypted(Utf8Path::new(file)),
        opened => opened,
    };
    match opened {
        Err(safe_open::Refused::Absent) => Ok(false),
        Err(refused) => Err(Undecrypted::Unread(refused.why())),
        Ok(opened) => decrypt::opens(keys, opened).map(|()| true),
    }
}

/// The command that encrypts all secrets again: agenix reads ./secrets.nix, and looks for the secrets beside it.
fn rekey(dir: &Utf8Path) -> String {
    let has_rules = |folder: &&&str| dir.join(folder).join("secrets.nix").is_file();
    match ["secrets", "."].iter().find(has_rules) {
        Some(folder) => format!("cd {} && agenix --rekey", shell(dir.join(folder).as_str())),
        None => "run agenix --rekey in the directory of the rules file (RULES=./FILE agenix --rekey, if it is not secrets.nix)".to_owned(),
    }
}

pub(super) async fn image(scene: &Scene) -> Outcome {
    look_at_image(scene).await.unwrap_or_else(|outcome| outcome)
}

async fn look_at_image(scene: &Scene) -> Result<Outcome, Outcome> {
    let (dir, host) = named(scene)?;
    let image = scene.image.clone().unwrap_or_else(|| dir.join("result"));
    let built = match image.canonicalize_utf8().map_err(safe_open::Refused::from) {
        Ok(path) => path.into_string(),
        Err(safe_open::Refused::Absent) => {
            return Err(Outcome::skipped(format!(
                "{image} does not exist: name the output of nix build with --image PATH"
            )));
        }
        Err(refused) => return Err(Outcome::skipped(format!("{image}: {}", refused.why()))),
    };
    let package = installer_attribute(scene, dir, host).await?;
    let next = "correct the option that Nix names (docs/reference/options.md has the rules of each option)";
    let now: String = ask(scene, dir, &format!("{package}.outPath"), "path: path")
        .await
        .map_err(|no| no.outcome(&format!("installer of {host}"), next))?;
    // The image itself lies in what was built.
    if built == now || built.starts_with(&format!("{now}/")) {
        return Ok(Outcome::fine(format!(
            "{image} is built from the flake as it is now"
        )));
    }
    Err(Outcome::wrong(
        FaultClass::NeedsChange,
        format!("image {image}"),
        format!("it is {built}, but the flake as it is now makes {now}"),
        format!(
            "{}, and flash the stick again",
            Reference::of(dir).command("build", &format!("#{host}InstallerIso"))
        ),
    ))
}

/// What the lock file pins landfall to.
fn locked(dir: &Utf8Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Lock {
        nodes: BTreeMap<String, Node>,
    }
    #[derive(Deserialize)]
    struct Node {
        locked: Option<Locked>,
    }
    #[derive(Deserialize)]
    struct Locked {
        rev: Option<String>,
    }
    let bytes = safe_open::read_if_there(&dir.join("flake.lock"), Links::Follow, 16 << 20).ok()??;
    let lock: Lock = serde_json::from_slice(&bytes).ok()?;
    lock.nodes.get("landfall")?.locked.as_ref()?.rev.clone()
}

pub(super) async fn version(scene: &Scene) -> Outcome {
    let here = env!("CARGO_PKG_VERSION");
    match installer(scene).await {
        Err(outcome) => outcome,
        Ok((package, Installer { version, .. })) => {
            let pinned = scene.flake.as_ref().and_then(|dir| locked(dir));
            let pinned = pinned.map_or(String::new(), |rev| format!(" (flake.lock: {rev})"));
            if version == here {
                return Outcome::fine(format!("landfall {here} here and in the installer{pinned}"));
            }
            Outcome::wrong(
                FaultClass::NeedsChange,
                "landfall",
                format!("this is landfall {here}, and {package} has {version}{pinned}"),
                "run nix flake update landfall, and build the image again; or use the installer's version, in the flake's directory: nix run --inputs-from . landfall",
            )
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may end where it stands
#[path = "operator_tests.rs"]
mod tests;
