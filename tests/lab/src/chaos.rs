//! `cargo lab chaos`: whole installs that meet one injected fault after another until they land, and then boot.
//!
//! A seed decides what happens and when. Every claim is read from the disks, from outside, after every fault. One line
//! repeats an install: a repeat meets the same faults at the same lines and keeps sectors by the same rule, but the machine
//! need not have written the same by then, because its processors are emulated and its clock is real.
//!
//! `conformance` has every crash state of one install, and tests/halfway every write of each tool.

mod acknowledged;
mod at_work;
mod checks;
mod control;
mod dice;
mod faults;
mod found;
mod rebuild;
mod schedule;
mod sums;
mod trial;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::clean;
use crate::command::Program;
use crate::disk;
use crate::git::{self, Protocol, Repository, Server};
use crate::install::{Install, say};
use crate::kit::{Kit, Layout, Mode};
use crate::machine::Disk;
use crate::proxy::Proxy;
use crate::scenarios::network_drops::with_input;
use crate::scenarios::root_image::named;
use anyhow::{Context, Result, bail, ensure};
use faults::Network;
use fs_err as fs;
use schedule::{Injected, Kind, Shape};
use sums::{Sums, objections};
use trial::{Parts, Record, Trial};

/// The other disk of every machine here: one shape, one saved state.
const OTHER_SERIAL: &str = "LFOTHER";
const OTHER_BYTES: u64 = 128 << 20;
const IMAGE: &str = "/run/lab/other/root.image";
/// The scenario's seed: a power cut and two other faults at least come about.
const SCENARIO_SEED: u64 = 17;
/// A folder that is kept is one of a failed install.
const KEPT: &str = "chaos";
/// What it is called that is written into the folder of an install with a finding.
const FINDING: &str = "finding.txt";

/// The longest that can be asked for: ten weeks.
const MINUTES_MAX: u64 = 100_000;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The seed of the first install; the next one has the next number [default: from the clock]
    #[arg(long)]
    seed: Option<u64>,
    /// No install begins after so many minutes
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=MINUTES_MAX))]
    minutes: u64,
    /// At most so many installs
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    installs: Option<u64>,
    /// Only this: plain, swap, luks, luks-swap, flake-plain, flake-luks, root-image [default: plain, luks-swap, flake-plain, root-image by turns]
    #[arg(long)]
    layout: Option<String>,
    /// Stop at the first finding
    #[arg(long)]
    first: bool,
    /// Check the checks: a disk that loses a flushed checkpoint, and changed bytes, must be noticed
    #[arg(long, conflicts_with_all = ["seed", "minutes", "installs", "layout", "first", "json"])]
    control: bool,
    /// The result as JSON
    #[arg(long)]
    json: bool,
}

/// How the system comes to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Prebuilt,
    Flake,
    Image,
}

/// What is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Variant {
    name: &'static str,
    layout: Layout,
    source: Source,
    /// Taken when none is named.
    usual: bool,
}

const fn variant(name: &'static str, layout: Layout, source: Source, usual: bool) -> Variant {
    Variant {
        name,
        layout,
        source,
        usual,
    }
}

const COURSES: [Variant; 7] = [
    variant("plain", Layout::Plain, Source::Prebuilt, true),
    variant("luks-swap", Layout::LuksSwap, Source::Prebuilt, true),
    variant("flake-plain", Layout::Plain, Source::Flake, true),
    variant("root-image", Layout::LuksSwap, Source::Image, true),
    variant("swap", Layout::Swap, Source::Prebuilt, false),
    variant("luks", Layout::Luks, Source::Prebuilt, false),
    variant("flake-luks", Layout::Luks, Source::Flake, false),
];

impl Variant {
    fn shape(self) -> Shape {
        Shape {
            luks: self.layout.has_luks(),
            network: self.source == Source::Flake,
            image: self.source == Source::Image,
        }
    }
}

