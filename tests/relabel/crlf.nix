{ ... }:
{
  fileSystems."/".device = "/dev/disk/by-uuid/8f1c2d3e-0a1b-4c2d-9e3f-112233445566"; # root
  swapDevices = [ { device = "/dev/disk/by-partuuid/3e871f6a-2427-4646-b07f-0d9e11223344"; randomEncryption.enable = true; } ];
}