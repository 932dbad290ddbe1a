# One example's installer with a whole nixpkgs: its image's derivation, failed assertions, settings against the golden,
# the service's unit, and what else an image must have. `cargo lab nix` evaluates it once for each image, since one takes
# gigabytes of memory.
#
# Nothing is built, and nothing is imported from a derivation.
{
  nixpkgs ? <nixpkgs>,
  # Of examples/.
  example,
  # `iso` or `netboot`.
  image ? "iso",
  # `default`, `scripted-stage-1`, or `external-pkgs`: a set of packages made outside the modules.
  variant ? "default",
}:
let
  landfall = import ../../.. {
    inherit nixpkgs;
    system = "x86_64-linux";
  };
  lib = import (nixpkgs + "/lib");
  extra =
    {
      default = { };
      scripted-stage-1.boot.initrd.systemd.enable = false;
      external-pkgs.nixpkgs.pkgs = import nixpkgs { system = "x86_64-linux"; };
    }
    .${variant};
  inherit (landfall.examples.${example}) host installerWith;
  inherit (installerWith image [ extra ]) config;
  cfg = config.autoInstaller;
  name = "${cfg.targetHost}-auto-install";

  # As in goldens.nix: what differs from one nixpkgs to the next.
  settled =
    cfg.settings
    // lib.optionalAttrs cfg.prebuilt {
      system.Image = {
        system = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-vault";
        file = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-vault-root-image/root.image";
      };
      repository = cfg.settings.repository // {
        bundle = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nix-config.bundle";
      };
    };
  failedIn = config: map (a: a.message) (lib.filter (a: !a.assertion) config.assertions);
  hasCommands = cfg.extraBootCommands != "";
  isSerial = cfg.serialConsole != null;
  isSystemd = config.boot.initrd.systemd.enable;
  isStick = image == "iso";
  namesImage =
    text:
    lib.elem (builtins.unsafeDiscardStringContext cfg.rootImage.drvPath) (
      lib.attrNames (builtins.getContext text)
    );
  key = toString cfg.ssh.publicKey;
  announcement = config.system.build.landfallImage.buildCommand;
