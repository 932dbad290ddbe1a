//! `landfall disks`: every disk, whether it may be a target, and why not. Law: prints what was found and what was decided
//! elsewhere; it chooses nothing itself.
//!
//! Absent: looking at the machine (`real::disk`).

use super::{DisksArgs, Failure, words};
use crate::exit::Exit;
use landfall_states::fault::Fault;
use landfall_states::plan::DiskIdentity;
use serde::{Deserialize, Serialize};
use std::io::Write;

/// What is said of one disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskReport {
    /// Kernel name now, such as `/dev/vda`.
    pub device: String,
    /// Model.
    pub model: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// World Wide Name.
    pub wwn: Option<String>,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Logical sector size in bytes.
    pub sector_bytes: u32,
    /// `nvme`, `sata`, `usb`, …
    pub transport: Option<String>,
    /// Whether the kernel calls it removable.
    pub removable: bool,
    /// What is on it, one line each.
    pub contents: Vec<String>,
    /// Whether it may be a target, or every reason why not.
    pub candidate: Result<(), Vec<String>>,
    /// Why an install would choose it, if it would.
    pub chosen: Option<String>,
}

/// Looks at the machine's disks.
fn reports() -> Result<Vec<DiskReport>, Fault> {
    Err(not_wired())
}

/// The disk that a new install would choose.
pub(super) fn chosen() -> Result<DiskIdentity, Fault> {
    Err(not_wired())
}

fn not_wired() -> Fault {
    Fault::permanent(
        "disks",
        "this build cannot look at disks yet",
        "describe the disk: landfall plan --disk-size SIZE --disk-serial SERIAL",
    )
}

pub(super) fn command(args: &DisksArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let DisksArgs { json } = args;
    let reports = reports()?;
    if *json {
        serde_json::to_writer_pretty(&mut *out, &reports).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        print(&reports, out)?;
    }
    Ok(Exit::Ok)
}

/// For people: one block per disk.
pub fn print(reports: &[DiskReport], out: &mut dyn Write) -> std::io::Result<()> {
    if reports.is_empty() {
        return writeln!(out, "no disks");
    }
    for DiskReport {
        device,
        model,
        serial,
        wwn,
        size_bytes,
        sector_bytes,
        transport,
        removable,
        contents,
        candidate,
        chosen,
    } in reports
    {
        let mark = match (chosen, candidate) {
            (Some(_), _) => "→",
            (None, Ok(())) => " ",
            (None, Err(_)) => "✗",
        };
        writeln!(
            out,
            "{mark} {device}  {} ({size_bytes} bytes, sectors of {sector_bytes}){}{}",
            words::bytes(*size_bytes),
            transport.as_ref().map_or(String::new(), |t| format!(", {t}")),
            if *removable { ", removable" } else { "" },
        )?;
        let known = |name: &str, value: &Option<String>| match value {
            Some(value) => format!("{name} {value}"),
            None => format!("no {name}"),
        };
        writeln!(
            out,
            "    {}, {}, {}",
            known("model", model),
            known("serial", serial),
            known("wwn", wwn)
        )?;
        for line in contents {
            writeln!(out, "    holds: {line}")?;
        }
        match (candidate, chosen) {
            (_, Some(why)) => writeln!(out, "    chosen: {why}")?,
            (Ok(()), None) => writeln!(out, "    may be a target")?,
            (Err(reasons), None) => {
                for reason in reasons {
                    writeln!(out, "    not a target: {reason}")?;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(device: &str) -> DiskReport {
        DiskReport {
            device: device.into(),
            model: Some("QEMU NVMe".into()),
            serial: Some("LF0001".into()),
            wwn: None,
            size_bytes: 8 << 30,
            sector_bytes: 512,
            transport: Some("nvme".into()),
            removable: false,
            contents: vec![],
            candidate: Ok(()),
            chosen: None,
        }
    }

    #[test]
    fn every_disk_says_why() {
        let mut text = Vec::new();
        let reports = [
            DiskReport {
                chosen: Some("behind the firmware's first boot entry".into()),
                contents: vec!["GPT, 2 partitions".into()],
                ..report("/dev/nvme0n1")
            },
            DiskReport {
                candidate: Err(vec!["removable".into(), "it is the boot medium (/iso)".into()]),
                removable: true,
                transport: Some("usb".into()),
                serial: None,
                ..report("/dev/sda")
            },
        ];
        print(&reports, &mut text).unwrap();
        expect_test::expect![[r#"
            → /dev/nvme0n1  8.0 GiB (8589934592 bytes, sectors of 512), nvme
                model QEMU NVMe, serial LF0001, no wwn
                holds: GPT, 2 partitions
                chosen: behind the firmware's first boot entry
            ✗ /dev/sda  8.0 GiB (8589934592 bytes, sectors of 512), usb, removable
                model QEMU NVMe, no serial, no wwn
                not a target: removable
                not a target: it is the boot medium (/iso)
        "#]]
        .assert_eq(&String::from_utf8(text).unwrap());
    }
}
