# What the host asked for in the installer's stage 1: modules and commands, in a systemd stage 1 and in a scripted one.
#
# NixOS brings the modules and mounts of the image itself.
{ config, lib, ... }:
let
  cfg = config.autoInstaller;
  isSystemd = config.boot.initrd.systemd.enable;
  hasCommands = cfg.extraBootCommands != "";
in
{
  key = "landfall/initrd";
  _file = ./initrd.nix;

  config.boot.initrd = {
    kernelModules = cfg.extraInitrdKernelModules;

    # The systemd stage 1 refuses this hook by an assertion, and the scripted one knows no units.
    postDeviceCommands = lib.mkIf (hasCommands && !isSystemd) cfg.extraBootCommands;

    systemd.services.landfall-boot-commands = lib.mkIf (hasCommands && isSystemd) {
      description = "The host's own commands, once the devices are there";
      wantedBy = [ "initrd.target" ];
      before = [ "initrd.target" ];
      after = [
        "systemd-modules-load.service"
        "systemd-udevd.service"
        "systemd-udev-trigger.service"
      ];
      unitConfig.DefaultDependencies = false;
      serviceConfig.Type = "oneshot";
      # A device that is late is no reason to leave the host's commands out.
      script = ''
        udevadm settle --timeout=30 || true
        ${cfg.extraBootCommands}
      '';
    };
  };
}
