# landfall as the installer's service, and what stands around it: who has the console, what is there after a failure.
# The directives of the service are those of nix/tests/golden/unit.service, which the laboratory's machines run too.
#
# iso.nix and netboot.nix have the images. The service has no shell, and does not power off: landfall does, when
# landed.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.autoInstaller;
  name = "${cfg.targetHost}-auto-install";

  # Files on the installer that become credentials of the service.
  loaded = lib.filterAttrs (_: value: value != null && value != "system" && value != "medium") {
    consent = cfg.unattended.consentCredential;
    luks-passphrase = cfg.luks.passphraseCredential;
    record-key = cfg.recordKeyCredential;
    repository-token = cfg.repoTokenCredential;
    ssh-key = cfg.ssh.credential;
    deploy-key = if cfg.deployKey.enable then cfg.deployKey.credential else null;
    age-identity = if cfg.ageIdentity.enable then cfg.ageIdentity.credential else null;
  };

  # One commit of a source tree. Dates and author are fixed, so that the same tree gives the same bundle.
  bundleOf =
    source:
    pkgs.runCommand "nix-config.bundle"
      {
        nativeBuildInputs = [ pkgs.git ];
        env = {
          GIT_AUTHOR_NAME = "landfall";
          GIT_AUTHOR_EMAIL = "landfall@localhost";
          GIT_AUTHOR_DATE = "1970-01-01T00:00:01Z";
          GIT_COMMITTER_NAME = "landfall";
          GIT_COMMITTER_EMAIL = "landfall@localhost";
          GIT_COMMITTER_DATE = "1970-01-01T00:00:01Z";
          GIT_CONFIG_NOSYSTEM = "1";
        };
        preferLocalBuild = true;
      }
      ''
        cp -r ${source} repository
        chmod -R u+w repository
        # A plain checkout brings its own, and a submodule a link to one: their history and remotes stay outside.
        find repository -name .git -prune -exec rm -rf {} +
        export HOME=$PWD
        git -C repository init --quiet --initial-branch main
        git -C repository add --all --force
        git -C repository commit --quiet --message "The configuration that this installer carries"
        git -C repository bundle create --quiet $out HEAD main
      '';

  # What the installer writes to a root filesystem is the image that was built with it, and no other one of that system. The digest
  # is known when the image is built, and the image itself is not referred to by this.
  isUnpinned =
    cfg.rootImage != null
    && cfg.settings.system ? Image
    && cfg.settings.system.Image.digest or null == null;
  unpinned = (pkgs.formats.json { }).generate "install.json" cfg.settings;
  rendered =
    if isUnpinned then
      pkgs.runCommand "install.json"
        {
          nativeBuildInputs = [ pkgs.buildPackages.jq ];
          preferLocalBuild = true;
        }
        ''
          if test -e ${cfg.rootImage}/digest; then
            digest=$(cat ${cfg.rootImage}/digest)
          else
            # One that was not made by nix/lib/image.nix of this version.
            digest=$(${lib.getExe cfg.package} image info --json ${cfg.rootImage}/root.image | jq --raw-output .digest)
          fi
          jq --arg digest "$digest" '.system.Image.digest = $digest' ${unpinned} >$out
        ''
    else
      unpinned;

  # A file that landfall would refuse on the machine is refused here.
  checked =
    if pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform then
      pkgs.runCommand "install.json" { preferLocalBuild = true; } ''
        cp ${rendered} install.json
        ${lib.getExe cfg.package} check install.json
        cp install.json $out
      ''
    else
      rendered;

  needsNetwork = !cfg.prebuilt || cfg.repoBundle == null;
  isSerial = cfg.serialConsole != null;
  serialName = lib.head (lib.splitString "," cfg.serialConsole);
  banner = pkgs.writeText "landfall-banner" "\n${cfg.bannerText}\n";

  statusOn = terminal: {
    serviceConfig = {
      Type = "oneshot";
      # The run is over: what is drawn on a screen, and said on a serial line, stays.
      ExecStart = "${lib.getExe cfg.package} status --watch";
      # A status that ends with a code of its own is still a status.
      SuccessExitStatus = "1 2 3 4 5 6 7 8 9 10 11";
      # A run that somebody has begun again since is not watched: the login comes.
      TimeoutStartSec = "20s";
      StandardOutput = "tty";
      StandardError = "tty";
      TTYPath = terminal;
    };
  };
