//! What was known about a fault.
//!
//! Everything that a caller may want to know about a fault is a value here: the number of the error, how a program ended, who
//! uses a disk, what was expected and what was found. The class follows from the kind by a match without a wildcard.
//!
//! The kinds that are about one thing are in a file for that thing, as an enum whose variants are kinds like the others. The
//! serialised names are read by programs that follow the events of a run; new ones may be added, and old ones never change.
//!
//! `fault::text` has the words.

mod cause;
mod config;
mod device;
mod image;
mod machine;
mod place;
mod room;
mod secret;
mod source;
mod store;

pub use cause::Cause;
pub use config::ConfigFault;
pub use device::DeviceFault;
pub use image::ImageFault;
pub use machine::MachineFault;
pub use place::PlaceFault;
pub use room::RoomFault;
pub use secret::SecretFault;
pub use source::SourceFault;
pub use store::StoreFault;

use super::{Fault, FaultClass, Remedy};
use crate::phase::Phase;
use serde::Serialize;

/// What was known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "values")]
pub enum Kind {
    /// The operating system refused an operation.
    #[serde(rename = "os")]
    Os {
        /// On what.
        #[serde(rename = "on")]
        on: String,
        /// What it said.
        #[serde(flatten)]
        os: Os,
    },
    /// A program did not do what it was started for.
    #[serde(rename = "program")]
    Program {
        /// What it was to do.
        #[serde(rename = "on")]
        on: String,
        /// How it ended.
        #[serde(flatten)]
        ended: Ended,
        /// What that means, as judged from what it said.
        #[serde(rename = "class")]
        class: FaultClass,
    },
    /// A program did not do what it was started for, and its table of endings says what that means.
    #[serde(rename = "ending")]
    Ending {
        /// What it was to do.
        #[serde(rename = "on")]
        on: String,
        /// How it ended.
        #[serde(flatten)]
        ended: Ended,
        /// What that means.
        #[serde(rename = "cause")]
        cause: Cause,
        /// The sentence of its own that says so; else its last one.
        #[serde(rename = "line")]
        line: String,
    },
    /// A program ended the same way as in the attempt before, and nobody knows an ending like it.
    #[serde(rename = "same_ending")]
    SameEnding {
        /// How.
        #[serde(rename = "last")]
        last: Box<Kind>,
    },
    /// A program did not end, or said nothing, for too long.
    #[serde(rename = "program_limit")]
    ProgramLimit {
        /// Its name.
        #[serde(rename = "program")]
        program: String,
        /// What was exceeded.
        #[serde(rename = "limit")]
        limit: Limit,
        /// The limit, in seconds.
        #[serde(rename = "limit_s")]
        limit_s: u64,
    },
    /// What was read back is not what was written.
    #[serde(rename = "read_back")]
    ReadBack {
        /// What.
        #[serde(rename = "on")]
        on: String,
        /// How it differs.
        #[serde(rename = "found")]
        found: String,
    },
    /// The disk at hand is another one than the one that was confirmed.
    #[serde(rename = "other_disk")]
    OtherDisk {
        /// The disk.
        #[serde(rename = "disk")]
        disk: String,
        /// What it says of itself now.
        #[serde(rename = "found")]
        found: String,
        /// What was confirmed, where that is not the disk's name already.
        #[serde(rename = "expected")]
        expected: Option<String>,
    },
    /// Two disks say that they are the same one.
    #[serde(rename = "twins")]
    Twins {
        /// The disk.
        #[serde(rename = "disk")]
        disk: String,
        /// Their devices.
        #[serde(rename = "devices")]
        devices: Vec<String>,
    },
    /// The partition table was changed since.
    #[serde(rename = "table_changed")]
    TableChanged {
        /// The disk.
        #[serde(rename = "disk")]
        disk: String,
        /// One line for each difference.
        #[serde(rename = "differences")]
        differences: Vec<String>,
    },
    /// Somebody uses a device or a place.
    #[serde(rename = "in_use")]
    InUse {
        /// What is used.
        #[serde(rename = "on")]
        on: String,
        /// By whom, one line each.
        #[serde(rename = "by")]
        by: Vec<String>,
    },
    /// A former run left something attached.
    #[serde(rename = "left_attached")]
    LeftAttached {
        /// On what.
        #[serde(rename = "on")]
        on: String,
        /// What, one line each.
        #[serde(rename = "what")]
        what: Vec<String>,
    },
    /// A partition holds something that this install did not make.
    #[serde(rename = "foreign_partition")]
    ForeignPartition {
        /// Its number.
        #[serde(rename = "number")]
        number: u32,
        /// Its name.
        #[serde(rename = "name")]
        name: String,
        /// What is on it.
        #[serde(rename = "found")]
        found: String,
    },
    /// What is on a disk changed after it was shown to whoever agrees.
    #[serde(rename = "changed_contents")]
    ChangedContents {
        /// The disk.
        #[serde(rename = "disk")]
        disk: String,
        /// Whether somebody had agreed already.
        #[serde(rename = "after_consent")]
        after_consent: bool,
    },
    /// Somebody was asked whether the disk may be erased, and said no.
    #[serde(rename = "consent_refused")]
    ConsentRefused {
        /// The disk.
        #[serde(rename = "disk")]
        disk: String,
    },
    /// No disk can be chosen: none may be, or nothing says which of them.
    #[serde(rename = "no_choice")]
    NoChoice {
        /// Why.
        #[serde(rename = "reason")]
        reason: String,
        /// Every disk, a line each.
        #[serde(rename = "disks")]
        disks: Vec<String>,
    },
    /// A name is that of several disks.
    #[serde(rename = "ambiguous_name")]
    AmbiguousName {
        /// The name.
        #[serde(rename = "name")]
        name: String,
        /// How many disks answer to it.
        #[serde(rename = "count")]
        count: usize,
        /// Every disk, a line each.
        #[serde(rename = "disks")]
        disks: Vec<String>,
    },
    /// A disk that was named must not be installed on.
    #[serde(rename = "disk_refused")]
    DiskRefused {
        /// The disk.
        #[serde(rename = "disk")]
        disk: String,
        /// Why not, a reason each.
        #[serde(rename = "reasons")]
        reasons: Vec<String>,
    },
    /// Files on the ESP are still wrong after the boot loader was installed.
    #[serde(rename = "boot_loader")]
    BootLoader {
        /// What is wrong, a line each.
        #[serde(rename = "flaws")]
        flaws: Vec<String>,
    },
    /// A recovery rule says that nothing may be touched.
    #[serde(rename = "recovery")]
    Recovery {
        /// The rule's number.
        #[serde(rename = "rule")]
        rule: u8,
        /// What it is about.
        #[serde(rename = "on")]
        on: String,
        /// Why.
        #[serde(rename = "reason")]
        reason: String,
        /// What there is, a line each.
        #[serde(rename = "found")]
        found: Vec<String>,
    },
    /// An action reported success, and looking shows that it is not done.
    #[serde(rename = "empty_success")]
    EmptySuccess {
        /// The action.
        #[serde(rename = "action")]
        action: String,
        /// What is still to be done.
        #[serde(rename = "order")]
        order: String,
        /// Whether it was tried often enough to call it a defect of the tool that carries it out.
        #[serde(rename = "final")]
        is_final: bool,
    },
    /// The attempts are used up.
    #[serde(rename = "attempt_limit")]
    AttemptLimit {
        /// Where.
        #[serde(rename = "phase")]
        phase: Phase,
        /// Of what the limit is.
        #[serde(rename = "limit")]
        limit: Limit,
        /// Attempts made.
        #[serde(rename = "made")]
        made: u32,
        /// Attempts allowed.
        #[serde(rename = "max")]
        max: u32,
    },
    /// The retries of this run are used up.
    #[serde(rename = "retries_spent")]
    RetriesSpent {
        /// What failed the last time.
        #[serde(rename = "last")]
        last: Box<Kind>,
        /// How often it was tried again.
        #[serde(rename = "retries")]
        retries: u32,
    },
    /// A signal or a person asked to stop.
    #[serde(rename = "stopped")]
    Stopped {
        /// Who, where that is known.
        #[serde(rename = "by")]
        by: Option<String>,
    },
    /// A defect of landfall.
    #[serde(rename = "defect")]
    Defect {
        /// Where.
        #[serde(rename = "on")]
        on: String,
        /// What does not hold.
        #[serde(rename = "detail")]
        detail: String,
    },
    /// Facts that belong to another plan than the order: a defect of landfall that could touch the wrong thing.
    #[serde(rename = "other_plan")]
    OtherPlan {
        /// Where.
        #[serde(rename = "on")]
        on: String,
        /// What does not hold.
        #[serde(rename = "detail")]
        detail: String,
    },
    /// A fault of which nothing is known but its class: one that the simulation injects.
    #[serde(rename = "other")]
    Other {
        /// The thing and its value.
        #[serde(rename = "on")]
        on: String,
        /// The reason.
        #[serde(rename = "reason")]
        reason: String,
        /// What the reason is about, a line each.
        #[serde(rename = "list")]
        list: Vec<String>,
        /// What that means.
        #[serde(rename = "class")]
        class: FaultClass,
    },
    /// Of the machine.
    #[serde(untagged)]
    Machine(MachineFault),
    /// Of a file or a mount point.
    #[serde(untagged)]
    Place(PlaceFault),
    /// Of a disk.
    #[serde(untagged)]
    Device(DeviceFault),
    /// Of room.
    #[serde(untagged)]
    Room(RoomFault),
    /// Of the configuration.
    #[serde(untagged)]
    Config(ConfigFault),
    /// Of the repository.
    #[serde(untagged)]
    Source(SourceFault),
    /// Of an image.
    #[serde(untagged)]
    Image(ImageFault),
    /// Of a secret.
    #[serde(untagged)]
    Secret(SecretFault),
    /// Of a Nix store.
    #[serde(untagged)]
    Store(StoreFault),
}

