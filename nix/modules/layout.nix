# The options that decide what is on the disk: labels, LUKS, swap. The installer and the target share them
# (options.nix, target.nix), so that the system looks for its filesystems under the names that the installer gives. An option's
# value is what is written; other values that the replaced module accepted are converted (lib/legacy_values.nix), with a warning.
#
# The options alone have no effect.
{
  config,
  lib,
  options,
  ...
}:
let
  inherit (lib) mkOption types;
  landfall = import ../lib/types.nix { inherit lib; };
  old = import ../lib/legacy_values.nix { inherit lib; };
  cfg = config.autoInstaller;
  opts = options.autoInstaller;

  # What LUKS and swap need is asked for where they are on: the replaced module looked at these nowhere else.
  needed = name: option: enabled: isRight: allowed: {
    assertion = enabled && old.said option != "" -> isRight (old.said option);
    message = "autoInstaller.${name} ${builtins.toJSON (old.said option)} is not allowed: it must be ${allowed}.";
  };
  changed =
    name: option: isTold: why:
    lib.optional isTold "autoInstaller.${name} ${builtins.toJSON (old.said option)} is written as \"${option.value}\": ${why}. Write that, and let the target look for that.";
  isOther = option: old.said option != option.value;
in
{
  key = "landfall/layout";
  _file = ./layout.nix;

  options.autoInstaller = {
    labels = {
      efi = mkOption {
        type = landfall.espLabel;
        apply = old.espLabel;
        example = "ESP-WEB";
        description = "Partition name and FAT label of the ESP. landfall writes it in upper case, because FAT stores only upper case.";
      };
      root = mkOption {
        type = landfall.rootLabel;
        apply = old.rootLabel;
        example = "root-web";
        description = "Label of the root filesystem; without LUKS also the partition's name.";
      };
      luks = mkOption {
        type = types.str;
        default = "";
        apply = text: if landfall.isLuksLabel text then old.luksLabel text else "";
        example = "luks-web";
        description = "Partition name and LUKS2 header label: 1 to 36 characters of A-Z a-z 0-9 . _ -. Required with `luks.enable`; empty for none.";
      };
      swap = mkOption {
        type = types.str;
        default = "";
        apply = text: if landfall.isSwapLabel text then old.swapLabel text else "";
        example = "swap-web";
        description = "Partition name and swap label: characters of A-Z a-z 0-9 . _ - (swap stores 15 of them). Required with `swap.enable`; empty for none.";
      };
    };
    luks = {
      enable = mkOption {
        type = types.bool;
        default = false;
        description = "Encrypt root with LUKS2 (argon2id).";
      };
      mapperName = mkOption {
        type = types.str;
        default = "cryptroot";
        apply = old.mapperName landfall.isMapperName;
        description = "Device-mapper name of the opened container: 1 to 64 characters of A-Z a-z 0-9 . _ -, neither `control` nor a dot name.";
      };
    };
    swap = {
      enable = mkOption {
        type = types.bool;
        default = false;
        apply = enable: enable && !(cfg.luks.enable && lib.trim (old.said opts.labels.swap) == "");
        description = ''
          Make a swap partition at the end of the disk. With LUKS and without a label for it, landfall makes none, as the former
          module did.
        '';
      };
      size = mkOption {
        type = types.str;
        default = "8G";
        apply = text: if old.swapBytes text == null then "8G" else old.swapSize text;
        description = ''
          Its size: a whole number and one of K M G T P (powers of 1024), in whole mebibytes. Other forms of sgdisk are accepted:
          `8GiB`, and a number without a unit, which counts sectors of 512 bytes.
        '';
      };
    };
  };

  config = {
    assertions = [
      (needed "labels.luks" opts.labels.luks cfg.luks.enable landfall.isLuksLabel
        "up to 36 characters of A-Z a-z 0-9 . _ -, not . or .. or LF-KEYS; a link in /dev/disk/by-partlabel has no other name"
      )
      (needed "labels.swap" opts.labels.swap cfg.swap.enable landfall.isSwapLabel
        "1 or more characters of A-Z a-z 0-9 . _ - (mkswap keeps 15), not . or .. or LF-KEYS; a link in /dev/disk/by-partlabel has no other name"
      )
      (needed "luks.mapperName" opts.luks.mapperName cfg.luks.enable (
        text: landfall.isMapperName text || old.isMapperName text
      ) "1 to 64 characters of A-Z a-z 0-9 . _ -, not 'control', and must not begin with a dot")
      (needed "swap.size" opts.swap.size cfg.swap.enable (
        text: old.swapBytes text != null
      ) "a whole number and one of M G T, such as 512M or 8G; sgdisk accepts no fractions and no spaces")
    ];

    warnings =
      changed "labels.efi" opts.labels.efi (isOther opts.labels.efi)
        "FAT keeps upper case only, and landfall's names have A-Z 0-9 _ -"
      ++
        changed "labels.root" opts.labels.root (isOther opts.labels.root)
          "ext4 has room for 16 characters, and landfall's names have A-Z a-z 0-9 . _ -"
      ++ changed "labels.luks" opts.labels.luks (
        cfg.luks.enable && isOther opts.labels.luks
      ) "landfall's names have A-Z a-z 0-9 . _ -"
      ++ changed "labels.swap" opts.labels.swap (
        cfg.swap.enable && isOther opts.labels.swap
      ) "mkswap has room for 15 characters, and landfall's names have A-Z a-z 0-9 . _ -"
      ++
        lib.optional (cfg.luks.enable && isOther opts.luks.mapperName)
          "autoInstaller.luks.mapperName ${builtins.toJSON (old.said opts.luks.mapperName)} is \"${cfg.luks.mapperName}\" while installing: landfall's names have A-Z a-z 0-9 . _ -, and at most 64 of them. Where a command names the mapping, write that."
      ++
        lib.optional (cfg.swap.enable && lib.toUpper (old.said opts.swap.size) != cfg.swap.size)
          "autoInstaller.swap.size ${builtins.toJSON (old.said opts.swap.size)} is taken as ${cfg.swap.size}: landfall writes whole mebibytes, and takes sectors to be of 512 bytes. Write swap.size = \"${cfg.swap.size}\"."
      ++
        lib.optional (old.said opts.swap.enable && !cfg.swap.enable)
          "autoInstaller.swap.enable is true beside luks.enable, and labels.swap is empty: no swap is made, as the replaced module made none beside LUKS. Set autoInstaller.labels.swap to have one, or leave swap.enable out.";
  };
}
