//! Errors of the programs that make, check and change what is on a disk: mkfs.*, e2fsck, tune2fs, resize2fs, mkswap,
//! swaplabel, sgdisk, wipefs, mount, cryptsetup.
//!
//! By the rules of `tool_errors`, but with words instead of whole sentences: these programs work only on the device that they
//! are given, so what they say about errors and free space is about it. They quote nothing except our own names. Of a
//! checker's line about a file, only the part before the file's name counts.
//!
//! `volume::luks` has the errors of libcryptsetup.

use super::{Places, Row, first_row, row};
use landfall_states::fault::{Cause, Ended, Fault};

/// Too little memory.
const MEMORY: &[Row] = &[row(
    Cause::Memory,
    &[
        "*out of memory*",
        "*cannot allocate memory*",
        "*memory allocation failed*",
        "*not enough available memory*",
    ],
)];

/// What the system says of the device that they are given.
const DEVICE: &[&str] = &["*"];

const MAKE: &[Row] = &[
    row(
        Cause::TargetErrors,
        &["*input/output error*", "*remote i/o error*", "*read error 5*"],
    ),
    row(
        // They do not say why.
        Cause::InputOutput,
        &[
            "*failed whilst writing*",
            "*failed whilst reading*",
            "*unable to erase bootbits*",
            "*an error was reported when writing the partition table*",
            "*short write*",
            "*device wipe error*",
            "*cannot wipe header*",
            "*attempt to write block*",
        ],
    ),
    row(
        Cause::TargetReadOnly,
        &[
            "*read-only file system*",
            "*operation not permitted*",
            "*is read-only*",
            "*write protected*",
        ],
    ),
    row(
        Cause::Mounted,
        &[
            "*is mounted*",
            "*contains a mounted filesystem*",
            "*is apparently in use*",
            "*cannot continue, aborting*",
            "*already mounted*",
            "*device in use*",
            "*currently used*",
            "*is in use*",
        ],
    ),
    row(
        Cause::Busy,
        &[
            "*device or resource busy*",
            "*target is busy*",
            "*already in use*",
        ],
    ),
    row(
        Cause::TargetGone,
        &[
            "*no such device or address*",
            "*no such device*",
            "*/dev/* does not exist*",
            "*cannot open /dev/*: no such file*",
            "*unable to open /dev/*: no such file*",
            "*/dev/*: unable to probe device: no such file*",
            "*/dev/*: probing initialization failed: no such file*",
            "*no such file or directory while trying to open /dev*",
            "*problem opening /dev/*",
            "*file does not exist*",
        ],
    ),
    row(
        Cause::TooSmall,
        &[
            "*not enough space to build proposed filesystem*",
            "*too few blocks for viable filesystem*",
            "*swap area needs to be at least*",
            "*filesystem too small*",
            "*device is too small*",
            "*is too small for activation*",
            "*disk is too small*",
            "*new size smaller than minimum*",
            "*device size reported to be zero*",
            "*size is too small*",
            "*could not create partition*",
        ],
    ),
    row(Cause::NoRoom, &["*no space left*", "*disk quota exceeded*"]),
    row(
        Cause::Passphrase,
        &[
            "*no key available with this passphrase*",
            "*no usable keyslot is available*",
        ],
    ),
    row(
        Cause::KernelLacks,
        &[
            "*cannot initialize device-mapper*",
            "*unknown filesystem type*",
            "*kernel does not support*",
            "*requested cipher*not supported*",
            "*no such device-mapper*",
            "*check that kernel supports*",
        ],
    ),
    row(
        Cause::ToolTooOld,
        &[
            "*has unsupported feature(s)*",
            "*has unsupported read-only feature(s)*",
            "*filesystem revision too high*",
            "*get a newer version of *",
        ],
    ),
    row(
        Cause::Damaged,
        &[
            "*is corrupt, and you might try running e2fsck with an alternate superblock*",
            "*superblock checksum does not match superblock*",
            "*the superblock or the partition table is likely to be corrupt*",
            "*failed to read sector *",
            "*logical sector size (*",
            "*currently, only 1 or 2 fats are supported*",
            "*bad fat32 root directory*",
            "*has no space for any data clusters*",
            "*too many clusters (*",
            "*bad magic number*",
            "*short read*",
            "*superblock is corrupt*",
            "*superblock has an invalid*",
            "*couldn't find valid filesystem superblock*",
            "*please run 'e2fsck*",
            "*run e2fsck*",
            "*is not a valid luks device*",
            "*not a valid swap partition*",
            "*appears to have holes*",
            "*logical sector size is zero*",
            "*got * bytes instead of*",
            "*unexpected inconsistency*",
            "*e2fsck: aborted*",
            "*wrong fs type*",
            "*is not a block device*",
            "*filesystem has errors*",
            "*filesystem still has errors*",
            "*was not cleanly unmounted*",
        ],
    ),
    row(
        Cause::Misused,
        &[
            "*invalid filesystem option*",
            "*=<*",
            "*bad option*",
            "*could not parse uuid*",
            "*parsing uuid failed*",
            "*label can be no longer*",
            "*usage:*",
            "*invalid option*",
            "*unrecognized option*",
            "*unknown option*",
            "*mount point does not exist*",
            "*not mounted*",
            "*failed to open key file*",
            "*failed to read key file*",
        ],
    ),
];

