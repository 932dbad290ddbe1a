//! Every format that outlives a process: its name, its version, where its bytes are, and its rule.
//!
//! A reader of version n also reads version n-1, and a writer writes n. The files in tests/golden, which are never edited,
//! hold what a version means. docs/design/formats.md is this table in a document.
//!
//! Each format is written and read in one file, which the table names.

use crate::flash::{keys_left, record};
use crate::hosts::transaction::JOURNAL_VERSION;
use crate::image::manifest;
use landfall_states::checkpoint;

/// One format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// What it is, in a word: the name of its folder in tests/golden, before `-<version>`.
    pub name: &'static str,
    /// The version that is written.
    pub version: u32,
    /// Where its bytes lie.
    pub place: &'static str,
    /// The file that writes and reads it.
    pub code: &'static str,
    /// How a version is told, and what a reader does with fields or versions that it does not know.
    pub rule: &'static str,
}

/// All of them.
pub const FORMATS: [Format; 13] = [
    Format {
        name: "ids",
        version: 1,
        place: "the GPT, LUKS headers, filesystems and FAT of the target: every id there is derived from the install id",
        code: "states/plan.rs",
        rule: "the texts from which ids and digests are made begin with their name and version (`landfall-install-1`); version 1 can never change, because disks in use have it",
    },
    Format {
        name: "checkpoint",
        version: checkpoint::FORMAT_VERSION,
        place: "`EFI/LANDFALL/CKPT0.BIN` and `CKPT1.BIN` on the ESP; `/run/landfall/checkpoint`",
        code: "states/checkpoint.rs",
        rule: "the version is in the header line, whose form is the same in every version; a newer version stops the run \
               (rule 9); an unknown field is damage; the last line may be a code over the rest (version 2: `mac=`), and what \
               has none is read and nothing proves it",
    },
    Format {
        name: "image",
        version: manifest::FORMAT_VERSION,
        place: "the file that `landfall image build` makes; in its filesystem `/nix/var/landfall/registration`, which is Nix's format \
                (`nix-store --load-db`)",
        code: "src/image/manifest.rs",
        rule: "the version is in the header line, whose form is the same in every version; a newer version is refused",
    },
    Format {
        name: "image-progress",
        version: 1,
        place: "the file that `landfall image write --resume` names",
        code: "states/image.rs",
        rule: "it has no version number; a file that is not understood is refused, with the command to start again",
    },
    Format {
        name: "flash-progress",
        version: record::VERSION,
        place: "`$XDG_STATE_HOME/landfall/flash/` of the user who runs `landfall flash`: one file for each stick",
        code: "src/flash/record.rs",
        rule: "the version is a field; a record of another version, or one that is not understood, is ignored, and the stick is written from the start; every value in it is checked against the stick",
    },
    Format {
        name: "flash-keys",
        version: keys_left::VERSION,
        place: "the first whole block of the last MiB of a stick with keys: where they are",
        code: "src/flash/keys_left.rs",
        rule: "the version is in the first line; a block that is not whole, or of another version, says nothing; what it says counts only \
               where a boot sector with the label of keys is",
    },
    Format {
        name: "receipt",
        version: 1,
        place: "`/var/log/landfall/receipt.ron` on the target",
        code: "src/real/fs/receipt.rs",
        rule: "fields are only ever added; a reader asks for `install` and `system` and passes over the rest",
    },
    Format {
        name: "events",
        version: 2,
        place: "`/run/landfall/log.jsonl`, `/var/log/landfall/install.jsonl` on the target, `--progress json`",
        code: "src/event.rs",
        rule: "one JSON object a line, named by `event`; fields, events and kinds of faults are only ever added (version 2: `kind`, `values` and `remedy` of a fault); a reader passes over fields \
               that it does not know, and `landfall log` shows a line that it does not know as it is",
    },
    Format {
        name: "status",
        version: 2,
        place: "`/run/landfall/status.json`",
        code: "src/cli/status.rs",
        rule: "fields and endings are only ever added (version 2: as events), as ones that may be missing, and a reader passes over what it does not know",
    },
    Format {
        name: "marks",
        version: 1,
        place: "on the target: `/nix/var/landfall/system`, `/nix/var/landfall/activated`, \
                `/nix/var/landfall/activation-failures`, the keys `landfall.install`, `landfall.revision` and, in a clone under way, `landfall.tries` in the \
                clone's Git configuration; `/run/landfall/hooks-<boot id>`",
        code: "src/real/fs/marks.rs",
        rule: "the record of the system names its version in its first line; `landfall.tries` is a decimal number; of the user's commands that ran since the target was mounted there is a line each, with its place \
               and a digest; a text of another \
               form is ignored, and its work is done again",
    },
    Format {
        name: "kernel-settings",
        version: 1,
        place: "`/run/landfall/kernel-settings`",
        code: "src/real/boot/kernel_settings.rs",
        rule: "one line for each setting of the running kernel, its path and its value; a path that is not one of those that \
               landfall puts back is passed over",
    },
    Format {
        name: "lock",
        version: 1,
        place: "`/run/landfall/lock`",
        code: "src/lock.rs",
        rule: "for people, and for `landfall log --follow`, which asks the kernel whether the process still lives; an install reads no decision from it",
    },
    Format {
        name: "host-journal",
        version: JOURNAL_VERSION,
        place: "`landfall/host-new.json` in the Git directory of an operator's repository, with the new contents in `landfall/host-new.staged`",
        code: "src/hosts/transaction.rs",
        rule: "the version is a field; a newer version is refused, and nothing of the repository is touched",
    },
];

/// The text of docs/design/formats.md.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Formats\n\n\
         Every format whose bytes outlive a process. This table is made from `src/formats.rs` and kept equal by \
         `tests/tidy.rs`. A writer writes the version in the table; a reader reads that version and the one before it.\n\n\
         | format | version | where | written and read by | rule |\n|---|---|---|---|---|\n",
    );
    for Format {
        name,
        version,
        place,
        code,
        rule,
    } in FORMATS
    {
        text.push_str(&format!("| {name} | {version} | {place} | `{code}` | {rule} |\n"));
    }
    text.push_str(
        "\nWhat each version wrote is kept in `tests/golden/<format>-<version>/` and never edited: `tests/golden/SHA256SUMS` has \
         the digest of every file, and `tests/golden_formats.rs` holds both directions: today's writer makes these bytes, and the \
         reader of these bytes gives the value. To change a format: raise its version in `src/formats.rs`, give the new version a \
         folder of its own (`LANDFALL_GOLDEN=new cargo test --test golden_formats` makes files that are not there yet), and keep \
         the test that reads the old one.\n\n\
         The configuration is not in the table. Its keys are in [configuration.md](../reference/configuration.md), and what the NixOS module \
         writes is held by `nix/tests/golden` and `tests/golden_settings.rs`.\n",
    );
    text
}
