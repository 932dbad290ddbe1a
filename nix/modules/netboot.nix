# The installer for machines without a stick: kernel, initrd with the whole store, an iPXE script, and a kexec script,
# together in `system.build.landfallImage`.
#
# Absent: a server. Any HTTP or TFTP server hands the four files out.
{
  config,
  lib,
  modulesPath,
  pkgs,
  ...
}:
let
  cfg = config.autoInstaller;
  inherit (config.system) build;
in
{
  key = "landfall/netboot";
  _file = ./netboot.nix;

  imports = [
    (modulesPath + "/installer/netboot/netboot-minimal.nix")
    ./default.nix
  ];

  config = {
    image.baseName = lib.mkForce "landfall-${cfg.targetHost}-${config.system.nixos.label}-${pkgs.stdenv.hostPlatform.system}";

    system.build.landfallImage = import ../lib/print_key.nix {
      inherit lib pkgs config;
      what = "netboot";
      image = pkgs.linkFarm "landfall-${cfg.targetHost}-netboot" [
        {
          name = config.system.boot.loader.kernelFile;
          path = "${build.kernel}/${config.system.boot.loader.kernelFile}";
        }
        {
          name = "initrd";
          path = "${build.netbootRamdisk}/initrd";
        }
        {
          name = "netboot.ipxe";
          path = "${build.netbootIpxeScript}/netboot.ipxe";
        }
        {
          name = "kexec";
          path = build.kexecTree;
        }
      ];
    };
  };
}
