//! `landfall plan`: shows what an install would write.
//!
//! The printed plan comes from the same function as the plan of an install, so the ids are the same. Nothing is opened for writing.
//!
//! It does not check whether the disk is in use, and does not ask for consent; `landfall disks` shows the disks.

use super::{Failure, PlanArgs, config_path, disks, words};
use crate::config::{Config, Overrides, SystemConfig};
use crate::exit::Exit;
use crate::real::disk::disk_image;
use crate::real::volume::root_image;
use crate::safe_open;
use camino::Utf8Path;
use landfall_states::actions::anchor_checkpoint::AnchorCheckpoint;
use landfall_states::actions::clone_configuration::CloneConfiguration;
use landfall_states::actions::encrypt_volumes::{Container, EncryptVolumes};
use landfall_states::actions::format_volumes::{FormatVolumes, Target};
use landfall_states::actions::install_boot_loader::InstallBootLoader;
use landfall_states::actions::install_system::InstallSystem;
use landfall_states::actions::land::Land;
use landfall_states::actions::provision_secrets::ProvisionSecrets;
use landfall_states::actions::realise_system::RealiseSystem;
use landfall_states::checkpoint::Record;
use landfall_states::names::{Revision, StorePath};
use landfall_states::plan::{Machine, Payload, Plan, Reference, Role, Volume};
use landfall_states::recovery::{Decision, Situation, decide};
use landfall_states::state::Planned;
use landfall_states::untrusted_text::Shown;
use landfall_states::{Phase, Step};
use serde::Serialize;
use std::io::Write;

/// Stands in for what preflight will pin; replaced in the texts.
const UNPINNED_REVISION: &str = "0000000000000000000000000000000000000000";
/// Stands in for what the build will give; replaced in the texts.
const UNBUILT_SYSTEM: &str = "/nix/store/00000000000000000000000000000000-unbuilt";

/// One step in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepText {
    /// The state it leads on from.
    pub from: Phase,
    /// Its name.
    pub action: &'static str,
    /// What it does.
    pub what: String,
}

pub(super) fn command(args: &PlanArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let PlanArgs {
        config,
        json,
        dot,
        disk_image,
        disk: described,
    } = args;
    let overrides = Overrides::from_environment()?;
    let config = Config::read_with(&config_path(config)?, &overrides)?;
    let of_size = |size_bytes: Option<u64>| {
        described
            .identity(size_bytes)
            .map_err(|why| Failure::new(Exit::Usage, why))
    };
    let disk = match disk_image {
        Some(image) if !image.exists() => {
            return Err(Failure::new(
                Exit::Usage,
                format!(
                    "--disk-image {}: this file or device does not exist\n    next: name an image of a disk, or the disk itself",
                    Shown::line(image.as_str())
                ),
            ));
        }
        Some(image) => {
            if let Err(refused) = safe_open::storage(image) {
                return Err(Failure::new(
                    Exit::Usage,
                    format!(
                        "--disk-image {}: {}\n    next: name an image of a disk, or the disk itself",
                        Shown::line(image.as_str()),
                        refused.why()
                    ),
                ));
            }
            of_size(Some(disk_image::size(image)?))?
        }
        None if described.is_given() => of_size(None)?,
        None => disks::chosen(&config, &overrides)?,
    };
    let plan = Plan::derive(
        &config.host,
        &config.layout(Machine::native())?,
        &payload(&config)?,
        &disk,
        config.reinstall,
    )
    .map_err(|e| {
        let next = if disk.is_nameable() {
            "describe another disk, or change the layout"
        } else {
            "give the name of the disk: --disk-wwn, --disk-serial or --disk-address (landfall disks prints it)"
        };
        Failure::new(Exit::Usage, format!("plan: {e}\n    next: {next}"))
    })?;
    let decided = match disk_image {
        Some(image) => Some(Decided::about(image, &config, &plan)?),
        None => None,
    };
    let steps = steps(&plan)?;
    if *json {
        print_json(&plan, &steps, decided.as_ref(), out)?;
    } else if *dot {
        print_dot(&plan, &steps, out)?;
    } else {
        let out = &mut words::ShownLines::on(out);
        print_text(&plan, &steps, out)?;
        if let Some(decided) = &decided {
            decided.print(out)?;
        }
    }
    Ok(Exit::Ok)
}

