# A host with swap at the end of its disk.
{
  imports = [
    ../../nix/modules/target.nix
    ../common.nix
  ];

  networking.hostName = "db";
  autoInstaller = {
    labels = {
      efi = "ESP-DB";
      root = "root-db";
      swap = "swap-db";
    };
    swap = {
      enable = true;
      size = "16G";
    };
  };
}
