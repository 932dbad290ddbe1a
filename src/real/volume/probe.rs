//! What is on a device, by `blkid`'s low-level probing.
//!
//! The parser is pure and total: any text gives an answer, and what it does not understand is never called blank. The cache
//! of `blkid` is bypassed (`-p`), and `/dev/disk/by-*` links are not used.
//!
//! The callers judge what was found.

use crate::event::Reporter;
use crate::real::process::command::Program;
use crate::real::process::stop::Stop;
use crate::real::volume::block_io::{io_fault, tool_fault};
use camino::Utf8Path;
use fs_err as fs;
use landfall_states::fault::{Fault, MachineFault, Remedy};
use landfall_states::names::quoted;
use landfall_states::{Probe, Signature};

/// `blkid(8)`: nothing was found, or the device could not be read.
const EXIT_NOTHING: i32 = 2;
/// `blkid(8)`: low-level probing found more than one signature.
const EXIT_AMBIVALENT: i32 = 8;

/// Probes a device or a file.
///
/// # Errors
/// `blkid` fails, or the device cannot be read.
pub async fn probe(device: &Utf8Path, reporter: &Reporter, stop: &Stop) -> Result<Probe, Fault> {
    // Exit code 2 also stands for "cannot be opened": that must not be taken for blank.
    readable(device)?;
    let ended = Program::that_looks("blkid")
        .args(["-p", "-o", "export", device.as_str()])
        .run(reporter, stop)
        .await?;
    let what = || format!("probe of {device}");
    match ended.code {
        Some(0) => parse(&ended.stdout).ok_or_else(|| {
            Fault::of(
                MachineFault::OutputUnknown {
                    on: what(),
                    program: "blkid".into(),
                    reason: "it reports no signature".into(),
                    line: Some(quoted(&ended.stdout)),
                },
                Remedy::words(format!(
                    "report this, with the output of blkid -p -o export {device}"
                )),
            )
        }),
        Some(EXIT_NOTHING) if ended.stdout.trim().is_empty() && ended.stderr.trim().is_empty() => {
            Ok(Probe::Blank)
        }
        Some(EXIT_AMBIVALENT) => Ok(Probe::Ambiguous(ended.tail())),
        Some(_) | None => Err(tool_fault(what(), ended.how())),
    }
}

/// Reads the first sector and the last one, as a prober would.
fn readable(device: &Utf8Path) -> Result<(), Fault> {
    use std::io::{Read, Seek, SeekFrom};
    let fault = |e: std::io::Error| io_fault(format!("read of {device}"), &e);
    let mut file = fs::File::open(device).map_err(fault)?;
    let mut sector = [0; 512];
    file.read_exact(&mut sector).map_err(fault)?;
    file.seek(SeekFrom::End(-512)).map_err(fault)?;
    file.read_exact(&mut sector).map_err(fault)
}

/// Understands the `export` format; `None` when the text says nothing that it knows.
pub fn parse(text: &str) -> Option<Probe> {
    let mut signature = Signature::default();
    let (mut table, mut usage) = (None, None);
    let (mut entry, mut strange) = (false, false);
    for line in text.lines() {
        let Some((key, value)) = pair(line) else {
            strange |= !line.trim().is_empty();
            continue;
        };
        match key {
            "TYPE" => signature.kind = value,
            "UUID" => signature.id = Some(value),
            // FAT has two labels: the entry in the root directory, which is `LABEL`, and the copy in the boot sector,
            // which is `LABEL_FATBOOT`. The first is what the system goes by.
            "LABEL" => signature.label = Some(value),
            "PTTYPE" => table = Some(value),
            "USAGE" => usage = Some(value),
            "DEVNAME" => {}
            // What the disk's partition table says of this partition; said of a blank one too.
            key if key.starts_with("PART_ENTRY_") => entry = true,
            _ => strange = true,
        }
    }
    match (signature.kind.is_empty(), table, usage) {
        (false, None, _) => Some(Probe::Found(signature)),
        // A partition table and a filesystem in one place: one of them is a leftover, and which is not for us to say.
        (false, Some(table), _) => Some(Probe::Ambiguous(format!("{} and table {table}", signature.kind))),
        (true, Some(table), _) => Some(Probe::Found(Signature {
            kind: format!("table {table}"),
            ..signature
        })),
        (true, None, Some(usage)) => Some(Probe::Found(Signature {
            kind: format!("unnamed {usage}"),
            ..signature
        })),
        (true, None, None) if entry && !strange && signature == Signature::default() => Some(Probe::Blank),
        (true, None, None) => None,
    }
}