/// What is installed. A plan can be shown where the image is not; it is then shown as a closure.
fn payload(config: &Config) -> Result<Payload, Failure> {
    let said = config.payload()?;
    match &config.system {
        SystemConfig::Image { file, .. } if file.exists() => Ok(root_image::payload(config, said)?),
        SystemConfig::Image { .. } | SystemConfig::Prebuilt(_) | SystemConfig::Flake => Ok(said),
    }
}

/// Every step, described by the very actions that will be carried out.
///
/// # Errors
/// A step that cannot be described: a defect.
pub fn steps(plan: &Plan) -> Result<Vec<StepText>, Failure> {
    let given = Given::of(plan)?;
    let described = disk_steps(plan, &given)?
        .into_iter()
        .chain(system_steps(plan, &given));
    Ok(described
        .filter_map(|(from, what)| {
            let what = given.shown(&what);
            from.action().map(|action| StepText { from, action, what })
        })
        .collect())
}

/// What preflight pins and the build gives, as far as a plan has it; something else stands for the rest.
struct Given {
    revision: Revision,
    system: StorePath,
    /// The revision, in words.
    pinned_from: String,
}

impl Given {
    fn of(plan: &Plan) -> Result<Self, Failure> {
        let bad = |e: landfall_states::names::BadValue| Failure::new(Exit::Internal, e.to_string());
        let unpinned: Revision = UNPINNED_REVISION.parse().map_err(bad)?;
        let unbuilt: StorePath = UNBUILT_SYSTEM.parse().map_err(bad)?;
        let (revision, pinned_from) = match &plan.payload.repository.reference {
            Reference::Revision(revision) => (revision.clone(), revision.to_string()),
            Reference::Branch(name) => (
                unpinned,
                format!("(the revision of {name} when the install starts)"),
            ),
            Reference::Default => (
                unpinned,
                "(the revision of the default branch when the install starts)".to_owned(),
            ),
        };
        Ok(Given {
            revision,
            system: plan.payload.system.known().cloned().unwrap_or(unbuilt),
            pinned_from,
        })
    }

    /// A step's text, with words for what is not known yet.
    fn shown(&self, what: &str) -> String {
        what.replace(UNPINNED_REVISION, &self.pinned_from)
            .replace(UNBUILT_SYSTEM, "(the system that the install builds)")
    }
}

/// The steps that make the disk: partitions and what is in them.
fn disk_steps(plan: &Plan, given: &Given) -> Result<Vec<(Phase, String)>, Failure> {
    let part = |role: Role| {
        plan.partition(role).cloned().ok_or_else(|| {
            Failure::new(
                Exit::Internal,
                format!("the plan has no partition for the {role}"),
            )
        })
    };
    let disk = plan.disk.clone();
    let root = part(Role::Root)?;
    let partition = Planned::new(plan.clone(), given.revision.clone(), None, false).action(None);
    let anchor = AnchorCheckpoint {
        disk: disk.clone(),
        partition: part(Role::Esp)?,
        volume: plan.esp.clone(),
        claimed: false,
        consent: None,
    };
    let encrypt = EncryptVolumes {
        disk: disk.clone(),
        container: plan.luks.clone().map(|volume| Container {
            partition: root.clone(),
            volume,
        }),
        claimed: false,
        consent: None,
    };
    let swap = match &plan.swap {
        None => None,
        Some(volume) => Some(Target {
            partition: part(Role::Swap)?,
            volume: volume.clone(),
            inside_luks: false,
        }),
    };
    let format = FormatVolumes {
        disk,
        root: Target {
            partition: root,
            volume: plan.root.clone(),
            inside_luks: plan.luks.is_some(),
        },
        swap,
        image: plan.payload.system.image().cloned(),
        image_progress: None,
        claimed: false,
        consent: None,
    };
    Ok(vec![
        (Phase::Planned, partition.describe()),
        (Phase::Partitioned, anchor.describe()),
        (Phase::Anchored, encrypt.describe()),
        (Phase::Encrypted, format.describe()),
    ])
}

