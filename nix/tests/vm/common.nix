# What the machines have in common: a small host, an installer of it, and the machine that boots the installed disk.
#
# The installer is a machine of the test driver with the module, and not an image, so that each behaviour is tested in
# minutes; iso-uefi.nix and netboot.nix boot images. The service is started by the script, so that it can look first.
{ nixpkgs, pkgs }:
let
  inherit (pkgs) lib;
  landfall = import ../../.. {
    inherit nixpkgs pkgs lib;
    inherit (pkgs.stdenv.hostPlatform) system;
  };
  testing = nixpkgs + "/nixos/modules/testing/test-instrumentation.nix";
  guest = nixpkgs + "/nixos/modules/profiles/qemu-guest.nix";
in
rec {
  serial = "LFTARGET";
  passphrase = "correct horse";
  service = "web-auto-install.service";

  layouts = {
    plain = { };
    swap = {
      labels.swap = "swap-web";
      swap = {
        enable = true;
        size = "512M";
      };
    };
    luks = {
      labels.luks = "luks-web";
      luks.enable = true;
    };
  };

  # The host, with the driver's back door in it.
  hostOf =
    layout:
    import (nixpkgs + "/nixos/lib/eval-config.nix") {
      system = null;
      modules = [
        ../../modules/target.nix
        testing
        guest
        {
          networking.hostName = "web";
          nixpkgs.hostPlatform = pkgs.stdenv.hostPlatform.system;
          system.stateVersion = lib.trivial.release;
          autoInstaller = lib.recursiveUpdate {
            labels = {
              efi = "ESP-WEB";
              root = "root-web";
            };
          } layouts.${layout};
          boot.loader.systemd-boot.enable = true;
          boot.loader.timeout = 0;
          boot.initrd.systemd.enable = true;
          documentation.enable = false;
          users.users.op.isNormalUser = true;
        }
      ];
    };

  # A disk with a serial number, in mebibytes.
  disk = name: size: {
    inherit size;
    driveConfig.deviceExtraOpts.serial = name;
  };

  # What sets the installer's options, whatever carries it.
  optionsOf =
    {
      layout ? "plain",
      prebuilt ? true,
      options ? { },
    }:
    {
      autoInstaller = lib.mkMerge [
        (lib.recursiveUpdate {
          targetHost = "web";
          labels = {
            efi = "ESP-WEB";
            root = "root-web";
          };
        } layouts.${layout})
        {
          onSuccess = lib.mkDefault "stay";
          # The laboratory shows argon2id at full cost.
          luks.iterationTimeMs = 100;
          unattended = {
            enable = lib.mkDefault true;
            disk = lib.mkDefault serial;
          };
        }
        (lib.mkIf prebuilt {
          prebuilt = true;
          targetSystem = (hostOf layout).config.system.build.toplevel;
          repoSource = ../../../examples/plain;
        })
        (lib.mkIf (layouts.${layout}.luks.enable or false) {
          luks.passphraseCredential = lib.mkDefault "/run/test/passphrase";
        })
        options
      ];
    };

  # The installer as a machine of the driver.
  installerOf =
    {
      layout ? "plain",
      prebuilt ? true,
      disks ? [ (disk serial 8192) ],
      options ? { },
    }:
    {
      imports = [
        ../../modules
        (optionsOf { inherit layout prebuilt options; })
      ];
      virtualisation = {
        diskImage = null;
        useEFIBoot = true;
        memorySize = 3072;
        emptyDiskImages = disks;
        writableStore = true;
        additionalPaths = lib.optional prebuilt (hostOf layout).config.system.build.toplevel;
      };
      systemd.services.web-auto-install.wantedBy = lib.mkForce [ ];
      systemd.tmpfiles.rules = [
        "d /run/test 0700 root root"
        "f /run/test/passphrase 0600 root root - ${passphrase}"
      ];
      nix.settings.substituters = lib.mkForce [ ];
    };

  # The installer as an image, with the driver's back door in it.
  imageOf =
    image: options:
    landfall.lib.mkInstaller {
      target = hostOf "plain";
      inherit image;
      modules = [
        testing
        guest
        (optionsOf { inherit options; })
      ];
    };

  # Boots the first of the installer's disks by its own boot loader. Its configuration is never booted.
  installed = {
    virtualisation = {
      useBootLoader = true;
      useEFIBoot = true;
      useDefaultFilesystems = false;
      efi.keepVariables = false;
      diskImage = "./empty0.qcow2";
      fileSystems."/" = {
        device = "/dev/disk/by-label/never-used";
        fsType = "ext4";
      };
    };
    boot.loader.systemd-boot.enable = true;
  };

  # For the scripts.
  python = ''
    SERVICE = "${service}"
    DISK = "/dev/disk/by-id/virtio-${serial}"

    def begin(machine):
        machine.wait_for_unit("multi-user.target")
        machine.succeed(f"systemctl start --no-block {SERVICE}")

    def wait_landed(machine):
        machine.wait_until_succeeds("landfall status | grep -i landed", timeout=1200)

    def wait_failed(machine, text):
        machine.wait_until_succeeds(f"systemctl is-failed {SERVICE}", timeout=600)
        machine.succeed(f"journalctl --unit {SERVICE} | grep --fixed-strings -- '{text}'")

    def table(machine):
        return machine.succeed(f"sfdisk --dump {DISK}")

    def boot_installed(installer, target):
        installer.shutdown()
        target.state_dir = installer.state_dir
        target.start()
        target.wait_for_unit("multi-user.target")
        assert "web" in target.succeed("hostname")
  '';
}
