//! The two files of a host, as text: its configuration, and that of its installer.
//!
//! Both use the same labels, in the form of the project's templates and examples. `flake` adds them to the flake.

use super::names::{Labels, quoted};
use landfall_states::remote::is_over_ssh;

/// Which volumes the host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Layout {
    /// ESP and root
    Plain,
    /// ESP, root and swap
    Swap,
    /// ESP, and root in LUKS2
    Luks,
    /// ESP, root in LUKS2, and swap
    LuksSwap,
}

impl Layout {
    fn has_luks(self) -> bool {
        match self {
            Layout::Plain | Layout::Swap => false,
            Layout::Luks | Layout::LuksSwap => true,
        }
    }

    fn has_swap(self) -> bool {
        match self {
            Layout::Plain | Layout::Luks => false,
            Layout::Swap | Layout::LuksSwap => true,
        }
    }
}

/// What the files say.
#[derive(Debug, Clone)]
pub(crate) struct HostText<'a> {
    pub(crate) name: &'a str,
    pub(crate) layout: Layout,
    pub(crate) swap_size: &'a str,
    pub(crate) prebuilt: bool,
    pub(crate) system: &'a str,
    /// Release of nixpkgs.
    pub(crate) state_version: &'a str,
    /// A user who can log in.
    pub(crate) user: Option<&'a str>,
    /// The flake's modules of the host have landfall's target module.
    pub(crate) has_target_module: bool,
    /// The host's modules know `age.identityPaths`; `None`: there are no secrets.
    pub(crate) age: Option<bool>,
    pub(crate) remote: Option<&'a str>,
    pub(crate) installer_public: &'a str,
    /// Lines of a known_hosts file for the remote.
    pub(crate) known_hosts: &'a [String],
}