/// The steps that put the system onto it.
fn system_steps(plan: &Plan, given: &Given) -> Vec<(Phase, String)> {
    let Given { revision, system, .. } = given;
    let (install, repository) = (plan.install, &plan.payload.repository);
    let clone = CloneConfiguration {
        install,
        repository: repository.clone(),
        revision: revision.clone(),
        is_wish: false,
    };
    let realise = RealiseSystem {
        host: plan.host.clone(),
        source: plan.payload.system.clone(),
        repository: repository.clone(),
        revision: revision.clone(),
        verify: false,
        vouched: None,
    };
    let system = || system.clone();
    let provision = ProvisionSecrets {
        host: plan.host.to_string(),
    };
    let land = Land {
        install,
        system: system(),
    };
    vec![
        (Phase::Formatted, clone.describe()),
        (Phase::Cloned, realise.describe()),
        (Phase::Realised, InstallSystem { system: system() }.describe()),
        (
            Phase::Installed,
            InstallBootLoader { system: system() }.describe(),
        ),
        (Phase::Bootable, provision.describe()),
        (Phase::Provisioned, land.describe()),
    ]
}

/// For people: identity, table, volumes, steps.
///
/// # Errors
/// What `out` says when it takes no text.
fn print_text(plan: &Plan, steps: &[StepText], out: &mut dyn Write) -> std::io::Result<()> {
    let Plan {
        host,
        install,
        nonce,
        disk,
        layout: _,
        layout_digest,
        payload: _,
        payload_digest,
        table,
        esp,
        luks,
        root,
        swap,
    } = plan;
    writeln!(out, "host      {host}")?;
    writeln!(
        out,
        "disk      {}, {} ({} bytes, {}-byte sectors)",
        disk.name(),
        words::bytes(disk.size_bytes),
        disk.size_bytes,
        disk.sector_bytes
    )?;
    writeln!(out, "install   {install} (reinstall number {nonce})")?;
    writeln!(out, "layout    sha256:{layout_digest}")?;
    writeln!(out, "payload   sha256:{payload_digest}")?;
    writeln!(out, "\nGPT {}", table.disk_guid)?;
    let sector = u64::from(table.sector_bytes);
    for entry in &table.entries {
        let bytes = entry.sectors() * sector;
        writeln!(
            out,
            "  {} {}\n      type     {}\n      PARTUUID {}\n      sectors  {} to {}\n      bytes    {} to {} ({bytes}, {})",
            entry.number,
            entry.name,
            entry.type_guid,
            entry.partuuid,
            entry.first_lba,
            entry.last_lba,
            entry.first_lba * sector,
            (entry.last_lba + 1) * sector - 1,
            words::bytes(bytes)
        )?;
    }
    writeln!(out, "\nvolumes")?;
    let mut volume = |kind: &str, id: String, label: &str| writeln!(out, "  {kind:<6} {label:<16} {id}");
    volume("FAT32", Volume::fat_serial_text(&esp.id), &esp.label)?;
    if let Some(luks) = luks {
        volume("LUKS2", luks.id.to_string(), &luks.label)?;
    }
    volume("ext4", root.id.to_string(), &root.label)?;
    if let Some(swap) = swap {
        volume("swap", swap.id.to_string(), &swap.label)?;
    }
    writeln!(out, "\nsteps")?;
    for (index, StepText { from, action, what }) in steps.iter().enumerate() {
        writeln!(out, "  {:>2}. {from} → {action}\n      {what}", index + 1)?;
    }
    Ok(())
}