/// Runs the subcommand.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let chosen: Vec<Variant> = COURSES
        .into_iter()
        .filter(|variant| match &arguments.layout {
            Some(name) => variant.name == name,
            None => variant.usual,
        })
        .collect();
    if chosen.is_empty() {
        let names: Vec<&str> = COURSES.iter().map(|variant| variant.name).collect();
        bail!(
            "no such layout: {}; there are: {}",
            arguments.layout.as_deref().unwrap_or_default(),
            names.join(", ")
        );
    }
    let kit = Kit::open()?;
    if arguments.control {
        control::run(&kit)?;
        println!("chaos: the checks notice what they are for");
        return Ok(ExitCode::SUCCESS);
    }
    let first = match arguments.seed {
        Some(seed) => seed,
        None => SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .context("this computer's clock is before 1970")?
            .as_secs(),
    };
    clean::abandoned_machines(&kit.lab.cache, &format!("{KEPT}-"), FINDING)?;
    let ground = Ground::open(&kit)?;
    let (begun, limit) = (Instant::now(), Duration::from_secs(arguments.minutes * 60));
    let mut records = Vec::new();
    for number in 0..arguments.installs.unwrap_or(u64::MAX) {
        if number > 0 && begun.elapsed() >= limit {
            break;
        }
        let variant = chosen[(number % chosen.len() as u64) as usize];
        let record = ground.install(variant, first.wrapping_add(number))?;
        let failed = record.finding.is_some();
        records.push(record);
        if failed && arguments.first {
            break;
        }
    }
    let (sums, why) = (Sums::of(&records), objections(&records));
    if arguments.json {
        println!(
            "{}",
            serde_json::json!({ "layouts": sums.0, "installs": records, "passed": why.is_empty(), "why": why })
        );
    } else {
        print!("{sums}");
        if !why.is_empty() {
            println!("chaos: FAILED: {}", why.join("; "));
        }
    }
    Ok(if why.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A short run with a fixed seed, as a scenario.
pub fn short(kit: &Kit) -> Result<()> {
    let ground = Ground::open(kit)?;
    let record = ground.install(COURSES[1], SCENARIO_SEED)?;
    if let Some((finding, text)) = &record.finding {
        bail!("{}: {text}", finding.name());
    }
    ensure!(
        !record.emulator,
        "the emulator lost a processor's timer: nothing was shown"
    );
    let cuts = record.faults.get(Kind::Cut.name()).copied().unwrap_or(0);
    let all: u32 = record.faults.values().sum();
    ensure!(
        cuts >= 2 && all >= 4,
        "only {all} faults came about, {cuts} of them power cuts: {:?}",
        record.events
    );
    ensure!(
        record.acknowledged >= 8,
        "only {} acknowledged checkpoints were seen",
        record.acknowledged
    );
    say(&format!(
        "{all} faults, {cuts} of them power cuts with a rebuilt disk, {} with unflushed writes; {} acknowledged checkpoints were \
         durable; {} comparisons; landed and booted",
        record.at_stake, record.acknowledged, record.compared
    ));
    Ok(())
}

/// What all installs share.
struct Ground<'k> {
    kit: &'k Kit,
    /// The other disk as it is at first, with an image of each layout's root filesystem.
    other: PathBuf,
    /// The digest of that image.
    image_digest: String,
    folder: PathBuf,
}

impl<'k> Ground<'k> {
    fn open(kit: &'k Kit) -> Result<Ground<'k>> {
        let image = root_image(kit)?;
        let digest = disk::sha256(&image)?;
        let place = kit
            .lab
            .cache
            .artefact("chaos-other", &[digest.as_bytes()], |scratch| {
                let tree = scratch.join("tree");
                fs::create_dir_all(&tree)?;
                fs::copy(&image, tree.join("root.image"))?;
                fs::write(tree.join("letters"), "of another system\n".repeat(1_000))?;
                let other = scratch.join("other.raw");
                disk::create(&other, OTHER_BYTES)?;
                Program::new("mke2fs")
                    .args(["-q", "-t", "ext4", "-m", "0", "-L", "other", "-d"])
                    .args([&tree, &other])
                    .run()?;
                Ok(fs::remove_dir_all(&tree)?)
            })?;
        Ok(Ground {
            kit,
            other: place.join("other.raw"),
            image_digest: digest_of(kit, &image)?,
            folder: kit.lab.cache.root.join("git-chaos"),
        })
    }

    /// One install with the faults of a seed.
    fn install(&self, variant: Variant, seed: u64) -> Result<Record> {
        let again = format!(
            "cargo lab chaos --layout {} --seed {seed} --installs 1",
            variant.name
        );
        eprintln!("chaos: {again}");
        let faults = schedule::draw(seed, variant.shape());
        let record = Record {
            layout: variant.name,
            seed,
            ..Record::default()
        };
        let trial = self.trial(variant, faults, record)?;
        let folder = self.folder_of(variant, seed);
        let record = trial.go();
        if let Some((finding, text)) = &record.finding {
            fs::write(folder.join(FINDING), format!("{}\n{text}\n", finding.name()))?;
            println!("chaos: {}: {text}", finding.name());
            println!(
                "chaos: logs and disks are in {}; again: {again}",
                folder.display()
            );
        } else {
            fs::remove_dir_all(&folder)?;
        }
        if record.finding.is_none() || record.emulator {
            let all: u32 = record.faults.values().sum();
            eprintln!(
                "chaos: {} seed {seed}: {all} faults, {} starts, {} runs, {} in {} s",
                variant.name,
                record.starts,
                record.runs,
                if record.emulator {
                    "lost to the emulator"
                } else {
                    "landed and booted"
                },
                record.seconds
            );
        }
        Ok(record)
    }

    fn folder_of(&self, variant: Variant, seed: u64) -> PathBuf {
        let name = format!("{KEPT}-{}-{seed}", variant.name);
        self.kit.lab.cache.root.join("machines").join(name)
    }

    fn trial(&self, variant: Variant, faults: Vec<Injected>, record: Record) -> Result<Trial<'k>> {
        let (network, mode) = match variant.source {
            Source::Flake => {
                let (network, mode) = self.network(variant.layout)?;
                (Some(network), mode)
            }
            Source::Prebuilt | Source::Image => (None, Mode::Prebuilt),
        };
        let name = format!("{KEPT}-{}-{}", variant.name, record.seed);
        let mut install = Install::new(self.kit, &name, variant.layout, mode)?.stay();
        let other = install.spec.folder.join("other.raw");
        rebuild::snapshot(&self.other, &other)?;
        install.spec.disks.push(Disk::new(&other, OTHER_SERIAL));
        if variant.source == Source::Flake {
            // How long a silence lasts before it is one.
            install
                .more
                .push_str(" nix: (stalled_download_timeout_s: 2, connect_timeout_s: 2),");
        }
        let system = &self.kit.system(variant.layout)?.toplevel;
        let mut configuration = self
            .kit
            .configuration(variant.layout, &install.mode, &install.more)?;
        let mut prepare = "true";
        if variant.source == Source::Image {
            configuration = configuration.replace(
                &format!("Prebuilt(\"{system}\")"),
                &named(system, IMAGE, Some(&self.image_digest)),
            );
            ensure!(configuration.contains(IMAGE), "the configuration names no image");
            prepare =
                "mkdir -p /run/lab/other && mount -o ro,noload /dev/disk/by-id/virtio-LFOTHER /run/lab/other";
        }
        let parts = Parts {
            other,
            configuration,
            prepare,
            network,
        };
        Trial::new(install, parts, faults, record)
    }

