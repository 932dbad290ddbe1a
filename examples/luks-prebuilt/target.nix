# An encrypted host.
{
  imports = [
    ../../nix/modules/target.nix
    ../common.nix
  ];

  networking.hostName = "vault";
  autoInstaller = {
    labels = {
      efi = "ESP-VAULT";
      root = "root-vault";
      luks = "luks-vault";
    };
    luks = {
      enable = true;
      mapperName = "cryptvault";
    };
  };
}
