# Hosts of the replaced module, as they stand, and every kind of value that its options took: what each becomes, and what is said.
# Each block is evaluated; nothing may fail, and the warnings are exactly these.
{ lib }:
let
  harness = import ./harness.nix { inherit lib; };
  hosts = import ./old-hosts.nix;

  outcome =
    evaluated: path:
    let
      inherit (evaluated) config;
    in
    {
      value = lib.getAttrFromPath path config.autoInstaller.settings;
      failed = harness.failedIn config;
      inherit (config) warnings;
    };
  # One option set to a value beside the smallest configuration: what comes of it, and the parts of its one warning.
  becomes = options: path: value: says: {
    expr =
      let
        found = outcome (harness.evaluateWith options) path;
        told = lib.concatStringsSep "\n" found.warnings;
      in
      {
        inherit (found) value failed;
        warned = lib.length found.warnings;
        unsaid = lib.filter (part: !(lib.hasInfix part told)) says;
      };
    expected = {
      inherit value;
      failed = [ ];
      warned = if says == [ ] then 0 else 1;
      unsaid = [ ];
    };
  };
  taken =
    options: path: value:
    becomes options path value [ ];

  swap = size: {
    labels.swap = "swap-web";
    swap = {
      enable = true;
      inherit size;
    };
  };
  mapper = name: {
    labels.luks = "luks-web";
    luks = {
      enable = true;
      mapperName = name;
    };
  };
  dirs = list: { extraMountDirs = list; };
  clone = path: { repoClonePath = path; };
  ssh = remote: {
    repoRemote = remote;
    ssh.knownHosts = "forge ssh-ed25519 AAAA";
  };
  at = {
    efi = [
      "labels"
      "efi"
    ];
    root = [
      "labels"
      "root"
    ];
    luks = [
      "labels"
      "luks"
    ];
    swapLabel = [
      "labels"
      "swap"
    ];
    swap = [
      "swap"
      "size"
    ];
    mapper = [
      "luks"
      "mapper_name"
    ];
    dirs = [ "extra_mount_dirs" ];
    clone = [
      "repository"
      "clone_path"
    ];
    remote = [
      "repository"
      "remote"
    ];
    commands = [ "extra_post_mount_commands" ];
  };
  script = lines: [ (lib.concatStringsSep "\n" ([ "set -e -o pipefail" ] ++ lines)) ];
