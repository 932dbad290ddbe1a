//! What a disk holds: files of an install and their contents, a finished install.
//!
//! Contents are functions of the plan, the revision and the system.
//!
//! `sim::actions` puts them on the disk of `model::machine`.

use crate::sim::model::disk::{Disk, Fs, Header, Key, Region, SECTOR_BYTES, Value};
use landfall_states::RecordedPhase;
use landfall_states::checkpoint::{Mark, Record};
use landfall_states::fault::Attempts;
use landfall_states::names::{Revision, StorePath};
use landfall_states::plan::{Plan, Volume};
use std::rc::Rc;

/// How secrets begin.
pub const CANARY: &str = "canary-";

/// The passphrase. It must never be seen anywhere (I15).
pub const PASSPHRASE: &str = "canary-passphrase-7d1f";

/// The age identity. It may be seen in one file of the target, nowhere else (I15).
pub const AGE_IDENTITY: &str = "canary-age-identity-52ac";

/// The token in the remote's URL. It must never be seen anywhere (I15).
pub const REMOTE_TOKEN: &str = "canary-remote-token-90fe";

/// The link of a generation, beside its place.
pub const GENERATION: &str = "profile.tmp";

/// The store paths of the system's closure, in the order in which they are written; the last one is the system.
pub const CLOSURE: [&str; 3] = ["glibc", "kernel", "system"];

/// What a repair of the root filesystem leaves of a file.
pub const LOST: &str = "lost";

/// The files that a repair of the root filesystem may take away. What else has a name on it here is part of another file: a row of the
/// store's database, an owner, a mode. The clone's data is not among them: a clone that replaces another has the same name for it here,
/// and not on a disk (`tests/clone_damaged.rs` has real ones).
pub const WHOLE_FILES: [&str; 9] = [
    CLOSURE[0],
    CLOSURE[1],
    CLOSURE[2],
    "clone",
    "profile",
    "record",
    "age",
    "activated",
    "receipt",
];

/// Owner and permissions of the last of them, which no digest covers.
pub const MODE: &str = "system.mode";

/// What Nix makes of them.
pub const MODE_RIGHT: &str = "r-xr-xr-x root";

/// The registrations of these, by the same index.
pub const REGISTERED: [&str; 3] = ["glibc.valid", "kernel.valid", "system.valid"];

/// The lock that Git holds while it writes in a clone beside its place.
pub const LOCK: &str = "clone.lock";

/// What somebody wrote into the settings of the clone, or of the one beside its place, for Git to run.
pub const ORDERS: &str = "clone.orders";

/// Whose the clone is; none is landfall's own account.
pub const OWNER: &str = "clone.owner";

/// The store's database. Its entries are [`REGISTERED`], which are nothing without it.
pub const DATABASE: &str = "db";

/// What it holds while it is made, until its tables are written.
pub const DATABASE_BEGUN: &str = "header";

/// What it holds then.
pub const DATABASE_MADE: &str = "tables";

