# A host with an ESP and an ext4 root. The target module makes its fileSystems from the labels; in a flake it is
# `landfall.nixosModules.target`.
{
  imports = [
    ../../nix/modules/target.nix
    ../common.nix
  ];

  networking.hostName = "web";
  autoInstaller.labels = {
    efi = "ESP-WEB";
    root = "root-web";
  };
}
