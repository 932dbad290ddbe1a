//! Words of a [`Cause`], and what to do about it.

use crate::fault::{Cause, Remedy};

impl Cause {
    /// What it is, as the first half of a reason.
    pub fn explained(self) -> &'static str {
        match self {
            Cause::Network => "the network failed",
            Cause::ServerError => "the server has trouble of its own",
            Cause::Throttled => "the server wants fewer requests",
            Cause::ApiLimit => "the forge's hourly limit of requests for this address is reached",
            Cause::BadBytes => {
                "what came from the cache is not what it promised: the cache or the line is bad"
            }
            Cause::RemoteTrouble => "the remote failed on its own side",
            Cause::FetchInBuild => "a build that only downloads got nothing from any mirror",
            Cause::Busy => "it is in use",
            Cause::Killed => "it was killed",
            Cause::Unknown => "landfall does not know this ending",
            Cause::InputOutput => "a device reports errors, and the program does not say which",
            Cause::Activation => "a part of the activation failed",
            Cause::LoaderInstaller => "the installer of the boot loader failed",
            Cause::Damaged => "what was read is damaged",
            Cause::Memory => "not enough memory",
            Cause::NoRoom => "no room is left where it writes",
            Cause::NoRoomHere => "no room is left in the installer's own filesystem, which is memory",
            Cause::Clock => "a certificate is not valid at the time that this machine's clock shows",
            Cause::HostKey => "the server's host key is not known",
            Cause::HostKeyChanged => {
                "the server shows another host key than the one that is known: it was renewed, or this is another server"
            }
            Cause::SshAlgorithms => "this ssh and the server have no algorithm in common",
            Cause::KeyRefused => "the server does not take the ssh key",
            Cause::KeyUnusable => "ssh cannot use the key",
            Cause::Access => "the repository wants a login, or refuses this one",
            Cause::Suspended => "the account or the repository is suspended at the forge",
            Cause::ForgeQuota => "a quota at the forge is used up",
            Cause::CacheAccess => "a cache or an input refuses access",
            Cause::CacheKey => "a path of the cache has no signature by a trusted key",
            Cause::CacheLacks => "no cache has this path",
            Cause::CaptivePortal => {
                "a web page came instead of what was asked for: a network that wants a login in a browser (captive portal), or another address"
            }
            Cause::TlsIssuer => {
                "the server's certificate was issued by somebody who is not trusted here: a network that opens TLS (inspection), or an authority of your own"
            }
            Cause::TlsName => "the server's certificate is for another name: another server answers there",
            Cause::TlsUnclear => "the server's certificate does not hold, and nothing says why",
            Cause::CaFile => "the list of trusted certificate authorities cannot be read",
            Cause::ProxyLogin => "the proxy wants a login (407)",
            Cause::ProxyRefuses => "the proxy does not let this address through",
            Cause::FirmwareFull => "the firmware's memory for boot entries (NVRAM) is full",
            Cause::FirmwareErrors => "the firmware did not take a boot entry; the disk is not at fault",
            Cause::FirmwareClosed => "the firmware's variables cannot be reached",
            Cause::EspUnfit => "bootctl does not take what is mounted for an EFI system partition",
            Cause::Architecture => "it is for another processor architecture than this machine",
            Cause::BuildFeatures => "a build wants a feature that this machine does not offer",
            Cause::SecretMissing => "a key that opens the system's secrets is missing or wrong",
            Cause::ProgramMissing => "a program that it needs is not there",
            Cause::KernelLacks => "the running kernel lacks what it needs",
            Cause::Passphrase => "no key slot opens with this passphrase",
            Cause::Address => "the address cannot be used",
            Cause::NixSettings => "a setting of Nix forbids it",
            Cause::Medium => "the medium that the installer runs from reports errors",
            Cause::TargetErrors => "the target reports errors",
            Cause::TargetReadOnly => "the target takes no writes",
            Cause::TargetGone => "the device is not there any more",
            Cause::Evaluation => "the configuration cannot be evaluated",
            Cause::Restricted => "the configuration reads what a pure evaluation must not",
            Cause::LockFile => "the flake's lock file is missing, damaged or out of date",
            Cause::FixedHash => "a download has another hash than the configuration says",
            Cause::Build => "a build failed",
            Cause::Input => "an input of the flake is not there",
            Cause::RepositoryMissing => "there is no such repository there, or it is hidden from this login",
            Cause::ReferenceMissing => "the repository does not have that branch or revision",
            Cause::ObjectFormat => "the repository is of another object format (SHA-256) than was planned",
            Cause::ServerTooOld => "this server can only be copied from as a whole (dumb HTTP)",
            Cause::TooSmall => "the device is too small for it",
            Cause::Misused => "the program does not take what it was told",
            Cause::Mounted => "it is mounted",
        }
    }

    /// What to do about it.
    pub fn remedy(self) -> Remedy {
        match self {
            Cause::Network | Cause::ServerError | Cause::Throttled | Cause::Busy => Remedy::resume(),
            Cause::ApiLimit => {
                Remedy::change("wait an hour, or use another address of the network, or a git+ssh input")
            }
            Cause::BadBytes => {
                Remedy::change("take that cache out of nix.substituters, or name another one before it")
            }
            Cause::RemoteTrouble => Remedy::change("tell whoever runs the remote"),
            Cause::FetchInBuild => Remedy::change("check that the machine reaches these addresses"),
            Cause::Killed => Remedy::change(
                "check the memory of the machine (free -m; dmesg shows whether the kernel killed it)",
            ),
            Cause::Unknown => Remedy::change("read what came before it (landfall log) and mend that"),
            Cause::InputOutput => Remedy::change(
                "find out which device it is (dmesg): replace the target, or write the boot medium anew",
            ),
            Cause::Activation => Remedy::change("mend the part of the configuration that it names, push it"),
            Cause::LoaderInstaller => Remedy::change("mend what it says, in the configuration or on the ESP"),
            Cause::Damaged => {
                Remedy::change("landfall log shows what came before; when it stays so, replace the device")
            }
            Cause::Memory => Remedy::change(
                "give the machine more memory, or swap: in memory (zramSwap.enable in the installer) or on the target (swap.enable, before the disk is partitioned); or install a system that was built elsewhere (docs/reference/configuration.md, system)",
            ),
            Cause::NoRoom => Remedy::change(
                "make room on the target (landfall plan shows the sizes), or give it a larger disk",
            ),
            Cause::NoRoomHere => {
                Remedy::change("delete what fills it (df -h), or give the machine more memory")
            }
            Cause::Clock => Remedy::change(
                "set the clock (sudo date --set='YYYY-MM-DD HH:MM:SS'), or renew the server's certificate",
            ),
            Cause::HostKey => {
                Remedy::change("put the server's key into ssh.known_hosts (ssh-keyscan shows it; compare it)")
            }
            Cause::HostKeyChanged => {
                Remedy::change("ask whoever runs the server, then put its key into ssh.known_hosts")
            }
            Cause::SshAlgorithms => Remedy::change(
                "update the server's ssh, or allow what it offers in a ssh_config of the installer",
            ),
            Cause::KeyRefused => Remedy::change(
                "supply the right key as credential landfall.ssh-key and allow it at the forge",
            ),
            Cause::KeyUnusable => Remedy::change(
                "supply an unencrypted private key in OpenSSH's form as credential landfall.ssh-key, of mode 0600",
            ),
            Cause::Access => Remedy::change(
                "give access: allow the key of credential landfall.ssh-key at the forge, supply a token as credential landfall.repository-token (https), or name a remote that everybody may read",
            ),
            Cause::Suspended => {
                Remedy::change("settle it with the forge (it writes why), or use another account or remote")
            }
            Cause::ForgeQuota => {
                Remedy::change("raise or free the quota at the forge, or use another remote")
            }
            Cause::CacheAccess => Remedy::change(
                "give access to it, or take it out of nix.substituters or of the flake's inputs",
            ),
            Cause::CacheKey => Remedy::change("add the cache's key to nix.trusted_public_keys"),
            Cause::CacheLacks => {
                Remedy::change("name a cache that has it in nix.substituters, or push it to one")
            }
            Cause::CaptivePortal => Remedy::change(
                "log in to the network (open http://neverssl.com in a browser), or correct the address",
            ),
            Cause::TlsIssuer => Remedy::change(
                "use a network without TLS inspection, or add that authority to the installer (security.pki.certificateFiles)",
            ),
            Cause::TlsName => Remedy::change("correct the address, or check the network's name server"),
            Cause::TlsUnclear => Remedy::change(
                "check the clock (date) and who issued the certificate (openssl s_client -connect HOST:443)",
            ),
            Cause::CaFile => {
                Remedy::change("make it readable in the installer (/etc/ssl/certs/ca-certificates.crt)")
            }
            Cause::ProxyLogin => Remedy::change(
                "name the proxy with a login, or one without, in the installer's environment (networking.proxy)",
            ),
            Cause::ProxyRefuses => Remedy::change(
                "let the proxy allow the address, or name another proxy, or none, in the installer's environment (networking.proxy)",
            ),
            Cause::FirmwareFull => Remedy::change(
                "free it: efibootmgr lists the entries, efibootmgr -b NNNN -B deletes one; rm /sys/firmware/efi/efivars/dump-* deletes crash dumps; then reboot",
            ),
            Cause::FirmwareErrors => Remedy::change(
                "reboot once (firmware frees its memory then); if it stays so, reset the firmware's settings or update it",
            ),
            Cause::FirmwareClosed => Remedy::change(
                "boot the installer in UEFI mode, mount efivarfs writable (mount -o remount,rw /sys/firmware/efi/efivars)",
            ),
            Cause::EspUnfit => Remedy::change(
                "make boot.loader.efi.efiSysMountPoint /boot in the configuration, and nothing else mounted there",
            ),
            Cause::Architecture => Remedy::change(
                "correct the host's nixpkgs.hostPlatform, or install from a machine of that architecture",
            ),
            Cause::BuildFeatures => Remedy::change(
                "build it elsewhere and push it to a cache, or take it out of the configuration",
            ),
            Cause::SecretMissing => Remedy::change(
                "place the key with landfall (secrets in docs/reference/configuration.md), or encrypt the secrets for the key that is there",
            ),
            Cause::ProgramMissing => {
                Remedy::change("add it to the installer, or to the host's system packages")
            }
            Cause::KernelLacks => {
                Remedy::change("boot an installer whose kernel has it (device-mapper: modprobe dm_mod)")
            }
            Cause::Passphrase => Remedy::change("give the passphrase of this container"),
            Cause::Address => Remedy::change_and_install("correct repository.remote in the configuration"),
            Cause::NixSettings => Remedy::change("correct /etc/nix/nix.conf of the installer"),
            Cause::Medium => {
                Remedy::words("write the boot medium anew, or use another one, boot, then landfall resume")
            }
            Cause::TargetErrors | Cause::TargetReadOnly => Remedy::replace_device(),
            Cause::TargetGone => Remedy::attach_again(),
            Cause::Evaluation => Remedy::change("mend the configuration, push it"),
            Cause::Restricted => Remedy::change(
                "make the configuration pure (inputs in the lock file, no absolute paths), push it",
            ),
            Cause::LockFile => Remedy::change("nix flake lock, push flake.lock"),
            Cause::FixedHash => Remedy::change("update the flake's lock file or the hash, push it"),
            Cause::Build => Remedy::change("mend the build (landfall log shows it), push it"),
            Cause::Input => Remedy::change("correct the flake's inputs or its lock file, push it"),
            Cause::RepositoryMissing => Remedy::change(
                "correct repository.remote in the configuration, or allow the key at the forge",
            ),
            Cause::ReferenceMissing => {
                Remedy::change("correct repository.branch or repository.revision in the configuration")
            }
            Cause::ObjectFormat => {
                Remedy::change_and_install("name a repository of the format that landfall plan shows")
            }
            Cause::ServerTooOld => Remedy::change_and_install(
                "serve the repository with git http-backend, by ssh, or as a bundle",
            ),
            Cause::TooSmall => Remedy::change_and_install(
                "enlarge that partition in the layout (landfall plan shows the sizes)",
            ),
            Cause::Misused => Remedy::report(),
            Cause::Mounted => Remedy::change("unmount it (findmnt shows where)"),
        }
    }
}
