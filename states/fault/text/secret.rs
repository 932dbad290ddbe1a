//! Words of a [`SecretFault`], and what to do about it. Absent: secrets; none is part of a fault.

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
                    "it is not at hand, and an unattended install asks nothing"
                } else {
                    "none was given"
                },
            ),
            SecretFault::PassphrasesDiffer { of, rounds } => Words::of(
                format!("passphrase of {of}"),
                format!("no two equal entries in {rounds} rounds"),
            ),
            SecretFault::Missing { credential, .. } => Words::of(
                format!("credential {credential}"),
                "the configuration asks for it and it is not at hand",
            ),
            SecretFault::Unusable { on, reason } => Words::of(on, reason),
            SecretFault::WeakDerivation { of, found, least } => Words::of(
                of,
                format!(
                    "its key derivation is weaker than the configuration allows: {found}; luks.memory_min is {least}"
                ),
            ),
            SecretFault::KeyMedium { label, said, known } => Words::of(
                format!("medium with the label {label}"),
                format!("it cannot be mounted {said}; {} are known", known.join(", ")),
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
                    "it refuses the key that was made here, and nobody allowed it in {waited_s} s: {public}"
                ),
            ),
            SecretFault::UserUnknown {
                user,
                has_accounts: true,
            } => Words::of(
                format!("target_user {user}"),
                "the installed system's /etc/passwd has no such user",
            ),
            SecretFault::UserUnknown {
                user,
                has_accounts: false,
            } => Words::of(
                format!("target_user {user}"),
                "the installed system has no /etc/passwd: it makes its users at its first boot (services.userborn.enable or systemd.sysusers.enable)",
            ),
        }
    }

    pub(in crate::fault) fn remedy(&self) -> Remedy {
        match self {
            SecretFault::WrongPassphrase { .. } => {
                Remedy::words("landfall resume, with the passphrase that the container was made with")
            }
            SecretFault::PassphraseMissing { unattended: true, .. } => {
                Remedy::change("supply it as credential landfall.luks-passphrase")
            }
            SecretFault::PassphraseMissing {
                unattended: false, ..
            } => Remedy::words(
                "landfall resume on a console, and enter it, or give the credential landfall.luks-passphrase",
            ),
            SecretFault::PassphrasesDiffer { .. } | SecretFault::NoAnswer { .. } => Remedy::resume(),
            SecretFault::Missing {
                credential,
                file,
                label,
            } => Remedy::change(format!(
                "pass it as systemd credential {credential}, or as file {file} on a medium with the label {label}"
            )),
            SecretFault::Unusable { .. } => Remedy::change("supply it anew"),
            SecretFault::WeakDerivation { .. } => Remedy::change(
                "give the machine more memory, raise luks.iteration_time_ms where it is slow, or lower luks.memory_min",
            ),
            SecretFault::KeyMedium { .. } => Remedy::change("make it anew, or unplug it"),
            SecretFault::ConsentMissing { .. } => Remedy::change_and_install(
                "write the name to use that landfall disks prints for it into unattended.disk or credential landfall.consent",
            ),
            SecretFault::KeyNotAllowed { .. } => Remedy::change(
                "allow that key at the forge, to read this repository; it is the same until the machine is switched off",
            ),
            SecretFault::UserUnknown {
                user,
                has_accounts: true,
            } => Remedy::change(format!(
                "declare users.users.{user} in the host's configuration, or correct target_user"
            )),
            SecretFault::UserUnknown {
                has_accounts: false, ..
            } => Remedy::change(
                "leave target_user out, or set both options to false in the host's configuration",
            ),
        }
    }
}
