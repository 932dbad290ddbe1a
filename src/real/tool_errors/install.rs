//! Errors of `nixos-install`, of `nixos-enter`, and of what they run in the target: the activation,
//! `switch-to-configuration`, the installers of boot loaders, `bootctl`.
//!
//! By the rules of `tool_errors`. All of them write to the same two streams, and so does every activation script and hook. So
//! only whole sentences of a known form count, and of these the last one, because `nixos-enter` ignores an activation that
//! failed. Nix itself prints before the activation begins; once it has begun, Nix has done its part.
//!
//! `boot::activation` says which parts of an activation failed.

use super::{Places, Row, is_any, last_line, nix, row};
use landfall_states::fault::{Cause, Ended, Fault, Remedy};

/// Sentences that name their cause.
const EXACT: &[Row] = &[
    row(
        Cause::FirmwareFull,
        &[
            "failed to create efi boot variable entry: no space left on device",
            "failed to write '~' efi variable: no space left on device",
            "failed to set ~ efi variable: no space left on device",
            "failed to update efi variable*: no space left on device",
            "could not prepare boot variable: no space left on device",
            "grub-install: error: failed to register the efi boot entry: no space left on device.",
            "grub-install: warning: efivarfs_set_variable: writing to fd ~ failed: no space left on device.",
        ],
    ),
    row(
        Cause::FirmwareClosed,
        &[
            "failed to create efi boot variable entry: no such file or directory",
            "failed to create efi boot variable entry: read-only file system",
            "failed to write '~' efi variable: read-only file system",
            "failed to write '~' efi variable: no such file or directory",
            "failed to set ~ efi variable: read-only file system",
            "failed to set ~ efi variable: no such file or directory",
            "efi variables are not supported on this system.",
            "not booted with uefi.",
            "not booted with efi.",
            "failed to access efi variables*",
            "grub-install: *efivars: *operation not permitted*",
        ],
    ),
    row(
        Cause::FirmwareErrors,
        &[
            "failed to create efi boot variable entry: *",
            "failed to write '~' efi variable: *",
            "failed to set ~ efi variable: *",
            "failed to update efi variable*: *",
            "grub-install: error: failed to register the efi boot entry: *",
            "grub-install: *efivarfs*: input/output error*",
            "could not prepare boot variable: *",
        ],
    ),
    row(
        Cause::EspUnfit,
        &[
            "file system \"*\" is not a fat efi system partition (esp) file system.",
            "couldn't find efi system partition*",
            "file system \"*\" has wrong type for an efi system partition (esp).",
            "file system \"*\" is not located on a partitioned block device.",
            "directory \"*\" is not the root of the file system.",
            "unable to determine * of efi system partition*",
            "failed to open file system \"/dev*\": *",
            "failed to resolve path /*: *",
            "path '/*' is not a mount point*",
            "grub-install: error: /* doesn't look like an efi partition.",
            "grub-install: error: cannot find efi directory.",
            "/* is not an efi system partition*",
            "skipping \"*\", since it's owned by another boot loader.",
            "efisysmountpoint = '*' is not a mounted partition*",
        ],
    ),
    row(
        Cause::Architecture,
        &[
            "chroot: failed to run command *: exec format error",
            "/nix/store/~: line ~: /~: cannot execute binary file: exec format error",
            "~: /~: cannot execute binary file: exec format error",
            "/nix/store/~: exec format error",
        ],
    ),
    row(
        Cause::ProgramMissing,
        &[
            "chroot: failed to run command *: no such file or directory",
            "nixos-install: *: command not found",
            "nixos-enter: *: command not found",
            "~/nixos-install: line ~: *: command not found",
            "~/nixos-enter: line ~: *: command not found",
        ],
    ),
    row(
        Cause::NoRoom,
        &[
            "error writing \"/boot*\": no space left on device",
            "failed to copy *to \"/boot*\": no space left on device",
            "failed to copy data from \"*\" to \"/boot*\": no space left on device",
        ],
    ),
    row(
        Cause::SecretMissing,
        &[
            "/nix/store/~/bin/sops-install-secrets: *",
            "sops-install-secrets: failed *",
            "age: error: *",
            "[agenix] warning: *",
            "failed to append initrd secrets*",
            "failed to create initrd secrets *",
            "append-initrd-secrets *",
        ],
    ),
    row(
        Cause::Restricted,
        &[
            "~cannot find mount point for *",
            "cannot find mount point for *",
            "nixos-install: unknown option *",
            "nixos-enter: unknown option *",
        ],
    ),
    row(
        Cause::LoaderInstaller,
        &["failed to get machine id: *", "failed to get machine did: *"],
    ),
];

/// Sentences of programs that the target's scripts run as well; `nixos-enter` runs them before the activation.
const BEFORE: &[Row] = &[
    row(
        Cause::Busy,
        &["umount: ~: target is busy.", "umount: ~: target is busy"],
    ),
    row(
        Cause::KernelLacks,
        &[
            "unshare: unshare failed: *",
            "mount: ~: unknown filesystem type '~'.",
            "mount: ~: permission denied.",
        ],
    ),
    row(
        Cause::EspUnfit,
        &[
            "mount: ~: mount point does not exist.",
            "mount: ~: special device ~ does not exist.",
            "mount: ~: mount point does not exist",
        ],
    ),
];

