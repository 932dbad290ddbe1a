# A NixOS host that is to the laboratory what its own systems are: found by the same labels, with the same account, saying the same
# line about itself on the serial console, and switching itself off.
#
# A person's host would have more.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  cfg = config.lab;
  identity = "/etc/age/${cfg.host}.agekey";
  layout =
    if cfg.luks && cfg.swap then
      "luks-swap"
    else if cfg.luks then
      "luks"
    else if cfg.swap then
      "swap"
    else
      "plain";
  flag = lib.mkOption {
    type = lib.types.bool;
    default = false;
  };
in
{
  options.lab = {
    host = lib.mkOption { type = lib.types.str; };
    luks = flag;
    swap = flag;
    # As in src/kit.rs: which habit the host shows.
    initrdSecret = flag;
    passwordFile = flag;
    brokenSnippet = flag;
    noVariables = flag;
    specialised = flag;
    counted = flag;
    specialisation = lib.mkOption {
      type = lib.types.str;
      default = "none";
    };
  };

  config = {
    networking.hostName = cfg.host;
    system.stateVersion = lib.trivial.release;
    documentation.enable = false;
    fileSystems."/" = {
      device = if cfg.luks then "/dev/mapper/cryptroot" else "/dev/disk/by-label/root-lab";
      fsType = "ext4";
    };
    fileSystems."/boot" = {
      device = "/dev/disk/by-label/ESP-LAB";
      fsType = "vfat";
    };
    swapDevices = lib.optional cfg.swap { device = "/dev/disk/by-label/swap-lab"; };
    boot.initrd.luks.devices = lib.mkIf cfg.luks {
      cryptroot.device = "/dev/disk/by-partlabel/luks-lab";
    };
    boot.initrd.availableKernelModules = [
      "virtio_blk"
      "virtio_pci"
      "virtio_scsi"
      "ahci"
      "sd_mod"
    ];
    boot.kernelParams = [
      "console=ttyS0,115200"
      "loglevel=4"
      "nohz=off"
      "highres=off"
    ];
    boot.loader.timeout = 0;
    boot.loader.efi.canTouchEfiVariables = !cfg.noVariables;
    boot.loader.systemd-boot = {
      enable = true;
      editor = false;
      bootCounting = lib.mkIf cfg.counted {
        enable = true;
        tries = 3;
      };
    };

    users.users.operator = {
      isNormalUser = true;
      uid = 1234;
      extraGroups = [ "wheel" ];
      hashedPasswordFile = lib.mkIf cfg.passwordFile "/run/agenix/password";
    };

    # What agenix does: the password's hash can be had with the identity alone.
    system.activationScripts.secrets = lib.mkIf cfg.passwordFile {
      deps = [ "specialfs" ];
      text = ''
        if [ -r ${identity} ]; then
          mkdir -m 0751 -p /run/agenix
          (umask 0277; ${pkgs.age}/bin/age --decrypt -i ${identity} -o /run/agenix/password ${./closure/password.age}) || _localstatus=1
        else
          echo "[agenix] WARNING: config.age.identityPaths entry ${identity} not present!"
          _localstatus=1
        fi
      '';
    };
    system.activationScripts.users.deps = lib.mkIf cfg.passwordFile [ "secrets" ];
    system.activationScripts.broken = lib.mkIf cfg.brokenSnippet "cat /run/this-host/has-no-such-file";

    boot.initrd.secrets = lib.mkIf cfg.initrdSecret { "/lab-secret" = identity; };
    boot.initrd.systemd.services.lab-secret = lib.mkIf cfg.initrdSecret {
      wantedBy = [ "initrd.target" ];
      before = [ "initrd-switch-root.target" ];
      unitConfig.DefaultDependencies = false;
      serviceConfig.Type = "oneshot";
      script = "sha256sum < /lab-secret | cut -d ' ' -f 1 > /run/initrd-secret";
    };

    specialisation = lib.mkIf (cfg.specialised && cfg.specialisation == "none") (
      lib.genAttrs
        [
          "games"
          "rescue"
          "travel"
        ]
        (name: {
          configuration.lab.specialisation = lib.mkForce name;
        })
    );

    systemd.services.lab-marker = {
      description = "say who this system is, and switch it off";
      wantedBy = [ "multi-user.target" ];
      after = [
        "local-fs.target"
        "swap.target"
        "multi-user.target"
      ];
      path = [ pkgs.util-linux ];
      serviceConfig = {
        Type = "oneshot";
        StandardOutput = "tty";
        TTYPath = "/dev/ttyS0";
      };
      script = ''
        set +e
        shopt -s nullglob
        host=${cfg.host} user=operator layout=${layout} espLabel=ESP-LAB rootLabel=root-lab clonePath=/nix-config
        revision=${toString config.system.configurationRevision} version=${config.system.nixos.version}
        specialisation=${cfg.specialisation}
        system=$(readlink -f /run/current-system)
        boot=$(findmnt -no SOURCE /boot)
        swap=
        ${lib.optionalString cfg.swap "swap=swap-lab@$(findfs LABEL=swap-lab)"}
        # The status of the one at boot is kept nowhere; it may run any number of times.
        "$system/activate" > /dev/null 2>&1
        activation=$?
        ${builtins.readFile ./closure/marker.sh}
        systemctl --no-block poweroff
      '';
    };
  };
}
