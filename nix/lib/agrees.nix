# Whether a target looks for its filesystems under the names that its installer gives them. A system that does not would
# be installed in full and then wait for a device that never appears.
#
# Absent: whether the target can boot otherwise.
{ lib }:
{
  # `config` of the target.
  target,
  # The options below `autoInstaller`, of the installer.
  cfg,
}:
let
  efi = lib.toUpper cfg.labels.efi;
  fileSystem = at: target.fileSystems.${at} or { };
  deviceOf = at: if (fileSystem at).device or null == null then "none" else (fileSystem at).device;
  containers = target.boot.initrd.luks.devices;
  rootMapper = lib.removePrefix "/dev/mapper/" (deviceOf "/");
  hasMapper = lib.hasPrefix "/dev/mapper/" (deviceOf "/") && containers ? ${rootMapper};
  byLabel = label: [
    "/dev/disk/by-label/${label}"
    "/dev/disk/by-partlabel/${label}"
  ];
  oneOf = lib.concatStringsSep " or ";
  found = option: value: "the target's ${option} is ${builtins.toJSON value}";
  hint = "Import landfall's target module in the host, which sets it, or set it by hand.";
in
[
  (
    if cfg.luks.enable then
      {
        assertion = hasMapper;
        message = "landfall: ${found "fileSystems.\"/\".device" (deviceOf "/")}; with LUKS it must be /dev/mapper/NAME, with NAME in boot.initrd.luks.devices: by another path the prompt for the passphrase races the wait for the device. ${hint}";
      }
    else
      {
        assertion = lib.elem (deviceOf "/") (byLabel cfg.labels.root);
        message = "landfall: ${found "fileSystems.\"/\".device" (deviceOf "/")}; the installer makes ${oneOf (byLabel cfg.labels.root)}. ${hint}";
      }
  )
  {
    assertion =
      (cfg.luks.enable && hasMapper)
      -> lib.elem containers.${rootMapper}.device (byLabel cfg.labels.luks);
    message = "landfall: ${
      found "boot.initrd.luks.devices.${rootMapper}.device" (containers.${rootMapper}.device or null)
    }; the installer makes ${oneOf (byLabel cfg.labels.luks)}. ${hint}";
  }
  {
    assertion = (fileSystem "/").fsType or "none" == "ext4";
    message = "landfall: ${
      found "fileSystems.\"/\".fsType" ((fileSystem "/").fsType or "none")
    }; the installer makes ext4.";
  }
  {
    assertion = lib.elem (deviceOf "/boot") (byLabel efi);
    message = "landfall: ${found "fileSystems.\"/boot\".device" (deviceOf "/boot")}; the installer makes ${oneOf (byLabel efi)}. ${hint}";
  }
  {
    assertion = (fileSystem "/boot").fsType or "none" == "vfat";
    message = "landfall: ${
      found "fileSystems.\"/boot\".fsType" ((fileSystem "/boot").fsType or "none")
    }; the installer makes vfat.";
  }
  {
    assertion =
      cfg.swap.enable
      -> lib.any (device: lib.elem device (byLabel cfg.labels.swap)) (
        map (swap: swap.device) target.swapDevices
      );
    message = "landfall: ${
      found "swapDevices" (map (swap: swap.device) target.swapDevices)
    }; the installer makes ${oneOf (byLabel cfg.labels.swap)}. ${hint}";
  }
  {
    assertion = cfg.targetUser != null -> target.users.users ? ${cfg.targetUser};
    message = "landfall: autoInstaller.targetUser is \"${toString cfg.targetUser}\", and the target has no such user: add users.users.${toString cfg.targetUser} to it, or leave targetUser out.";
  }
  {
    assertion = target.boot.loader.systemd-boot.enable;
    message = "landfall: the target's boot.loader.systemd-boot.enable is false; landfall checks what systemd-boot needs, and no other loader. Set it to true.";
  }
]
