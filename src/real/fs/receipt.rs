//! Landing: the receipt and the log on the target.
//!
//! They are written and read back before anything is detached. The devices are flushed after the last detaching, and the
//! final look reads from the devices.
//!
//! The driver saves the claim that the install landed, after this. landfall does not power off.

use crate::real::fs::target_root::io_fault;
use crate::real::fs::target_root::{self, Root};
use crate::safe_open::{self, Links, Refused};
use camino::Utf8Path;
use landfall_states::actions::land::Receipt;
use landfall_states::fault::Fault;
use landfall_states::plan::{Plan, Volume};
use serde::{Deserialize, Serialize};
use std::io::Read;

/// Where both are kept, on the target.
pub const KEPT_DIR: &str = "var/log/landfall";
/// The receipt's name there.
pub const RECEIPT_NAME: &str = "receipt.ron";
/// The log's name there.
pub const LOG_NAME: &str = "install.jsonl";
/// The log of this boot, below `RUN_DIR`: one event a line.
pub const RUN_LOG_NAME: &str = "log.jsonl";
/// Most of a log that is kept on the target: its end.
const LOG_BYTES_MAX: u64 = 64 << 20;
/// Longest receipt.
const RECEIPT_BYTES_MAX: u64 = 1 << 20;

/// The receipt: what was installed, as a person or a program may want to know years later. Fields are only ever added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Receipt")]
pub struct FullReceipt {
    /// landfall's version.
    #[serde(rename = "landfall")]
    pub landfall: String,
    /// The host.
    #[serde(rename = "host")]
    pub host: String,
    /// The install.
    #[serde(rename = "install")]
    pub install: String,
    /// The disk.
    #[serde(rename = "disk")]
    pub disk: String,
    /// Where the configuration came from.
    #[serde(rename = "repository")]
    pub repository: String,
    /// Its revision.
    #[serde(rename = "revision")]
    pub revision: String,
    /// The system.
    #[serde(rename = "system")]
    pub system: String,
    /// Partitions and volumes: what, label, id.
    #[serde(rename = "volumes")]
    pub volumes: Vec<(String, String, String)>,
    /// When this boot's log began, in seconds since 1970 by the machine's clock, if that is known.
    #[serde(rename = "started_unix_s")]
    pub started_unix_s: Option<u64>,
    /// When the receipt was written, likewise.
    #[serde(rename = "ended_unix_s")]
    pub ended_unix_s: u64,
    /// What each phase that this boot reached took, in milliseconds.
    #[serde(rename = "phases")]
    pub phases: Vec<(String, u64)>,
    /// Parts of the system's activation that failed while it was installed.
    #[serde(rename = "activation_failures")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub activation_failures: Vec<String>,
}

/// The receipt's text. A line for people comes first.
///
/// # Errors
/// What the serialiser says.
pub fn write_receipt(receipt: &FullReceipt) -> Result<String, Fault> {
    let pretty = ron::ser::PrettyConfig::new().struct_names(true);
    let body =
        ron::ser::to_string_pretty(receipt, pretty).map_err(|e| Fault::defect("receipt", e.to_string()))?;
    Ok(format!(
        "// What landfall installed here. Nothing reads this but people and landfall.\n{body}\n"
    ))
}

/// What landing wants to know of a receipt; `None` when the text is none.
pub fn read_receipt(text: &str) -> Option<Receipt> {
    // Only these two are asked for, so that a receipt of an older or newer landfall is still one.
    #[derive(Deserialize)]
    #[serde(rename = "Receipt")]
    struct Asked {
        install: String,
        system: String,
    }
    match ron::from_str::<Asked>(text) {
        Ok(Asked { install, system }) => Some(Receipt { install, system }),
        Err(error) => {
            tracing::warn!(%error, "the receipt is not understood");
            None
        }
    }
}

