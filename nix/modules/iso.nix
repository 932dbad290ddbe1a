# The installer as an ISO image for a USB stick: `system.build.isoImage`, and `system.build.landfallImage`, which is the
# same image from a build that prints the installer's public key.
#
# Absent: a private key. The build knows the public half only.
{
  config,
  lib,
  modulesPath,
  pkgs,
  ...
}:
let
  cfg = config.autoInstaller;
  host = cfg.targetHost;
  # Stage 1 finds the stick by this name, so each host's has its own. ISO 9660 has room for 32 characters.
  volumeID =
    if builtins.stringLength host <= 23 then
      "LANDFALL-${host}"
    else
      "LANDFALL-${builtins.substring 0 14 host}-${
        builtins.substring 0 8 (builtins.hashString "sha256" host)
      }";
  # The image of the root filesystem: the only thing here that is as large as the host.
  isCarried = cfg.prebuilt && cfg.rootImage != null;
  onStick = "landfall/root.image";
in
{
  key = "landfall/iso";
  _file = ./iso.nix;

  imports = [
    (modulesPath + "/installer/cd-dvd/installation-cd-minimal.nix")
    ./default.nix
  ];

  config = {
    isoImage = {
      inherit volumeID;
      appendToMenuLabel = " installer of ${host} (landfall)";
      # Beside the squashfs and not in it: what is read there is read twice, once packed and once unpacked, and a chunk that was
      # wrong would be read again from a cache. Stage 1 leaves the stick mounted at /iso.
      contents = lib.optional isCarried {
        source = "${cfg.rootImage}/root.image";
        target = "/${onStick}";
      };
    };
    autoInstaller.rootImageFile = lib.mkIf isCarried "/iso/${onStick}";
    image.baseName = lib.mkForce "landfall-${host}-${config.system.nixos.label}-${pkgs.stdenv.hostPlatform.system}";

    system.build.landfallImage = import ../lib/print_key.nix {
      inherit lib pkgs config;
      what = "iso";
      image = config.system.build.isoImage;
    };
  };
}
