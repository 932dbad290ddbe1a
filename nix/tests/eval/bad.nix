# Every option: values that must be refused, each with what the message must say: the option, the value, the rule.
# Types refuse while a value is read, with a message that Nix code cannot see; `cargo lab nix` reads it. Assertions are
# seen here too (cases.nix).
{ lib }:
let
  option = name: "autoInstaller.${name}";
  # A value that the option's type refuses.
  typed = name: value: rule: {
    options = lib.setAttrByPath (lib.splitString "." name) value;
    kind = "type";
    says = [
      (option name)
      rule
    ]
    ++ lib.optional (lib.isString value && value != "") value;
  };
  # Values that each are right, and do not go together.
  together = options: says: {
    inherit options says;
    kind = "assertion";
  };
  # 33 bytes.
  longKey = "cache.example-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
in
{
  "targetHost with a blank" = typed "targetHost" "web 1" "1 to 63 characters of A-Z a-z 0-9 . _ -";
  "targetHost empty" = typed "targetHost" "" "1 to 63 characters";
  "prebuilt as text" = typed "prebuilt" "yes" "boolean";
  "targetSystem outside the store" = typed "targetSystem" "/run/current-system" "store";
  "rootImage outside the store" = typed "rootImage" "/run/root.image" "store";
  "rootImageDigest too short" = typed "rootImageDigest" "5c39" "pattern";
  "efi label too long" = typed "labels.efi" "ESP-HOST-012" "1 to 11 characters";
  "efi label with a dot" = typed "labels.efi" "ESP.WEB" "no dot, which mkfs.vfat refuses";
  "root label with a space" = typed "labels.root" "root web" "without spaces";
  "root label in quotes" = typed "labels.root" "'root'" "A-Z a-z 0-9 . _ -";
  "root label of the medium with keys" = typed "labels.root" "lf-keys" "root label";
  "ESP too small" = typed "espSize" "259M" "260M";
  "luks.enable as number" = typed "luks.enable" 1 "boolean";
  "luks.mapperName as number" = typed "luks.mapperName" 1 "string";
  "labels.luks as number" = typed "labels.luks" 1 "string";
  "labels.swap as number" = typed "labels.swap" 1 "string";
  "iteration time too short" = typed "luks.iterationTimeMs" 99 "from 100 to 60000";
  "least memory without unit" = typed "luks.memoryMin" "512" "whole number and one of";
  "passphrase in the store" =
    typed "luks.passphraseCredential" "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-passphrase"
      "not in the Nix store";
  "swap.enable as text" = typed "swap.enable" "true" "boolean";
  "swap.size as number" = typed "swap.size" 8 "string";
  "mount dir below the store" = typed "extraMountDirs" [ "/nix/store/x" ] "not in /nix/store";
  "mount dirs by a pattern" = typed "extraMountDirs" [ "srv/{a,b}" ] "one for each entry";
  "two mount dirs in one entry" = typed "extraMountDirs" [ "srv data" ] "one for each entry";
  "mount dir in place of a file" = typed "extraMountDirs" [ "/etc/passwd" ] "where NixOS puts files";
  "clone path in place of a file" = typed "repoClonePath" "/mnt/etc/NIXOS" "where NixOS puts files";
  "clone path in place of the system's directory" =
    typed "repoClonePath" "/mnt/etc"
      "where NixOS puts files";
  "root label that is a directory" = typed "labels.root" ".." "not . or ..";
  "user of the installer's home" = typed "repoClonePath" "~/nix-config" "mean something to a shell";
  "mount dir that leads out" = typed "extraMountDirs" [ "../etc" ] "below its root";
  "commands as text" = typed "extraPostMountCommands" "true" "list of string";
  "remote that is an option" = typed "repoRemote" "--upload-pack=x" "https://";
  "remote with a transport helper" = typed "repoRemote" "ext::sh -c x" "https://";
  "token in the store" =
    typed "repoTokenCredential" "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-token"
      "not in the Nix store";
  "record key in the store" =
    typed "recordKeyCredential" "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-key"
      "not in the Nix store";
  "branch that climbs" = typed "repoBranch" "a..b" "without ..,";
  "branch of Git's own files" = typed "repoBranch" "a/main.lock" "ends with . or .lock";
  "branch with an empty part" = typed "repoBranch" "a//b" "no part of it";
  "revision too short" = typed "repoRev" "89abcdef" "40 or 64";
  "bundle as a name" = typed "repoBundle" "nix-config.bundle" "path";
  "source as a number" = typed "repoSource" 1 "path";
  "clone path outside /mnt" = typed "repoClonePath" "/tmp/conf" "below /mnt";
  "clone path in the store" = typed "repoClonePath" "/mnt/nix/conf" "not in /mnt/boot or /mnt/nix";
  "onSuccess unknown" = typed "onSuccess" "halt" "one of";
  "initrd modules as text" = typed "extraInitrdKernelModules" "thunderbolt" "list of string";
  "packages by name" = typed "extraPackages" [ "vim" ] "package";
  "boot commands as list" = typed "extraBootCommands" [ "true" ] "strings concatenated";
  "banner as number" = typed "bannerText" 1 "strings concatenated";
  "serial console as a path" = typed "serialConsole" "/dev/ttyS0" "serial console";
  "user name with a colon" = typed "targetUser" "op:users" "1 to 31 characters";
  "deployKey.enable as text" = typed "deployKey.enable" "yes" "boolean";
  "deploy key in the store" =
    typed "deployKey.credential" "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-key"
      "not in the Nix store";
  "ageIdentity.enable as text" = typed "ageIdentity.enable" "yes" "boolean";
  "age identity's place relative" = typed "ageIdentity.path" "age/web.agekey" "absolute path";
  "age identity's place in memory" = typed "ageIdentity.path" "/run/age/web.agekey" "not in /boot";
  "canTouchEfiVariables as text" = typed "canTouchEfiVariables" "yes" "boolean";
  "age identity in the store" =
    typed "ageIdentity.credential" "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-key"
      "not in the Nix store";
  "ssh credential in the store" =
    typed "ssh.credential" "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-key"
      "not in the Nix store";
  "ssh key in the store" =
    typed "ssh.key" "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-key"
      "not in the Nix store";
  "ssh key relative" = typed "ssh.key" "id_ed25519" "absolute path";
  "private key as public key" =
    typed "ssh.publicKey" "-----BEGIN OPENSSH PRIVATE KEY-----"
      "ssh public key";
  "ssh.generateKey as text" = typed "ssh.generateKey" "yes" "boolean";
  "wait for the forge of zero seconds" = typed "ssh.generateWaitSeconds" 0 "from 1 to 604800";
  "known hosts as list" = typed "ssh.knownHosts" [ "x" ] "strings concatenated";
  "authorized key without type" = typed "authorizedKeys" [ "AAAA" ] "ssh public key";
  "unattended.enable as text" = typed "unattended.enable" "yes" "boolean";
  "disk by kernel name" = typed "unattended.disk" "sda" "kernel names";
  "disk by path" = typed "unattended.disk" "/dev/disk/by-id/x" "without the path";
  "consent as a word" = typed "unattended.consentCredential" "yes" "not in the Nix store";
  "reinstall below zero" = typed "reinstall" (-1) "from 0 to";
  "takeCaches as text" = typed "takeCaches" "no" "boolean";
  "cache without scheme" = typed "substituters" [ "cache.example" ] "binary cache";
  "two caches in one entry" = typed "substituters" [ "https://a https://b" ] "binary cache";
  "cache key cut off" = typed "trustedPublicKeys" [ "cache.example-1:AAAA" ] "43 characters";
  "cache key too long" = typed "trustedPublicKeys" [ longKey ] "43 characters";
  "stall of zero seconds" = typed "download.stalledTimeoutSeconds" 0 "from 1 to 3600";
  "connection of zero seconds" = typed "download.connectTimeoutSeconds" 0 "from 1 to 3600";
  "deadline of a year" = typed "download.deadlineSeconds" 31536000 "from 1 to 604800";
  "no attempt at all" = typed "retry.phaseAttemptsMax" 0 "from 1 to 10000";
  "no attempt in total" = typed "retry.totalAttemptsMax" 0 "from 1 to 100000";
  "too many retries" = typed "retry.retriesPerRunMax" 1001 "from 0 to 1000";
  "no first wait" = typed "retry.backoffFirstMs" 0 "from 1 to 3600000";
  "longest wait of a day" = typed "retry.backoffMaxMs" 86400000 "from 1 to 3600000";
  "settings as text" = typed "settings" "x" "attribute set";
  "package as text" = typed "package" "landfall" "package";
  "option that does not exist" = {
    options.repoRemotes = "x";
    kind = "type";
    says = [ "autoInstaller.repoRemotes" ];
  };
  # The value is left out of the message's demands: it holds a password.
  "remote with a password" = {
    options.repoRemote = "https://op:secret@forge.example/x";
    kind = "type";
    says = [
      "autoInstaller.repoRemote"
      "without a password"
    ];
  };
  "powerOff as text" = {
    options.powerOff = "yes";
    kind = "type";
    says = [
      "autoInstaller.powerOff"
      "\"yes\""
      "true or false"
    ];
  };

  "luks without label" = together { luks.enable = true; } [
    "labels.luks is empty"
    "set autoInstaller.labels.luks"
  ];
  "swap without label" = together { swap.enable = true; } [
    "labels.swap is empty"
    "set autoInstaller.labels.swap"
  ];
  "luks label with a blank" =
    together
      {
        luks.enable = true;
        labels.luks = "luks web";
      }
      [
        "labels.luks \"luks web\" is not allowed"
        "up to 36 characters"
      ];
  "luks label too long" =
    together
      {
        luks.enable = true;
        labels.luks = "luks-0123456789012345678901234567890X";
      }
      [
        "labels.luks \"luks-0123456789012345678901234567890X\" is not allowed"
        "up to 36 characters"
      ];
  "swap label with a comma" =
    together
      {
        swap.enable = true;
        labels.swap = "swap,web";
      }
      [
        "labels.swap \"swap,web\" is not allowed"
        "A-Z a-z 0-9 . _ -"
      ];
  "mapper name control" =
    together
      {
        luks = {
          enable = true;
          mapperName = "control";
        };
        labels.luks = "luks-web";
      }
      [
        "luks.mapperName \"control\" is not allowed"
        "1 to 64 characters"
      ];
  "mapper name with a slash" =
    together
      {
        luks = {
          enable = true;
          mapperName = "a/b";
        };
        labels.luks = "luks-web";
      }
      [
        "luks.mapperName \"a/b\" is not allowed"
        "1 to 64 characters"
      ];
  "swap size with a fraction" =
    together
      {
        swap = {
          enable = true;
          size = "8.5G";
        };
        labels.swap = "swap-web";
      }
      [
        "swap.size \"8.5G\" is not allowed"
        "sgdisk accepts no fractions"
      ];
  "swap size past every disk" =
    together
      {
        swap = {
          enable = true;
          size = "9E";
        };
        labels.swap = "swap-web";
      }
      [
        "swap.size \"9E\" is not allowed"
        "a whole number and one of"
      ];
  "the same label twice" =
    together
      {
        swap.enable = true;
        labels.swap = "root-web";
      }
      [
        "labels.root = \"root-web\""
        "labels.swap = \"root-web\""
        "Choose different labels"
      ];
  "prebuilt without system" =
    together
      {
        prebuilt = true;
        repoBundle = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nix-config.bundle";
      }
      [
        "no system to carry"
        "set autoInstaller.targetSystem"
      ];
  "nothing to clone from" = together { repoRemote = null; } [
    "nothing to clone from"
    "set autoInstaller.repoRemote"
  ];
  "branch and revision" =
    together
      {
        repoBranch = "main";
        repoRev = "89abcdef0123456789abcdef0123456789abcdef";
      }
      [
        "repoBranch and autoInstaller.repoRev are both set"
        "keep repoRev"
      ];
  "another branch than a made bundle has" =
    together
      {
        repoSource = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-source";
        repoBranch = "production";
      }
      [
        "autoInstaller.repoBranch is \"production\""
        "has the branch main and no other"
        "leave repoBranch out"
        "autoInstaller.repoBundle (git bundle create"
      ];
  "a revision that a made bundle cannot have" =
    together
      {
        repoSource = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-source";
        repoRev = "89abcdef0123456789abcdef0123456789abcdef";
      }
      [
        "autoInstaller.repoRev is \"89abcdef0123456789abcdef0123456789abcdef\""
        "no history"
        "leave repoRev out"
        "autoInstaller.repoBundle (git bundle create"
      ];
  "unattended without a disk" = together { unattended.enable = true; } [
    "no disk is named"
    "Set autoInstaller.unattended.disk"
  ];
  "unattended LUKS without passphrase" =
    together
      {
        unattended = {
          enable = true;
          disk = "S5GXNX0T123456";
        };
        luks.enable = true;
        labels.luks = "luks-web";
      }
      [
        "nobody will type a passphrase"
        "set autoInstaller.luks.passphraseCredential"
      ];
  "ssh key twice" =
    together
      {
        ssh = {
          key = "/run/keys/a";
          credential = "medium";
        };
      }
      [
        "are both set"
        "keep the one"
      ];
  "waits that shrink" =
    together
      {
        retry = {
          backoffFirstMs = 2000;
          backoffMaxMs = 1000;
        };
      }
      [
        "backoffFirstMs is 2000"
        "raise backoffMaxMs"
      ];
}
