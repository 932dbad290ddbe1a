# The installer's options, what must agree between them, and the configuration file that follows from them. Apart from
# everything that makes an image, so that types, assertions and settings can be tested with `lib` alone.
#
# Absent: services and images (service.nix, initrd.nix, iso.nix, netboot.nix). Options that steer `landfall status`: the
# program has none.
{
  config,
  lib,
  options,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  landfall = import ../lib/types.nix { inherit lib; };
  old = import ../lib/old.nix { inherit lib; };
  settingsOf = import ../lib/settings.nix { inherit lib; };
  cfg = config.autoInstaller;

  knownHostsPath = "landfall/known_hosts";

  credentialText = ''
    - `"system"`: it arrives from firmware or hypervisor (SMBIOS, fw_cfg) or the kernel command line.
    - `"medium"`: it is a file on a medium with the label LF-KEYS: a USB stick, a card, a disc, or the installer's own medium.
    - An absolute path: a file on the installer, outside the Nix store, handed over by `LoadCredential=`.
  '';
  seconds =
    highest: default: description:
    mkOption {
      type = landfall.between 1 highest;
      inherit default description;
    };

  saidClone = old.said options.autoInstaller.repoClonePath;
  saidDirs = lib.concatLists options.autoInstaller.extraMountDirs.definitions;
  # What was asked for and is not made.
  leftOut = lib.filter (
    dir:
    let
      path = old.targetDir dir;
    in
    path != null && !(lib.elem path cfg.settings.extra_mount_dirs or cfg.extraMountDirs)
  ) saidDirs;

  # Nobody gave a bundle: service.nix makes one, as a default.
  isMadeBundle =
    cfg.repoSource != null
    && options.autoInstaller.repoBundle.highestPrio >= (lib.mkDefault null).priority;

  usedLabels = {
    "labels.efi" = cfg.labels.efi;
    "labels.root" = cfg.labels.root;
  }
  // lib.optionalAttrs cfg.luks.enable { "labels.luks" = cfg.labels.luks; }
  // lib.optionalAttrs cfg.swap.enable { "labels.swap" = cfg.labels.swap; };
  twice = lib.filterAttrs (
    name: label:
    label != ""
    && lib.any (other: other != name && usedLabels.${other} == label) (lib.attrNames usedLabels)
  ) usedLabels;

  isPlainRemote =
    cfg.repoRemote != null
    && (lib.hasPrefix "http://" cfg.repoRemote || lib.hasPrefix "git://" cfg.repoRemote);
  # What is typed before the host: over ssh a user, over https a token.
  isTokenRemote =
    cfg.repoRemote != null && builtins.match "https?://[^/@]+@.*" cfg.repoRemote != null;
  isSshRemote =
    cfg.repoRemote != null
    && (
      lib.hasPrefix "ssh://" cfg.repoRemote
      || lib.hasPrefix "git+ssh://" cfg.repoRemote
      || !(lib.hasInfix "://" cfg.repoRemote || lib.hasPrefix "/" cfg.repoRemote)
    );
in
{
  key = "landfall/options";
  _file = ./options.nix;

  imports = [
    ./layout.nix
    (lib.mkChangedOptionModule [ "autoInstaller" "powerOff" ] [ "autoInstaller" "onSuccess" ] (
      old:
      let
        value = old.autoInstaller.powerOff;
      in
      if lib.isBool value then
        (if value then "poweroff" else "reboot")
      else
        throw "autoInstaller.powerOff: ${builtins.toJSON value} is not allowed: true or false; better set autoInstaller.onSuccess"
    ))
  ];

  options.autoInstaller = {
    package = mkOption {
      type = types.package;
      default = pkgs.callPackage ../packages/landfall.nix { };
      defaultText = lib.literalExpression "pkgs.callPackage ./nix/packages/landfall.nix { }";
      description = "landfall itself.";
    };

    targetHost = mkOption {
      type = landfall.hostName;
      example = "web";
      description = "The host: name of the `nixosConfigurations` entry to install.";
    };

    prebuilt = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Carry the whole system closure (`targetSystem`) in the image and install it without the network, instead of
        building the flake on the target.
      '';
    };

    targetSystem = mkOption {
      type = types.nullOr (types.either types.package types.pathInStore);
      default = null;
      example = lib.literalExpression "self.nixosConfigurations.vault.config.system.build.toplevel";
      description = "The system that a prebuilt installer carries. `mkInstaller` sets it.";
    };

    rootImage = mkOption {
      type = types.nullOr (types.either types.package types.pathInStore);
      default = null;
      example = lib.literalExpression "import ./nix/lib/image.nix { inherit lib pkgs package; } { name = \"vault\"; system = targetSystem; }";
      description = ''
        A directory with the root filesystem of `targetSystem` as an image (`root.image`). A prebuilt installer carries it
        instead of the closure and writes it at the disk's own speed, chunk by chunk. `mkInstaller` makes it. `null`: the
        closure is carried, and copied path by path.
      '';
    };
    rootImageDigest = mkOption {
      type = types.nullOr (types.strMatching "[0-9a-f]{64}");
      default = null;
      example = "12f064879a5f0d2c3b1e4c6d8f7a9b0c1d2e3f405162738495a6b7c8d9e0f1a2";
      description = ''
        The digest of the image, as `landfall image info` prints it: the installer writes no other one. `null`: the installer's
        build takes it from `rootImage` itself.
      '';
    };
    rootImageFile = mkOption {
      type = types.nullOr types.str;
      default = if cfg.rootImage == null then null else "${cfg.rootImage}/root.image";
      defaultText = lib.literalExpression "\"\${rootImage}/root.image\"";
      internal = true;
      description = "Where the running installer has the image.";
    };

    espSize = mkOption {
      type = landfall.espSize;
      default = "1G";
      description = "Size of the ESP (FAT32), at least 260M.";
    };

    luks = {
      iterationTimeMs = mkOption {
        type = landfall.between 100 60000;
        default = 2000;
        description = "Time that one guess at the passphrase shall take on the target, in milliseconds.";
      };
      memoryMin = mkOption {
        type = types.nullOr landfall.size;
        default = null;
        example = "512M";
        description = ''
          Least memory that one guess at the passphrase has to take. 1 GiB is asked for; less is taken on a target with under 2
          GiB, or a slow one. That is told, and refused below this.
        '';
      };
      passphraseCredential = mkOption {
        type = types.nullOr landfall.credential;
        default = null;
        example = "medium";
        description = ''
          Where the LUKS passphrase comes from (`landfall.luks-passphrase`). `null`: a person is asked, twice, before
          anything is written, unless the machine itself hands over a system credential of that name. A medium is not read
          for it then.

          ${credentialText}
        '';
      };
    };

    extraMountDirs = mkOption {
      type = types.listOf landfall.targetDir;
      default = [ ];
      apply = dirs: lib.unique (lib.filter landfall.isMade (map old.targetDir dirs));
      example = [ "/srv/data" ];
      description = ''
        Directories made under the mounted root. `"/srv/data"`, `"srv/data"` and `"/mnt/srv/data"` are the same one. What the system
        makes itself, or would hide (in `/boot`, `/proc`, `/sys`, `/dev`, `/run`), is left out.
      '';
    };

    extraPostMountCommands = mkOption {
      type = types.listOf types.str;
      default = [ ];
      apply = old.script;
      description = ''
        Shell commands run after mounting (at /mnt), before the clone, once after every mounting: the end of a run takes down what
        they mounted below /mnt. They are the lines of one script, which ends where one fails (`set -e -o pipefail`): a later one
        sees what an earlier one set. It must exit 0 and must bear being run again.
      '';
    };

    repoRemote = mkOption {
      type = types.nullOr landfall.remote;
      default = null;
      apply = remote: if remote == null then null else old.remote remote;
      example = "git+ssh://git@forge.example/ops/nix-config";
      description = ''
        Git remote of the configuration. Must be set unless the image carries the repository (`repoBundle`,
        `repoSource`); then it becomes the clone's origin and is not contacted.
      '';
    };

    recordKeyCredential = mkOption {
      type = types.nullOr landfall.credential;
      default = null;
      example = "/run/keys/landfall-record-key";
      description = ''
        Where the key comes from that proves landfall's records on the disk of an install without LUKS
        (`landfall.record-key`): 32 bytes or more, of which nobody else knows. With LUKS the container's own key does it. One on the
        installer's own medium is taken without this.

        ${credentialText}
      '';
    };

    repoTokenCredential = mkOption {
      type = types.nullOr landfall.credential;
      default = null;
      example = "medium";
      description = ''
        Where the access token for an `https` remote comes from (`landfall.repository-token`): `TOKEN` or `USER:TOKEN`. Git is
        given it for that server alone. `repoRemote` itself must not hold one.

        ${credentialText}
      '';
    };

    repoBranch = mkOption {
      type = types.nullOr landfall.branch;
      default = null;
      example = "production";
      description = "Branch or tag. Resolved and pinned once, before the first write. `null`: the remote's default branch.";
    };

    repoRev = mkOption {
      type = types.nullOr landfall.revision;
      default = null;
      example = "89abcdef0123456789abcdef0123456789abcdef";
      description = "Exactly this revision.";
    };

    repoBundle = mkOption {
      type = types.nullOr (types.either types.package types.path);
      default = null;
      example = lib.literalExpression "./nix-config.bundle";
      description = ''
        A Git bundle (`git bundle create nix-config.bundle --all`) that the image carries; then nothing is fetched. It
        has the history, so the installed clone can pull from `repoRemote`.
      '';
    };

    repoSource = mkOption {
      type = types.nullOr (types.either types.package types.path);
      default = null;
      example = lib.literalExpression "self";
      description = ''
        A source tree, such as the flake's `self`. When no `repoBundle` is given, a bundle with one commit of it is made
        and carried. That commit has no history: to pull on the installed host, `git fetch` and `git reset` to the
        remote's branch first, or carry a real bundle. It is on the branch `main`, so `repoRev` and another `repoBranch`
        need a real one.
      '';
    };

    repoClonePath = mkOption {
      type = landfall.clonePath;
      default = "/mnt/nix-config";
      apply = old.clonePath;
      description = ''
        Where the configuration is cloned to, as seen while installing: below /mnt. Another path is taken for one of the target, and
        that is told.
      '';
    };

    onSuccess = mkOption {
      type = types.enum [
        "poweroff"
        "reboot"
        "stay"
      ];
      default = "poweroff";
      description = "What to do when landed. After a failure the machine always stays on.";
    };

    canTouchEfiVariables = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Make a boot entry in the firmware's variables. `mkInstaller` takes the host's own
        `boot.loader.efi.canTouchEfiVariables`, which NixOS sets to `false` where nobody sets it. Without an entry the
        firmware starts the installed disk by its removable path, when no other entry comes first.
      '';
    };

    extraInitrdKernelModules = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "thunderbolt" ];
      description = "Further kernel modules of the installer's stage 1, loaded there.";
    };

    extraPackages = mkOption {
      type = types.listOf types.package;
      default = [ ];
      description = "Further packages in the installer, also for `extraPostMountCommands`.";
    };

    extraBootCommands = mkOption {
      type = types.lines;
      default = "";
      description = ''
        Shell commands run in the installer's stage 1 once udev has seen the devices: a unit of the systemd stage 1, or a
        part of the scripted one, whichever the installer has.
      '';
    };

    bannerText = mkOption {
      type = types.lines;
      default = ''
        Auto-installer for ${cfg.targetHost}. It starts by itself, and asks before it erases anything.
        Alt-F2 has a shell; `landfall status` says where the install is.
      '';
      defaultText = "Auto-installer for HOST. It starts by itself, and asks before it erases anything. …";
      description = "Shown on the console when the installer has started, and by every login prompt.";
    };

    serialConsole = mkOption {
      type = types.nullOr landfall.serialConsole;
      default = null;
      example = "ttyS0,115200n8";
      description = ''
        A serial line that shows the install and asks the questions too, besides the screen. It is the console then; the
        screen follows the service's journal.
      '';
    };

    targetUser = mkOption {
      type = types.nullOr landfall.userName;
      default = null;
      apply = user: if user == "" then null else user;
      description = "User of the target who gets the deploy key and owns their home and the clone; root when `null`.";
    };

    deployKey = {
      enable = mkOption {
        type = types.bool;
        default = false;
        description = "Place a deploy key at `~/.ssh/id_ed25519` of the target user.";
      };
      credential = mkOption {
        type = landfall.credential;
        default = "medium";
        description = ''
          Where its private half comes from (`landfall.deploy-key`).

          ${credentialText}
        '';
      };
    };

    ageIdentity = {
      enable = mkOption {
        type = types.bool;
        default = false;
        description = "Place the age identity on the target before the first boot, for root alone.";
      };
      path = mkOption {
        type = landfall.targetFile;
        default = "/etc/age/${cfg.targetHost}.agekey";
        defaultText = "/etc/age/HOST.agekey";
        example = "/var/lib/age/web.agekey";
        description = ''
          Where it is placed: what the host names in `age.identityPaths` or `sops.age.keyFile`. A host with
          `system.etc.overlay.enable` sees nothing in `/etc` that was written to its disk, and needs another place.
        '';
      };
      credential = mkOption {
        type = landfall.credential;
        default = "medium";
        description = ''
          Where it comes from (`landfall.age-identity`).

          ${credentialText}
        '';
      };
    };

    ssh = {
      credential = mkOption {
        type = types.nullOr landfall.credential;
        default = null;
        description = ''
          Where the private key comes from with which the repository and private inputs are fetched (`landfall.ssh-key`).

          ${credentialText}
        '';
      };
      key = mkOption {
        type = types.nullOr landfall.secretFile;
        default = null;
        example = "/run/keys/id_ed25519";
        description = "The same as a private key file on the installer, read in place. Refused in the Nix store.";
      };
      publicKey = mkOption {
        type = types.nullOr landfall.sshPublicKey;
        default = null;
        example = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA web installer";
        description = ''
          Its public half. The build prints it after `INSTALLER SSH PUBLIC KEY for <host>:`, so that it can be added to
          the forge as a read-only deploy key.
        '';
      };
      generateKey = mkOption {
        type = types.bool;
        default = false;
        description = ''
          Where no key was passed in for a remote over ssh: make one at the first boot, in memory alone, show its public half on the
          console as text and as a QR code, and wait until the forge takes it. After a restart of the service it is the same; after a
          power cut another one is made and shown.
        '';
      };
      generateWaitSeconds =
        seconds 604800 3600
          "Seconds that an unattended install waits for the forge to take it. With a person it waits for ever.";
      knownHosts = mkOption {
        type = types.lines;
        default = "";
        example = "forge.example ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        description = "Lines as of `ssh-keyscan`. A host that is not in them is refused.";
      };
    };

    authorizedKeys = mkOption {
      type = types.listOf landfall.sshPublicKey;
      default = [ ];
      description = "Who may log in to the installer as root over ssh, to help while it installs.";
    };

    unattended = {
      enable = mkOption {
        type = types.bool;
        default = false;
        description = "Never ask; stop where an answer would be needed.";
      };
      disk = mkOption {
        type = types.nullOr landfall.diskName;
        default = null;
        example = "S5GXNX0T123456";
        description = "The disk that may be erased, by the name that `landfall disks` prints: WWN, serial number, bus address, or the name of its link in /dev/disk/by-id or /dev/disk/by-path.";
      };
      consentCredential = mkOption {
        type = types.nullOr landfall.credential;
        default = null;
        description = ''
          Where the name of the disk that may be erased comes from (`landfall.consent`), when it is not fixed here. A medium is
          read for it only when `unattended.enable` is set.

          ${credentialText}
        '';
      };
    };

    reinstall = mkOption {
      type = landfall.between 0 4294967295;
      default = 0;
      description = "Raise it to allow a new install over a finished one.";
    };

    takeCaches = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Let the install use the binary caches that the host itself has, and trust their keys (`nix.settings.substituters`,
        `trusted-substituters`, `trusted-public-keys` and their `extra-` forms). `mkInstaller` reads them from the host. Only caches
        over `http` and `https` are taken, none that the host serves itself, and no login to one.
      '';
    };

    substituters = mkOption {
      type = types.listOf landfall.cache;
      default = [ ];
      apply = lib.unique;
      example = [ "https://cache.example" ];
      description = "Further binary caches, for the install, beside the host's own (`takeCaches`).";
    };

    trustedPublicKeys = mkOption {
      type = types.listOf landfall.publicKey;
      default = [ ];
      apply = lib.unique;
      description = "Their keys.";
    };

    download = {
      stalledTimeoutSeconds =
        seconds 3600 30
          "Seconds without a byte after which a download is given up.";
      connectTimeoutSeconds = seconds 3600 15 "Seconds for a connection to be made.";
      deadlineSeconds = seconds 604800 21600 "Seconds that the whole copy or build may take.";
    };

    retry = {
      phaseAttemptsMax = mkOption {
        type = landfall.between 1 10000;
        default = 50;
        description = "Attempts at one phase. The counts survive reboots; `landfall resume --reset-attempts` begins them anew.";
      };
      totalAttemptsMax = mkOption {
        type = landfall.between 1 100000;
        default = 200;
        description = "Attempts in total.";
      };
      retriesPerRunMax = mkOption {
        type = landfall.between 0 1000;
        default = 10;
        description = "Retries of one phase in one run.";
      };
      backoffFirstMs = mkOption {
        type = landfall.between 1 3600000;
        default = 1000;
        description = "The first wait in milliseconds; doubled each time.";
      };
      backoffMaxMs = mkOption {
        type = landfall.between 1 3600000;
        default = 60000;
        description = "The longest wait in milliseconds.";
      };
    };

    settings = mkOption {
      type = types.submodule { freeformType = (pkgs.formats.json { }).type; };
      default = { };
      description = ''
        landfall's configuration file (`/etc/landfall/install.json`, docs/reference/configuration.md). It follows from the other
        options; what is set here goes before them. The build asks `landfall check`, which refuses unknown names.
      '';
    };

    knownHostsPath = mkOption {
      type = types.str;
      default = knownHostsPath;
      readOnly = true;
      internal = true;
      description = "Where the known hosts are, below /etc.";
    };
  };

  config = {
    autoInstaller.settings =
      lib.mapAttrsRecursiveCond (value: !(value ? Prebuilt || value ? Image)) (_: lib.mkDefault)
        (settingsOf {
          inherit cfg;
          knownHostsFile = if cfg.ssh.knownHosts == "" then null else "/etc/${knownHostsPath}";
        });

    assertions = [
      {
        assertion = cfg.luks.enable -> old.said options.autoInstaller.labels.luks != "";
        message = "autoInstaller.labels.luks is empty, and luks.enable is true: set autoInstaller.labels.luks, or autoInstaller.luks.enable = false.";
      }
      {
        assertion = cfg.swap.enable -> old.said options.autoInstaller.labels.swap != "";
        message = "autoInstaller.labels.swap is empty, and swap.enable is true: set autoInstaller.labels.swap, or autoInstaller.swap.enable = false.";
      }
      {
        assertion = twice == { };
        message = "autoInstaller: a label must name one thing, and these are equal: ${
          lib.concatStringsSep ", " (lib.mapAttrsToList (name: label: "${name} = \"${label}\"") twice)
        }. Choose different labels: /dev/disk/by-label knows no roles.";
      }
      {
        assertion = cfg.prebuilt -> cfg.targetSystem != null;
        message = "autoInstaller.prebuilt is true, and there is no system to carry: set autoInstaller.targetSystem = <host>.config.system.build.toplevel, or make the installer with mkInstaller.";
      }
      {
        assertion = cfg.repoRemote != null || cfg.repoBundle != null;
        message = "autoInstaller: there is nothing to clone from: set autoInstaller.repoRemote, or carry the repository with autoInstaller.repoBundle or autoInstaller.repoSource.";
      }
      {
        assertion = !(cfg.repoBranch != null && cfg.repoRev != null);
        message = "autoInstaller.repoBranch and autoInstaller.repoRev are both set, and may name different things: keep repoRev to install exactly that, or repoBranch to install what it points to when the install begins.";
      }
      {
        assertion = isMadeBundle -> (cfg.repoBranch == null || cfg.repoBranch == "main");
        message = "autoInstaller.repoBranch is \"${toString cfg.repoBranch}\", and the bundle that is made from autoInstaller.repoSource has the branch main and no other: leave repoBranch out, or carry the branch with autoInstaller.repoBundle (git bundle create nix-config.bundle --all).";
      }
      {
        assertion = isMadeBundle -> cfg.repoRev == null;
        message = "autoInstaller.repoRev is \"${toString cfg.repoRev}\", and the bundle that is made from autoInstaller.repoSource has one new commit and no history: leave repoRev out, because repoSource says already what is installed, or carry the revision with autoInstaller.repoBundle (git bundle create nix-config.bundle --all).";
      }
      {
        assertion =
          cfg.unattended.enable -> (cfg.unattended.disk != null || cfg.unattended.consentCredential != null);
        message = "autoInstaller.unattended.enable is true, and no disk is named: nobody could agree to its erasure. Set autoInstaller.unattended.disk to the serial number that `landfall disks` prints, or autoInstaller.unattended.consentCredential.";
      }
      {
        assertion = (cfg.unattended.enable && cfg.luks.enable) -> cfg.luks.passphraseCredential != null;
        message = "autoInstaller.unattended.enable and luks.enable are true, and nobody will type a passphrase: set autoInstaller.luks.passphraseCredential.";
      }
      {
        assertion = !isTokenRemote;
        message = "autoInstaller.repoRemote has a user name or a token before the host: it would stand in the Nix store, for every user to read, and in every cache that the image is pushed to. Take it out and revoke it; hand a token over with autoInstaller.repoTokenCredential, or fetch over ssh with a key (autoInstaller.ssh.credential), or carry the repository (autoInstaller.repoBundle).";
      }
      {
        assertion = !(cfg.ssh.key != null && cfg.ssh.credential != null);
        message = "autoInstaller.ssh.key and autoInstaller.ssh.credential are both set: keep the one that has the key.";
      }
      {
        assertion = cfg.retry.backoffFirstMs <= cfg.retry.backoffMaxMs;
        message = "autoInstaller.retry.backoffFirstMs is ${toString cfg.retry.backoffFirstMs}, more than autoInstaller.retry.backoffMaxMs, which is ${toString cfg.retry.backoffMaxMs}: lower it, or raise backoffMaxMs.";
      }
    ];

    warnings =
      lib.optional (
        old.said options.autoInstaller.labels.luks != "" && !cfg.luks.enable
      ) "autoInstaller.labels.luks is not used: luks.enable is false."
      ++ lib.optional (
        old.said options.autoInstaller.labels.swap != "" && !cfg.swap.enable
      ) "autoInstaller.labels.swap is not used: swap.enable is false."
      ++
        lib.optional (leftOut != [ ])
          "autoInstaller.extraMountDirs: ${lib.concatStringsSep ", " leftOut} is not made: the system makes it itself or hides what is there, or the clone is made there. Leave it out."
      ++
        lib.optional (!(lib.hasPrefix "/mnt/" saidClone || saidClone == "/mnt"))
          "autoInstaller.repoClonePath \"${saidClone}\" is not below /mnt: it is taken for a path of the target, and the clone is made at \"${cfg.repoClonePath}\". Write that; the replaced module made it in the installer, and the host had none."
      ++
        lib.optional (cfg.repoRemote != null && old.said options.autoInstaller.repoRemote != cfg.repoRemote)
          "autoInstaller.repoRemote \"${old.said options.autoInstaller.repoRemote}\" is taken as \"${cfg.repoRemote}\", the form that Git reads the same way. Write that."
      ++
        lib.optional (cfg.prebuilt && cfg.repoBundle == null)
          "autoInstaller.prebuilt is true, and the repository is still fetched over the network: set autoInstaller.repoSource = self, or autoInstaller.repoBundle to a Git bundle, and the install needs none."
      ++
        lib.optional (isPlainRemote && cfg.repoRev == null && cfg.repoBundle == null)
          "autoInstaller.repoRemote is neither encrypted nor authenticated, and no repoRev is given: whoever sits on the network decides what is installed."
      ++ lib.optional (
        cfg.ssh.generateKey && !(isSshRemote && cfg.repoBundle == null)
      ) "autoInstaller.ssh.generateKey is not used: the repository is not fetched over ssh."
      ++
        lib.optional (isSshRemote && cfg.ssh.knownHosts == "" && cfg.repoBundle == null)
          "autoInstaller.repoRemote is reached over ssh, and autoInstaller.ssh.knownHosts is empty: a host that the installer does not know is refused."
      ++
        lib.optional (cfg.substituters != [ ] && cfg.trustedPublicKeys == [ ])
          "autoInstaller.substituters without autoInstaller.trustedPublicKeys: nothing from these caches will be accepted.";
  };
}