/// Durations of the phases in a log of events, one JSON object a line. Lines that say nothing of it are skipped.
pub fn timings(log: &str) -> Vec<(String, u64)> {
    #[derive(Deserialize)]
    struct Line {
        event: String,
        phase: Option<String>,
        took_ms: Option<u64>,
    }
    log.lines()
        .filter(|line| line.contains("\"reached\""))
        .filter_map(|line| match serde_json::from_str(line) {
            Ok(Line {
                event,
                phase: Some(phase),
                took_ms: Some(took_ms),
            }) if event == "reached" => Some((phase, took_ms)),
            Ok(Line { .. }) => None,
            Err(error) => {
                tracing::debug!(%error, "a line of the log is not an event");
                None
            }
        })
        .collect()
}

pub(crate) fn volumes(plan: &Plan) -> Vec<(String, String, String)> {
    let mut list = vec![
        (
            "disk GUID".to_owned(),
            String::new(),
            plan.table.disk_guid.to_string(),
        ),
        (
            "esp".to_owned(),
            plan.esp.label.clone(),
            Volume::fat_serial_text(&plan.esp.id),
        ),
    ];
    let named = [
        ("luks", plan.luks.as_ref()),
        ("root", Some(&plan.root)),
        ("swap", plan.swap.as_ref()),
    ];
    for (what, volume) in named {
        if let Some(volume) = volume {
            list.push((what.to_owned(), volume.label.clone(), volume.id.to_string()));
        }
    }
    for entry in &plan.table.entries {
        list.push((
            format!("partition {}", entry.number),
            entry.name.clone(),
            entry.partuuid.to_string(),
        ));
    }
    list
}