in
{
  failures = lib.runTests {
    "test no assertion of the installer fails" = {
      expr = failedIn config;
      expected = [ ];
    };
    "test no assertion of the host fails" = {
      expr = failedIn host.config;
      expected = [ ];
    };
    "test the image says of itself what landfall doctor asks for" = {
      expr = removeAttrs config.system.build.landfallImage.landfall [ "version" ];
      expected = {
        host = cfg.targetHost;
        inherit (cfg.ssh) publicKey;
        disagreements = [ ];
      };
    };
    "test settings are the golden" = {
      expr = builtins.fromJSON (builtins.unsafeDiscardStringContext (builtins.toJSON settled));
      expected = lib.importJSON (../golden + "/${example}.json");
    };
    "test a prebuilt image names its own host's system" = {
      expr = if cfg.prebuilt then cfg.settings.system.Image.system else null;
      expected =
        if cfg.prebuilt then
          builtins.unsafeDiscardStringContext "${host.config.system.build.toplevel}"
        else
          null;
    };
    # In the store's squashfs where there is nothing else; on a stick beside it, and then nothing in the squashfs names it.
    "test the image of the root filesystem is carried once, and its closure not as well" = {
      expr =
        if cfg.prebuilt then
          {
            inherit (cfg.settings.system.Image) file;
            named = namesImage cfg.settings.system.Image.file;
            on_stick = map (entry: {
              inherit (entry) target;
              named = namesImage entry.source;
            }) (lib.filter (entry: lib.hasSuffix "root.image" entry.target) (config.isoImage.contents or [ ]));
            closure = builtins.getContext cfg.settings.system.Image.system;
          }
        else
          null;
      expected =
        if cfg.prebuilt then
          {
            file = if isStick then "/iso/landfall/root.image" else "${cfg.rootImage}/root.image";
            named = !isStick;
            on_stick = lib.optional isStick {
              target = "/landfall/root.image";
              named = true;
            };
            closure = { };
          }
        else
          null;
    };
    "test a prebuilt installer pins the image that was built with it" = {
      expr =
        cfg.prebuilt
        -> lib.hasInfix "${cfg.rootImage}/digest" config.system.build.landfallSettings.buildCommand;
      expected = true;
    };
    "test the stick stays mounted where the image of the root filesystem is looked for" = {
      expr =
        isStick
        -> (config.fileSystems."/iso".fsType == "iso9660" && config.fileSystems."/iso".neededForBoot);
      expected = true;
    };
    "test a flake is installed with the network, a prebuilt system without" = {
      expr = lib.elem "network-online.target" config.systemd.services.${name}.wants;
      expected = !cfg.prebuilt;
    };
    "test the service is no shell script" = {
      expr = {
        script = config.systemd.services.${name}.script;
        starts = lib.hasSuffix "/bin/landfall" (
          lib.head (lib.splitString " " config.systemd.services.${name}.serviceConfig.ExecStart)
        );
      };
      expected = {
        script = "";
        starts = true;
      };
    };
    "test the one login prompt is not on the console" = {
      expr = {
        inherit (config.systemd.targets.getty) wants;
        inherit (config.services.logind.settings.Login) NAutoVTs ReserveVT;
        generator = config.systemd.generators.systemd-getty-generator;
      };
      expected = {
        wants = [ "getty@tty2.service" ];
        NAutoVTs = 0;
        ReserveVT = 0;
        generator = "/dev/null";
      };
    };
    "test the login prompt after a failure leaves on the screen what was said" = {
      expr = {
        keeps = lib.hasInfix "TTYVTDisallocate=false" config.systemd.units."getty@.service".text;
        # Beside NixOS's own program, which a drop-in of the instance would take away.
        programs = lib.length (lib.splitString "ExecStart=" config.systemd.units."getty@.service".text) - 1;
        masked = config.systemd.units ? "getty@tty1.service";
        started = lib.elem "getty@tty1.service" config.systemd.services.landfall-help.wants;
      };
      expected = {
        keeps = true;
        programs = 2;
        masked = false;
        started = true;
      };
    };
    # The kernel's last console= is /dev/console.
    "test screen and serial console both have banner, install and failure" = {
      expr =
        let
          inherit (config.systemd) services;
          at = unit: services.${unit}.serviceConfig.TTYPath or "none";
        in
        {
          consoles = lib.filter (lib.hasPrefix "console=tty") config.boot.kernelParams;
          banner = at "landfall-banner";
          draws = lib.hasInfix " --screen /dev/tty1" services.${name}.serviceConfig.ExecStart;
          lines = services.${name}.serviceConfig.StandardOutput;
          failure = at "landfall-help";
          serial = if services ? landfall-help-serial then at "landfall-help-serial" else "none";
          wanted = lib.elem "landfall-help-serial.service" services.landfall-help.wants;
        };
      expected = {
        consoles = lib.optionals isSerial [
          "console=tty0"
          "console=${cfg.serialConsole}"
        ];
        banner = "/dev/console";
        draws = true;
        lines = if isSerial then "journal+console" else "journal";
        failure = "/dev/tty1";
        serial = if isSerial then "/dev/console" else "none";
        wanted = isSerial;
      };
    };
    "test the image of the root filesystem holds the configuration's bundle" = {
      expr =
        cfg.prebuilt
        -> lib.hasInfix (builtins.unsafeDiscardStringContext "--add ${cfg.repoBundle}=/nix/var/landfall/repository.bundle ") (
          builtins.unsafeDiscardStringContext cfg.rootImage.buildCommand
        );
      expected = true;
    };
    "test a made bundle has nothing of a checkout's own repository" = {
      expr =
        cfg.repoSource != null
        -> lib.hasInfix "find repository -name .git -prune -exec rm -rf {} +" cfg.repoBundle.buildCommand;
      expected = true;
    };
    "test the banner is the login prompt's help" = {
      expr = config.services.getty.helpLine;
      expected = "\n${cfg.bannerText}";
    };
    "test the volume's name is the host's own, and fits" = {
      expr =
        isStick
        -> (
          lib.hasInfix cfg.targetHost config.isoImage.volumeID
          && builtins.stringLength config.isoImage.volumeID <= 32
        );
      expected = true;
    };
    "test stage 1 has the host's modules" = {
      expr = lib.subtractLists config.boot.initrd.kernelModules cfg.extraInitrdKernelModules;
      expected = [ ];
    };
    "test stage 1 has the host's commands, in its own way" = {
      expr = {
        unit = config.boot.initrd.systemd.services ? landfall-boot-commands;
        hook = hasCommands && lib.hasInfix cfg.extraBootCommands config.boot.initrd.postDeviceCommands;
      };
      expected = {
        unit = hasCommands && isSystemd;
        hook = hasCommands && !isSystemd;
      };
    };
    "test known hosts are where the settings say" = {
      expr = if cfg.ssh.knownHosts == "" then null else config.environment.etc.${cfg.knownHostsPath}.text;
      expected = if cfg.ssh.knownHosts == "" then null else cfg.ssh.knownHosts;
    };
    "test the build prints the public key" = {
      expr = lib.hasInfix "INSTALLER SSH PUBLIC KEY for ${cfg.targetHost}: ${key}" announcement;
      expected = true;
    };
    "test who may help over ssh is root's" = {
      expr = config.users.users.root.openssh.authorizedKeys.keys;
      expected = cfg.authorizedKeys;
    };
  };
  imageDrv = config.system.build.landfallImage.drvPath;
  innerDrv = config.system.build.landfallImage.image.drvPath;
  unit = config.systemd.units."${name}.service".text;
  inherit (cfg) prebuilt;
  serial = isSerial;
}
