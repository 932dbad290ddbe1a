{ config, lib, ... }:
{
  fileSystems."/" = { device = "none"; fsType = "tmpfs"; options = [ "size=2G" "mode=755" ]; };
  fileSystems."/nix" = { device = "/dev/disk/by-uuid/8f1c2d3e-0a1b-4c2d-9e3f-112233445566"; fsType = "ext4"; neededForBoot = true; };
  fileSystems."/boot" = { device = ''/dev/disk/by-uuid/4A9B-11C2''; fsType = "vfat"; };
  fileSystems."/srv" = { device = "/nix/persist/srv"; fsType = "none"; options = [ "bind" ]; };
  fileSystems."/data" = { device = "/dev/disk/by-uuid/77aa0000-1111-4222-8333-444455556666"; fsType = "ext4"; options = [ "nofail" ]; };
  fileSystems."/net" = { device = "nas.example:/export"; fsType = "nfs"; };
  environment.etc."note".text = ''
    fileSystems."/".device = "/dev/disk/by-uuid/8f1c2d3e-0a1b-4c2d-9e3f-112233445566";
  '';
  services.x.device = "/dev/disk/by-uuid/8f1c2d3e-0a1b-4c2d-9e3f-112233445566";
}
