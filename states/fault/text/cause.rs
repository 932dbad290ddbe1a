//! Words of a [`Cause`], and what to do about it.

use crate::fault::{Cause, Remedy};

impl Cause {
    /// What it is, as the first half of a reason.
    #[expect(clippy::too_many_lines, reason = "one row for each cause")]
    pub fn explained(self) -> &'static str {
        match self {
            Cause::Network => "the network failed",
            Cause::ServerError => "the server failed (HTTP 5xx)",
            Cause::Throttled => "the server asks for fewer requests (HTTP 429)",
            Cause::ApiLimit => "the forge's hourly request limit for this address is used up",
            Cause::BadBytes => {
                "the data from the cache does not match its checksum: the cache or the connection is bad"
            }
            Cause::RemoteTrouble => "the remote reports an error on its side",
            Cause::FetchInBuild => "a download in a build failed from every mirror",
            Cause::Busy => "it is in use",
            Cause::Killed => "a signal killed it",
            Cause::Unknown => "landfall does not know this error",
            Cause::InputOutput => "a device reports errors, and the program does not say which device",
            Cause::Activation => "a part of the system's activation failed",
            Cause::LoaderInstaller => "the boot loader installer failed",
            Cause::Damaged => "the data that it read is damaged",
            Cause::Memory => "the machine does not have enough memory",
            Cause::NoRoom => "there is no free space where it writes",
            Cause::NoRoomHere => "the installer's own filesystem, which is in memory, has no free space",
            Cause::Clock => "a certificate is not valid at the time that this machine's clock shows",
            Cause::HostKey => "the server's SSH host key is not known",
            Cause::HostKeyChanged => {
                "the server's SSH host key is not the known one: the key was replaced, or this is another server"
            }
            Cause::HostKeyRevoked => {
                "the server's SSH host key is revoked: somebody may have stolen it and answer in the server's place"
            }
            Cause::HostCertificate => "the server's SSH host certificate is not valid for this server",
            Cause::SshSettings => "ssh cannot use one of its settings on the installer",
            Cause::SshAlgorithms => "this ssh and the server support no common algorithm",
            Cause::KeyRefused => "the server refuses the SSH key",
            Cause::KeyUnusable => "ssh cannot use the key",
            Cause::Access => "the repository requires a login, or refuses this one",
            Cause::Suspended => "the forge has suspended the account or the repository",
            Cause::NetworkRefused => "the forge does not allow this machine's network address",
            Cause::ForgeQuota => "a quota at the forge is used up",
            Cause::CacheAccess => "a cache or a flake input refuses access",
            Cause::CacheKey => "a path in the cache is not signed with a trusted key",
            Cause::CacheLacks => "no cache has this path",
            Cause::CaptivePortal => {
                "the answer is a web page: the network requires a login in a browser (captive portal), or the address is wrong"
            }
            Cause::TlsIssuer => {
                "the issuer of the server's certificate is not trusted here: the network inspects TLS, or you use your own certificate authority"
            }
            Cause::TlsName => {
                "the server's certificate is for another name: another server answers at this address"
            }
            Cause::TlsUnclear => "the server's certificate is not valid, and the program does not say why",
            Cause::CaFile => "the list of trusted certificate authorities cannot be read",
            Cause::ProxyLogin => "the proxy requires a login (HTTP 407)",
            Cause::ProxyRefuses => "the proxy does not allow this address",
            Cause::FirmwareFull => "the firmware's memory for boot entries (NVRAM) is full",
            Cause::FirmwareErrors => "the firmware did not store a boot entry; the disk is not the cause",
            Cause::FirmwareClosed => "the firmware's variables cannot be accessed",
            Cause::EspUnfit => "bootctl does not accept the mounted filesystem as an EFI system partition",
            Cause::Architecture => "it is for another processor architecture than this machine's",
            Cause::BuildFeatures => "a build requires a feature that this machine does not have",
            Cause::SecretMissing => "a key that decrypts the system's secrets is missing or wrong",
            Cause::ProgramMissing => "a program that it needs is missing",
            Cause::KernelLacks => "the running kernel lacks a feature that it needs",
            Cause::Passphrase => "this passphrase opens no key slot",
            Cause::Address => "the address cannot be used",
            Cause::NixSettings => "a Nix setting forbids it",
            Cause::Medium => "the medium that the installer runs from reports errors",
            Cause::TargetErrors => "the target reports errors",
            Cause::TargetReadOnly => "the target is read-only",
            Cause::TargetGone => "the device is no longer attached",
            Cause::Evaluation => "the configuration cannot be evaluated",
            Cause::Restricted => "the configuration reads something that pure evaluation forbids",
            Cause::LockFile => "the flake's lock file is missing, damaged or out of date",
            Cause::FixedHash => "a download does not have the hash that the configuration states",
            Cause::Build => "a build failed",
            Cause::Input => "an input of the flake is missing",
            Cause::RepositoryMissing => "the repository does not exist, or this login cannot see it",
            Cause::ReferenceMissing => "the repository does not have that branch or revision",
            Cause::ObjectFormat => "the repository's object format (SHA-1 or SHA-256) is not the planned one",
            Cause::ServerTooOld => "this server can only send whole repositories (dumb HTTP)",
            Cause::TooSmall => "the device is too small for it",
            Cause::ToolTooOld => "this program is too old for the filesystem that it found",
            Cause::Misused => "the program rejects the arguments that landfall gave it",
            Cause::Mounted => "it is mounted",
            Cause::Forbidden => "the system does not allow it to change a file or directory",
            Cause::InTheWay => "something of another kind is where it needs a file or directory",
        }
    }

    /// What to do about it.
    #[expect(clippy::too_many_lines, reason = "one row for each cause")]
    pub fn remedy(self) -> Remedy {
        match self {
            Cause::Network | Cause::ServerError | Cause::Throttled | Cause::Busy => Remedy::resume(),
            Cause::ApiLimit => {
                Remedy::change("wait an hour, use another network address, or use a git+ssh input")
            }
            Cause::BadBytes => {
                Remedy::change("remove that cache from nix.substituters, or put another one before it")
            }
            Cause::RemoteTrouble => Remedy::change("report this to the operator of the remote"),
            Cause::FetchInBuild => Remedy::change("check that this machine can reach these addresses"),
            Cause::Killed => Remedy::change(
                "check the memory of this machine (free -m; dmesg shows whether the kernel killed the program)",
            ),
            Cause::Unknown => Remedy::change("read the lines before it (landfall log) and fix the cause"),
            Cause::InputOutput => Remedy::words(
                "find the device with dmesg. The boot medium: write it again, then: landfall resume. The target disk: replace it, then: landfall install",
            ),
            Cause::Activation => {
                Remedy::change("fix the part of the configuration that it names, and push it")
            }
            Cause::LoaderInstaller => {
                Remedy::change("fix what it reports, in the configuration or on the ESP")
            }
            Cause::Damaged => Remedy::words(
                "read the lines before it (landfall log), then: landfall resume; if it happens again, replace the disk, then: landfall install",
            ),
            Cause::Memory => Remedy::change(
                "give the machine more memory; or add swap, in memory (zramSwap.enable in the installer) or on the target (swap.enable, before the disk is partitioned); or install a system that was built on another machine (docs/reference/configuration.md, system)",
            ),
            Cause::NoRoom => Remedy::change(
                "free space on the target (landfall plan shows the sizes), or use a larger disk",
            ),
            Cause::NoRoomHere => {
                Remedy::change("delete what fills it (df -h), or give the machine more memory")
            }
            Cause::Clock => Remedy::change(
                "set the clock (sudo date --set='YYYY-MM-DD HH:MM:SS'), or renew the server's certificate",
            ),
            Cause::HostKey => Remedy::change(
                "add the server's key, or the key of its certificate authority (@cert-authority), to ssh.known_hosts (ssh-keyscan shows the server's key; verify it first)",
            ),
            Cause::HostKeyChanged => {
                Remedy::change("ask the operator of the server, then add its key to ssh.known_hosts")
            }
            Cause::HostKeyRevoked => Remedy::change(
                "do not trust this server: ask its operator, and add its new key to ssh.known_hosts when it has one (leave the revoked key marked as it is)",
            ),
            Cause::HostCertificate => Remedy::change(
                "correct the server's name in repository.remote, or ask the operator of the server for a valid host certificate",
            ),
            Cause::SshSettings => {
                Remedy::change("correct /etc/ssh/ssh_config or ~/.ssh/config of the installer")
            }
            Cause::SshAlgorithms => Remedy::change(
                "update the server's ssh, or allow its algorithms in an ssh_config of the installer",
            ),
            Cause::KeyRefused => Remedy::change(
                "provide the right key as credential landfall.ssh-key, and add it at the forge",
            ),
            Cause::KeyUnusable => Remedy::change(
                "provide an unencrypted private key in OpenSSH format, with mode 0600, as credential landfall.ssh-key",
            ),
            Cause::Access => Remedy::change(
                "give access: add the key of credential landfall.ssh-key at the forge, provide a token as credential landfall.repository-token (https), or use a public remote",
            ),
            Cause::Suspended => Remedy::change(
                "resolve it with the forge (its message gives the reason), or use another account or remote",
            ),
            Cause::NetworkRefused => Remedy::change(
                "allow this network's address at the forge (its IP allow list), or use another network or a proxy whose address is allowed",
            ),
            Cause::ForgeQuota => {
                Remedy::change("raise the quota at the forge or free space there, or use another remote")
            }
            Cause::CacheAccess => Remedy::change(
                "give access to it, or remove it from nix.substituters or from the flake's inputs",
            ),
            Cause::CacheKey => Remedy::change("add the cache's key to nix.trusted_public_keys"),
            Cause::CacheLacks => {
                Remedy::change("add a cache that has it to nix.substituters, or push it to a cache")
            }
            Cause::CaptivePortal => Remedy::change(
                "log in to the network (open http://neverssl.com in a browser), or correct the address",
            ),
            Cause::TlsIssuer => Remedy::change(
                "use a network without TLS inspection, or add the certificate authority to the installer (security.pki.certificateFiles)",
            ),
            Cause::TlsName => Remedy::change("correct the address, or check the network's DNS server"),
            Cause::TlsUnclear => Remedy::change(
                "check the clock (date) and the issuer of the certificate (openssl s_client -connect HOST:443)",
            ),
            Cause::CaFile => {
                Remedy::change("make /etc/ssl/certs/ca-certificates.crt readable in the installer")
            }
            Cause::ProxyLogin => Remedy::change(
                "set a proxy with its login, or a proxy without one, in the installer (networking.proxy)",
            ),
            Cause::ProxyRefuses => Remedy::change(
                "allow the address at the proxy, or set another proxy or none in the installer (networking.proxy)",
            ),
            Cause::FirmwareFull => Remedy::change(
                "delete entries (efibootmgr lists them, efibootmgr -b NNNN -B deletes one) or crash dumps (rm /sys/firmware/efi/efivars/dump-*), and reboot",
            ),
            Cause::FirmwareErrors => Remedy::change(
                "reboot once, so that the firmware frees memory; if it happens again, reset the firmware settings or update the firmware",
            ),
            Cause::FirmwareClosed => Remedy::change(
                "boot the installer in UEFI mode, and mount efivarfs writable (mount -o remount,rw /sys/firmware/efi/efivars)",
            ),
            Cause::EspUnfit => Remedy::change(
                "set boot.loader.efi.efiSysMountPoint to /boot in the configuration, and mount nothing else there",
            ),
            Cause::Architecture => Remedy::change(
                "correct the host's nixpkgs.hostPlatform, or install from a machine of that architecture",
            ),
            Cause::BuildFeatures => Remedy::change(
                "build it on another machine and push it to a cache, or remove it from the configuration",
            ),
            Cause::SecretMissing => Remedy::change(
                "have landfall install the key (docs/reference/configuration.md, secrets), or encrypt the secrets for the key that is on the target",
            ),
            Cause::ProgramMissing => {
                Remedy::change("add it to the installer, or to the host's system packages")
            }
            Cause::KernelLacks => Remedy::change(
                "load the module (device-mapper: modprobe dm_mod), or boot an installer whose kernel has it",
            ),
            Cause::Passphrase => Remedy::change("enter the passphrase of this container"),
            Cause::Address => Remedy::change_and_install("correct repository.remote in the configuration"),
            Cause::NixSettings => Remedy::change("correct /etc/nix/nix.conf of the installer"),
            Cause::Medium => Remedy::words(
                "write the boot medium again or use another one, boot it, then: landfall resume",
            ),
            Cause::TargetErrors => Remedy::replace_device(),
            Cause::TargetReadOnly => Remedy::turned_read_only(),
            Cause::TargetGone => Remedy::attach_again(),
            Cause::Evaluation => Remedy::change("fix the configuration, and push it"),
            Cause::Restricted => Remedy::change(
                "make the configuration pure (inputs in the lock file, no absolute paths), and push it",
            ),
            Cause::LockFile => Remedy::change("run nix flake lock, and push flake.lock"),
            Cause::FixedHash => Remedy::change("update the flake's lock file or the hash, and push it"),
            Cause::Build => Remedy::change("fix the build (landfall log shows its output), and push it"),
            Cause::Input => Remedy::change("correct the flake's inputs or its lock file, and push it"),
            Cause::RepositoryMissing => {
                Remedy::change("correct repository.remote in the configuration, or add the key at the forge")
            }
            Cause::ReferenceMissing => {
                Remedy::change("correct repository.branch or repository.revision in the configuration")
            }
            Cause::ObjectFormat => {
                Remedy::change_and_install("use a repository with the object format that landfall plan shows")
            }
            Cause::ServerTooOld => Remedy::change_and_install(
                "serve the repository with git http-backend or ssh, or use a bundle",
            ),
            Cause::TooSmall => Remedy::change_and_install(
                "enlarge that partition in the layout (landfall plan shows the sizes)",
            ),
            Cause::ToolTooOld => Remedy::change(
                "use an installer whose e2fsprogs is at least as new as the one that made or changed this filesystem",
            ),
            Cause::Misused => Remedy::report(),
            Cause::Mounted => Remedy::change("unmount it (findmnt shows where)"),
            Cause::Forbidden => Remedy::change(
                "look for an immutable file or directory (lsattr -d shows it, chattr -ia clears it)",
            ),
            Cause::InTheWay => Remedy::change("move away the file, directory or link that is there"),
        }
    }
}