/// The ESP's files that booting this system needs, with their contents.
pub fn boot_files(system: &StorePath) -> [(&'static str, String); 5] {
    [
        ("kernel", "the kernel".to_owned()),
        ("initrd", "the initrd".to_owned()),
        ("entry", format!("entry of {system}")),
        ("loader", "systemd-boot".to_owned()),
        ("fallback", "systemd-boot".to_owned()),
    ]
}

/// What the installer writes into `loader.conf` in the end.
pub fn conf_text(system: &StorePath) -> String {
    format!("default entry of {system}")
}

/// Every file that a finished target has.
pub fn files(plan: &Plan, revision: &Revision, system: &StorePath) -> Vec<(Fs, &'static str, String)> {
    let mut files: Vec<(Fs, &'static str, String)> = vec![
        (Fs::Root, "clone", clone_text(plan, revision)),
        (Fs::Root, "clone.data", revision.to_string()),
        (Fs::Root, DATABASE, DATABASE_MADE.to_owned()),
        (Fs::Root, MODE, MODE_RIGHT.to_owned()),
        (Fs::Root, "record", record_text(plan, revision, system)),
        (Fs::Root, "profile", system.to_string()),
        (Fs::Root, "etc/NIXOS", String::new()),
        (Fs::Root, "activated", system.to_string()),
        (Fs::Root, "age", AGE_IDENTITY.to_owned()),
        (Fs::Root, "age.mode", "0400 root".to_owned()),
        (Fs::Root, "login", "password".to_owned()),
        (Fs::Root, OWNER, "op".to_owned()),
        (Fs::Esp, "conf", conf_text(system)),
        (Fs::Root, "receipt", receipt_text(plan, system)),
        (Fs::Root, "log", "log".to_owned()),
    ];
    for (path, valid) in CLOSURE.into_iter().zip(REGISTERED) {
        files.push((Fs::Root, path, path.to_owned()));
        files.push((Fs::Root, valid, "valid".to_owned()));
    }
    files.extend(boot_files(system).map(|(name, text)| (Fs::Esp, name, text)));
    files
}

/// The clone's head and mark.
pub fn clone_text(plan: &Plan, revision: &Revision) -> String {
    format!("{revision} {}", plan.install)
}

/// The record of a realised system.
pub fn record_text(plan: &Plan, revision: &Revision, system: &StorePath) -> String {
    format!("{revision} {} {system}", plan.host)
}

/// The receipt.
pub fn receipt_text(plan: &Plan, system: &StorePath) -> String {
    format!("{} {system}", plan.install)
}

/// A slot's sectors.
pub fn sectors(which: usize, bytes: &[u8]) -> Vec<(Key, Option<Value>)> {
    bytes
        .chunks(SECTOR_BYTES)
        .enumerate()
        .map(|(index, sector)| (Key::Sector(which, index), Some(Value::Sector(sector.into()))))
        .collect()
}

/// A disk with a finished install.
///
/// # Errors
/// A plan that is not possible, or a defect of the simulation.
pub fn finished(plan: &Plan, revision: &Revision, system: &StorePath) -> Result<Disk, String> {
    let mut contents: Vec<(Key, Value)> = vec![
        (Key::Mbr, Value::Mbr),
        (Key::Primary, Value::Table(Rc::new(plan.table.clone()))),
        (Key::Backup, Value::Table(Rc::new(plan.table.clone()))),
    ];
    contents.extend(finished_volumes(plan));
    if plan.luks.is_some() {
        contents.push((Key::Keyslot, Value::Of(802)));
    }
    contents.push((Key::Directory, Value::Of(801)));
    for (fs, name, text) in files(plan, revision, system) {
        let making = if fs == Fs::Esp { 801 } else { 803 };
        contents.push((Key::File(fs, name), Value::Text(making, text.into())));
    }
    for (which, bytes) in finished_records(plan, revision, system)?.iter().enumerate() {
        contents.push((Key::SlotFile(which), Value::Of(801)));
        for (key, value) in sectors(which, bytes) {
            contents.extend(value.map(|value| (key, value)));
        }
    }
    Ok(Disk::new(plan.disk.clone(), contents))
}

/// The volumes of a finished install.
fn finished_volumes(plan: &Plan) -> Vec<(Key, Value)> {
    let mut contents = vec![];
    let mut volume = |region: Region, header: Header| {
        if header.kind == "ext4" {
            contents.push((Key::Copies, Value::Header(header.clone())));
        }
        let making = header.making;
        contents.push((Key::Header(region), Value::Header(header)));
        contents.push((Key::Body(region), Value::Of(making)));
    };
    let header = |kind, id: String, label: &str, making| Header {
        kind,
        id: id.into(),
        label: label.into(),
        making,
        within: 0,
    };
    let esp = header(
        "vfat",
        Volume::fat_serial_text(&plan.esp.id),
        &plan.esp.label,
        801,
    );
    volume(Region::Esp, esp);
    let root = header("ext4", plan.root.id.to_string(), &plan.root.label, 803);
    match &plan.luks {
        Some(luks) => {
            let container = header("crypto_LUKS", luks.id.to_string(), &luks.label, 802);
            volume(Region::Root, container);
            volume(Region::Inner, Header { within: 802, ..root });
        }
        None => volume(Region::Root, root),
    }
    if let Some(swap) = &plan.swap {
        volume(
            Region::Swap,
            header("swap", swap.id.to_string(), &swap.label, 804),
        );
    }
    contents
}

/// The slots of a finished install, by their places.
fn finished_records(plan: &Plan, revision: &Revision, system: &StorePath) -> Result<[Vec<u8>; 2], String> {
    let record = |sequence, parent, claim| Record {
        sequence,
        parent,
        host: plan.host.clone(),
        install: plan.install,
        nonce: plan.nonce,
        layout: plan.layout_digest.clone(),
        payload: plan.payload_digest.clone(),
        disk: plan.disk.clone(),
        revision: revision.clone(),
        claim,
        mark: Mark::Reached,
        attempts: Attempts::default(),
        boot: "finished".into(),
        last_fault: None,
        image_progress: None,
    };
    let older = record(30, None, RecordedPhase::Provisioned(system.clone()))
        .encode()
        .map_err(|e| e.to_string())?;
    let newer = record(
        31,
        Some(Record::digest_of(&older)),
        RecordedPhase::Landed(system.clone()),
    )
    .encode()
    .map_err(|e| e.to_string())?;
    Ok([older, newer])
}
