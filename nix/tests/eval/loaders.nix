# Hosts that boot by another loader, or keep it elsewhere: each is refused in its own words. Called by target.nix.
{
  lib,
  plain,
  fits,
  differs,
}:
let
  with_ = lib.recursiveUpdate plain;
  # As a host is evaluated whose own loader turns systemd-boot off.
  another = loader: with_ (lib.recursiveUpdate { boot.loader.systemd-boot.enable = false; } loader);
  refused =
    option: loader: says:
    differs (another loader) { } ([ "${option} is true" ] ++ says);
in
{
  "no boot loader at all" = differs (another { }) { } [
    "boot.loader.systemd-boot.enable is false"
    "no other loader is on"
    "Set it to true"
  ];
  "GRUB, also by default" = refused "boot.loader.grub.enable" { boot.loader.grub.enable = true; } [
    "no other loader"
    "default where no loader is named"
    "boot.loader.systemd-boot.enable = true"
  ];
  "Limine" = refused "boot.loader.limine.enable" { boot.loader.limine.enable = true; } [ "Limine" ];
  # NixOS leaves GRUB on beside it, and it is not what the host's owner chose.
  "rEFInd" = refused "boot.loader.refind.enable" {
    boot.loader.refind.enable = true;
    boot.loader.grub.enable = true;
  } [ "rEFInd" ];
  "extlinux" = refused "boot.loader.generic-extlinux-compatible.enable" {
    boot.loader.generic-extlinux-compatible.enable = true;
  } [ "UEFI" ];
  "an external loader" = refused "boot.loader.external.enable" {
    boot.loader.external.enable = true;
  } [ "Unified kernel images" ];
  # The advice for everybody else would take its owner's Secure Boot away without a word.
  "lanzaboote" = refused "boot.lanzaboote.enable" { boot.lanzaboote.enable = true; } [
    "boot.lanzaboote.enable = false"
    "boot.loader.systemd-boot.enable = true"
    "turn lanzaboote on in the installed host"
  ];
  "lanzaboote that is not turned on" = fits (with_ { boot.lanzaboote.enable = false; }) { };
  "GRUB that is turned off" = fits (with_ { boot.loader.grub.enable = false; }) { };
  "the ESP elsewhere" = differs (with_ { boot.loader.efi.efiSysMountPoint = "/efi"; }) { } [
    "boot.loader.efi.efiSysMountPoint is \"/efi\""
    "at /boot"
    "Leave the option out"
  ];
  "the ESP at /boot, said" = fits (with_ { boot.loader.efi.efiSysMountPoint = "/boot"; }) { };
  "an extended boot loader partition" =
    differs (with_ { boot.loader.systemd-boot.xbootldrMountPoint = "/xboot"; }) { }
      [
        "boot.loader.systemd-boot.xbootldrMountPoint is \"/xboot\""
        "only null is allowed"
        "autoInstaller.espSize"
      ];
  "no extended boot loader partition" = fits (with_ {
    boot.loader.systemd-boot.xbootldrMountPoint = null;
  }) { };
  "a host that cannot switch" = differs (with_ { system.switch.enable = false; }) { } [
    "system.switch.enable is false"
    "bin/switch-to-configuration"
  ];
  "a host without bootspec" = differs (with_ { boot.bootspec.enable = false; }) { } [
    "boot.bootspec.enable is false"
    "boot.json"
  ];
  "a nixpkgs that has no such option any more" = fits (with_ {
    boot.bootspec.enable = throw "can no longer be used";
  }) { };
  "the host's own entry, and none by the installer" =
    differs (with_ { boot.loader.efi.canTouchEfiVariables = true; }) { canTouchEfiVariables = false; }
      [
        "autoInstaller.canTouchEfiVariables is false"
        "makes the entry all the same"
      ];
  "no entry at all" = fits (with_ { boot.loader.efi.canTouchEfiVariables = false; }) {
    canTouchEfiVariables = false;
  };
}