pub(crate) fn unix_s(time: std::time::SystemTime) -> u64 {
    // A clock before 1970 is wrong anyway.
    time.duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

/// Puts a file in its place below [`KEPT_DIR`]: beside it, flushed, renamed, directory flushed, re-read.
///
/// # Errors
/// The target cannot be written, or what is read back differs.
pub fn keep(root: &Root, name: &str, mode: u32, bytes: &[u8]) -> Result<(), Fault> {
    let path = format!("{KEPT_DIR}/{name}");
    let access = target_root::Access {
        mode,
        uid: nix::unistd::geteuid().as_raw(),
        gid: nix::unistd::getegid().as_raw(),
    };
    target_root::write(root, &path, bytes, access)?;
    // What the kernel still has in memory proves nothing.
    let mut back = vec![];
    if let Some(file) = target_root::open_file(root, &path)? {
        target_root::forget(&file)?;
        file.take(bytes.len() as u64 + 1)
            .read_to_end(&mut back)
            .map_err(|e| io_fault(format!("{path} on the target"), &e))?;
    }
    if back == bytes {
        Ok(())
    } else {
        Err(Fault::read_back(
            format!("{path} on the target"),
            "read-back differs from what was written",
        ))
    }
}

/// The log of this boot; its end when it is very long. Nothing logged is an empty log.
///
/// # Errors
/// The log cannot be read.
pub fn run_log(path: &Utf8Path) -> Result<(Vec<u8>, Option<u64>), Fault> {
    let io = |e: std::io::Error| io_fault(format!("log {path}"), &e);
    let mut file = match safe_open::open(path, Links::Refuse) {
        Ok(file) => file,
        Err(Refused::Absent) => return Ok((vec![], None)),
        Err(refused) => return Err(refused.fault(format!("log {path}"))),
    };
    let meta = file.metadata().map_err(io)?;
    // Not every filesystem remembers a birth; then the receipt says nothing of a beginning.
    let started = meta.created().map(unix_s).ok();
    if meta.len() > LOG_BYTES_MAX {
        use std::io::{Seek, SeekFrom};
        file.seek(SeekFrom::Start(meta.len() - LOG_BYTES_MAX))
            .map_err(io)?;
    }
    let mut bytes = vec![];
    file.take(LOG_BYTES_MAX).read_to_end(&mut bytes).map_err(io)?;
    Ok((bytes, started))
}

/// Receipt and log below a mounted root.
///
/// # Errors
/// The target cannot be read.
pub fn kept(root: &Root) -> Result<(Option<Receipt>, bool), Fault> {
    let path = format!("{KEPT_DIR}/{RECEIPT_NAME}");
    let receipt = match target_root::open_file(root, &path)? {
        None => None,
        Some(file) => {
            let mut bytes = vec![];
            file.take(RECEIPT_BYTES_MAX)
                .read_to_end(&mut bytes)
                .map_err(|e| io_fault(format!("{path} on the target"), &e))?;
            read_receipt(&String::from_utf8_lossy(&bytes))
        }
    };
    let log = target_root::open_file(root, &format!("{KEPT_DIR}/{LOG_NAME}"))?.is_some();
    Ok((receipt, log))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fs_err as fs;
    use proptest::prelude::*;

    fn receipt() -> FullReceipt {
        FullReceipt {
            landfall: "0.1.0".into(),
            host: "web".into(),
            install: "6c616e64-6661-4c6c-8000-6e69786f7321".into(),
            disk: "serial x".into(),
            repository: "https://forge.example/o/r".into(),
            revision: "a".repeat(40),
            system: "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-x".into(),
            volumes: vec![("esp".into(), "ESP".into(), "DEAD-BEEF".into())],
            started_unix_s: Some(1),
            ended_unix_s: 2,
            phases: vec![("Partitioned".into(), 12)],
            activation_failures: vec!["users".into()],
        }
    }

    #[test]
    fn a_receipt_is_read_back() {
        let text = write_receipt(&receipt()).unwrap();
        let read = read_receipt(&text).unwrap();
        assert_eq!(read.install, receipt().install);
        assert_eq!(read.system, receipt().system);
        assert_eq!(ron::from_str::<FullReceipt>(&text).unwrap(), receipt());
        assert_eq!(read_receipt("Receipt("), None);
        // One of a landfall that did not know of failed activations.
        let older = text.replace("    activation_failures: [\n        \"users\",\n    ],\n", "");
        assert_ne!(older, text);
        let older: FullReceipt = ron::from_str(&older).unwrap();
        assert_eq!(older.activation_failures, [] as [String; 0]);
    }

    #[test]
    fn timings_come_from_the_log() {
        let log = "{\"event\":\"reached\",\"phase\":\"Anchored\",\"took_ms\":7}\nnoise \"reached\"\n{\"event\":\"step\",\"what\":\"reached\"}\n";
        assert_eq!(timings(log), [("Anchored".to_owned(), 7)]);
    }

    #[test]
    fn both_are_kept_with_their_modes() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let root = Root::at(camino::Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap());
        assert_eq!(kept(&root).unwrap(), (None, false));
        for _ in 0..2 {
            keep(
                &root,
                RECEIPT_NAME,
                0o644,
                write_receipt(&receipt()).unwrap().as_bytes(),
            )
            .unwrap();
            keep(&root, LOG_NAME, 0o600, b"{}\n").unwrap();
        }
        let (found, log) = kept(&root).unwrap();
        assert!(found.is_some() && log);
        let mode = |name: &str| {
            fs::metadata(root.join(KEPT_DIR).join(name))
                .unwrap()
                .permissions()
                .mode()
                & 0o777
        };
        assert_eq!(mode(LOG_NAME), 0o600);
    }

    #[test]
    fn a_link_in_the_way_is_followed_inside_the_target_or_refused_by_name() {
        let outside = tempfile::tempdir().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let root = Root::at(camino::Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap());
        // What it leads to is there in the running system, and not yet on the target.
        fs::os::unix::fs::symlink(outside.path(), root.join("var")).unwrap();
        keep(&root, LOG_NAME, 0o600, b"{}\n").unwrap();
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        assert!(kept(&root).unwrap().1);
        fs::remove_file(root.join("var")).unwrap();
        fs::os::unix::fs::symlink("var", root.join("var")).unwrap();
        let fault = keep(&root, LOG_NAME, 0o600, b"{}\n").unwrap_err();
        assert!(
            fault
                .to_string()
                .contains("/var on the target: it is a link to var"),
            "{fault}"
        );
    }

    proptest! {
        #[test]
        fn any_receipt_and_log_are_read_without_panic(text in ".*") {
            read_receipt(&text);
            timings(&text);
        }
    }
}
