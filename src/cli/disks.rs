//! `landfall disks`: every disk, whether it may be a target, and why not. Law: prints what was found and what was decided
//! elsewhere; it chooses nothing itself.
//!
//! Absent: looking at the machine (`real::disk`).

use super::{DisksArgs, Failure, words};
use crate::event::Reporter;
use crate::exit::Exit;
use crate::real::disk;
use crate::real::stop::Stop;
use landfall_states::fault::Fault;
use landfall_states::plan::DiskIdentity;
use std::io::Write;

pub use crate::real::disk::DiskReport;

/// Looks at the machine's disks: every disk, and why none could be chosen, if none could.
fn reports() -> Result<(Vec<DiskReport>, Option<Fault>), Failure> {
    // Candidates do not depend on a configuration; the choice among them may, where there is one.
    let config = match super::config_path(&super::ConfigArgs { config: None }) {
        Ok(path) => Some(crate::config::Config::read(&path)?),
        Err(_) => None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(disk::report(
        config.as_ref(),
        &Reporter::default(),
        &Stop::never(),
    ))?)
}

/// The disk that a new install would choose.
pub(super) fn chosen() -> Result<DiskIdentity, Failure> {
    let (reports, why_not) = reports()?;
    if let Some(report) = reports.iter().find(|r| r.chosen.is_some()) {
        let DiskReport {
            wwn,
            serial,
            path,
            size_bytes,
            sector_bytes,
            ..
        } = report.clone();
        return Ok(DiskIdentity {
            path,
            wwn,
            serial,
            size_bytes,
            sector_bytes,
        });
    }
    Err(why_not
        .unwrap_or_else(|| {
            Fault::needs_change("disk", "there is none that could be chosen", "landfall disks")
        })
        .into())
}

pub(super) fn command(args: &DisksArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let DisksArgs { json } = args;
    let (reports, why_not) = reports()?;
    if *json {
        serde_json::to_writer_pretty(&mut *out, &reports).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        print(&reports, out)?;
        if let Some(fault) = why_not {
            writeln!(out, "\nno disk is chosen: {fault}\n    next: {}", fault.next)?;
        }
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
        own_use,
        candidate,
        can_be_named,
        path: _,
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
            if transport.is_empty() {
                String::new()
            } else {
                format!(", {transport}")
            },
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
        for line in own_use {
            writeln!(out, "    left by a former run: {line}")?;
        }
        match (candidate, chosen) {
            (_, Some(why)) => writeln!(out, "    chosen: {why}")?,
            (Ok(()), None) => writeln!(out, "    may be a target")?,
            (Err(reasons), None) => {
                let unless = if *can_be_named {
                    "not a target unless named"
                } else {
                    "not a target"
                };
                for reason in reasons {
                    writeln!(out, "    {unless}: {reason}")?;
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
            path: None,
            transport: "nvme".into(),
            removable: false,
            contents: vec![],
            own_use: vec![],
            candidate: Ok(()),
            can_be_named: true,
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
                can_be_named: false,
                transport: "usb".into(),
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
