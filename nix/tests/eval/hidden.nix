# Hosts that would never see what the installer places: /etc as an overlay, users that are made at the first boot. Called by
# target.nix.
{
  lib,
  plain,
  fits,
  differs,
}:
let
  with_ = lib.recursiveUpdate plain;
  overlay = with_ { system.etc.overlay.enable = true; };
  user = {
    targetUser = "op";
  };
in
{
  "an overlay on /etc, and nothing placed there" = fits overlay { deployKey.enable = true; };
  "an age identity below an overlay" = differs overlay { ageIdentity.enable = true; } [
    "autoInstaller.ageIdentity.path is \"/etc/age/web.agekey\""
    "system.etc.overlay.enable is true"
    "/var/lib/age/web.agekey"
    "age.identityPaths"
  ];
  "an age identity beside an overlay" = fits overlay {
    ageIdentity = {
      enable = true;
      path = "/var/lib/age/web.agekey";
    };
  };
  "an age identity in a name like /etc" = fits overlay {
    ageIdentity = {
      enable = true;
      path = "/etcetera/web.agekey";
    };
  };
  "an age identity in /etc without an overlay" = fits plain { ageIdentity.enable = true; };
  "directories below an overlay" =
    differs overlay
      {
        extraMountDirs = [
          "/srv/data"
          "/etc/data"
        ];
      }
      [
        "extraMountDirs has /etc/data."
        "outside /etc"
      ];
  "a clone below an overlay" = differs overlay { repoClonePath = "/mnt/etc/nixos"; } [
    "repoClonePath is \"/mnt/etc/nixos\""
    "outside /mnt/etc"
  ];
  "a clone in /etc without an overlay" = fits plain { repoClonePath = "/mnt/etc/nixos"; };
  "a user of userborn" = differs (with_ { services.userborn.enable = true; }) user [
    "targetUser is \"op\""
    "services.userborn.enable is true"
    "Leave targetUser out"
    "services.userborn.enable = false"
  ];
  "a user of sysusers" = differs (with_ { systemd.sysusers.enable = true; }) user [
    "systemd.sysusers.enable is true"
    "Leave targetUser out"
  ];
  "a user that stands in the store" = fits (with_ {
    services.userborn = {
      enable = true;
      static = true;
    };
  }) user;
  "a user that stands in the store, below an overlay" = differs (with_ {
    services.userborn = {
      enable = true;
      static = true;
    };
    system.etc.overlay.enable = true;
  }) user [ "services.userborn.enable is true" ];
  "userborn and nothing that belongs to a user" = fits (with_ {
    services.userborn.enable = true;
  }) { };
}