in
# Whole hosts.
lib.mapAttrs' (
  name: host:
  lib.nameValuePair "host ${name}" {
    expr =
      let
        inherit (harness.evaluate [ host.module ]) config;
      in
      {
        failed = harness.failedIn config;
        warned = lib.length config.warnings;
        unsaid = lib.filter (part: !(lib.any (lib.hasInfix part) config.warnings)) host.warnings;
      };
    expected = {
      failed = [ ];
      warned = lib.length host.warnings;
      unsaid = [ ];
    };
  }
) hosts
// {
  "host name with an underscore" = taken { targetHost = "web_1"; } [ "host" ] "web_1";
  "host name with dots" = taken { targetHost = "web.ops.example"; } [ "host" ] "web.ops.example";

  "ESP label in lower case" = becomes { labels.efi = "esp-web"; } at.efi "ESP-WEB" [
    "labels.efi \"esp-web\" is written as \"ESP-WEB\""
    "FAT keeps upper case only"
  ];
  "ESP label with a sign that FAT takes" = becomes { labels.efi = "ESP@WEB"; } at.efi "ESP-WEB" [
    "written as \"ESP-WEB\""
  ];
  # The shell left it out.
  "label with a blank behind it" = becomes { labels.root = "root-web "; } at.root "root-web" [
    "written as \"root-web\""
  ];
  "root label that mkfs.ext4 would cut" =
    becomes { labels.root = "root-of-a-host-named-vault"; } at.root "root-of-a-host-n"
      [
        "written as \"root-of-a-host-n\""
        "room for 16"
      ];
  "root label with signs that udev keeps" =
    becomes { labels.root = "root+web=1"; } at.root "root-web-1"
      [
        "written as \"root-web-1\""
      ];
  "root label with other letters" = becomes { labels.root = "wurzel-ö"; } at.root "wurzel---" [
    "written as \"wurzel---\""
  ];
  "LUKS label that nothing uses" = becomes { labels.luks = "any thing, at all"; } at.luks null [
    "labels.luks is not used"
  ];
  "LUKS label empty, without LUKS" = taken {
    luks.enable = false;
    labels.luks = "";
  } at.luks null;
  "swap label that nothing uses" = becomes { labels.swap = "a/b"; } at.swapLabel null [
    "labels.swap is not used"
  ];
  "swap label that mkswap would cut" =
    becomes (lib.recursiveUpdate (swap "8G") { labels.swap = "swap-of-a-host-vault"; }) at.swapLabel
      "swap-of-a-host-"
      [
        "written as \"swap-of-a-host-\""
        "room for 15"
      ];
  "swap beside LUKS without a label" =
    becomes (lib.recursiveUpdate (mapper "cryptroot") { swap.enable = true; })
      [
        "swap"
        "enable"
      ]
      false
      [
        "no swap is made"
        "Set autoInstaller.labels.swap"
      ];

  "mapper name that nothing uses" = taken { luks.mapperName = "a/b"; } at.mapper "cryptroot";
  "mapper name that device-mapper takes" = becomes (mapper "crypt+root") at.mapper "cryptroot" [
    "luks.mapperName \"crypt+root\" is \"cryptroot\" while installing"
  ];
  "mapper name that begins with a dot" = becomes (mapper ".crypt") at.mapper "cryptroot" [
    "while installing"
  ];

  "swap size 9G" = taken (swap "9G") at.swap "9G";
  "swap size in lower case" = taken (swap "512m") at.swap "512M";
  "swap size with a longer unit" = becomes (swap "8GiB") at.swap "8G" [
    "swap.size \"8GiB\" is taken as 8G"
  ];
  "swap size of a tebibyte" = taken (swap "1T") at.swap "1T";
  "swap size with zeros before it" = becomes (swap "08G") at.swap "8G" [ "taken as 8G" ];
  "swap size in sectors" = becomes (swap "16777216") at.swap "8G" [
    "sectors to be of 512 bytes"
    "Write swap.size = \"8G\""
  ];
  "swap size in sectors, said so" = becomes (swap "2048000s") at.swap "1000M" [ "taken as 1000M" ];
  "swap size of half a mebibyte" = becomes (swap "1536K") at.swap "2M" [ "whole mebibytes" ];
  "swap size with a blank behind it" = becomes (swap "8G ") at.swap "8G" [ "taken as 8G" ];
  "swap size that nothing uses" = taken { swap.size = "none"; } at.swap "8G";

  "directories in the three ways" =
    taken
      (dirs [
        "persist"
        "/srv/data"
        "/mnt/models"
      ])
      at.dirs
      [
        "/persist"
        "/srv/data"
        "/models"
      ];
  "directories with slashes and dots" =
    taken
      (dirs [
        "persist/"
        "./srv//data"
        "/mnt/srv/../models"
      ])
      at.dirs
      [
        "/persist"
        "/srv/data"
        "/models"
      ];
  "a directory twice" = taken (dirs [
    "persist"
    "/persist"
  ]) at.dirs [ "/persist" ];
  "a directory without a name" = taken (dirs [
    ""
    "/mnt"
    "persist "
  ]) at.dirs [ "/persist" ];
  "directories that are there anyway" = becomes (dirs [
    "boot"
    "boot/efi"
    "proc"
    "run/secrets"
    "etc/ssl"
    "srv"
  ]) at.dirs [ "/srv" ] [ "boot, boot/efi, proc, run/secrets, etc/ssl is not made" ];
  "directories of a home" = taken (dirs [ "home/op/work" ]) at.dirs [ "/home/op/work" ];
  "a directory in the clone" =
    becomes (dirs [ "nix-config/secrets" ]) at.dirs
      [ ]
      [
        "nix-config/secrets is not made"
        "the clone is made there"
      ];
  "a directory where the clone is" = taken (dirs [ "nix-config" ]) at.dirs [ "/nix-config" ];

  "clone path with a slash behind it" =
    taken (clone "/mnt/persist/nix-config/") at.clone
      "/mnt/persist/nix-config";
  "clone path with dots" =
    taken (clone "/mnt//home/./op/x/../nix-config") at.clone
      "/mnt/home/op/nix-config";
  "clone path that is not below /mnt" =
    becomes (clone "/home/op/nix-config") at.clone "/mnt/home/op/nix-config"
      [
        "repoClonePath \"/home/op/nix-config\" is not below /mnt"
        "Write that"
      ];
  "clone path without a slash before it" =
    becomes (clone "mnt/nix-config") at.clone "/mnt/nix-config"
      [ "is not below /mnt" ];

  "remote by https" = taken {
    repoRemote = "https://forge.example/ops/nix-config.git";
  } at.remote "https://forge.example/ops/nix-config.git";
  "remote like scp" =
    taken (ssh "git@forge.example:ops/nix-config.git") at.remote
      "git@forge.example:ops/nix-config.git";
  "remote like scp without a user" =
    taken (ssh "forge:ops/nix-config") at.remote
      "forge:ops/nix-config";
  "remote like scp with an absolute path" =
    becomes (ssh "forge:/srv/nix-config.git") at.remote "ssh://forge/srv/nix-config.git"
      [ "repoRemote \"forge:/srv/nix-config.git\" is taken as \"ssh://forge/srv/nix-config.git\"" ];
  "remote by ssh with a port" =
    taken (ssh "ssh://git@forge.example:2222/ops/nix-config") at.remote
      "ssh://git@forge.example:2222/ops/nix-config";
  "remote by git+ssh" =
    taken (ssh "git+ssh://git@forge.example/ops/nix-config") at.remote
      "git+ssh://git@forge.example/ops/nix-config";
  "remote by ssh+git" =
    becomes (ssh "ssh+git://git@forge.example/ops/nix-config") at.remote
      "ssh://git@forge.example/ops/nix-config"
      [ "is taken as" ];
  "remote that is a path" = taken {
    repoRemote = "/srv/nix-config.git";
  } at.remote "/srv/nix-config.git";
  "remote that is a file" = taken {
    repoRemote = "file:///srv/nix-config.git";
  } at.remote "file:///srv/nix-config.git";

  "no commands" = taken { extraPostMountCommands = [ ]; } at.commands [ ];
  "commands that are none" = taken {
    extraPostMountCommands = [
      ""
      "  \n"
    ];
  } at.commands [ ];
  "commands with lines and quotes" =
    taken
      {
        extraPostMountCommands = [
          "install -d -m 0755 \"/mnt/srv/it's\"\n"
          "cat >/mnt/srv/note <<'END'\n\ta \"$HOME\" \\n\nEND\n"
        ];
      }
      at.commands
      (script [
        "install -d -m 0755 \"/mnt/srv/it's\""
        "cat >/mnt/srv/note <<'END'\n\ta \"$HOME\" \\n\nEND"
      ]);
  "commands that go on in the next one" =
    taken
      {
        extraPostMountCommands = [
          "for dir in a b; do"
          "  mkdir -p /mnt/srv/$dir"
          "done"
        ];
      }
      at.commands
      (script [
        "for dir in a b; do"
        "  mkdir -p /mnt/srv/$dir"
        "done"
      ]);

  "no user" = taken { targetUser = null; } [ "target_user" ] null;
  "a user without a name" = taken { targetUser = ""; } [ "target_user" ] null;
  "a user with a dot" = taken { targetUser = "Jo.Op"; } [ "target_user" ] "Jo.Op";

  "prebuilt that fetches the repository" =
    becomes
      {
        prebuilt = true;
        targetSystem = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-web-26.05";
      }
      [
        "repository"
        "bundle"
      ]
      null
      [
        "the repository is still fetched over the network"
        "set autoInstaller.repoSource = self"
      ];
}
