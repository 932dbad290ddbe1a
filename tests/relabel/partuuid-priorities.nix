{ lib, ... }:
{
  fileSystems = {
    "/" = {
      device = lib.mkForce "/dev/disk/by-partuuid/2e871f6a-2427-4646-b07f-0d9e11223344";
      fsType = "xfs";
    };
    "/boot" = lib.mkDefault {
      device = (lib.mkOverride 40 "/dev/disk/by-partuuid/1e871f6a-2427-4646-b07f-0d9e11223344");
      fsType = "vfat";
    };
  };
  swapDevices = lib.mkForce [ { device = "/dev/disk/by-partuuid/3e871f6a-2427-4646-b07f-0d9e11223344"; priority = 5; } ] ++ [ ];
}
