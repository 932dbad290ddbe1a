//! Bugs that are planted to see whether the checks notice them.
//!
//! Each is one line somewhere in the simulated world, and is off by default. They are compiled for tests and the laboratory
//! only: the shipped binary is built without the feature `planted`, and has neither their names nor their effects. Bugs of
//! the driver and of the states are not here; mutation testing finds those.
//!
//! `check::planted` says which invariant must catch which bug.

/// Whether this run has a planted bug. Without the feature `planted`: never, and the bug's name is no name.
#[cfg(feature = "planted")]
macro_rules! planted {
    ($run:expr, $bug:ident) => {
        $run.has($crate::sim::inject::planted::Bug::$bug)
    };
}
#[cfg(not(feature = "planted"))]
macro_rules! planted {
    ($run:expr, $bug:ident) => {
        $crate::sim::inject::planted::none()
    };
}
pub(crate) use planted;

/// No bug is planted. A literal would let clippy reason about the conditions that it stands in.
#[cfg(not(feature = "planted"))]
pub(crate) const fn none() -> bool {
    false
}

/// A planted bug.
#[cfg(feature = "planted")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bug {
    /// Old signatures are wiped, and not flushed before the table is written.
    WipeUnflushed,
    /// A volume gets its planned id before the rest of it is durable.
    CommitUnflushed,
    /// A volume gets its planned id without a look at what was made.
    CommitUnchecked,
    /// Both slots are written at once.
    BothSlots,
    /// A slot is written and not flushed.
    SlotUnflushed,
    /// Landing neither unmounts nor flushes, and says that it did.
    LandUnflushed,
    /// The boot loader is taken to be right because its installer ended well.
    TrustExitCode,
    /// A finished root is taken for one in the making.
    FormatAgain,
    /// The ESP is found by its label.
    ByLabel,
    /// The disk is not identified again.
    SkipIdentity,
    /// Consent is taken from the record of a former run.
    ConsentFromRecord,
    /// A refusal is taken for consent.
    AssumeYes,
    /// Contents of the store are called verified without looking.
    TrustDatabase,
    /// Owner and permissions in the store are called right without looking.
    ModesTrusted,
    /// Looking at the clone repairs it.
    LookRepairs,
    /// A second `nixos-install` adds a generation.
    NotIdempotent,
    /// A program's argument list with the passphrase is told.
    LogPassphrase,
    /// A header of another disk is wiped on the way.
    TouchOther,
    /// Everything that is mapped is closed at the end.
    CloseAll,
    /// The backup copy of the table is called damaged.
    RewriteTable,
    /// A target that a killed run left mounted is looked at before it is written out.
    TakeOverUnsynced,
    /// Looking at a former install that has landed mounts its ESP for writing.
    SurveyWrites,
    /// A finished install is told of as soon as it is read, durable or not.
    LandedFromCache,
    /// A chunk of an image is recorded before its flush, and the image is never read back.
    ImageTrusted,
    /// The first chunk of an image brings the planned id along.
    ImageCommittedEarly,
    /// The digest of a chunk is looked at neither when it is read nor when the image is read back.
    ChunkUnchecked,
    /// One look fails for ever.
    NeverSettles,
    /// A clone that is whole is called absent when the run is a resume.
    RedoClone,
    /// Only the first slot is read.
    OneSlotRead,
    /// Slots of a newer format are called empty.
    NewerIsEmpty,
    /// The order of events depends on something outside.
    Unrepeatable,
    /// A record is written over the newest one.
    WriteNewer,
    /// The last sector of a slot is not written.
    PartialSlot,
    /// The kernel is not told of the new table.
    ForgetKernel,
    /// A container is made without the passphrase's key slot.
    NoKeyslot,
    /// The first disk is held, whichever it is.
    HoldFirst,
    /// The kept log holds the age identity.
    KeyInLog,
    /// The remote is told as it is written in the configuration.
    RemoteTold,
    /// Keys are called placed without a look.
    TrustKeys,
    /// A file of the ESP that exists is called right.
    ExistsIsRight,
    /// The profile and the trace of the activation are not written out, neither by the order nor before the next look.
    ProfileUnsynced,
    /// The same with the clone's rename.
    CloneUnsynced,
    /// The same with the record of the realised system.
    RecordUnsynced,
    /// The same with placed keys.
    KeysUnsynced,
    /// Volumes are made on the first disk, by its kernel name.
    FirstDisk,
    /// The disk is identified before the table is written, and not again.
    IdentifyOnce,
    /// Swap is made in every run.
    SwapAgain,
    /// A finished ESP is taken for one in the making.
    EspAgain,
    /// The primary copy of the table is called damaged.
    RewritePrimary,
    /// Looking at the table wipes old signatures.
    LookWipes,
    /// Looking at the profile sets it.
    LookSetsProfile,
    /// Looking for a configuration mounts another disk, which replays its journal.
    JournalReplay,
    /// Slots that contradict one another are taken for a blank disk.
    ForkIsFresh,
    /// What a killed run's programs still write is not waited for.
    SkipLock,
    /// A resume leaves a file of its own.
    Leftover,
    /// In the first run old signatures are wiped while the question is open.
    EraseWhileAsking,
    /// The backup copy of the table is called damaged as long as there is no ESP.
    RewriteEarly,
    /// A root that is finished is taken for one in the making when no record says that it is finished.
    FormatEarly,
    /// The ESP is found by its label below the held disk.
    LabelBelow,
    /// An order whose outcome is not known is carried out again without a look.
    RetryBlind,
    /// Slots with a gap between them are believed.
    AcceptGap,
    /// The newest slot is the one that the clock says was written last.
    WallClock,
    /// A mapping of our name is taken for ours.
    ReuseMapper,
    /// A partition is found by the global link of its PARTUUID.
    LinkWinner,
    /// What came over the network is not checked.
    TrustBytes,
    /// After a forge's limit of requests nobody waits longer than after anything else.
    HastyAtLimit,
    /// An ending that nobody knows is tried again like a lost connection.
    StrangeIsNetwork,
    /// Programs have no deadline.
    NoDeadline,
    /// A changed layout is not noticed; the install goes on with the former one.
    IgnoreLayout,
    /// A changed payload makes the root again.
    PayloadFormats,
    /// The wish for a new install is taken for consent.
    AnewIsConsent,
    /// A header of another disk is written again, just as it is.
    SameBytesElsewhere,
    /// The protective MBR is written again, just as it is, when the ESP is made.
    MbrAgain,
    /// The first record of all goes to both slots at once.
    BothSlotsFirst,
    /// Something is written again, just as it is, between the landing's flush and its claim.
    LateWrite,
    /// What an installer of the boot loader left when it was cut off stays.
    LeftoversStay,
    /// A generation of the profile that a cut Nix was making is left where the next one takes it for a whole one.
    GenerationStays,
    /// A file of the ESP that is wrong stays there while the installer runs.
    WrongStays,
    /// Keys are placed after the first activation.
    KeysAfterActivation,
    /// What an activation says of its parts that failed is not heard.
    ActivationUnheard,
    /// A start on a landed disk allocates a slot again that is allocated.
    LandedTouched,
    /// A lock that a killed Git left in the clone beside its place stays there.
    LockStays,
    /// A database that Nix cannot read fails the look, so that nothing is ever done about it.
    DatabaseIsFault,
    /// A mapping of our name without a table, which a killed activation left, is taken for somebody else's.
    EmptyIsConflict,
    /// A disk without a table and a known signature is called blank.
    BlankAssumed,
    /// A serial number that a bridge gives to every disk behind it is taken for an agreement.
    BridgeAgrees,
    /// Nobody looks whether another disk has a planned label.
    LabelUnseen,
    /// Nobody looks how wide the firmware is.
    AnyFirmware,
    /// Any bytes are a passphrase.
    AnyPassphrase,
    /// Git is run in a clone as it is found, with what its settings order.
    TargetOrders,
    /// The lock that keeps another landfall off is a file in the run directory.
    LockInRunDir,
    /// The revision that a record asks for is used without asking the remote.
    PinFromRecord,
    /// The system that the target's own record names is activated without evaluating anything.
    SystemFromTarget,
    /// Whatever lies in a slot is taken for this boot's own record.
    CodeUnchecked,
    /// What a record asks for is evaluated before the remote is asked about it.
    EvaluatedEarly,
    /// A root whose superblock was torn is taken for a blank partition, whatever its copies say.
    TornIsBlank,
    /// Making the root leaves the copies of a former superblock as they are until the new id is given.
    CopiesStay,
    /// The wipe before the table leaves the copies of a former root's superblock.
    CopiesOutliveWipe,
    /// An ESP that lost its root directory, with its label, is taken for somebody else's.
    LostLabelIsForeign,
    /// A clone that was given to its user already is evaluated as it is.
    CloneOfAnother,
    /// A run that finds its install finished ends without a word.
    EndUntold,
    /// The driver is not told that the root filesystem was damaged.
    DamageUnheard,
}
