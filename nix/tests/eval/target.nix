# Whether installer and target agree (lib/compare.nix): hosts that do, and hosts that do not, with what the message says.
{ lib }:
let
  harness = import ./harness.nix { inherit lib; };
  agrees = import ../../lib/compare.nix { inherit lib; };

  plain = {
    fileSystems."/" = {
      device = "/dev/disk/by-label/root-web";
      fsType = "ext4";
    };
    fileSystems."/boot" = {
      device = "/dev/disk/by-partlabel/ESP-WEB";
      fsType = "vfat";
    };
    boot.initrd.luks.devices = { };
    boot.loader.systemd-boot.enable = true;
    swapDevices = [ ];
    users.users.op = { };
  };
  encrypted = lib.recursiveUpdate plain {
    fileSystems."/".device = "/dev/mapper/cryptroot";
    boot.initrd.luks.devices.cryptroot.device = "/dev/disk/by-partlabel/luks-web";
  };
  luks = {
    luks.enable = true;
    labels.luks = "luks-web";
  };
  swap = {
    swap.enable = true;
    labels.swap = "swap-web";
  };

  complaints =
    target: options:
    map (a: a.message) (
      lib.filter (a: !a.assertion) (agrees {
        inherit target;
        cfg = (harness.evaluateWith options).config.autoInstaller;
      })
    );
  fits = target: options: {
    expr = complaints target options;
    expected = [ ];
  };
  # Exactly one complaint, which says all of this.
  differs = change: options: says: {
    expr =
      let
        found = complaints change options;
      in
      if lib.length found == 1 && lib.all (part: lib.hasInfix part (lib.head found)) says then
        true
      else
        found;
    expected = true;
  };
in
{
  "plain fits" = fits plain { };
  "LUKS fits" = fits encrypted luks;
  "a header label fits too" = fits (lib.recursiveUpdate encrypted {
    boot.initrd.luks.devices.cryptroot.device = "/dev/disk/by-label/luks-web";
  }) luks;
  "swap fits" = fits (
    plain // { swapDevices = [ { device = "/dev/disk/by-label/swap-web"; } ]; }
  ) swap;
  "root by UUID" =
    differs (lib.recursiveUpdate plain { fileSystems."/".device = "/dev/disk/by-uuid/x"; }) { }
      [
        "fileSystems.\"/\".device"
        "/dev/disk/by-uuid/x"
        "/dev/disk/by-label/root-web"
      ];
  "no root at all" =
    differs
      (
        plain
        // {
          fileSystems = plain.fileSystems // {
            "/" = {
              device = null;
              fsType = "ext4";
            };
          };
        }
      )
      { }
      [
        "fileSystems.\"/\".device"
        "none"
      ];
  "LUKS root by label" =
    differs (lib.recursiveUpdate encrypted { fileSystems."/".device = "/dev/disk/by-label/root-web"; })
      luks
      [
        "must be /dev/mapper/NAME"
        "races"
      ];
  "LUKS container by another label" =
    differs
      (lib.recursiveUpdate encrypted {
        boot.initrd.luks.devices.cryptroot.device = "/dev/disk/by-partlabel/other";
      })
      luks
      [
        "boot.initrd.luks.devices.cryptroot.device"
        "other"
        "by-partlabel/luks-web"
      ];
  "root in btrfs" = differs (lib.recursiveUpdate plain { fileSystems."/".fsType = "btrfs"; }) { } [
    "btrfs"
    "ext4"
  ];
  "ESP under another label" =
    differs (lib.recursiveUpdate plain { fileSystems."/boot".device = "/dev/disk/by-label/BOOT"; }) { }
      [
        "fileSystems.\"/boot\".device"
        "BOOT"
        "ESP-WEB"
      ];
  "ESP in ext4" = differs (lib.recursiveUpdate plain { fileSystems."/boot".fsType = "ext4"; }) { } [
    "fileSystems.\"/boot\".fsType"
    "vfat"
  ];
  "swap that the target does not use" = differs plain swap [
    "swapDevices"
    "swap-web"
  ];
  "user that the target does not have" = differs plain { targetUser = "eve"; } [
    "targetUser"
    "eve"
    "no such user"
  ];
}
// import ./loaders.nix {
  inherit
    lib
    plain
    fits
    differs
    ;
}
// import ./hidden.nix {
  inherit
    lib
    plain
    fits
    differs
    ;
}