/// What a run would decide about an image, were it the disk.
#[derive(Debug, Serialize)]
struct Decided {
    /// `begin`, `continue`, `landed` or `stop`.
    decision: &'static str,
    /// The recovery rules that say so.
    rules: Vec<u8>,
    /// For a person.
    why: String,
    /// Where it stops: what helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// What the believed checkpoint claims.
    claimed: Option<Phase>,
    /// Its sequence number.
    sequence: Option<u64>,
    /// What is on the image, one line each.
    contents: Vec<String>,
}

impl Decided {
    fn about(image: &Utf8Path, config: &Config, plan: &Plan) -> Result<Decided, Failure> {
        let (evidence, contents) = disk_image::look(image, &plan.disk, config)?;
        let decision = decide(&Situation {
            host: &plan.host,
            layout: &plan.layout,
            payload: &plan.payload,
            reinstall: config.reinstall,
            reinstall_requested: false,
            disks: &[evidence],
            choice: &Ok(plan.disk.clone()),
            named: false,
            tmpfs: None,
        });
        let trusted = decision.trusted();
        let next = match &decision {
            Decision::Stop { fault, .. } => Some(fault.next().to_string()),
            Decision::Begin(_) | Decision::Continue(_) | Decision::Landed { .. } => None,
        };
        Ok(Decided {
            next,
            decision: decision.name(),
            rules: decision.rules().iter().map(|rule| rule.number()).collect(),
            claimed: trusted.map(Record::phase),
            sequence: trusted.map(|record| record.sequence),
            why: match decision {
                Decision::Begin(resume_plan) | Decision::Continue(resume_plan) => resume_plan.why,
                Decision::Landed { why, .. } => why,
                Decision::Stop { fault, .. } => fault.to_string(),
            },
            contents,
        })
    }

    fn print(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let Decided {
            decision,
            rules,
            why,
            next,
            claimed,
            sequence,
            contents,
        } = self;
        writeln!(out, "\nimage")?;
        for line in contents {
            writeln!(out, "  {line}")?;
        }
        if let (Some(claimed), Some(sequence)) = (claimed, sequence) {
            writeln!(out, "  trusted record: checkpoint {sequence}, {claimed}")?;
        }
        let rules: Vec<String> = rules.iter().map(|rule| format!("rule {rule}")).collect();
        let by = if rules.is_empty() {
            String::new()
        } else {
            format!(" ({})", rules.join(", "))
        };
        writeln!(out, "  decision: {decision}{by}: {why}")?;
        match next {
            Some(next) => writeln!(out, "    next: {next}"),
            None => Ok(()),
        }
    }
}

fn print_json(
    plan: &Plan,
    steps: &[StepText],
    decision: Option<&Decided>,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    #[derive(Serialize)]
    struct All<'a> {
        plan: &'a Plan,
        steps: &'a [StepText],
        #[serde(skip_serializing_if = "Option::is_none")]
        decision: Option<&'a Decided>,
    }
    serde_json::to_writer_pretty(
        &mut *out,
        &All {
            plan,
            steps,
            decision,
        },
    )?;
    writeln!(out)
}

/// States as nodes, actions as edges.
fn print_dot(plan: &Plan, steps: &[StepText], out: &mut dyn Write) -> std::io::Result<()> {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    writeln!(out, "digraph landfall {{")?;
    writeln!(
        out,
        "  label=\"{} on {}, install {}\";\n  node [shape=box];",
        quoted(plan.host.as_str()),
        quoted(&plan.disk.name()),
        plan.install
    )?;
    let next = steps.iter().skip(1).map(|step| step.from).chain([Phase::Landed]);
    for (StepText { from, action, what }, to) in steps.iter().zip(next) {
        writeln!(out, "  {from} -> {to} [label=\"{action}\\n{}\"];", quoted(what))?;
    }
    writeln!(out, "}}")
}
