//! One fault of every kind that is about one thing, made of texts that the caller chooses.
//!
//! Every kind is in the list (`kind_tests` compares it with the sources), and every text has the name of its field.

use super::fault::{
    ConfigFault, DeviceFault, Ended, Fault, ImageFault, MachineFault, Os, PlaceFault, RoomFault, SecretFault,
    SourceFault, StoreFault,
};

/// A fault of every kind that is about one thing.
#[expect(clippy::too_many_lines, reason = "one row for each kind of fault")]
pub(crate) fn examples(text: &dyn Fn(&str) -> String) -> Vec<Fault> {
    let os = || Os {
        doing: None,
        errno: Some(5),
        said: text("said"),
    };
    let list = || vec![text("first"), text("second")];
    let ended = || Ended {
        program: text("program"),
        code: Some(1),
        last_lines: list(),
        note: None,
    };
    vec![
        MachineFault::BiosMode {
            missing: text("missing"),
        }
        .into(),
        MachineFault::FirmwareWidth {
            bits: text("bits"),
            loader: text("loader"),
        }
        .into(),
        MachineFault::NotRoot { uid: 101 }.into(),
        MachineFault::Clock {
            now_s: 102,
            min_s: 103,
            max_s: 104,
        }
        .into(),
        MachineFault::ToolsMissing {
            programs: list(),
            path: text("path"),
        }
        .into(),
        MachineFault::ToolNotStarted {
            program: text("program"),
            os: os(),
        }
        .into(),
        MachineFault::Pipe {
            program: text("program"),
            os: os(),
        }
        .into(),
        MachineFault::OutputUnknown {
            on: text("on"),
            program: text("program"),
            reason: text("reason"),
            line: Some(text("line")),
        }
        .into(),
        MachineFault::FilesystemUnknown {
            on: text("on"),
            filesystem: text("filesystem"),
        }
        .into(),
        MachineFault::FileMissing {
            on: text("on"),
            path: text("path"),
        }
        .into(),
        MachineFault::Crypt {
            on: text("on"),
            said: text("said"),
        }
        .into(),
        PlaceFault::NameNotText { on: text("on") }.into(),
        PlaceFault::FileUnusable {
            on: text("on"),
            os: os(),
        }
        .into(),
        PlaceFault::FileType {
            path: text("path"),
            expected: text("expected"),
        }
        .into(),
        PlaceFault::LinkUnusable {
            path: text("path"),
            to: text("to"),
            os: os(),
        }
        .into(),
        PlaceFault::LinkLeadsOut {
            path: text("path"),
            to: text("to"),
        }
        .into(),
        PlaceFault::NotRegular {
            on: text("on"),
            found: text("found"),
        }
        .into(),
        PlaceFault::FileTooLong {
            on: text("on"),
            max: 146,
        }
        .into(),
        PlaceFault::ForeignUse {
            on: text("on"),
            by: text("by"),
        }
        .into(),
        PlaceFault::StaysBusy {
            on: text("on"),
            by: text("by"),
        }
        .into(),
        PlaceFault::MountsStacked {
            on: text("on"),
            max: 105,
        }
        .into(),
        PlaceFault::FilesystemRefused {
            on: text("on"),
            os: os(),
        }
        .into(),
        PlaceFault::TurnedReadOnly { on: text("on") }.into(),
        PlaceFault::NotPlaced {
            path: text("path"),
            flaws: list(),
        }
        .into(),
        PlaceFault::RecordUnusable {
            file: text("file"),
            reason: text("reason"),
        }
        .into(),
        DeviceFault::DiskAbsent {
            disk: text("disk"),
            size_bytes: Some(106),
        }
        .into(),
        DeviceFault::DiskAway {
            disk: text("disk"),
            replaced: true,
        }
        .into(),
        DeviceFault::DiskAway {
            disk: text("disk"),
            replaced: false,
        }
        .into(),
        DeviceFault::DiskNotListed { disk: text("disk") }.into(),
        DeviceFault::PartitionsGone { disk: text("disk") }.into(),
        DeviceFault::PartitionNotReady {
            on: text("on"),
            found: text("found"),
        }
        .into(),
        DeviceFault::PartitionNotListed {
            number: 107,
            disk: text("disk"),
            name: text("name"),
            partuuid: text("partuuid"),
        }
        .into(),
        DeviceFault::DiskLocked {
            disk: text("disk"),
            waited_s: 108,
            os: os(),
        }
        .into(),
        DeviceFault::OldView {
            disk: text("disk"),
            said: text("said"),
        }
        .into(),
        DeviceFault::Unreadable {
            disk: text("disk"),
            said: text("said"),
        }
        .into(),
        DeviceFault::ShortWrite {
            on: text("on"),
            written: 109,
            wanted: 110,
        }
        .into(),
        DeviceFault::NotADisk {
            given: text("given"),
            reason: text("reason"),
        }
        .into(),
        DeviceFault::Occupied {
            device: text("device"),
            found: text("found"),
        }
        .into(),
        DeviceFault::LabelsTaken {
            disk: text("disk"),
            labels: list(),
        }
        .into(),
        DeviceFault::NotGrown {
            on: text("on"),
            filesystem_bytes: 111,
            device_bytes: 112,
        }
        .into(),
        DeviceFault::SlotMissing {
            slot: 1,
            name: text("name"),
            place: text("place"),
            bytes: 114,
        }
        .into(),
        DeviceFault::OtherHeader {
            on: text("on"),
            expected: text("expected"),
            found: text("found"),
        }
        .into(),
        RoomFault::Disk {
            disk: text("disk"),
            needed_bytes: 115,
            available_bytes: 116,
        }
        .into(),
        RoomFault::Esp {
            disk: text("disk"),
            needed_bytes: 117,
            available_bytes: 118,
        }
        .into(),
        RoomFault::Image {
            image: text("image"),
            needed_bytes: 119,
            available_bytes: 120,
        }
        .into(),
        RoomFault::System {
            system: text("system"),
            system_bytes: 121,
            spare_bytes: 122,
            needed_bytes: 123,
            available_bytes: 124,
            usable_percent: 125,
        }
        .into(),
        RoomFault::Boot {
            images_bytes: 126,
            spare_bytes: 127,
            needed_bytes: 128,
            available_bytes: 129,
        }
        .into(),
        RoomFault::Database {
            database: text("database"),
            needed_bytes: 130,
            available_bytes: 131,
            said: text("said"),
        }
        .into(),
        RoomFault::Target {
            on: text("on"),
            needed_bytes: 132,
            available_bytes: 133,
        }
        .into(),
        ConfigFault::Invalid {
            file: Some(text("file")),
            problems: list(),
        }
        .into(),
        ConfigFault::BadValue {
            on: text("on"),
            what: text("what"),
            value: text("value"),
            allowed: text("allowed"),
        }
        .into(),
        ConfigFault::DiskNameless { disk: text("disk") }.into(),
        ConfigFault::SectorSize {
            disk: text("disk"),
            bytes: 134,
        }
        .into(),
        ConfigFault::ReinstallsSpent {
            disk: text("disk"),
            device: text("device"),
            number: 135,
            max: 136,
        }
        .into(),
        ConfigFault::OtherLoader {
            system: text("system"),
            loader: text("loader"),
        }
        .into(),
        ConfigFault::LoaderUnproved {
            system: text("system"),
            reason: text("reason"),
        }
        .into(),
        ConfigFault::LoaderOption {
            system: text("system"),
            option: text("option"),
            found: text("found"),
            mounted: text("mounted"),
        }
        .into(),
        ConfigFault::LoaderSteered {
            reason: text("reason"),
        }
        .into(),
        SourceFault::ReferenceMissing {
            repository: text("repository"),
            reason: text("reason"),
        }
        .into(),
        SourceFault::RevisionGone {
            revision: text("revision"),
            repository: text("repository"),
            now: text("now"),
        }
        .into(),
        SourceFault::PinNotNamed {
            revision: text("revision"),
            reference: text("reference"),
            repository: text("repository"),
            now: Some(text("now")),
            named_by: Some(text("named_by")),
        }
        .into(),
        SourceFault::RevisionNotInBundle {
            revision: text("revision"),
            repository: text("repository"),
        }
        .into(),
        SourceFault::NothingOffered {
            repository: text("repository"),
        }
        .into(),
        SourceFault::ForeignClone {
            path: text("path"),
            found: text("found"),
        }
        .into(),
        SourceFault::SubmoduleAddress {
            path: text("path"),
            repository: text("repository"),
            reason: text("reason"),
        }
        .into(),
        SourceFault::SubmoduleOrder {
            repository: text("repository"),
            setting: text("setting"),
        }
        .into(),
        ImageFault::NotPinned {
            image: text("image"),
            found: text("found"),
            pinned: text("pinned"),
        }
        .into(),
        DeviceFault::DiskTaken {
            disk: text("disk"),
            holders: list(),
        }
        .into(),
        ImageFault::Missing { image: text("image") }.into(),
        ImageFault::NoFile {
            image: text("image"),
            found: text("found"),
        }
        .into(),
        ImageFault::Foreign {
            image: text("image"),
            magic: text("magic"),
        }
        .into(),
        ImageFault::CutOff {
            image: text("image"),
            found_bytes: 137,
            wanted_bytes: 138,
        }
        .into(),
        ImageFault::Newer {
            image: text("image"),
            version: 139,
            known: 140,
        }
        .into(),
        ImageFault::Damaged {
            image: text("image"),
            reason: text("reason"),
        }
        .into(),
        ImageFault::PartUnreadable {
            image: text("image"),
            part: text("part"),
            reads: 141,
            said: text("said"),
        }
        .into(),
        ImageFault::PartWrong {
            image: text("image"),
            part: text("part"),
            reads: 142,
        }
        .into(),
        ImageFault::Differs {
            on: text("on"),
            part: text("part"),
        }
        .into(),
        ImageFault::NotExt4 {
            on: text("on"),
            reason: text("reason"),
        }
        .into(),
        ImageFault::OtherSystem {
            image: text("image"),
            found: text("found"),
            expected: text("expected"),
        }
        .into(),
        ImageFault::MediumGone {
            image: text("image"),
            medium: text("medium"),
        }
        .into(),
        ImageFault::Changed {
            image: text("image"),
            found: text("found"),
            expected: text("expected"),
        }
        .into(),
        ImageFault::WithoutSystem {
            image: text("image"),
            system: text("system"),
        }
        .into(),
        ImageFault::Incomplete {
            on: text("on"),
            missing: text("missing"),
        }
        .into(),
        SecretFault::WrongPassphrase { on: text("on") }.into(),
        SecretFault::PassphraseMissing {
            of: text("of"),
            unattended: true,
        }
        .into(),
        SecretFault::PassphraseMissing {
            of: text("of"),
            unattended: false,
        }
        .into(),
        SecretFault::PassphrasesDiffer {
            of: text("of"),
            rounds: 143,
        }
        .into(),
        SecretFault::Missing {
            credential: text("credential"),
            file: text("file"),
            label: text("label"),
        }
        .into(),
        SecretFault::Unusable {
            on: text("on"),
            reason: text("reason"),
        }
        .into(),
        SecretFault::WeakDerivation {
            of: text("of"),
            found: text("found"),
            least: text("least"),
        }
        .into(),
        SecretFault::KeyMedium {
            label: text("label"),
            said: text("said"),
            known: list(),
        }
        .into(),
        SecretFault::NoAnswer {
            reason: text("reason"),
        }
        .into(),
        SecretFault::ConsentMissing {
            extent: text("extent"),
            disk: text("disk"),
            reason: text("reason"),
        }
        .into(),
        SecretFault::UserUnknown {
            user: text("user"),
            has_accounts: true,
        }
        .into(),
        SecretFault::UserUnknown {
            user: text("user"),
            has_accounts: false,
        }
        .into(),
        StoreFault::SystemMissing {
            system: text("system"),
            ended: ended(),
        }
        .into(),
        StoreFault::NotInClosure {
            system: text("system"),
            paths: 144,
        }
        .into(),
        StoreFault::PathsLost {
            system: text("system"),
            paths: list(),
            more: 145,
        }
        .into(),
        StoreFault::DatabaseUnusable {
            database: text("database"),
            said: text("said"),
        }
        .into(),
        StoreFault::DatabaseBroke {
            database: text("database"),
            said: text("said"),
        }
        .into(),
        StoreFault::NixUnusable { said: text("said") }.into(),
        StoreFault::ActivationIncomplete {
            system: text("system"),
            part: text("part"),
            lacks: text("lacks"),
            said: text("said"),
        }
        .into(),
        SecretFault::KeyNotAllowed {
            remote: text("remote"),
            public: text("public"),
            waited_s: 146,
        }
        .into(),
    ]
}
