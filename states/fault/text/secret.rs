//! Words of a [`SecretFault`], and what to do about it. No secret is part of a fault.

use super::Words;
use crate::fault::{Remedy, SecretFault};

impl SecretFault {
    pub(super) fn words(&self) -> Words {
        match self {
            SecretFault::WrongPassphrase { on } => {
                Words::of(on, "the passphrase does not open it; nothing was erased")
            }
            SecretFault::PassphraseMissing { of, unattended } => Words::of(
                format!("passphrase of {of}"),
                if *unattended {
                    "it was not provided, and an unattended install does not ask"
                } else {
                    "it was not provided"
                },
            ),
            SecretFault::PassphrasesDiffer { of, rounds } => Words::of(
                format!("passphrase of {of}"),
                format!("its two entries were different in {rounds} attempts"),
            ),
            SecretFault::Missing { credential, .. } => Words::of(
                format!("credential {credential}"),
                "the configuration requires it, and it was not provided",
            ),
            SecretFault::Unusable { on, reason } => Words::of(on, reason),
            SecretFault::WeakDerivation { of, found, least } => Words::of(
                of,
                format!(
                    "its key derivation is weaker than the configuration allows: it uses {found}, and luks.memory_min is {least}"
                ),
            ),
            SecretFault::KeyMedium { label, said, known } => Words::of(
                format!("medium with the label {label}"),
                format!(
                    "it cannot be mounted: {said}; supported filesystems are {}",
                    known.join(", ")
                ),
            ),
            SecretFault::NoAnswer { reason } => Words::of("question on the terminal", reason),
            SecretFault::ConsentMissing { extent, disk, reason } => {
                Words::of(format!("consent to erase {extent} of {disk}"), reason)
            }
            SecretFault::KeyNotAllowed {
                remote,
                public,
                waited_s,
            } => Words::of(
                format!("repository {remote}"),
                format!(
                    "it refuses the key that landfall made on this machine, and nobody added the key in {waited_s} s: {public}"
                ),
            ),
            SecretFault::UserUnknown {
                user,
                has_accounts: true,
            } => Words::of(
                format!("target_user {user}"),
                "/etc/passwd of the installed system does not have this user",
            ),
            SecretFault::UserUnknown {
                user,
                has_accounts: false,
            } => Words::of(
                format!("target_user {user}"),
                "the installed system has no /etc/passwd yet: it makes its users at its first boot (services.userborn.enable or systemd.sysusers.enable)",
            ),
        }
    }

    pub(in crate::fault) fn remedy(&self) -> Remedy {
        match self {
            SecretFault::WrongPassphrase { .. } => Remedy::words(
                "run landfall resume again, and enter the passphrase that the container was made with",
            ),
            SecretFault::PassphraseMissing { unattended: true, .. } => {
                Remedy::change("provide it as credential landfall.luks-passphrase")
            }
            SecretFault::PassphraseMissing {
                unattended: false, ..
            } => Remedy::words(
                "run landfall resume on a console and enter it, or provide it as credential landfall.luks-passphrase",
            ),
            SecretFault::PassphrasesDiffer { .. } | SecretFault::NoAnswer { .. } => Remedy::resume(),
            SecretFault::Missing {
                credential,
                file,
                label,
            } => Remedy::change(format!(
                "provide it as systemd credential {credential}, or as file {file} on a medium with the label {label}"
            )),
            SecretFault::Unusable { .. } => Remedy::change("provide a correct one"),
            SecretFault::WeakDerivation { .. } => Remedy::change(
                "give the machine more memory, raise luks.iteration_time_ms on a slow machine, or lower luks.memory_min",
            ),
            SecretFault::KeyMedium { .. } => Remedy::change("format it again, or unplug it"),
            SecretFault::ConsentMissing { .. } => Remedy::change_and_install(
                "set unattended.disk, or the credential landfall.consent, to the name that landfall disks prints for this disk",
            ),
            SecretFault::KeyNotAllowed { .. } => Remedy::change(
                "add this key at the forge, with read access to this repository; the key stays the same until the machine is switched off",
            ),
            SecretFault::UserUnknown {
                user,
                has_accounts: true,
            } => Remedy::change(format!(
                "declare users.users.{user} in the host's configuration, or correct target_user"
            )),
            SecretFault::UserUnknown {
                has_accounts: false, ..
            } => {
                Remedy::change("remove target_user, or set both options to false in the host's configuration")
            }
        }
    }
}
