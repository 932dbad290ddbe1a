//! Endings of `nixos-install`, of `nixos-enter`, and of what they run in the target: the activation, `switch-to-configuration`, the
//! installers of boot loaders, `bootctl`. Law: as `endings`. All of them write to the same two streams, and so does every activation script; so
//! only sentences of a known form count, and the last of them, because an activation that failed is passed over by `nixos-enter`.
//!
//! Absent: which parts of an activation failed (`activation`).

use super::shared::MEMORY;
use super::{Places, Row, last_line, nix, row};
use landfall_states::fault::{Cause, Ended, Fault};

/// Sentences that name their cause.
const EXACT: &[Row] = &[
    row(
        Cause::FirmwareFull,
        &[
            "efi boot variable entry: no space left on device",
            "efi variable*: no space left on device",
            "could not prepare boot variable: no space left on device",
            "^efivar*no space left on device",
            "failed to register the efi boot entry: no space left on device",
        ],
    ),
    row(
        Cause::FirmwareClosed,
        &[
            "efi boot variable entry: no such file or directory",
            "efi boot variable entry: read-only file system",
            "efi variable*: read-only file system",
            "efi variable*: no such file or directory",
            "efi variables are not supported on this system",
            "not booted with uefi",
            "not booted with efi",
            "failed to access efi variables",
            "efivars: *operation not permitted",
        ],
    ),
    row(
        Cause::FirmwareErrors,
        &[
            "efi boot variable entry: ",
            "failed to write '*' efi variable",
            "failed to set * efi variable",
            "failed to update efi variable",
            "failed to register the efi boot entry",
            "could not prepare boot variable: ",
            "efivarfs*input/output error",
        ],
    ),
    row(
        Cause::EspUnfit,
        &[
            "is not a fat efi system partition",
            "couldn't find efi system partition",
            "has wrong type for an efi system partition",
            "is not located on a partitioned block device",
            "is not the root of the file system",
            "unable to determine * of efi system partition",
            "^failed to open file system \"/dev",
            "^failed to resolve path /",
            "is not a mount point",
            "is not an efi system partition",
            "efi system partition*not be found",
            "since it's owned by another boot loader",
            "efisysmountpoint = '*' is not a mounted partition",
        ],
    ),
    row(
        Cause::Architecture,
        &[
            "^chroot: *exec format error",
            "cannot execute binary file: exec format error",
            "^/nix/store/*: exec format error",
        ],
    ),
    row(
        Cause::ProgramMissing,
        &[
            "^chroot: failed to run command *no such file or directory",
            "^/nix/store/*: line *: command not found",
            "^nixos-install: *: command not found",
            "^nixos-enter: *: command not found",
            "/nixos-install: line *: *: command not found",
            "/nixos-enter: line *: *: command not found",
            "filenotfounderror: [errno 2] no such file or directory: '/nix/store/*/bin/",
        ],
    ),
    row(
        Cause::NoRoom,
        &[
            "^oserror: [errno 28]",
            "^error writing \"/boot*no space left on device",
            "^failed to copy*to \"/boot*no space left",
        ],
    ),
    row(
        Cause::TargetErrors,
        &[
            "^oserror: [errno 5] input/output error: '/boot",
            "^oserror: [errno 5] input/output error: '/nix",
        ],
    ),
    row(Cause::TargetReadOnly, &["^oserror: [errno 30]"]),
    row(
        Cause::SecretMissing,
        &[
            "/bin/sops-install-secrets: ",
            "^sops-install-secrets: failed",
            "cannot read keyfile",
            "cannot read key file",
            "cannot read ssh key",
            "error getting data key",
            "^age: error: ",
            "^[agenix] warning: ",
            "no identity matched any of the recipients",
            "failed to append initrd secrets",
            "failed to create initrd secrets",
            "^append-initrd-secrets",
            "the following path is missing*secret",
        ],
    ),
    row(
        Cause::Restricted,
        &[
            "cannot find mount point for",
            "^nixos-install: unknown option",
            "^nixos-enter: unknown option",
        ],
    ),
    row(
        Cause::Busy,
        &["target is busy", "device or resource busy", "text file busy"],
    ),
    row(
        Cause::KernelLacks,
        &[
            "^unshare: unshare failed",
            "^mount: *unknown filesystem type",
            "^mount: *permission denied",
        ],
    ),
    row(
        Cause::EspUnfit,
        &["^mount: *mount point does not exist", "^mount: *does not exist"],
    ),
    row(
        Cause::LoaderInstaller,
        &[
            "failed to get machine id",
            "failed to get machine did",
            "machine-id*",
        ],
    ),
];

/// Sentences that say what failed, and not why.
const GENERAL: &[Row] = &[
    row(
        Cause::LoaderInstaller,
        &[
            "^subprocess.calledprocesserror: ",
            "^failed to install bootloader",
            "^fileexistserror: ",
            "^filenotfounderror: ",
            "^permissionerror: ",
            "^keyerror: ",
            "^oserror: ",
            "^systemexit",
            "^bootctl: ",
            "^/boot/grub",
            "^grub-install: error",
            "grub-install*failed",
            "^failed to open*: ",
            "^failed to ",
        ],
    ),
    row(
        Cause::Activation,
        &[
            "^activation script snippet '*' failed",
            "^failed to run activate script",
            "^error: failed to run activate script",
            "^error: activation script failed",
        ],
    ),
];

/// What is said behind whatever failed.
const LAST: &[Row] = &[row(
    Cause::Activation,
    &["^warning: error(s) occurred while switching to the new configuration"],
)];

/// A sentence of Nix's own.
fn is_nix(line: &str) -> bool {
    line.starts_with("error: ") || line.starts_with("error:\n")
}

/// The fault that a failed `nixos-install` or `nixos-enter` stands for. `said`: everything that it printed.
pub fn install(what: &str, how: Ended, said: &str, places: Places<'_>) -> Fault {
    let lines: Vec<&str> = said
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let of_nix: Vec<&str> = lines.iter().copied().filter(|line| is_nix(line)).collect();
    let known = last_line(&[EXACT], &lines);
    if how.code.is_some() && known.is_none() && !of_nix.is_empty() {
        let fault = nix::nix_plain(what, how.clone(), said, places);
        if fault.ending_mark().is_none() {
            return fault;
        }
    }
    let memory = last_line(&[MEMORY], &of_nix);
    let found = known
        .or(memory)
        .or_else(|| last_line(&[GENERAL], &lines))
        .or_else(|| last_line(&[LAST], &lines));
    super::fault(what, how, found, lines.last().copied())
}
