# The installer's options, what must agree between them, and the configuration file that follows from them. Apart from
# everything that makes an image, so that types, assertions and settings can be tested with `lib` alone.
#
# service.nix, initrd.nix, iso.nix and netboot.nix have the services and images. There are no options for `landfall
# status`, because the program has none.
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
  old = import ../lib/legacy_values.nix { inherit lib; };
  settingsOf = import ../lib/settings.nix { inherit lib; };
  cfg = config.autoInstaller;

  knownHostsPath = "landfall/known_hosts";

  credentialText = ''
    - `"system"`: from the firmware or hypervisor (SMBIOS, fw_cfg), or from the kernel command line.
    - `"medium"`: a file on a medium with the label LF-KEYS: a USB stick, an SD card, a disc, or the installer's own medium.
    - An absolute path: a file on the installer, outside the Nix store, passed with `LoadCredential=`.
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
        throw "autoInstaller.powerOff: ${builtins.toJSON value} is not allowed: it must be true or false; better set autoInstaller.onSuccess"
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
        Put the complete system closure (`targetSystem`) into the installer image and install it without the network, instead
        of building the flake on the target.
      '';
    };

    targetSystem = mkOption {
      type = types.nullOr (types.either types.package types.pathInStore);
      default = null;
      example = lib.literalExpression "self.nixosConfigurations.vault.config.system.build.toplevel";
      description = "The system that a prebuilt installer contains. `mkInstaller` sets it.";
    };

    rootImage = mkOption {
      type = types.nullOr (types.either types.package types.pathInStore);
      default = null;
      example = lib.literalExpression "import ./nix/lib/image.nix { inherit lib pkgs package; } { name = \"vault\"; system = targetSystem; }";
      description = ''
        A directory with the root filesystem of `targetSystem` as an image (`root.image`). A prebuilt installer contains it
        instead of the closure, and writes it chunk by chunk at the speed of the disk. `mkInstaller` makes it. `null`: the
        installer contains the closure, and copies it path by path.
      '';
    };
    rootImageDigest = mkOption {
      type = types.nullOr (types.strMatching "[0-9a-f]{64}");
      default = null;
      example = "12f064879a5f0d2c3b1e4c6d8f7a9b0c1d2e3f405162738495a6b7c8d9e0f1a2";
      description = ''
        The digest of the image, as `landfall image info` prints it. The installer writes no other image. `null`: the
        installer's build reads the digest from `rootImage`.
      '';
    };
    rootImageFile = mkOption {
      type = types.nullOr types.str;
      default = if cfg.rootImage == null then null else "${cfg.rootImage}/root.image";
      defaultText = lib.literalExpression "\"\${rootImage}/root.image\"";
      internal = true;
      description = "Path of the image on the running installer.";
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
        description = "Time that one guess at the passphrase takes on the target, in milliseconds.";
      };
      memoryMin = mkOption {
        type = types.nullOr landfall.size;
        default = null;
        example = "512M";
        description = ''
          Least memory that one guess at the passphrase must need. landfall asks for 1 GiB. A target with less than 2 GiB, or a
          slow one, gets less: landfall reports that, and refuses values below this option.
        '';
      };
      passphraseCredential = mkOption {
        type = types.nullOr landfall.credential;
        default = null;
        example = "medium";
        description = ''
          Source of the LUKS passphrase (`landfall.luks-passphrase`). `null`: landfall asks a person for it twice, before the
          first write, unless the machine itself provides a system credential of that name. In this case landfall does not
          read the passphrase from a medium.

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
        Directories to make on the target. `"/srv/data"`, `"srv/data"` and `"/mnt/srv/data"` are the same directory. Directories
        that the system makes itself, or would hide (in `/boot`, `/proc`, `/sys`, `/dev`, `/run`), are left out.
      '';
    };

    extraPostMountCommands = mkOption {
      type = types.listOf types.str;
      default = [ ];
      apply = old.script;
      description = ''
        Shell commands that run after the target is mounted at /mnt and before the clone. They run once after every mount; at the
        end of a run landfall unmounts what they mounted below /mnt. They are one script with `set -e -o pipefail`, so the script
        stops at the first error, and later lines see the variables of earlier ones. It must exit with 0, and it must be safe to
        run it again.
      '';
    };

    repoRemote = mkOption {
      type = types.nullOr landfall.remote;
      default = null;
      apply = remote: if remote == null then null else old.remote remote;
      example = "git+ssh://git@forge.example/ops/nix-config";
      description = ''
        Git remote of the configuration. It must be set unless the image contains the repository (`repoBundle`,
        `repoSource`); in that case it becomes the clone's origin, and landfall does not contact it.
      '';
    };

    recordKeyCredential = mkOption {
      type = types.nullOr landfall.credential;
      default = null;
      example = "/run/keys/landfall-record-key";
      description = ''
        Source of the key that proves landfall's records on the disk, for an install without LUKS (`landfall.record-key`): 32
        secret bytes or more. With LUKS, the key of the container does this. A key on the installer's own medium is used without
        this option.

        ${credentialText}
      '';
    };

    repoTokenCredential = mkOption {
      type = types.nullOr landfall.credential;
      default = null;
      example = "medium";
      description = ''
        Source of the access token for an `https` remote (`landfall.repository-token`): `TOKEN` or `USER:TOKEN`. Git gets it
        only for that server. `repoRemote` itself must not contain a token.

        ${credentialText}
      '';
    };

    repoBranch = mkOption {
      type = types.nullOr landfall.branch;
      default = null;
      example = "production";
      description = "Branch or tag. landfall resolves it to a revision once, before the first write. `null`: the remote's default branch.";
    };

    repoRev = mkOption {
      type = types.nullOr landfall.revision;
      default = null;
      example = "89abcdef0123456789abcdef0123456789abcdef";
      description = "Install exactly this revision.";
    };

    repoBundle = mkOption {
      type = types.nullOr (types.either types.package types.path);
      default = null;
      example = lib.literalExpression "./nix-config.bundle";
      description = ''
        A Git bundle (`git bundle create nix-config.bundle --all`) in the image; landfall then fetches nothing. It has the
        history, so the installed clone can pull from `repoRemote`.
      '';
    };

    repoSource = mkOption {
      type = types.nullOr (types.either types.package types.path);
      default = null;
      example = lib.literalExpression "self";
      description = ''
        A source tree, such as the flake's `self`. If `repoBundle` is not set, the image gets a bundle with one commit of this
        tree. That commit has no history: to pull on the installed host, first run `git fetch` and `git reset` to the remote's
        branch, or use a real bundle. The commit is on the branch `main`, so `repoRev` and another `repoBranch` need a real
        bundle.
      '';
    };

    repoClonePath = mkOption {
      type = landfall.clonePath;
      default = "/mnt/nix-config";
      apply = old.clonePath;
      description = ''
        Path of the clone of the configuration, as seen during the install: below /mnt. landfall uses any other path as a path of
        the target, and reports that.
      '';
    };

    onSuccess = mkOption {
      type = types.enum [
        "poweroff"
        "reboot"
        "stay"
      ];
      default = "poweroff";
      description = "What to do when the install is finished. After a failure the machine always stays on.";
    };

    canTouchEfiVariables = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Make a boot entry in the firmware's variables. `mkInstaller` uses the host's own
        `boot.loader.efi.canTouchEfiVariables`, whose default in NixOS is `false`. Without an entry the firmware starts the
        installed disk by its removable path, if no other entry comes first.
      '';
    };

    extraInitrdKernelModules = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "thunderbolt" ];
      description = "More kernel modules to load in the installer's stage 1.";
    };

    extraPackages = mkOption {
      type = types.listOf types.package;
      default = [ ];
      description = "More packages in the installer, also for `extraPostMountCommands`.";
    };

    extraBootCommands = mkOption {
      type = types.lines;
      default = "";
      description = ''
        Shell commands that run in the installer's stage 1 after udev has found the devices: as a unit of the systemd stage 1,
        or as a part of the scripted stage 1.
      '';
    };

    bannerText = mkOption {
      type = types.lines;
      default = ''
        Auto-installer for ${cfg.targetHost}. It starts by itself, and asks before it erases anything.
        Alt-F2 has a shell; `landfall status` says where the install is.
      '';
      defaultText = "Auto-installer for HOST. It starts by itself, and asks before it erases anything. …";
      description = "Text on the console after the installer has started, and at every login prompt.";
    };

    serialConsole = mkOption {
      type = types.nullOr landfall.serialConsole;
      default = null;
      example = "ttyS0,115200n8";
      description = ''
        A serial line that also shows the install and asks its questions. It is the console then; the screen follows the
        journal of the service.
      '';
    };

    targetUser = mkOption {
      type = types.nullOr landfall.userName;
      default = null;
      apply = user: if user == "" then null else user;
      description = "User of the target who gets the deploy key and owns the clone and their home directory. `null`: root.";
    };

    deployKey = {
      enable = mkOption {
        type = types.bool;
        default = false;
        description = "Install a deploy key at `~/.ssh/id_ed25519` of the target user.";
      };
      credential = mkOption {
        type = landfall.credential;
        default = "medium";
        description = ''
          Source of its private key (`landfall.deploy-key`).

          ${credentialText}
        '';
      };
    };

    ageIdentity = {
      enable = mkOption {
        type = types.bool;
        default = false;
        description = "Install the age identity on the target before the first boot, readable only by root.";
      };
      path = mkOption {
        type = landfall.targetFile;
        default = "/etc/age/${cfg.targetHost}.agekey";
        defaultText = "/etc/age/HOST.agekey";
        example = "/var/lib/age/web.agekey";
        description = ''
          Its path on the target, as the host has it in `age.identityPaths` or `sops.age.keyFile`. A host with
          `system.etc.overlay.enable` does not see files on its disk in `/etc`, and needs another path.
        '';
      };
      credential = mkOption {
        type = landfall.credential;
        default = "medium";
        description = ''
          Source of the identity (`landfall.age-identity`).

          ${credentialText}
        '';
      };
    };

    ssh = {
      credential = mkOption {
        type = types.nullOr landfall.credential;
        default = null;
        description = ''
          Source of the private key with which landfall fetches the repository and private inputs (`landfall.ssh-key`).

          ${credentialText}
        '';
      };
      key = mkOption {
        type = types.nullOr landfall.secretFile;
        default = null;
        example = "/run/keys/id_ed25519";
        description = "Path of the private key file on the installer, instead of a credential. A file in the Nix store is refused.";
      };
      publicKey = mkOption {
        type = types.nullOr landfall.sshPublicKey;
        default = null;
        example = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA web installer";
        description = ''
          Its public key. The build prints it after `INSTALLER SSH PUBLIC KEY for <host>:`, so that you can add it at the forge
          as a read-only deploy key.
        '';
      };
      generateKey = mkOption {
        type = types.bool;
        default = false;
        description = ''
          If no key was provided for an ssh remote: make one at the first boot, only in memory, show its public key on the console
          as text and as a QR code, and wait until the forge accepts it. After a restart of the service it is the same key; after a
          power cut landfall makes and shows another one.
        '';
      };
      generateWaitSeconds =
        seconds 604800 3600
          "Seconds that an unattended install waits for the forge to take it. With a person it waits for ever.";
      knownHosts = mkOption {
        type = types.lines;
        default = "";
        example = "forge.example ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        description = "Lines from `ssh-keyscan`. landfall refuses a server that is not in them.";
      };
    };

    authorizedKeys = mkOption {
      type = types.listOf landfall.sshPublicKey;
      default = [ ];
      description = "SSH public keys that can log in to the installer as root, to help during the install.";
    };

    unattended = {
      enable = mkOption {
        type = types.bool;
        default = false;
        description = "Never ask; stop if an answer is needed.";
      };
      disk = mkOption {
        type = types.nullOr landfall.diskName;
        default = null;
        example = "S5GXNX0T123456";
        description = "The disk that landfall may erase, by the name that `landfall disks` prints: WWN, serial number, bus address, or the name of its link in /dev/disk/by-id or /dev/disk/by-path.";
      };
      consentCredential = mkOption {
        type = types.nullOr landfall.credential;
        default = null;
        description = ''
          Source of the name of the disk that landfall may erase (`landfall.consent`), if `unattended.disk` does not set it.
          landfall reads a medium for it only if `unattended.enable` is set.

          ${credentialText}
        '';
      };
    };

    reinstall = mkOption {
      type = landfall.between 0 4294967295;
      default = 0;
      description = "Increase it to allow a new install over a finished one.";
    };

    takeCaches = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Let the install use the binary caches of the host, and trust their keys (`nix.settings.substituters`,
        `trusted-substituters`, `trusted-public-keys` and their `extra-` forms). `mkInstaller` reads them from the host. It uses
        only `http` and `https` caches, none that the host itself serves, and no logins.
      '';
    };

    substituters = mkOption {
      type = types.listOf landfall.cache;
      default = [ ];
      apply = lib.unique;
      example = [ "https://cache.example" ];
      description = "More binary caches for the install, in addition to the host's own (`takeCaches`).";
    };

    trustedPublicKeys = mkOption {
      type = types.listOf landfall.publicKey;
      default = [ ];
      apply = lib.unique;
      description = "The public keys of these caches.";
    };

    download = {
      stalledTimeoutSeconds = seconds 3600 30 "Seconds without data after which a download is stopped.";
      connectTimeoutSeconds = seconds 3600 15 "Seconds for a connection to be made.";
      deadlineSeconds = seconds 604800 21600 "Seconds that the whole copy or build may take.";
    };

    retry = {
      phaseAttemptsMax = mkOption {
        type = landfall.between 1 10000;
        default = 50;
        description = "Largest number of attempts of one phase. The counters survive reboots; `landfall resume --reset-attempts` resets them.";
      };
      totalAttemptsMax = mkOption {
        type = landfall.between 1 100000;
        default = 200;
        description = "Largest number of attempts in total.";
      };
      retriesPerRunMax = mkOption {
        type = landfall.between 0 1000;
        default = 10;
        description = "Largest number of retries of one phase in one run.";
      };
      backoffFirstMs = mkOption {
        type = landfall.between 1 3600000;
        default = 1000;
        description = "The first wait in milliseconds; each further wait is twice as long.";
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
        landfall's configuration file (`/etc/landfall/install.json`, docs/reference/configuration.md). The other options make it; values
        that you set here take precedence. The build runs `landfall check`, which refuses unknown names.
      '';
    };

    knownHostsPath = mkOption {
      type = types.str;
      default = knownHostsPath;
      readOnly = true;
      internal = true;
      description = "Path of the known hosts, below /etc.";
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
        message = "autoInstaller.repoRemote has a user name or a token before the host: it would be in the Nix store, where every user can read it, and in every cache that the image is pushed to. Remove it and revoke it; provide a token with autoInstaller.repoTokenCredential, or fetch over ssh with a key (autoInstaller.ssh.credential), or put the repository in the installer (autoInstaller.repoBundle).";
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
          "autoInstaller.repoRemote is neither encrypted nor authenticated, and no repoRev is given: an attacker on the network can decide what is installed."
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