    /// The configuration and an input of its flake, each behind a proxy.
    fn network(&self, layout: Layout) -> Result<(Network, Mode)> {
        let hosts = [layout.params()];
        let inputs = &self.kit.inputs;
        let mut input = Repository::create(&self.folder, "input", "main", &hosts, inputs)?;
        input.fatten(600_000)?;
        let mut config = Repository::create(&self.folder, "config", "main", &hosts, inputs)?;
        let server = Server::start(&self.folder, Protocol::Git)?;
        let (to_config, to_input) = (Proxy::start(server.address())?, Proxy::start(server.address())?);
        let flake = with_input(
            git::FLAKE,
            &server.guest_url(to_input.address().port(), "input.git"),
        )?;
        config.change("flake.nix", flake.as_bytes())?;
        config.fatten(600_000)?;
        let mode = Mode::Flake(server.guest_url(to_config.address().port(), "config.git"));
        let network = Network {
            proxies: vec![to_config, to_input],
            _server: server,
        };
        Ok((network, mode))
    }
}

/// An image of the encrypted layout's root filesystem.
fn root_image(kit: &Kit) -> Result<PathBuf> {
    let system = kit.system(Layout::LuksSwap)?;
    let program = disk::sha256(&kit.program)?;
    let inputs = [program.as_bytes(), system.toplevel.as_bytes()];
    let place = kit.lab.cache.artefact("chaos-image", &inputs, |scratch| {
        let store = scratch.join("root");
        fs::create_dir_all(&store)?;
        std::os::unix::fs::symlink(&system.nix_tree, store.join("nix"))
            .context("linking the system's store")?;
        let info = scratch.join("closure-info");
        fs::create_dir_all(&info)?;
        fs::write(info.join("store-paths"), system.paths.join("\n") + "\n")?;
        fs::write(info.join("registration"), &system.registration)?;
        build_image(kit, &system.toplevel, &store, &info, &scratch.join("root.image"))?;
        Ok(fs::remove_dir_all(&store)?)
    })?;
    Ok(place.join("root.image"))
}

/// What `landfall image info` says of an image.
fn digest_of(kit: &Kit, image: &Path) -> Result<String> {
    let said = Program::new(kit.program.as_os_str())
        .args(["image", "info"])
        .arg(image)
        .run()?
        .text();
    let digest = said
        .lines()
        .find_map(|line| line.strip_prefix("digest"))
        .map(str::trim);
    Ok(digest
        .with_context(|| format!("landfall image info printed {said:?}"))?
        .to_owned())
}

fn build_image(kit: &Kit, system: &str, store: &Path, info: &Path, to: &Path) -> Result<()> {
    Program::new(kit.program.as_os_str())
        .args([
            "image",
            "build",
            "--level",
            "1",
            "--system",
            system,
            "--closure-info",
        ])
        .arg(info)
        .arg("--store")
        .arg(store)
        .arg("--out")
        .arg(to)
        .timeout(Duration::from_secs(600))
        .run()?;
    Ok(())
}
