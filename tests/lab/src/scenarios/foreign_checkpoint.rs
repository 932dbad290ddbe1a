//! A checkpoint is never half-used, never trusted beyond what it is, and never deleted: slots of another host, another disk,
//! a newer landfall, damaged ones.
//!
//! The install is interrupted once; every case is a copy of its disk with forged slots. Whatever the slots say, the partition
//! table and every filesystem stay unchanged.

use std::path::Path;

use anyhow::{Result, ensure};
use fs_err as fs;

use super::refuse;
use crate::command::Program;
use crate::disk;
use crate::forge::Pair;
use crate::install::{Install, say, wait_for};
use crate::kit::{Kit, Layout, Mode};

/// A case: its name, the forgery, and how the next start must end.
struct Case {
    name: &'static str,
    forge: fn(&Pair, &Path) -> Result<()>,
    end: End,
}

enum End {
    /// A stop with exit code 9 that says this.
    Stops(&'static [&'static str]),
    /// It says this and lands.
    Lands(&'static [&'static str]),
}

const STOPS: &[Case] = &[
    Case {
        name: "another host's",
        forge: |pair, image| {
            pair.rewrite(image, 1, |body| {
                body.replace("host: \"plain\"", "host: \"other\"")
            })
        },
        end: End::Stops(&["(rule 7)", "an install of host other, not of plain"]),
    },
    Case {
        name: "a newer landfall's",
        forge: |pair, image| {
            pair.rewrite(image, 3, |body| {
                body.replace("host:", "something_new: true,\n  host:")
            })
        },
        end: End::Stops(&["(rule 9)", "format version 3"]),
    },
    Case {
        name: "another layout's",
        forge: |pair, image| pair.rewrite(image, 1, |body| change_word(body, "layout: \"", &"0".repeat(64))),
        end: End::Stops(&["(rule 8)", "another layout"]),
    },
];

const LANDS: &[Case] = &[
    Case {
        name: "one of random bytes",
        forge: Pair::garble_newer,
        end: End::Lands(&["(rule 1)"]),
    },
    Case {
        name: "both torn",
        forge: Pair::tear_both,
        end: End::Lands(&["(rule 2)", "no readable checkpoint"]),
    },
];

const LANDS_TOO: &[Case] = &[
    Case {
        name: "another disk's",
        forge: |pair, image| {
            pair.rewrite(image, 1, |body| {
                body.replace("Some(\"LFTARGET\")", "Some(\"LFOTHER\")")
            })
        },
        end: End::Lands(&["(rule 6"]),
    },
    Case {
        name: "a fork",
        forge: |pair, image| {
            pair.rewrite_newer(image, |body| {
                change_word(body, "parent: Some(\"", &"0".repeat(64))
            })
        },
        end: End::Lands(&["(rule 5)"]),
    },
    Case {
        name: "one that claims too much",
        // Rule 14: what the disk does not show has not happened.
        forge: |pair, image| {
            pair.rewrite(image, 1, |body| {
                body.replace(
                    "claim: Formatted",
                    "claim: Provisioned(\"/nix/store/00000000000000000000000000000000-forged\")",
                )
            })
        },
        end: End::Lands(&["the checkpoint says Provisioned"]),
    },
];

/// What makes something, as the log shows it.
const MADE: [&str; 3] = ["Partition disk: write", "program=mkfs.vfat", "program=mkfs.ext4"];

/// Every stop, and the two losses that a power cut can cause.
pub fn foreign_checkpoint(kit: &Kit) -> Result<()> {
    cases(kit, "foreign-checkpoint", STOPS.iter().chain(LANDS))
}

/// Those that nobody's disk has by accident.
pub fn forged_checkpoint(kit: &Kit) -> Result<()> {
    cases(kit, "forged-checkpoint", LANDS_TOO.iter())
}

fn cases<'c>(kit: &Kit, name: &str, cases: impl Iterator<Item = &'c Case>) -> Result<()> {
    let mut install = Install::new(kit, name, Layout::Plain, Mode::Prebuilt)?.stay();
    let machine = install.start()?;
    let job = install.begin(&machine, "install")?;
    wait_for(&machine, "Clone configuration:")?;
    machine.cut_power()?;
    drop(job);
    let log = install.console_logs()?;
    for tool in MADE {
        ensure!(
            log.contains(tool),
            "the install does not show that it runs {tool}"
        );
    }
    let base = install.image.clone();
    let pair = Pair::read(&base)?;
    say("cut in Clone configuration; the record on the ESP:");
    say(&pair.newest().lines().map(str::trim).collect::<Vec<_>>().join(" "));

    for Case { name, forge, end } in cases {
        let image = install.spec.folder.join("case.raw");
        if image.exists() {
            fs::remove_file(&image)?;
        }
        Program::new("cp")
            .arg("--sparse=always")
            .args([&base, &image])
            .run()?;
        forge(&pair, &image)?;
        install.image = image.clone();
        install.spec.disks[0].image = image.clone();
        let forged = disk::sha256(&image)?;
        let before = (install.identity()?, made(&image)?);
        let machine = install.start()?;
        match end {
            End::Stops(parts) => {
                for verb in ["resume", "install"] {
                    refuse(&install, &machine, verb, 9, parts)?;
                }
                machine.cut_power()?;
                ensure!(disk::sha256(&image)? == forged, "{name}: the disk was written to");
            }
            End::Lands(parts) => {
                let ran = install.land(&machine, "resume")?;
                for part in *parts {
                    ensure!(
                        ran.output.contains(part),
                        "{name}: no {part:?} in:\n{}",
                        ran.output
                    );
                }
                for tool in MADE {
                    ensure!(
                        !ran.output.contains(tool),
                        "{name}: {tool} was run again:\n{}",
                        ran.output
                    );
                }
                machine.cut_power()?;
                ensure!(
                    (install.identity()?, made(&image)?) == before,
                    "{name}: table or filesystems are not what they were"
                );
                install.boot()?;
            }
        }
        say(&format!(
            "{name}: {}",
            match end {
                End::Stops(_) => "refused, not a byte written",
                End::Lands(_) => "goes on, lands and boots",
            }
        ));
    }
    Ok(())
}

/// When root's filesystem was made, in seconds since 1970 (ext4's `s_mkfs_time`): ids are derived, and a filesystem made
/// again would have the same ones.
fn made(image: &Path) -> Result<Vec<u8>> {
    let partitions = disk::partitions(image)?;
    let mut times = Vec::new();
    for partition in partitions.iter().filter(|p| p.content.kind == "ext4") {
        times.extend(disk::read_at(image, partition.start + 1024 + 0x108, 4)?);
    }
    ensure!(times.len() == 4, "no ext4 on {}", image.display());
    Ok(times)
}

/// Replaces what stands between `before` and the next quote.
fn change_word(body: &str, before: &str, word: &str) -> String {
    let Some((head, rest)) = body.split_once(before) else {
        return body.to_owned();
    };
    let tail = rest.split_once('"').map_or("", |(_, tail)| tail);
    format!("{head}{before}{word}\"{tail}")
}
