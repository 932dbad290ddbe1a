# Every option: a value that must be taken, and what becomes of it in the configuration file. The name of a case is the
# option.
{ lib }:
let
  harness = import ./harness.nix { inherit lib; };

  # `path` of the settings must be `expected`, and nothing may be complained of.
  gives = options: path: expected: {
    expr =
      let
        inherit (harness.evaluateWith options) config;
      in
      {
        value = lib.getAttrFromPath path config.autoInstaller.settings;
        failed = harness.failedIn config;
      };
    expected = {
      value = expected;
      failed = [ ];
    };
  };
  # As above, for an option that is no part of the file.
  keeps = options: path: expected: {
    expr =
      let
        inherit (harness.evaluateWith options) config;
      in
      {
        value = lib.getAttrFromPath path config.autoInstaller;
        failed = harness.failedIn config;
      };
    expected = {
      value = expected;
      failed = [ ];
    };
  };
  luks = {
    luks.enable = true;
    labels.luks = "luks-web";
  };
  key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA op@desk";
  system = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-web-26.05";
  image = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-web-root-image";
  bundle = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nix-config.bundle";
  package = {
    type = "derivation";
    name = "hello";
    outPath = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-hello";
  };
in
{
  targetHost = gives { targetHost = "a-1"; } [ "host" ] "a-1";
  package = keeps { inherit package; } [ "package" "name" ] "hello";
  prebuilt = gives {
    prebuilt = true;
    targetSystem = system;
    repoBundle = bundle;
  } [ "system" ] { Prebuilt = system; };
  targetSystem = gives { targetSystem = system; } [ "system" ] "Flake";
  rootImage =
    gives
      {
        prebuilt = true;
        targetSystem = system;
        rootImage = image;
        repoBundle = bundle;
      }
      [ "system" ]
      {
        Image = {
          inherit system;
          file = "${image}/root.image";
          digest = null;
        };
      };
  rootImageDigest = gives {
    prebuilt = true;
    targetSystem = system;
    rootImage = image;
    rootImageDigest = lib.concatStrings (lib.genList (_: "5") 64);
    repoBundle = bundle;
  } [ "system" "Image" "digest" ] (lib.concatStrings (lib.genList (_: "5") 64));
  "labels.efi" = gives { labels.efi = "ESP-HOST_01"; } [ "labels" "efi" ] "ESP-HOST_01";
  "labels.root" = gives { labels.root = "root-of-16-chars"; } [ "labels" "root" ] "root-of-16-chars";
  "labels.luks" = gives luks [ "labels" "luks" ] "luks-web";
  "labels.luks empty" = gives { labels.luks = ""; } [ "labels" "luks" ] null;
  "labels.swap" = gives {
    swap.enable = true;
    labels.swap = "swap-web";
  } [ "labels" "swap" ] "swap-web";
  espSize = gives { espSize = "260m"; } [ "esp_size" ] "260M";
  "luks.enable" = gives luks [ "luks" "enable" ] true;
  "luks.mapperName" = gives { luks.mapperName = "cryptvault"; } [ "luks" "mapper_name" ] "cryptvault";
  "luks.iterationTimeMs" = gives { luks.iterationTimeMs = 100; } [ "luks" "iteration_time_ms" ] 100;
  "luks.memoryMin" = gives { luks.memoryMin = "512m"; } [ "luks" "memory_min" ] "512M";
  "luks.passphraseCredential" =
    keeps (lib.recursiveUpdate luks { luks.passphraseCredential = "/run/keys/luks"; })
      [
        "luks"
        "passphraseCredential"
      ]
      "/run/keys/luks";
  "swap.enable" = gives {
    swap.enable = true;
    labels.swap = "swap-web";
  } [ "swap" "enable" ] true;
  "swap.size" = gives { swap.size = "2048K"; } [ "swap" "size" ] "2M";
  extraMountDirs = gives { extraMountDirs = [ "/srv/data" ]; } [ "extra_mount_dirs" ] [ "/srv/data" ];
  extraPostMountCommands = gives {
    extraPostMountCommands = [ "mkdir -p /mnt/srv" ];
  } [ "extra_post_mount_commands" ] [ "set -e -o pipefail\nmkdir -p /mnt/srv" ];
  recordKeyCredential = keeps { recordKeyCredential = "/run/keys/record"; } [
    "recordKeyCredential"
  ] "/run/keys/record";
  repoTokenCredential = keeps { repoTokenCredential = "/run/keys/token"; } [
    "repoTokenCredential"
  ] "/run/keys/token";
  "recordKeyCredential on a medium" = gives {
    recordKeyCredential = "medium";
  } [ "key_medium" "record_key" ] true;
  "unattended.consentCredential on a medium" = gives {
    unattended.consentCredential = "medium";
  } [ "key_medium" "consent" ] true;
  "luks.passphraseCredential on a medium" = gives {
    luks.passphraseCredential = "medium";
  } [ "key_medium" "luks_passphrase" ] true;
  repoRemote = gives { repoRemote = "git@forge.example:ops/nix-config"; } [
    "repository"
    "remote"
  ] "git@forge.example:ops/nix-config";
  repoBranch = gives { repoBranch = "production"; } [ "repository" "branch" ] "production";
  repoRev = gives { repoRev = "89abcdef0123456789abcdef0123456789abcdef"; } [
    "repository"
    "revision"
  ] "89abcdef0123456789abcdef0123456789abcdef";
  repoBundle = gives {
    repoBundle = bundle;
    repoRemote = null;
  } [ "repository" "bundle" ] bundle;
  # A store path given as text is taken for a package.
  repoSource = keeps { repoSource = bundle; } [ "repoSource" "outPath" ] bundle;
  "repoSource and its branch" = gives {
    repoSource = bundle;
    repoBranch = "main";
  } [ "repository" "branch" ] "main";
  "repoSource and a bundle with another branch" = gives {
    repoSource = bundle;
    repoBundle = bundle;
    repoBranch = "production";
  } [ "repository" "branch" ] "production";
  repoClonePath = gives { repoClonePath = "/mnt/home/op/conf"; } [
    "repository"
    "clone_path"
  ] "/mnt/home/op/conf";
  "onSuccess poweroff" = gives { } [ "on_success" ] "PowerOff";
  "onSuccess reboot" = gives { onSuccess = "reboot"; } [ "on_success" ] "Reboot";
  "onSuccess stay" = gives { onSuccess = "stay"; } [ "on_success" ] "Stay";
  canTouchEfiVariables = gives { canTouchEfiVariables = false; } [ "can_touch_efi_variables" ] false;
  "canTouchEfiVariables by default" = gives { } [ "can_touch_efi_variables" ] true;
  extraInitrdKernelModules =
    keeps { extraInitrdKernelModules = [ "thunderbolt" ]; }
      [
        "extraInitrdKernelModules"
      ]
      [ "thunderbolt" ];
  extraPackages = keeps { extraPackages = [ package ]; } [ "extraPackages" ] [ package ];
  extraBootCommands = keeps { extraBootCommands = "true"; } [ "extraBootCommands" ] "true";
  bannerText = keeps { bannerText = "Hello."; } [ "bannerText" ] "Hello.";
  serialConsole = keeps { serialConsole = "ttyS0,115200n8"; } [ "serialConsole" ] "ttyS0,115200n8";
  targetUser = gives { targetUser = "op"; } [ "target_user" ] "op";
  "deployKey.enable" = gives { deployKey.enable = true; } [ "keys" "deploy_key" ] true;
  "deployKey.credential" = keeps { deployKey.credential = "system"; } [
    "deployKey"
    "credential"
  ] "system";
  "ageIdentity.enable" = gives { ageIdentity.enable = true; } [ "keys" "age_identity" ] true;
  "ageIdentity.path" = gives {
    ageIdentity = {
      enable = true;
      path = "/var/lib/age/web.agekey";
    };
  } [ "keys" "age_identity_path" ] "/var/lib/age/web.agekey";
  "ageIdentity.path by default" = gives { targetHost = "db"; } [
    "keys"
    "age_identity_path"
  ] "/etc/age/db.agekey";
  "ageIdentity.credential" = keeps { ageIdentity.credential = "/run/keys/age"; } [
    "ageIdentity"
    "credential"
  ] "/run/keys/age";
  "ssh.credential" = keeps { ssh.credential = "medium"; } [ "ssh" "credential" ] "medium";
  "ssh.key" = gives { ssh.key = "/run/keys/id_ed25519"; } [ "ssh" "key" ] "/run/keys/id_ed25519";
  "ssh.publicKey" = keeps { ssh.publicKey = key; } [ "ssh" "publicKey" ] key;
  "ssh.generateKey" = gives {
    repoRemote = "git@forge.example:ops/nix-config";
    ssh.generateKey = true;
  } [ "ssh" "generate_key" ] true;
  "ssh.generateWaitSeconds" = gives {
    repoRemote = "git@forge.example:ops/nix-config";
    ssh = {
      generateKey = true;
      generateWaitSeconds = 600;
    };
  } [ "ssh" "generate_wait_s" ] 600;
  "ssh.knownHosts" = gives { ssh.knownHosts = "forge.example ${key}"; } [
    "ssh"
    "known_hosts"
  ] "/etc/landfall/known_hosts";
  authorizedKeys = keeps { authorizedKeys = [ key ]; } [ "authorizedKeys" ] [ key ];
  "unattended.enable" = gives {
    unattended = {
      enable = true;
      disk = "S5GXNX0T123456";
    };
  } [ "unattended" "enable" ] true;
  "unattended.disk" = gives { unattended.disk = "wwn-0x5000c500a1b2c3d4"; } [
    "unattended"
    "disk"
  ] "wwn-0x5000c500a1b2c3d4";
  "unattended.consentCredential" = gives {
    unattended = {
      enable = true;
      consentCredential = "system";
    };
  } [ "unattended" "disk" ] null;
  reinstall = gives { reinstall = 3; } [ "reinstall" ] 3;
  takeCaches = keeps { takeCaches = false; } [ "takeCaches" ] false;
  "takeCaches by default" = keeps { } [ "takeCaches" ] true;
  substituters = gives {
    substituters = [ "https://cache.example" ];
  } [ "nix" "substituters" ] [ "https://cache.example" ];
  trustedPublicKeys =
    gives { trustedPublicKeys = [ "cache.example-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" ]; }
      [
        "nix"
        "trusted_public_keys"
      ]
      [ "cache.example-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" ];
  "download.stalledTimeoutSeconds" = gives { download.stalledTimeoutSeconds = 60; } [
    "nix"
    "stalled_download_timeout_s"
  ] 60;
  "download.connectTimeoutSeconds" = gives { download.connectTimeoutSeconds = 30; } [
    "nix"
    "connect_timeout_s"
  ] 30;
  "download.deadlineSeconds" = gives { download.deadlineSeconds = 36000; } [
    "nix"
    "deadline_s"
  ] 36000;
  "retry.phaseAttemptsMax" = gives { retry.phaseAttemptsMax = 20; } [
    "retry"
    "phase_attempts_max"
  ] 20;
  "retry.totalAttemptsMax" = gives { retry.totalAttemptsMax = 100; } [
    "retry"
    "total_attempts_max"
  ] 100;
  "retry.retriesPerRunMax" = gives { retry.retriesPerRunMax = 0; } [
    "retry"
    "retries_per_run_max"
  ] 0;
  "retry.backoffFirstMs" = gives { retry.backoffFirstMs = 500; } [ "retry" "backoff_first_ms" ] 500;
  "retry.backoffMaxMs" = gives { retry.backoffMaxMs = 120000; } [ "retry" "backoff_max_ms" ] 120000;
  settings = gives { settings.nix.deadline_s = 7; } [ "nix" "deadline_s" ] 7;
}