/// A line of the format: its key, and its value as it was meant.
fn pair(line: &str) -> Option<(&str, String)> {
    line.split_once('=').map(|(key, value)| (key, unescape(value)))
}

/// Key and value of each line of the `export` format.
pub fn pairs(text: &str) -> impl Iterator<Item = (&str, String)> {
    text.lines().filter_map(pair)
}

/// Undoes the backslashes that the format puts before what a shell could trip over. The `^` and `M-` notation for
/// characters that cannot be printed stays: it is ambiguous, and no label that landfall makes has any.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        plain.push(match c {
            '\\' => chars.next().unwrap_or('\\'),
            other => other,
        });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(kind: &str, id: &str, label: Option<&str>) -> Probe {
        Probe::Found(Signature {
            kind: kind.into(),
            id: Some(id.into()),
            label: label.map(Into::into),
        })
    }

    #[test]
    fn what_the_real_tool_prints() {
        // util-linux 2.38.1 on files made by dosfstools 4.2, e2fsprogs 1.47.0, util-linux, cryptsetup 2.6.1, gdisk.
        let fat = "DEVNAME=fat.img\nLABEL_FATBOOT=ESP-WEB\nLABEL=ESP-WEB\nUUID=DEAD-BEEF\nVERSION=FAT32\nBLOCK_SIZE=512\nTYPE=vfat\nUSAGE=filesystem\n";
        assert_eq!(parse(fat), Some(found("vfat", "DEAD-BEEF", Some("ESP-WEB"))));
        let small = "DEVNAME=f\nSEC_TYPE=msdos\nLABEL_FATBOOT=X\nUUID=DEAD-BEEF\nVERSION=FAT16\nTYPE=vfat\nUSAGE=filesystem\n";
        assert_eq!(
            parse(small),
            Some(found("vfat", "DEAD-BEEF", None)),
            "the label in the boot sector alone is not the label"
        );
        let ext4 = "DEVNAME=esc.img\nLABEL=a\\ b\\\"c\\$\\\\d;M-CM-)\nUUID=6fa45515-d29b-474d-81ea-9559060eb8dc\nVERSION=1.0\nBLOCK_SIZE=1024\nTYPE=ext4\nUSAGE=filesystem\n";
        assert_eq!(
            parse(ext4),
            Some(found(
                "ext4",
                "6fa45515-d29b-474d-81ea-9559060eb8dc",
                Some("a b\"c$\\d;M-CM-)")
            ))
        );
        let gpt = "DEVNAME=pt.img\nPTUUID=1ad7bc16-fcc4-48f6-a6c1-f55025ab02c1\nPTTYPE=gpt\n";
        let Some(Probe::Found(signature)) = parse(gpt) else {
            panic!()
        };
        assert_eq!(signature.kind, "table gpt");
        assert!(matches!(
            parse("TYPE=ext4\nPTTYPE=dos\n"),
            Some(Probe::Ambiguous(_))
        ));
        assert_eq!(parse("DEVNAME=x\n"), None);
        // util-linux 2.41: a blank partition of a GPT, exit code 0.
        let entry = "DEVNAME=/dev/nvme1n1p1\nPART_ENTRY_SCHEME=gpt\nPART_ENTRY_NAME=ESP-WEB\nPART_ENTRY_UUID=5897d27d-f601-5584-9791-d866bd24efe0\nPART_ENTRY_TYPE=c12a7328-f81f-11d2-ba4b-00a0c93ec93b\nPART_ENTRY_NUMBER=1\n";
        assert_eq!(parse(entry), Some(Probe::Blank));
        assert_eq!(parse(&format!("{entry}SOMETHING=new\n")), None);
        assert_eq!(parse(&format!("{entry}UUID=x\n")), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in ".*", lines in proptest::collection::vec("[A-Z]{0,6}=?[ -~é\\\\]{0,12}", 0..8)) {
            parse(&text);
            let probe = parse(&lines.join("\n"));
            prop_assert_ne!(probe, Some(Probe::Blank));
        }

        #[test]
        fn escapes_are_undone(label in "[ -~]{1,16}") {
            let escaped: String = label.chars().flat_map(|c| ['\\', c]).collect();
            prop_assert_eq!(unescape(&escaped), label);
        }
    }
}