/// What of a line is the program's own. A checker tells of files by their names, which may be any words: what stands behind the beginning of
/// a name counts for nothing, for nobody knows where the name ends.
fn own<'l>(program: &str, line: &'l str) -> &'l str {
    if !matches!(program, "e2fsck" | "fsck.fat" | "fsck.vfat") {
        return line;
    }
    // What it says of itself and of the device, in the form of com_err(3).
    if line.starts_with("e2fsck: ") || line.starts_with("fsck.fat: ") {
        return line;
    }
    // What it says of the device stands behind its name; so does, when it repairs by itself, what it says of a file.
    let line = match line.split_once(' ') {
        Some((device, said)) if device.starts_with("/dev/") => match said {
            "is mounted." | "is in use." => return line,
            said if said.starts_with("has unsupported feature(s): ") => return line,
            _ if device.ends_with(':') => said,
            _ => "",
        },
        _ => line,
    };
    if line.starts_with("Bad short file name (") {
        return "";
    }
    let begins_a_name = |(at, c): (usize, char)| match c {
        '\'' | '"' => true,
        '/' => line[..at]
            .chars()
            .next_back()
            .is_none_or(|before| " (\t".contains(before)),
        _ => false,
    };
    let end = line.char_indices().find(|found| begins_a_name(*found));
    line[..end.map_or(line.len(), |(at, _)| at)].trim_end()
}

/// The fault that a failed tool stands for. `said`: everything that it printed.
pub fn make(what: &str, how: Ended, said: &str, places: Places<'_>) -> Fault {
    let whole: Vec<&str> = said
        .lines()
        .map(str::trim)
        .filter(|line| !own(&how.program, line).is_empty())
        .collect();
    let lines: Vec<&str> = whole.iter().map(|line| own(&how.program, line)).collect();
    let found = first_row(&[MEMORY, MAKE], &lines).or_else(|| places.devices(&lines, DEVICE));
    // It is told as it was printed.
    let found = found.map(|(cause, line)| {
        let printed = whole.iter().rfind(|printed| own(&how.program, printed) == line);
        (cause, printed.copied().unwrap_or(line))
    });
    // Exit codes say more than the words of these: e2fsck(8), fsck.fat(8), cryptsetup(8).
    let by_code = match (how.program.as_str(), how.code) {
        ("e2fsck", Some(code)) if code & 0b100 != 0 => Some(Cause::Damaged),
        ("fsck.fat" | "fsck.vfat", Some(1)) => Some(Cause::Damaged),
        ("cryptsetup", Some(2)) => Some(Cause::Passphrase),
        ("cryptsetup", Some(3)) => Some(Cause::Memory),
        ("cryptsetup", Some(4)) => Some(Cause::TargetGone),
        ("cryptsetup", Some(5)) => Some(Cause::Busy),
        _ => None,
    };
    let last = whole
        .last()
        .copied()
        .or_else(|| said.lines().rfind(|line| !line.trim().is_empty()));
    let found = found.or_else(|| by_code.map(|cause| (cause, last.unwrap_or_default())));
    super::fault(what, how, found, last)
}
