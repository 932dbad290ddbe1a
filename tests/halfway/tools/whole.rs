//! landfall's world on a whole disk in the laboratory's machine.
//!
//! The disk is a loop device; it has no serial number, so the plan is made as if it had one, and then gets the name of the
//! device. Table and volumes are landfall's own work.
//!
//! `attached` and `installed` have the steps that are killed.

use super::volumes::CHEAP;
use crate::steps::carry;
use camino::Utf8Path;
use landfall::config::Config;
use landfall::event::Reporter;
use landfall::real::disk::{HeldDisk, known_ids};
use landfall::real::mount::attached::Attached;
use landfall::real::process::stop::Stop;
use landfall::real::secrets::credentials::Credentials;
use landfall::real::volume::luks;
use landfall::real::volume::root_image::Progress;
use landfall::real::{RUN_DIR, Real};
use landfall::world::Perform;
use landfall_states::actions::format_volumes::FormatVolumes;
use landfall_states::consent::{Consent, ConsentBy};
use landfall_states::names::Revision;
use landfall_states::plan::{DiskIdentity, Role, Volume};
use landfall_states::state::Planned;
use landfall_states::{Step, StepProgress, Verdict};
use tokio::sync::Mutex;

/// Where the ESP ends on the disk: it is the first partition, of 260 MiB, behind the table's 1 MiB.
pub const ESP_END: u64 = 261 << 20;
/// What opens the container.
pub const PASSPHRASE: &str = "half a way";
/// A system that is never looked at.
const NO_SYSTEM: &str = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-none";

/// A name or an address that is right.
pub fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|e| format!("{text}: {e}"))
}

/// The commit that is never fetched.
pub fn revision() -> Result<Revision, String> {
    parsed(&"a".repeat(40))
}

/// A run of landfall's that holds this disk.
pub fn world(device: &Utf8Path, luks: bool, system: &str) -> Result<Real, String> {
    let system = if system.is_empty() { NO_SYSTEM } else { system };
    let config: Config = ron::from_str(&format!(
        "(host: \"plain\", labels: (efi: \"ESP-LAB\", root: \"root-lab\", luks: Some(\"luks-lab\")), esp_size: \"260M\", \
         luks: (enable: {luks}, iteration_time_ms: 20), repository: (remote: Some(\"https://forge.example/o/r\")), \
         system: Prebuilt(\"{system}\"))"
    ))
    .map_err(|e| e.to_string())?;
    let name = device.file_name().unwrap_or_default();
    let held = HeldDisk::open_name(name).map_err(|fault| fault.to_string())?;
    let named = DiskIdentity {
        serial: Some("halfway".into()),
        ..held.identity().clone()
    };
    let plan = known_ids::all(&config, &named).into_iter().next();
    let mut plan = plan.ok_or("no plan for the disk")?;
    plan.disk = held.identity().clone();
    let mut credentials = Credentials::default();
    credentials.set_passphrase(luks.then(|| PASSPHRASE.into()));
    fs_err::create_dir_all(RUN_DIR).map_err(|e| e.to_string())?;
    Ok(Real {
        config,
        install_disk: None,
        labels: vec![],
        reporter: Reporter::default(),
        stop: Stop::never(),
        plan: Some(plan),
        held: Some(held),
        attached: Attached::default(),
        progress: Progress::default(),
        credentials,
        keys: Default::default(),
        granted: None,
        evaluated: None,
    })
}

/// Look, judge, act, look, as a run of landfall's does it.
pub async fn step<S: Step>(world: &mut Real, action: &S) -> Result<(), String>
where
    Real: Perform<S>,
    S::Facts: std::fmt::Debug,
{
    let world = Mutex::new(world);
    carry(
        action,
        async || world.lock().await.observe(action).await,
        async |order| world.lock().await.perform(action, order).await,
    )
    .await
}

/// The same where somebody agrees to everything; what proves it, and how often something was made.
async fn agreed<S: Step>(
    world: &mut Real,
    mut action: S,
    agree: impl Fn(&mut S, Consent),
    made: &mut usize,
) -> Result<S::Proof, String>
where
    Real: Perform<S>,
    S::Facts: std::fmt::Debug,
{
    for _ in 0..4 {
        let facts = world.observe(&action).await.map_err(|fault| fault.to_string())?;
        match action.judge(&facts) {
            Verdict::Done(proof) => return Ok(proof),
            Verdict::NeedsConsent(erasure) => {
                let given = Consent::to(&erasure, ConsentBy::Person).ok_or("no consent to it")?;
                agree(&mut action, given);
            }
            Verdict::Refuse(fault) => return Err(fault.to_string()),
            Verdict::Todo(order) => {
                *made += 1;
                let done = world.perform(&action, order).await;
                done.map_err(|fault| fault.to_string())?;
            }
        }
    }
    Err(format!("{}: no end", action.describe()))
}

/// A container that opens quickly, where there is none: a processor that is emulated would take seconds for every look.
async fn cheap_container(world: &Real, volume: &Volume) -> Result<usize, String> {
    let told = |fault: landfall_states::fault::Fault| fault.to_string();
    let device = world.partition(Role::Root).await.map_err(told)?;
    if luks::header(&device).await.map_err(told)?.is_some() {
        return Ok(0);
    }
    let passphrase = world.passphrase().map_err(told)?;
    let made = luks::make(&device, volume, &passphrase, CHEAP).await.map(drop);
    made.map(|()| 1).map_err(told)
}

/// Table and volumes: what looks at the volumes again, and how often something was made.
pub async fn formatted(world: &mut Real) -> Result<(FormatVolumes, usize), String> {
    let plan = world.planned().map_err(|fault| fault.to_string())?.clone();
    let mut made = 0;
    let state = Planned::new(plan, revision()?, None, false);
    let proof = agreed(
        world,
        state.action(None),
        |a, given| a.consent = Some(given),
        &mut made,
    )
    .await?;
    let state = state.advance(proof);
    let proof = agreed(
        world,
        state.action(None),
        |a, given| a.consent = Some(given),
        &mut made,
    )
    .await?;
    let state = state.advance(proof);
    if let Some(volume) = state.plan().luks.clone() {
        made += cheap_container(world, &volume).await?;
    }
    let proof = agreed(
        world,
        state.action(None),
        |a, given| a.consent = Some(given),
        &mut made,
    )
    .await?;
    let state = state.advance(proof);
    let action = state.action(None, &StepProgress::default());
    agreed(
        world,
        action.clone(),
        |a, given| a.consent = Some(given),
        &mut made,
    )
    .await?;
    Ok((action, made))
}