in
{
  key = "landfall/service";
  _file = ./service.nix;

  config = {
    autoInstaller.repoBundle = lib.mkIf (cfg.repoSource != null) (
      lib.mkDefault (bundleOf cfg.repoSource)
    );

    # Before it is checked.
    system.build.landfallSettings = rendered;

    environment.etc = {
      "landfall/install.json".source = checked;
    }
    // lib.optionalAttrs (cfg.ssh.knownHosts != "") {
      ${cfg.knownHostsPath}.text = cfg.ssh.knownHosts;
    };
    environment.systemPackages = [ cfg.package ] ++ cfg.extraPackages;

    systemd.services.${name} = {
      description = "landfall: install this host, or go on where an install was cut off";
      documentation = [ "man:landfall(1)" ];
      wantedBy = [ "multi-user.target" ];
      wants = lib.optional needsNetwork "network-online.target";
      after = lib.optional needsNetwork "network-online.target" ++ [ "systemd-user-sessions.service" ];
      onFailure = [ "landfall-help.service" ];
      restartIfChanged = false;
      environment.HOME = "/root";
      # The package brings what landfall starts; these are for the host's own commands.
      path = cfg.extraPackages;
      unitConfig = {
        StartLimitIntervalSec = "10min";
        StartLimitBurst = 5;
      };
      serviceConfig = {
        Type = "notify";
        NotifyAccess = "main";
        ExecStart = "${lib.getExe cfg.package} install --config /etc/landfall/install.json --progress plain --screen /dev/tty1";
        ImportCredential = "landfall.*";
        # Not a terminal: landfall then asks through the agents, which serve screen and serial line alike.
        StandardInput = "null";
        # Where the console is the screen, the lines would be written over the picture.
        StandardOutput = if isSerial then "journal+console" else "journal";
        StandardError = "journal+console";
        # Only what nobody decided (SIGKILL, a crash, the watchdog) starts it again.
        Restart = "on-abnormal";
        RestartSec = "5s";
        SuccessExitStatus = 10;
        WatchdogSec = "10min";
        TimeoutStartSec = "2min";
        KillMode = "mixed";
        TimeoutStopSec = "10min";
        OOMScoreAdjust = -500;
        LimitCORE = 0;
        # What a partitioner that runs Nix can do without. Nothing here makes a mount namespace: what is mounted below /mnt must be
        # seen by a shell beside it, and outlive a killed run. NoNewPrivileges= and RestrictSUIDSGID= would break the target's
        # activation, RestrictNamespaces= and MemoryDenyWriteExecute= the builds of a flake. AF_ALG is cryptsetup's. A host's own
        # commands run under the same rules; they may load modules.
        CapabilityBoundingSet = "~CAP_AUDIT_CONTROL CAP_AUDIT_READ CAP_BLOCK_SUSPEND CAP_BPF CAP_IPC_OWNER CAP_LEASE CAP_MAC_ADMIN CAP_MAC_OVERRIDE CAP_NET_BROADCAST CAP_PERFMON CAP_SYSLOG CAP_SYS_BOOT CAP_SYS_PACCT CAP_SYS_RAWIO CAP_SYS_TIME CAP_WAKE_ALARM";
        RestrictAddressFamilies = "AF_ALG AF_INET AF_INET6 AF_NETLINK AF_UNIX";
        RestrictRealtime = true;
        SystemCallErrorNumber = "EPERM";
        SystemCallFilter = "~@clock @cpu-emulation @obsolete @raw-io @reboot";
      }
      // lib.optionalAttrs (loaded != { }) {
        LoadCredential = lib.mapAttrsToList (
          credential: file: "landfall.${credential}:${toString file}"
        ) loaded;
      };
    };

    # The console belongs to landfall's questions: no login prompt reads there, also not one that logind starts when
    # somebody comes back to the first screen. The second one has a shell. And the agent that would only tell logged-in
    # users of a question stays away, because it stops the one that asks on the console.
    systemd.targets.getty.wants = lib.mkForce [ "getty@tty2.service" ];
    services.logind.settings.Login = {
      NAutoVTs = 0;
      ReserveVT = 0;
    };
    systemd.generators.systemd-getty-generator = "/dev/null";
    systemd.paths.systemd-ask-password-wall.enable = false;

    systemd.services.landfall-banner = {
      description = "What this machine is about to do";
      wantedBy = [ "multi-user.target" ];
      before = [ "${name}.service" ];
      serviceConfig = {
        Type = "oneshot";
        ExecStart = "${lib.getExe' pkgs.coreutils "cat"} ${banner}";
        StandardOutput = "tty";
        TTYPath = "/dev/console";
      };
    };

    # Upstream's unit clears the screen and what has scrolled off it: just what somebody comes to read. Said to the template,
    # because NixOS calls every drop-in overrides.conf, and one of the instance would take the place of the template's.
    systemd.services."getty@".serviceConfig.TTYVTDisallocate = false;

    # After a failure: where it stands, and a login. The machine stays on. On the screen it is the last picture once more, also where
    # landfall itself could draw none.
    systemd.services.landfall-help = statusOn "/dev/tty1" // {
      description = "What to do after a failed install";
      wants = [
        "getty@tty1.service"
      ]
      ++ lib.optionals isSerial [
        "landfall-help-serial.service"
        "serial-getty@${serialName}.service"
      ];
      before = [ "getty@tty1.service" ];
    };
    systemd.services.landfall-help-serial = lib.mkIf isSerial (
      statusOn "/dev/console"
      // {
        description = "What to do after a failed install, on the serial console";
        before = [ "serial-getty@${serialName}.service" ];
      }
    );

    # The installation device's own text speaks of empty passwords.
    services.getty.helpLine = lib.mkForce "\n${cfg.bannerText}";

    boot.kernelParams = lib.optionals isSerial [
      "console=tty0"
      "console=${cfg.serialConsole}"
    ];

    users.users.root.openssh.authorizedKeys.keys = cfg.authorizedKeys;
    services.openssh = lib.mkIf (cfg.authorizedKeys != [ ]) {
      enable = true;
      settings.PermitRootLogin = lib.mkForce "prohibit-password";
    };

    # landfall calls nix itself; a flake needs both.
    nix.settings.experimental-features = [
      "nix-command"
      "flakes"
    ];
  };
}