impl HostText<'_> {
    fn labels(&self) -> String {
        let labels = Labels::of(self.name);
        let mut lines = format!(
            "    labels = {{\n      efi = {};\n      root = {};\n",
            quoted(&labels.efi),
            quoted(&labels.root)
        );
        if self.layout.has_luks() {
            lines.push_str(&format!("      luks = {};\n", quoted(&labels.luks)));
        }
        if self.layout.has_swap() {
            lines.push_str(&format!("      swap = {};\n", quoted(&labels.swap)));
        }
        lines.push_str("    };\n");
        if self.layout.has_luks() {
            lines.push_str("    luks.enable = true;\n");
        }
        if self.layout.has_swap() {
            lines.push_str(&format!(
                "    swap = {{\n      enable = true;\n      size = {};\n    }};\n",
                quoted(self.swap_size)
            ));
        }
        lines
    }

    /// The host's own description of its filesystems, where nothing else gives it one.
    fn file_systems(&self) -> String {
        let labels = Labels::of(self.name);
        let root = if self.layout.has_luks() {
            "/dev/mapper/cryptroot".to_owned()
        } else {
            format!("/dev/disk/by-label/{}", labels.root)
        };
        let mut text = format!(
            "  fileSystems.\"/\" = {{\n    device = {};\n    fsType = \"ext4\";\n  }};\n  fileSystems.\"/boot\" = {{\n    device = {};\n    \
             fsType = \"vfat\";\n    options = [ \"umask=0077\" ];\n  }};\n",
            quoted(&root),
            quoted(&format!("/dev/disk/by-label/{}", labels.efi))
        );
        if self.layout.has_luks() {
            text.push_str(&format!(
                "  boot.initrd.luks.devices.cryptroot.device = {};\n",
                quoted(&format!("/dev/disk/by-partlabel/{}", labels.luks))
            ));
        }
        if self.layout.has_swap() {
            text.push_str(&format!(
                "  swapDevices = [ {{ device = {}; }} ];\n",
                quoted(&format!("/dev/disk/by-label/{}", labels.swap))
            ));
        }
        text
    }

    /// `default.nix` of the host.
    pub(crate) fn host(&self) -> String {
        let mut text = String::from(if self.has_target_module {
            "# The host. Its filesystems come from the labels, through landfall's target module.\n"
        } else {
            "# The host. Its filesystems have the labels that its installer (installer.nix) gives them.\n"
        });
        text.push_str("{ lib, ... }:\n{\n");
        text.push_str(&format!("  networking.hostName = {};\n", quoted(self.name)));
        text.push_str(&format!(
            "  nixpkgs.hostPlatform = lib.mkDefault {};\n",
            quoted(self.system)
        ));
        text.push_str(&format!(
            "  system.stateVersion = {};\n\n",
            quoted(self.state_version)
        ));
        if self.has_target_module {
            text.push_str(&format!("  autoInstaller = {{\n{}  }};\n", self.labels()));
        } else {
            text.push_str(&self.file_systems());
        }
        text.push_str(
            "\n  boot.loader.systemd-boot.enable = true;\n  boot.loader.efi.canTouchEfiVariables = true;\n\n  \
             # CHANGE: the drivers of the machine's disk, as `nixos-generate-config --show-hardware-config` says.\n  \
             boot.initrd.availableKernelModules = [\n    \"ahci\"\n    \"nvme\"\n    \"usbhid\"\n    \"usb_storage\"\n    \"xhci_pci\"\n  ];\n",
        );
        let identity = format!(
            "age.identityPaths = [ {} ];",
            quoted(&format!("/etc/age/{}.agekey", self.name))
        );
        match self.age {
            None => {}
            Some(true) => text.push_str(&format!(
                "\n  # The installer puts the identity there before the first boot.\n  {identity}\n"
            )),
            Some(false) => text.push_str(&format!(
                "\n  # With agenix's module: the installer puts the identity there before the first boot.\n  # {identity}\n"
            )),
        }
        match self.user {
            Some(user) => text.push_str(&format!(
                "\n  users.users.{} = {{\n    isNormalUser = true;\n    extraGroups = [ \"wheel\" ];\n    # CHANGE: a hash of `mkpasswd`. \
                 There is no root password, so without this nobody can log in.\n    initialHashedPassword = \"!\";\n  }};\n",
                super::names::attribute(user)
            )),
            None => text.push_str(
                "\n  # There is no root password: some module of this host has to make a user who can log in.\n",
            ),
        }
        text.push_str("}\n");
        text
    }

    /// `installer.nix` of the host.
    pub(crate) fn installer(&self) -> String {
        let mut text = String::from(
            "# The host's installer. Every option is in landfall's docs/reference/options.md.\n{\n  autoInstaller = {\n",
        );
        if !self.has_target_module {
            text.push_str(&self.labels());
        }
        if self.prebuilt {
            text.push_str("    prebuilt = true;\n");
        }
        match self.remote {
            Some(remote) => text.push_str(&format!("    repoRemote = {};\n", quoted(remote))),
            None => text.push_str(
                "    # CHANGE: where this repository is fetched from.\n    repoRemote = \"https://forge.example/ops/nix-config\";\n",
            ),
        }
        if let Some(user) = self.user {
            text.push_str(&format!("    targetUser = {};\n", quoted(user)));
        }
        if self.remote.is_some_and(is_over_ssh) {
            text.push_str(&format!(
                "    ssh = {{\n      credential = \"medium\";\n      publicKey = {};\n",
                quoted(self.installer_public)
            ));
            if self.known_hosts.is_empty() {
                text.push_str(
                    "      # CHANGE: the lines of `ssh-keyscan HOST`, compared with what the forge publishes.\n      knownHosts = \"\";\n",
                );
            } else {
                text.push_str("      knownHosts = ''\n");
                for line in self.known_hosts {
                    text.push_str(&format!("        {line}\n"));
                }
                text.push_str("      '';\n");
            }
            text.push_str("    };\n    deployKey.enable = true;\n");
        }
        text.push_str("    ageIdentity.enable = true;\n  };\n}\n");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(layout: Layout, has_target_module: bool) -> HostText<'static> {
        HostText {
            name: "web",
            layout,
            swap_size: "8G",
            prebuilt: false,
            system: "x86_64-linux",
            state_version: "26.05",
            user: Some("op"),
            has_target_module,
            age: Some(true),
            remote: Some("git@forge.example:ops/nix-config"),
            installer_public: "ssh-ed25519 AAAA landfall installer key of web",
            known_hosts: &[],
        }
    }

    #[test]
    fn every_template_parses_and_names_the_same_labels_twice() {
        for layout in [Layout::Plain, Layout::Swap, Layout::Luks, Layout::LuksSwap] {
            for has_target_module in [false, true] {
                for user in [None, Some("op")] {
                    for age in [None, Some(false), Some(true)] {
                        let mut text = text(layout, has_target_module);
                        (text.user, text.age) = (user, age);
                        for made in [text.host(), text.installer()] {
                            assert!(rnix::Root::parse(&made).errors().is_empty(), "{made}");
                        }
                    }
                }
                let text = text(layout, has_target_module);
                let labels = Labels::of("web");
                let swap = [text.host(), text.installer()].concat().contains(&labels.swap);
                assert_eq!(swap, layout.has_swap());
                if !has_target_module {
                    assert!(text.host().contains("/dev/disk/by-label/ESP-WEB"));
                    assert!(text.installer().contains("efi = \"ESP-WEB\""));
                }
            }
        }
    }

    #[test]
    fn what_the_remote_needs_follows_from_it() {
        let mut over_https = text(Layout::Plain, true);
        over_https.remote = Some("https://forge.example/ops/nix-config");
        assert!(!over_https.installer().contains("publicKey"));
        assert!(
            text(Layout::Plain, true)
                .installer()
                .contains("credential = \"medium\"")
        );
    }
}
