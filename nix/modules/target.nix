# For the host that is installed: its filesystems, LUKS container and swap, under the labels that the installer gives.
# Import it, set `autoInstaller.labels` (and `luks`, `swap`) in the host, and mkInstaller takes them from there.
#
# Everything else of a host is its own, such as its boot loader (landfall checks systemd-boot).
{ config, lib, ... }:
let
  cfg = config.autoInstaller;
in
{
  key = "landfall/target";
  _file = ./target.nix;

  imports = [ ./layout.nix ];

  config = {
    fileSystems."/" = {
      # The path in /dev/mapper: by any other the prompt for the passphrase would race the wait for the device.
      device =
        if cfg.luks.enable then
          "/dev/mapper/${cfg.luks.mapperName}"
        else
          "/dev/disk/by-label/${cfg.labels.root}";
      fsType = "ext4";
    };
    fileSystems."/boot" = {
      device = "/dev/disk/by-label/${cfg.labels.efi}";
      fsType = "vfat";
      options = [ "umask=0077" ];
    };
    boot.initrd.luks.devices = lib.mkIf cfg.luks.enable {
      ${cfg.luks.mapperName}.device = "/dev/disk/by-partlabel/${cfg.labels.luks}";
    };
    swapDevices = lib.mkIf cfg.swap.enable [
      { device = "/dev/disk/by-label/${cfg.labels.swap}"; }
    ];
  };
}
