let
  disk = "8f1c2d3e-0a1b-4c2d-9e3f-112233445566";
  fileSystems."/".device = "/dev/disk/by-uuid/8f1c2d3e-0a1b-4c2d-9e3f-112233445566";
in
{ pkgs, ... }:
{
  fileSystems."/" = {
    device = "/dev/disk/by-uuid/${disk}";
    fsType = "ext4";
  };
  fileSystems."/boot".device = "/dev/disk/by-uuid/4A9B-11C2";
  boot.kernelParams = [ "resume=UUID=0c5e9d1a-7777-4b1b-8c2c-001122334455" ];
  boot.resumeDevice = "/dev/disk/by-uuid/0c5e9d1a-7777-4b1b-8c2c-001122334455";
}
