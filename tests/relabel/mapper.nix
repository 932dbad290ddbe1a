{ config, pkgs, ... }:
{
  boot = {
    initrd = {
      luks.devices = {
        cryptroot = {
          device = "/dev/disk/by-uuid/d3b07384-d113-4ec5-9a5e-aabbccddeeff";
          preLVM = true;
          allowDiscards = true;
        };
      };
    };
  };

  fileSystems."/" = { device = "/dev/mapper/cryptroot"; fsType = "ext4"; };
  fileSystems."/boot" = { device = "/dev/disk/by-uuid/4A9B-11C2"; fsType = "vfat"; };
}
