//! What an error of a program means.
//!
//! Each program has a table of its errors (in the program that runs them), and every row names one of these causes. The class
//! follows from the cause by a match without a wildcard. What a program only quotes has no cause.
//!
//! A *doubtful* cause is one that may or may not pass by itself: it is tried once more, and the same error again is permanent
//! (`repeated`).
//!
//! `fault::text` has the words, and `real::tool_errors` the tables.

use crate::fault::FaultClass;
use serde::Serialize;

/// What an ending of a program means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Cause {
    /// The network failed: no name, no connection, or one that broke.
    #[serde(rename = "network")]
    Network,
    /// The server has trouble of its own (HTTP 5xx).
    #[serde(rename = "server_error")]
    ServerError,
    /// The server wants fewer requests (HTTP 429).
    #[serde(rename = "throttled")]
    Throttled,
    /// The forge's limit for requests without an account is reached; it is counted by the hour.
    #[serde(rename = "api_limit")]
    ApiLimit,
    /// What came over the network is not what the cache promised.
    #[serde(rename = "bad_bytes")]
    BadBytes,
    /// The other side said that it failed: its disk, its memory, its repository.
    #[serde(rename = "remote_trouble")]
    RemoteTrouble,
    /// A build that only downloads got nothing from any of its mirrors.
    #[serde(rename = "fetch_in_build")]
    FetchInBuild,
    /// A device or file is in use.
    #[serde(rename = "busy")]
    Busy,
    /// A signal that nobody here sent ended the program.
    #[serde(rename = "killed")]
    Killed,
    /// Nothing is known of this ending.
    #[serde(rename = "unknown")]
    Unknown,
    /// Some device reports errors; which is not said.
    #[serde(rename = "input_output")]
    InputOutput,
    /// A part of the activation of the installed system failed.
    #[serde(rename = "activation")]
    Activation,
    /// The installer of the boot loader failed.
    #[serde(rename = "loader_installer")]
    LoaderInstaller,
    /// A structure that was read is damaged.
    #[serde(rename = "damaged")]
    Damaged,
    /// Not enough memory.
    #[serde(rename = "memory")]
    Memory,
    /// No room on the target.
    #[serde(rename = "no_room")]
    NoRoom,
    /// No room in the installer's own memory.
    #[serde(rename = "no_room_here")]
    NoRoomHere,
    /// A certificate is not valid at the time that the clock shows.
    #[serde(rename = "clock")]
    Clock,
    /// The server's host key is not known.
    #[serde(rename = "host_key")]
    HostKey,
    /// The server shows another host key than the known one.
    #[serde(rename = "host_key_changed")]
    HostKeyChanged,
    /// The server's host key is one that was revoked.
    #[serde(rename = "host_key_revoked")]
    HostKeyRevoked,
    /// The server's host certificate is not for this server, or ssh cannot use it.
    #[serde(rename = "host_certificate")]
    HostCertificate,
    /// ssh cannot use one of its settings.
    #[serde(rename = "ssh_settings")]
    SshSettings,
    /// The two sides of ssh have no algorithm in common.
    #[serde(rename = "ssh_algorithms")]
    SshAlgorithms,
    /// The server does not take the key.
    #[serde(rename = "key_refused")]
    KeyRefused,
    /// ssh cannot use the key.
    #[serde(rename = "key_unusable")]
    KeyUnusable,
    /// The repository wants a login, or refuses this one.
    #[serde(rename = "access")]
    Access,
    /// The account or repository is suspended at the forge.
    #[serde(rename = "suspended")]
    Suspended,
    /// The forge answers this machine's network address nothing.
    #[serde(rename = "network_refused")]
    NetworkRefused,
    /// A quota at the forge is used up.
    #[serde(rename = "forge_quota")]
    ForgeQuota,
    /// A cache or an input wants a login, or refuses.
    #[serde(rename = "cache_access")]
    CacheAccess,
    /// A path has no signature that is trusted.
    #[serde(rename = "cache_key")]
    CacheKey,
    /// No cache has the path, and nothing says how it is built.
    #[serde(rename = "cache_lacks")]
    CacheLacks,
    /// A page of HTML came instead of what was asked for.
    #[serde(rename = "captive_portal")]
    CaptivePortal,
    /// The certificate was issued by somebody who is not trusted here.
    #[serde(rename = "tls_issuer")]
    TlsIssuer,
    /// The certificate is for another name.
    #[serde(rename = "tls_name")]
    TlsName,
    /// The certificate does not hold, and nothing says why.
    #[serde(rename = "tls_unclear")]
    TlsUnclear,
    /// The list of trusted authorities cannot be read.
    #[serde(rename = "ca_file")]
    CaFile,
    /// The proxy wants a login.
    #[serde(rename = "proxy_login")]
    ProxyLogin,
    /// The proxy does not let this address through.
    #[serde(rename = "proxy_refuses")]
    ProxyRefuses,
    /// The firmware's memory for boot entries is full.
    #[serde(rename = "firmware_full")]
    FirmwareFull,
    /// The firmware refuses to keep a boot entry.
    #[serde(rename = "firmware_errors")]
    FirmwareErrors,
    /// The firmware's variables cannot be reached.
    #[serde(rename = "firmware_closed")]
    FirmwareClosed,
    /// The boot loader's installer does not take what is mounted for an ESP.
    #[serde(rename = "esp_unfit")]
    EspUnfit,
    /// Programs of another processor architecture.
    #[serde(rename = "architecture")]
    Architecture,
    /// A build wants what this machine does not offer.
    #[serde(rename = "build_features")]
    BuildFeatures,
    /// A key that opens secrets of the installed system is missing or wrong.
    #[serde(rename = "secret_missing")]
    SecretMissing,
    /// A program that is needed is not there.
    #[serde(rename = "program_missing")]
    ProgramMissing,
    /// The kernel lacks a module.
    #[serde(rename = "kernel_lacks")]
    KernelLacks,
    /// No key slot opens with this passphrase.
    #[serde(rename = "passphrase")]
    Passphrase,
    /// The address cannot be used.
    #[serde(rename = "address")]
    Address,
    /// A setting of Nix on the installer forbids it.
    #[serde(rename = "nix_settings")]
    NixSettings,
    /// The installer's own medium reports errors.
    #[serde(rename = "medium")]
    Medium,
    /// The target reports errors.
    #[serde(rename = "target_errors")]
    TargetErrors,
    /// The target does not take writes.
    #[serde(rename = "target_read_only")]
    TargetReadOnly,
    /// The target's device is not there any more.
    #[serde(rename = "target_gone")]
    TargetGone,
    /// The configuration cannot be evaluated.
    #[serde(rename = "evaluation")]
    Evaluation,
    /// The configuration wants what pure evaluation forbids.
    #[serde(rename = "restricted")]
    Restricted,
    /// The flake's lock file is missing, damaged or old.
    #[serde(rename = "lock_file")]
    LockFile,
    /// A download has another hash than the configuration says.
    #[serde(rename = "fixed_hash")]
    FixedHash,
    /// A build failed.
    #[serde(rename = "build")]
    Build,
    /// An input of the flake is not there.
    #[serde(rename = "input")]
    Input,
    /// There is no such repository, or it hides itself from this login.
    #[serde(rename = "repository_missing")]
    RepositoryMissing,
    /// The repository does not have what was asked for.
    #[serde(rename = "reference_missing")]
    ReferenceMissing,
    /// The repository is of another object format.
    #[serde(rename = "object_format")]
    ObjectFormat,
    /// The server's way of serving repositories cannot do it.
    #[serde(rename = "server_too_old")]
    ServerTooOld,
    /// The device is too small for what is to be made on it.
    #[serde(rename = "too_small")]
    TooSmall,
    /// A program is too old for the filesystem that it found.
    #[serde(rename = "tool_too_old")]
    ToolTooOld,
    /// A program does not take what landfall told it.
    #[serde(rename = "misused")]
    Misused,
    /// What is to be made anew is mounted.
    #[serde(rename = "mounted")]
    Mounted,
    /// The system does not allow the change: an immutable file, or rights that are missing.
    #[serde(rename = "forbidden")]
    Forbidden,
    /// Something of another kind is where a file or directory belongs.
    #[serde(rename = "in_the_way")]
    InTheWay,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Cause; 72] = [
        Cause::Network,
        Cause::ServerError,
        Cause::Throttled,
        Cause::ApiLimit,
        Cause::BadBytes,
        Cause::RemoteTrouble,
        Cause::FetchInBuild,
        Cause::Busy,
        Cause::Killed,
        Cause::Unknown,
        Cause::InputOutput,
        Cause::Activation,
        Cause::LoaderInstaller,
        Cause::Damaged,
        Cause::Memory,
        Cause::NoRoom,
        Cause::NoRoomHere,
        Cause::Clock,
        Cause::HostKey,
        Cause::HostKeyChanged,
        Cause::HostKeyRevoked,
        Cause::HostCertificate,
        Cause::SshSettings,
        Cause::SshAlgorithms,
        Cause::KeyRefused,
        Cause::KeyUnusable,
        Cause::Access,
        Cause::Suspended,
        Cause::NetworkRefused,
        Cause::ForgeQuota,
        Cause::CacheAccess,
        Cause::CacheKey,
        Cause::CacheLacks,
        Cause::CaptivePortal,
        Cause::TlsIssuer,
        Cause::TlsName,
        Cause::TlsUnclear,
        Cause::CaFile,
        Cause::ProxyLogin,
        Cause::ProxyRefuses,
        Cause::FirmwareFull,
        Cause::FirmwareErrors,
        Cause::FirmwareClosed,
        Cause::EspUnfit,
        Cause::Architecture,
        Cause::BuildFeatures,
        Cause::SecretMissing,
        Cause::ProgramMissing,
        Cause::KernelLacks,
        Cause::Passphrase,
        Cause::Address,
        Cause::NixSettings,
        Cause::Medium,
        Cause::TargetErrors,
        Cause::TargetReadOnly,
        Cause::TargetGone,
        Cause::Evaluation,
        Cause::Restricted,
        Cause::LockFile,
        Cause::FixedHash,
        Cause::Build,
        Cause::Input,
        Cause::RepositoryMissing,
        Cause::ReferenceMissing,
        Cause::ObjectFormat,
        Cause::ServerTooOld,
        Cause::TooSmall,
        Cause::ToolTooOld,
        Cause::Misused,
        Cause::Mounted,
        Cause::Forbidden,
        Cause::InTheWay,
    ];

    /// What may be done about it.
    pub fn class(self) -> FaultClass {
        match self {
            Cause::Network
            | Cause::ServerError
            | Cause::Throttled
            | Cause::ApiLimit
            | Cause::BadBytes
            | Cause::RemoteTrouble
            | Cause::FetchInBuild
            | Cause::Busy
            | Cause::Killed
            | Cause::Unknown
            | Cause::InputOutput
            | Cause::Activation
            | Cause::LoaderInstaller
            | Cause::Damaged => FaultClass::Transient,
            Cause::Memory
            | Cause::NoRoom
            | Cause::NoRoomHere
            | Cause::Clock
            | Cause::HostKey
            | Cause::HostKeyChanged
            | Cause::HostKeyRevoked
            | Cause::HostCertificate
            | Cause::SshSettings
            | Cause::SshAlgorithms
            | Cause::KeyRefused
            | Cause::KeyUnusable
            | Cause::Access
            | Cause::Suspended
            | Cause::NetworkRefused
            | Cause::ForgeQuota
            | Cause::CacheAccess
            | Cause::CacheKey
            | Cause::CacheLacks
            | Cause::CaptivePortal
            | Cause::TlsIssuer
            | Cause::TlsName
            | Cause::TlsUnclear
            | Cause::CaFile
            | Cause::ProxyLogin
            | Cause::ProxyRefuses
            | Cause::FirmwareFull
            | Cause::FirmwareErrors
            | Cause::FirmwareClosed
            | Cause::EspUnfit
            | Cause::Architecture
            | Cause::BuildFeatures
            | Cause::SecretMissing
            | Cause::ProgramMissing
            | Cause::KernelLacks
            | Cause::Passphrase
            | Cause::ToolTooOld
            | Cause::Address
            | Cause::NixSettings
            | Cause::Medium
            | Cause::Mounted
            | Cause::Forbidden
            | Cause::InTheWay => FaultClass::NeedsChange,
            Cause::TargetErrors | Cause::TargetReadOnly | Cause::TargetGone => FaultClass::Hardware,
            Cause::Evaluation
            | Cause::Restricted
            | Cause::LockFile
            | Cause::FixedHash
            | Cause::Build
            | Cause::Input
            | Cause::RepositoryMissing
            | Cause::ReferenceMissing
            | Cause::ObjectFormat
            | Cause::ServerTooOld
            | Cause::TooSmall
            | Cause::Misused => FaultClass::Permanent,
        }
    }

    /// Whether it lies on the other side of a network, so that room on the target has nothing to do with it.
    pub fn is_elsewhere(self) -> bool {
        matches!(
            self,
            Cause::Network
                | Cause::ServerError
                | Cause::Throttled
                | Cause::ApiLimit
                | Cause::Clock
                | Cause::HostKey
                | Cause::HostKeyChanged
                | Cause::HostKeyRevoked
                | Cause::HostCertificate
                | Cause::SshAlgorithms
                | Cause::KeyRefused
                | Cause::KeyUnusable
                | Cause::Access
                | Cause::Suspended
                | Cause::NetworkRefused
                | Cause::ForgeQuota
                | Cause::CacheAccess
                | Cause::CacheKey
                | Cause::CaptivePortal
                | Cause::TlsIssuer
                | Cause::TlsName
                | Cause::TlsUnclear
                | Cause::ProxyLogin
                | Cause::ProxyRefuses
                | Cause::ReferenceMissing
        )
    }

    /// Whether it is tried once more only: the same ending again is permanent.
    pub fn is_doubtful(self) -> bool {
        match self {
            Cause::Unknown
            | Cause::InputOutput
            | Cause::Activation
            | Cause::LoaderInstaller
            | Cause::Damaged => true,
            Cause::Network
            | Cause::ServerError
            | Cause::Throttled
            | Cause::ApiLimit
            | Cause::BadBytes
            | Cause::RemoteTrouble
            | Cause::FetchInBuild
            | Cause::Busy
            | Cause::Killed
            | Cause::Memory
            | Cause::NoRoom
            | Cause::NoRoomHere
            | Cause::Clock
            | Cause::HostKey
            | Cause::HostKeyChanged
            | Cause::HostKeyRevoked
            | Cause::HostCertificate
            | Cause::SshSettings
            | Cause::SshAlgorithms
            | Cause::KeyRefused
            | Cause::KeyUnusable
            | Cause::Access
            | Cause::Suspended
            | Cause::NetworkRefused
            | Cause::ForgeQuota
            | Cause::CacheAccess
            | Cause::CacheKey
            | Cause::CacheLacks
            | Cause::CaptivePortal
            | Cause::TlsIssuer
            | Cause::TlsName
            | Cause::TlsUnclear
            | Cause::CaFile
            | Cause::ProxyLogin
            | Cause::ProxyRefuses
            | Cause::FirmwareFull
            | Cause::FirmwareErrors
            | Cause::FirmwareClosed
            | Cause::EspUnfit
            | Cause::Architecture
            | Cause::BuildFeatures
            | Cause::SecretMissing
            | Cause::ProgramMissing
            | Cause::KernelLacks
            | Cause::Passphrase
            | Cause::ToolTooOld
            | Cause::Address
            | Cause::NixSettings
            | Cause::Medium
            | Cause::TargetErrors
            | Cause::TargetReadOnly
            | Cause::TargetGone
            | Cause::Evaluation
            | Cause::Restricted
            | Cause::LockFile
            | Cause::FixedHash
            | Cause::Build
            | Cause::Input
            | Cause::RepositoryMissing
            | Cause::ReferenceMissing
            | Cause::ObjectFormat
            | Cause::ServerTooOld
            | Cause::TooSmall
            | Cause::Misused
            | Cause::Mounted
            | Cause::Forbidden
            | Cause::InTheWay => false,
        }
    }

    /// How long is waited at least before it is tried again, in seconds. Ten tries of the longest outlast an hour.
    pub fn wait_s(self) -> Option<u64> {
        match self {
            Cause::ApiLimit => Some(600),
            Cause::Throttled => Some(60),
            Cause::Network
            | Cause::ServerError
            | Cause::BadBytes
            | Cause::RemoteTrouble
            | Cause::FetchInBuild
            | Cause::Busy
            | Cause::Killed
            | Cause::Unknown
            | Cause::InputOutput
            | Cause::Activation
            | Cause::LoaderInstaller
            | Cause::Damaged
            | Cause::Memory
            | Cause::NoRoom
            | Cause::NoRoomHere
            | Cause::Clock
            | Cause::HostKey
            | Cause::HostKeyChanged
            | Cause::HostKeyRevoked
            | Cause::HostCertificate
            | Cause::SshSettings
            | Cause::SshAlgorithms
            | Cause::KeyRefused
            | Cause::KeyUnusable
            | Cause::Access
            | Cause::Suspended
            | Cause::NetworkRefused
            | Cause::ForgeQuota
            | Cause::CacheAccess
            | Cause::CacheKey
            | Cause::CacheLacks
            | Cause::CaptivePortal
            | Cause::TlsIssuer
            | Cause::TlsName
            | Cause::TlsUnclear
            | Cause::CaFile
            | Cause::ProxyLogin
            | Cause::ProxyRefuses
            | Cause::FirmwareFull
            | Cause::FirmwareErrors
            | Cause::FirmwareClosed
            | Cause::EspUnfit
            | Cause::Architecture
            | Cause::BuildFeatures
            | Cause::SecretMissing
            | Cause::ProgramMissing
            | Cause::KernelLacks
            | Cause::Passphrase
            | Cause::ToolTooOld
            | Cause::Address
            | Cause::NixSettings
            | Cause::Medium
            | Cause::TargetErrors
            | Cause::TargetReadOnly
            | Cause::TargetGone
            | Cause::Evaluation
            | Cause::Restricted
            | Cause::LockFile
            | Cause::FixedHash
            | Cause::Build
            | Cause::Input
            | Cause::RepositoryMissing
            | Cause::ReferenceMissing
            | Cause::ObjectFormat
            | Cause::ServerTooOld
            | Cause::TooSmall
            | Cause::Misused
            | Cause::Mounted
            | Cause::Forbidden
            | Cause::InTheWay => None,
        }
    }
}