/// What the operating system said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Os {
    /// What was being done, as in `could not … it`.
    #[serde(rename = "doing")]
    pub doing: Option<String>,
    /// The error's number, where one is known (`errno(3)`, Linux).
    #[serde(rename = "errno")]
    pub errno: Option<i32>,
    /// Its words.
    #[serde(rename = "said")]
    pub said: String,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// Its name.
    #[serde(rename = "program")]
    pub program: String,
    /// Its exit code; `None` when a signal ended it.
    #[serde(rename = "exit_code")]
    pub code: Option<i32>,
    /// The last lines that it printed.
    #[serde(rename = "last_lines")]
    pub last_lines: Vec<String>,
    /// What to add, in words.
    #[serde(rename = "note")]
    pub note: Option<String>,
}

/// Of what a limit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Limit {
    /// Attempts at one phase.
    #[serde(rename = "phase")]
    Phase,
    /// Attempts in total.
    #[serde(rename = "total")]
    Total,
    /// How long a program may run.
    #[serde(rename = "deadline")]
    Deadline,
    /// How long a program may say nothing.
    #[serde(rename = "silence")]
    Silence,
}

/// A fault of one thing is a kind, and a fault whose next thing to do follows from it.
macro_rules! of_one_thing {
    ($($variant:ident($of:ident)),* $(,)?) => {$(
        impl From<$of> for Kind {
            fn from(fault: $of) -> Kind {
                Kind::$variant(fault)
            }
        }
        impl From<$of> for Fault {
            fn from(fault: $of) -> Fault {
                let remedy = fault.remedy();
                Fault::of(fault, remedy)
            }
        }
    )*};
}

