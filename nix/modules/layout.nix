# The options that decide what is on the disk: labels, LUKS, swap. The installer and the target share them
# (options.nix, target.nix), so that the system looks for its filesystems under the names that the installer gives.
#
# Absent: any effect.
{ lib, ... }:
let
  inherit (lib) mkOption types;
  landfall = import ../lib/types.nix { inherit lib; };
in
{
  key = "landfall/layout";
  _file = ./layout.nix;

  options.autoInstaller = {
    labels = {
      efi = mkOption {
        type = landfall.espLabel;
        example = "ESP-WEB";
        description = "Partition name and FAT label of the ESP. Written in upper case: FAT keeps no other.";
      };
      root = mkOption {
        type = landfall.rootLabel;
        example = "root-web";
        description = "Label of the root filesystem; without LUKS also the partition's name.";
      };
      luks = mkOption {
        type = landfall.luksLabel;
        default = "";
        example = "luks-web";
        description = "Partition name and LUKS2 header label. Needed with `luks.enable`; empty for none.";
      };
      swap = mkOption {
        type = landfall.swapLabel;
        default = "";
        example = "swap-web";
        description = "Partition name and swap label. Needed with `swap.enable`; empty for none.";
      };
    };
    luks = {
      enable = mkOption {
        type = types.bool;
        default = false;
        description = "Put root in LUKS2 (argon2id).";
      };
      mapperName = mkOption {
        type = landfall.mapperName;
        default = "cryptroot";
        description = "Device-mapper name of the opened container.";
      };
    };
    swap = {
      enable = mkOption {
        type = types.bool;
        default = false;
        description = "Make a swap partition at the end of the disk.";
      };
      size = mkOption {
        type = landfall.size;
        default = "8G";
        description = "Its size: a whole number and one of K M G T P (powers of 1024), whole mebibytes.";
      };
    };
  };
}