/// Errors of a boot loader's installer that is written in Python; any script in Python says the same.
const PYTHON: &[Row] = &[
    row(
        Cause::ProgramMissing,
        &["filenotfounderror: [errno 2] no such file or directory: '/nix/store/~/bin/~'"],
    ),
    row(Cause::NoRoom, &["oserror: [errno 28] *"]),
    row(
        Cause::TargetErrors,
        &[
            "oserror: [errno 5] input/output error: '/boot*'*",
            "oserror: [errno 5] input/output error: '/nix*'*",
        ],
    ),
    // Of a file that is open Python does not say which one it is.
    row(
        Cause::InputOutput,
        &[
            "oserror: [errno 5] input/output error",
            "oserror: [errno 5] input/output error: *",
        ],
    ),
    row(
        Cause::Damaged,
        &["oserror: [errno 117] *", "oserror: [errno 74] *"],
    ),
    row(Cause::TargetReadOnly, &["oserror: [errno 30] *"]),
];

/// What who called the installer of a boot loader says of it.
const LOADER_FAILED: &str = "failed to install bootloader";

/// That the installer of a boot loader failed, said by itself or by who called it.
const OF_LOADER: &[&str] = &[
    LOADER_FAILED,
    "file \"/nix/store/~systemd-boot*\", line ~, in ~",
    "file \"/nix/store/~install-limine*\", line ~, in ~",
    "file \"/nix/store/~refind*\", line ~, in ~",
    "subprocess.calledprocesserror: command '[*/bin/bootctl', *]' returned non-zero exit status ~",
];

/// Sentences that say what failed, and not why.
const GENERAL: &[Row] = &[
    row(
        Cause::LoaderInstaller,
        &[
            "subprocess.calledprocesserror: command '[*bootctl*]' returned non-zero exit status ~",
            "subprocess.calledprocesserror: command '[*grub*]' returned non-zero exit status ~",
            "subprocess.calledprocesserror: command *",
            "failed to install bootloader",
            "bootctl: *",
            "/boot/grub*: *",
            "grub-install: error: *",
        ],
    ),
    row(
        Cause::Activation,
        &[
            "activation script snippet '*' failed (*)",
            "failed to run activate script",
            "error: failed to run activate script",
            "error: activation script failed*",
        ],
    ),
];

/// Errors of any script in Python.
const ANY_PYTHON: &[Row] = &[row(
    Cause::LoaderInstaller,
    &[
        "fileexistserror: *",
        "filenotfounderror: *",
        "permissionerror: *",
        "keyerror: *",
        "oserror: *",
        "systemexit*",
    ],
)];

/// What is said behind whatever failed.
const LAST: &[Row] = &[row(
    Cause::Activation,
    &["warning: error(s) occurred while switching to the new configuration"],
)];

/// A sentence about room that names the ESP, which is as large as it was made: a larger disk changes nothing of it.
const OF_ESP: &[&str] = &["* '/boot*'*", "* \"/boot*\"*"];

/// From here on the target's own scripts print.
const ACTIVATES: &[&str] = &[
    "installing the boot loader...",
    "finalising the installation...",
    "activating the configuration...",
    "setting up /etc...",
    "setting up secrets*",
    "activation script snippet '*' failed (*)",
];

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
    let loader_failed = lines.iter().any(|line| is_any(line, OF_LOADER));
    // The two streams are read one behind the other: what was printed before the activation cannot be told from what was printed in it.
    let activates = loader_failed || lines.iter().any(|line| is_any(line, ACTIVATES));
    let of_nix = !activates && how.program != "nixos-enter" && lines.iter().any(|line| is_nix(line));
    let python: &[Row] = if loader_failed { PYTHON } else { &[] };
    let any_python: &[Row] = if loader_failed { ANY_PYTHON } else { &[] };
    let before: &[Row] = if activates { &[] } else { BEFORE };
    let known = last_line(&[EXACT, before, python], &lines);
    if how.code.is_some() && known.is_none() && of_nix {
        let fault = nix::nix_plain(what, how.clone(), said, places);
        if fault.ending_mark().is_none() {
            return fault;
        }
    }
    let general = last_line(&[GENERAL, any_python], &lines);
    let found = known
        // That it failed is said behind why.
        .or_else(|| {
            let only_failed = general.is_some_and(|(_, line)| is_any(line, &[LOADER_FAILED]));
            last_line(&[any_python], &lines).filter(|_| only_failed)
        })
        .or(general)
        .or_else(|| last_line(&[LAST], &lines))
        .or_else(|| {
            let last = lines.last().copied().filter(|_| activates && how.code.is_some());
            last.map(|line| (Cause::Activation, line))
        });
    let of_esp = found.is_some_and(|(cause, line)| cause == Cause::NoRoom && is_any(line, OF_ESP));
    let fault = super::fault(what, how, found, lines.last().copied());
    if of_esp {
        return fault.with_next(Remedy::change(
            "keep fewer generations (boot.loader.systemd-boot.configurationLimit) or make kernel and initrd smaller, and push the configuration; a larger esp_size needs a new install (reinstall)",
        ));
    }
    fault
}