of_one_thing!(
    Machine(MachineFault),
    Place(PlaceFault),
    Device(DeviceFault),
    Room(RoomFault),
    Config(ConfigFault),
    Source(SourceFault),
    Image(ImageFault),
    Secret(SecretFault),
    Store(StoreFault),
);

impl Kind {
    /// What the ending of a program meant, where it is about one.
    pub fn cause(&self) -> Option<Cause> {
        if let Kind::SameEnding { last } | Kind::RetriesSpent { last, .. } = self {
            return last.cause();
        }
        match self {
            Kind::Ending { cause, .. } => Some(*cause),
            _ => None,
        }
    }

    /// What may be done about it.
    pub fn class(&self) -> FaultClass {
        match self {
            Kind::Os { on: _, os } => os.class(),
            Kind::Program { class, .. } | Kind::Other { class, .. } => *class,
            Kind::Ending { cause, .. } => cause.class(),
            Kind::SameEnding { .. } => FaultClass::Permanent,
            Kind::ProgramLimit { .. } => FaultClass::Transient,
            Kind::ReadBack { .. } => FaultClass::Hardware,
            Kind::OtherDisk { .. }
            | Kind::Twins { .. }
            | Kind::TableChanged { .. }
            | Kind::ForeignPartition { .. }
            | Kind::ChangedContents { .. }
            | Kind::AmbiguousName { .. }
            | Kind::Recovery { .. }
            | Kind::OtherPlan { .. } => FaultClass::Unsafe,
            Kind::InUse { .. }
            | Kind::LeftAttached { .. }
            | Kind::ConsentRefused { .. }
            | Kind::NoChoice { .. }
            | Kind::DiskRefused { .. } => FaultClass::NeedsChange,
            Kind::EmptySuccess { is_final: false, .. } => FaultClass::Transient,
            Kind::EmptySuccess { is_final: true, .. }
            | Kind::BootLoader { .. }
            | Kind::AttemptLimit { .. }
            | Kind::Defect { .. } => FaultClass::Permanent,
            Kind::RetriesSpent { last, retries: _ } => last.class(),
            Kind::Stopped { .. } => FaultClass::Interrupted,
            Kind::Machine(fault) => fault.class(),
            Kind::Place(fault) => fault.class(),
            Kind::Device(fault) => fault.class(),
            Kind::Room(fault) => fault.class(),
            Kind::Config(fault) => fault.class(),
            Kind::Source(fault) => fault.class(),
            Kind::Image(fault) => fault.class(),
            Kind::Secret(fault) => fault.class(),
            Kind::Store(fault) => fault.class(),
        }
    }
}

