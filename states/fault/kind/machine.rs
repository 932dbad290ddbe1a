//! What is wrong with the machine that landfall runs on, or with a program that it needs: variants of [`Kind`](super::Kind),
//! serialised like the others.
//!
//! `text::machine` has the words.

use crate::fault::FaultClass;
use crate::fault::kind::Os;
use serde::Serialize;

/// What is wrong with the machine that landfall runs on, or with a program that it needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "values")]
pub enum MachineFault {
    /// The machine was started in BIOS mode.
    #[serde(rename = "bios_mode")]
    BiosMode {
        /// What a machine that was started in UEFI mode has.
        #[serde(rename = "missing")]
        missing: String,
    },
    /// The firmware starts loaders of another width than this system's.
    #[serde(rename = "firmware_width")]
    FirmwareWidth {
        /// What the kernel says: `fw_platform_size`, in quotes.
        #[serde(rename = "bits")]
        bits: String,
        /// The loader that is installed.
        #[serde(rename = "loader")]
        loader: String,
    },
    /// landfall does not run as root.
    #[serde(rename = "not_root")]
    NotRoot {
        /// The user that it runs as.
        #[serde(rename = "uid")]
        uid: u32,
    },
    /// The clock says what cannot be.
    #[serde(rename = "clock")]
    Clock {
        /// What it says, in seconds since 1970.
        #[serde(rename = "now_s")]
        now_s: u64,
        /// The least that is believed, in seconds since 1970.
        #[serde(rename = "min_s")]
        min_s: u64,
        /// What is not believed any more, in seconds since 1970.
        #[serde(rename = "max_s")]
        max_s: u64,
    },
    /// Programs that the install needs are not there.
    #[serde(rename = "tools_missing")]
    ToolsMissing {
        /// Their names.
        #[serde(rename = "programs")]
        programs: Vec<String>,
        /// Where they were looked for (`PATH`).
        #[serde(rename = "path")]
        path: String,
    },
    /// A program cannot be started.
    #[serde(rename = "tool_not_started")]
    ToolNotStarted {
        /// Its name.
        #[serde(rename = "program")]
        program: String,
        /// What the operating system said.
        #[serde(flatten)]
        os: Os,
    },
    /// The pipe to a program failed.
    #[serde(rename = "pipe")]
    Pipe {
        /// Its name.
        #[serde(rename = "program")]
        program: String,
        /// What the operating system said.
        #[serde(flatten)]
        os: Os,
    },
    /// A program printed what landfall does not understand, or a file holds it.
    #[serde(rename = "output_unknown")]
    OutputUnknown {
        /// What it was asked about.
        #[serde(rename = "on")]
        on: String,
        /// The program or file.
        #[serde(rename = "program")]
        program: String,
        /// What is wrong with it.
        #[serde(rename = "reason")]
        reason: String,
        /// What it printed, quoted, where the reason does not have it.
        #[serde(rename = "line")]
        line: Option<String>,
    },
    /// The kernel does not know a filesystem.
    #[serde(rename = "filesystem_unknown")]
    FilesystemUnknown {
        /// Where it lies.
        #[serde(rename = "on")]
        on: String,
        /// Its name.
        #[serde(rename = "filesystem")]
        filesystem: String,
    },
    /// A file of the running system is not there.
    #[serde(rename = "file_missing")]
    FileMissing {
        /// What it is needed for.
        #[serde(rename = "on")]
        on: String,
        /// Its path.
        #[serde(rename = "path")]
        path: String,
    },
    /// libcryptsetup refused a call.
    #[serde(rename = "crypt")]
    Crypt {
        /// On what.
        #[serde(rename = "on")]
        on: String,
        /// Its words.
        #[serde(rename = "said")]
        said: String,
    },
}

impl MachineFault {
    /// What may be done about it.
    pub(super) fn class(&self) -> FaultClass {
        match self {
            MachineFault::BiosMode { .. }
            | MachineFault::FirmwareWidth { .. }
            | MachineFault::NotRoot { .. }
            | MachineFault::Clock { .. }
            | MachineFault::ToolsMissing { .. }
            | MachineFault::ToolNotStarted { .. }
            | MachineFault::FilesystemUnknown { .. } => FaultClass::NeedsChange,
            MachineFault::Pipe { .. } => FaultClass::Transient,
            MachineFault::OutputUnknown { .. }
            | MachineFault::FileMissing { .. }
            | MachineFault::Crypt { .. } => FaultClass::Permanent,
        }
    }
}
