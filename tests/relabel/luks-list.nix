{ config, lib, pkgs, ... }:

{
  imports = [ <nixpkgs/nixos/modules/installer/scan/not-detected.nix> ];

  boot.initrd.luks.devices = [
    { name = "cryptroot"; device = "/dev/disk/by-uuid/d3b07384-d113-4ec5-9a5e-aabbccddeeff"; preLVM = true; }
  ];
  fileSystems."/" = { device = "/dev/disk/by-uuid/8f1c2d3e-0a1b-4c2d-9e3f-112233445566"; fsType = "ext4"; };
  nix.maxJobs = lib.mkDefault 4;
}