/// Error numbers of Linux (`include/uapi/asm-generic/errno*.h`), equal on x86-64 and arm64.
mod errno {
    pub(crate) const EPERM: i32 = 1;
    pub(crate) const EINTR: i32 = 4;
    pub(crate) const EIO: i32 = 5;
    pub(crate) const ENXIO: i32 = 6;
    pub(crate) const EAGAIN: i32 = 11;
    pub(crate) const ENOMEM: i32 = 12;
    pub(crate) const EACCES: i32 = 13;
    pub(crate) const EBUSY: i32 = 16;
    pub(crate) const EEXIST: i32 = 17;
    pub(crate) const ENODEV: i32 = 19;
    pub(crate) const ENOTDIR: i32 = 20;
    pub(crate) const EISDIR: i32 = 21;
    pub(crate) const ETXTBSY: i32 = 26;
    pub(crate) const ENOSPC: i32 = 28;
    pub(crate) const EROFS: i32 = 30;
    pub(crate) const ENOTEMPTY: i32 = 39;
    pub(crate) const ELOOP: i32 = 40;
    pub(crate) const ENODATA: i32 = 61;
    pub(crate) const EBADMSG: i32 = 74;
    pub(crate) const EILSEQ: i32 = 84;
    pub(crate) const ETIMEDOUT: i32 = 110;
    pub(crate) const EUCLEAN: i32 = 117;
    pub(crate) const EREMOTEIO: i32 = 121;
    pub(crate) const EDQUOT: i32 = 122;
    pub(crate) const ENOMEDIUM: i32 = 123;
}

impl Os {
    /// What the error's number means.
    pub fn class(&self) -> FaultClass {
        self.meaning().0
    }

    /// What to do about it.
    pub(super) fn remedy(&self) -> Remedy {
        self.meaning().1
    }

    fn meaning(&self) -> (FaultClass, Remedy) {
        use errno::*;
        match self.errno {
            Some(EIO | EREMOTEIO | ENODATA | EILSEQ) => (FaultClass::Hardware, Remedy::replace_device()),
            Some(EROFS) => (FaultClass::Hardware, Remedy::turned_read_only()),
            // The filesystem is damaged, and says nothing of its device. Attached again, it is checked and repaired.
            Some(EBADMSG | EUCLEAN) => (FaultClass::Transient, Remedy::resume()),
            // The device went away while it was in use. What it took of the last writes is for the next run to find out.
            Some(ENXIO | ENODEV) => (FaultClass::Hardware, Remedy::attach_again()),
            Some(ENOMEDIUM) => (FaultClass::NeedsChange, Remedy::attach_again()),
            Some(ENOSPC | EDQUOT) => (
                FaultClass::NeedsChange,
                Remedy::change("free space (landfall plan shows the sizes)"),
            ),
            Some(EBUSY | EAGAIN | EINTR | ENOMEM | ETIMEDOUT | ETXTBSY) => {
                (FaultClass::Transient, Remedy::resume())
            }
            Some(EACCES | EPERM) => (
                FaultClass::NeedsChange,
                Remedy::Words(
                    "run landfall as root: sudo landfall resume; if it runs as root, look for an immutable file (lsattr shows it, chattr -ia clears it)".into(),
                ),
            ),
            // Something is where something of another kind belongs.
            Some(ENOTDIR | EISDIR | ELOOP | ENOTEMPTY | EEXIST) => {
                (FaultClass::NeedsChange, Remedy::change("move away the file or directory that is there"))
            }
            Some(_) | None => (
                FaultClass::Permanent,
                Remedy::change("read the lines before it (landfall log), and fix the cause"),
            ),
        }
    }
}
