# A host that keeps its own hardware configuration, with labels in it, and does not import landfall's target module.
{
  imports = [ ../common.nix ];

  networking.hostName = "build-1";
  fileSystems."/" = {
    device = "/dev/disk/by-label/root-build1";
    fsType = "ext4";
  };
  fileSystems."/boot" = {
    device = "/dev/disk/by-label/ESP-BUILD1";
    fsType = "vfat";
  };
}
