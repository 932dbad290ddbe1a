//! `landfall disks`: lists every disk, whether it can be a target, and why not.
//!
//! It prints what `real::disk` found and decided, and chooses nothing itself.

use super::{CONFIG_FILES, DisksArgs, Failure, words};
use crate::config::{Config, Overrides};
use crate::event::Reporter;
use crate::exit::Exit;
use crate::real::disk;
use crate::real::process::stop::Stop;
use camino::Utf8PathBuf;
use landfall_states::fault::{Fault, Kind, Remedy};
use landfall_states::plan::DiskIdentity;
use std::io::Write;

pub use crate::real::disk::DiskReport;

/// The configuration that the choice obeys, where there is one: candidates do not depend on it, the choice among them may.
/// A file that is not there was not asked for; one that is there and wrong is an error, like everywhere.
fn configuration(files: &[Utf8PathBuf], overrides: &Overrides) -> Result<Option<Config>, Failure> {
    match super::first_of(files)? {
        Some(path) => Ok(Some(Config::read_with(&path, overrides)?)),
        None => Ok(None),
    }
}

/// Looks at the machine's disks: every disk, and why none could be chosen, if none could.
fn reports(
    config: Option<&Config>,
    overrides: &Overrides,
) -> Result<(Vec<DiskReport>, Option<Fault>), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(disk::report(
        config,
        overrides.install_disk.as_deref(),
        &Reporter::default(),
        &Stop::never(),
    ))?)
}

/// The disk that a new install by this configuration would choose.
pub(super) fn chosen(config: &Config, overrides: &Overrides) -> Result<DiskIdentity, Failure> {
    let (reports, why_not) = reports(Some(config), overrides)?;
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
            Fault::of(
                Kind::NoChoice {
                    reason: "no disk can be chosen".into(),
                    disks: vec![],
                },
                Remedy::Command("landfall disks".into()),
            )
        })
        .into())
}

pub(super) fn command(args: &DisksArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let DisksArgs { json } = args;
    let overrides = Overrides::from_environment()?;
    let config = configuration(&CONFIG_FILES.map(Utf8PathBuf::from), &overrides)?;
    let (reports, why_not) = reports(config.as_ref(), &overrides)?;
    if *json {
        serde_json::to_writer_pretty(&mut *out, &reports).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        let out = &mut words::ShownLines::on(out);
        print(&reports, out)?;
        if let Some(fault) = why_not {
            // The list of disks stands above already, and so does what the choice is of.
            let (why, _) = fault.reasons();
            let of_what = match &*fault.kind {
                Kind::NoChoice { .. } => String::new(),
                _ => format!("{}: ", fault.what()),
            };
            writeln!(
                out,
                "\nno disk is chosen: {of_what}{why}\n    next: {}",
                fault.next()
            )?;
        }
    }
    Ok(Exit::Ok)
}

/// The unit, where the number is that of a device of several.
fn unit(path: Option<&str>) -> Option<&str> {
    path?.strip_prefix("lun ")
}

/// For people: one block per disk.
///
/// # Errors
/// What `out` says when it takes no text.
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
        path,
        name,
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
            "{mark} {device}  {} ({size_bytes} bytes, {sector_bytes}-byte sectors){}{}",
            words::bytes(*size_bytes),
            if transport.is_empty() {
                String::new()
            } else {
                format!(", {transport}")
            },
            if *removable { ", removable" } else { "" },
        )?;
        writeln!(
            out,
            "    {}, {}, {}{}",
            words::known("model", model),
            words::known("serial", serial),
            words::known("WWN", wwn),
            unit(path.as_deref()).map_or(String::new(), |unit| format!(", unit {unit}"))
        )?;
        if let Some(name) = name {
            writeln!(out, "    name to use: {name}")?;
        }
        for line in contents {
            writeln!(out, "    holds: {line}")?;
        }
        for line in own_use {
            writeln!(out, "    left attached by an earlier run: {line}")?;
        }
        match (candidate, chosen) {
            (_, Some(why)) => writeln!(out, "    chosen: {why}")?,
            (Ok(()), None) => writeln!(out, "    can be a target")?,
            (Err(reasons), None) => {
                let unless = if *can_be_named {
                    "not a target unless you name it"
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
            name: Some("LF0001".into()),
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
    fn an_absent_configuration_is_none_and_a_broken_one_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| Utf8PathBuf::from_path_buf(dir.path().join(name)).unwrap();
        let (absent, broken, good) = (file("absent.json"), file("broken.ron"), file("good.ron"));
        let remote = |name: &str| (name == "REPO_REMOTE").then(|| "https://forge.example/mine".into());
        let overrides = Overrides::from_variables(remote).unwrap();
        assert!(
            configuration(std::slice::from_ref(&absent), &overrides)
                .unwrap()
                .is_none()
        );

        fs_err::write(
            &broken,
            "(\n    host: \"web\",\n    labels: (efi: \"esp\", root: \"r\"),\n",
        )
        .unwrap();
        let failure = configuration(&[absent.clone(), broken.clone()], &overrides).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.text.contains(&format!("{broken}:3:")), "{}", failure.text);

        let text = r#"(host: "web", labels: (efi: "ESP-WEB", root: "root-web"), system: Flake,
            repository: (remote: "https://forge.example/theirs"))"#;
        fs_err::write(&good, text).unwrap();
        let config = configuration(&[absent, good], &overrides).unwrap().unwrap();
        assert_eq!(
            config.repository.remote, overrides.repo_remote,
            "the environment replaces it"
        );
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
                name: None,
                ..report("/dev/sda")
            },
        ];
        print(&reports, &mut text).unwrap();
        expect_test::expect![[r#"
            → /dev/nvme0n1  8.0 GiB (8589934592 bytes, 512-byte sectors), nvme
                model QEMU NVMe, serial LF0001, no WWN
                name to use: LF0001
                holds: GPT, 2 partitions
                chosen: behind the firmware's first boot entry
            ✗ /dev/sda  8.0 GiB (8589934592 bytes, 512-byte sectors), usb, removable
                model QEMU NVMe, no serial, no WWN
                not a target: removable
                not a target: it is the boot medium (/iso)
        "#]]
        .assert_eq(&String::from_utf8(text).unwrap());
    }
}
