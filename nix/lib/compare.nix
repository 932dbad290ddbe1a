# Whether a target fits its installer: it looks for its filesystems under the names that the installer gives them, boots by
# the loader that landfall proves, and will see what the installer places. A system that does not would be installed in
# full and then wait for a device that never appears, fail at the boot loader, or miss its keys.
#
# Absent: drivers, and whatever else a host needs to boot.
{ lib }:
{
  # `config` of the target.
  target,
  # The options below `autoInstaller`, of the installer.
  cfg,
}:
let
  inherit (cfg.labels) efi;
  fileSystem = at: target.fileSystems.${at} or { };
  deviceOf = at: if (fileSystem at).device or null == null then "none" else (fileSystem at).device;
  containers = target.boot.initrd.luks.devices;
  rootMapper = lib.removePrefix "/dev/mapper/" (deviceOf "/");
  hasMapper = lib.hasPrefix "/dev/mapper/" (deviceOf "/") && containers ? ${rootMapper};
  byLabel = label: [
    "/dev/disk/by-label/${label}"
    "/dev/disk/by-partlabel/${label}"
  ];
  oneOf = lib.concatStringsSep " or ";
  found = option: value: "the target's ${option} is ${builtins.toJSON value}";
  boot = target.boot.loader;
  # The switch of every other loader that nixpkgs or a well-known module has, and what landfall lacks for it.
  otherLoaders = lib.filter (loader: loader.enabled) [
    {
      option = "boot.lanzaboote.enable";
      enabled = target.boot.lanzaboote.enable or false;
      hint = "lanzaboote starts signed unified kernel images, which landfall does not prove, and its keys are made on the host itself. Install with boot.lanzaboote.enable = false and boot.loader.systemd-boot.enable = true (no lib.mkForce false), then turn lanzaboote on in the installed host.";
    }
    {
      option = "boot.loader.limine.enable";
      enabled = boot.limine.enable or false;
      hint = "Set boot.loader.systemd-boot.enable = true and leave Limine out.";
    }
    {
      option = "boot.loader.refind.enable";
      enabled = boot.refind.enable or false;
      hint = "Set boot.loader.systemd-boot.enable = true and leave rEFInd out.";
    }
    {
      option = "boot.loader.generic-extlinux-compatible.enable";
      enabled = boot.generic-extlinux-compatible.enable or false;
      hint = "Set boot.loader.systemd-boot.enable = true and leave extlinux out: landfall installs machines with UEFI.";
    }
    {
      option = "boot.loader.external.enable";
      enabled = boot.external.enable or false;
      hint = "Unified kernel images and loaders with an installer of their own are not proved. Set boot.loader.systemd-boot.enable = true and leave the external loader out, at least until the host is installed.";
    }
    {
      option = "boot.loader.initScript.enable";
      enabled = boot.initScript.enable or false;
      hint = "Set boot.loader.systemd-boot.enable = true and leave it out.";
    }
    {
      option = "boot.loader.generationsDir.enable";
      enabled = boot.generationsDir.enable or false;
      hint = "Set boot.loader.systemd-boot.enable = true and leave it out.";
    }
    # Last: it is on by default, also beside a loader that somebody chose.
    {
      option = "boot.loader.grub.enable";
      enabled = boot.grub.enable or false;
      hint = "It is NixOS's default where no loader is named. Set boot.loader.systemd-boot.enable = true, which turns GRUB off.";
    }
  ];
  loader = lib.head otherLoaders;
  espMount = boot.efi.efiSysMountPoint or "/boot";
  xbootldr = boot.systemd-boot.xbootldrMountPoint or null;
  canTouch = boot.efi.canTouchEfiVariables or false;

  # Newer nixpkgs have removed the option: to read it fails, and a bootspec is always made.
  bootspec = builtins.tryEval (target.boot.bootspec.enable or true);

  etcIsOverlay = target.system.etc.overlay.enable or false;
  isInEtc = path: path == "/etc" || lib.hasPrefix "/etc/" path;
  hiddenDirs = lib.filter isInEtc cfg.extraMountDirs;
  unseen = "The target's system.etc.overlay.enable is true: it mounts an overlay on /etc, and never sees what was written to /etc of its disk.";
  # Who makes users only once the host has booted: until then its disk has no /etc/passwd.
  usersAtBoot =
    if target.systemd.sysusers.enable or false then
      "systemd.sysusers.enable"
    else if
      (target.services.userborn.enable or false)
      && (etcIsOverlay || !(target.services.userborn.static or false))
    then
      "services.userborn.enable"
    else
      null;
  hint = "Import landfall's target module in the host, which sets it, or set it by hand.";
in
[
  (
    if cfg.luks.enable then
      {
        assertion = hasMapper;
        message = "landfall: ${found "fileSystems.\"/\".device" (deviceOf "/")}; with LUKS it must be /dev/mapper/NAME, with NAME in boot.initrd.luks.devices: by another path the prompt for the passphrase races the wait for the device. ${hint}";
      }
    else
      {
        assertion = lib.elem (deviceOf "/") (byLabel cfg.labels.root);
        message = "landfall: ${found "fileSystems.\"/\".device" (deviceOf "/")}; the installer makes ${oneOf (byLabel cfg.labels.root)}. ${hint}";
      }
  )
  {
    assertion =
      (cfg.luks.enable && hasMapper)
      -> lib.elem containers.${rootMapper}.device (byLabel cfg.labels.luks);
    message = "landfall: ${
      found "boot.initrd.luks.devices.${rootMapper}.device" (containers.${rootMapper}.device or null)
    }; the installer makes ${oneOf (byLabel cfg.labels.luks)}. ${hint}";
  }
  {
    assertion = (fileSystem "/").fsType or "none" == "ext4";
    message = "landfall: ${
      found "fileSystems.\"/\".fsType" ((fileSystem "/").fsType or "none")
    }; the installer makes ext4.";
  }
  {
    assertion = lib.elem (deviceOf "/boot") (byLabel efi);
    message = "landfall: ${found "fileSystems.\"/boot\".device" (deviceOf "/boot")}; the installer makes ${oneOf (byLabel efi)}. ${hint}";
  }
  {
    assertion = (fileSystem "/boot").fsType or "none" == "vfat";
    message = "landfall: ${
      found "fileSystems.\"/boot\".fsType" ((fileSystem "/boot").fsType or "none")
    }; the installer makes vfat.";
  }
  {
    assertion =
      cfg.swap.enable
      -> lib.any (device: lib.elem device (byLabel cfg.labels.swap)) (
        map (swap: swap.device) target.swapDevices
      );
    message = "landfall: ${
      found "swapDevices" (map (swap: swap.device) target.swapDevices)
    }; the installer makes ${oneOf (byLabel cfg.labels.swap)}. ${hint}";
  }
  {
    assertion = cfg.targetUser != null -> target.users.users ? ${cfg.targetUser};
    message = "landfall: autoInstaller.targetUser is \"${toString cfg.targetUser}\", and the target has no such user: add users.users.${toString cfg.targetUser} to it, or leave targetUser out.";
  }
  {
    assertion = cfg.targetUser != null -> usersAtBoot == null;
    message = "landfall: autoInstaller.targetUser is \"${toString cfg.targetUser}\", and the target's ${toString usersAtBoot} is true: it makes its users at its first boot, so nothing can belong to them before. Leave targetUser out (root gets the deploy key and the clone), or set ${toString usersAtBoot} = false.";
  }
  {
    assertion = otherLoaders == [ ];
    message = "landfall: ${found loader.option true}, and landfall proves systemd-boot with plain entries, no other loader. ${loader.hint}";
  }
  {
    assertion = otherLoaders == [ ] -> boot.systemd-boot.enable;
    message = "landfall: ${found "boot.loader.systemd-boot.enable" false}, and no other loader is on; landfall proves systemd-boot. Set it to true.";
  }
  {
    assertion = espMount == "/boot";
    message = "landfall: ${found "boot.loader.efi.efiSysMountPoint" espMount}; the installer mounts the ESP at /boot, and nothing else is allowed. Leave the option out.";
  }
  {
    assertion = xbootldr == null;
    message = "landfall: ${found "boot.loader.systemd-boot.xbootldrMountPoint" xbootldr}; the installer makes one ESP, and no extended boot loader partition: only null is allowed. Leave the option out, and give the ESP more room (autoInstaller.espSize) where that was the reason.";
  }
  {
    assertion = target.system.switch.enable or true;
    message = "landfall: ${found "system.switch.enable" false}; without bin/switch-to-configuration nobody installs the boot loader. Set it to true, at least until the host is installed.";
  }
  {
    assertion = !bootspec.success || bootspec.value;
    message = "landfall: ${found "boot.bootspec.enable" false}; the boot loader's installer leaves a system without boot.json out. Set it to true.";
  }
  {
    assertion = canTouch -> cfg.canTouchEfiVariables;
    message = "landfall: autoInstaller.canTouchEfiVariables is false, and the target's boot.loader.efi.canTouchEfiVariables is true: its own boot loader's installer makes the entry all the same. Leave the installer's option out, or set the host's to false.";
  }
  {
    assertion = (cfg.ageIdentity.enable && etcIsOverlay) -> !(isInEtc cfg.ageIdentity.path);
    message = "landfall: autoInstaller.ageIdentity.path is \"${cfg.ageIdentity.path}\". ${unseen} Set autoInstaller.ageIdentity.path to a file outside /etc, such as /var/lib/age/${cfg.targetHost}.agekey, and name the same file in the host (age.identityPaths, or sops.age.keyFile).";
  }
  {
    assertion = etcIsOverlay -> hiddenDirs == [ ];
    message = "landfall: autoInstaller.extraMountDirs has ${lib.concatStringsSep ", " hiddenDirs}. ${unseen} Choose directories outside /etc.";
  }
  {
    assertion = etcIsOverlay -> !(isInEtc (lib.removePrefix "/mnt" cfg.repoClonePath));
    message = "landfall: autoInstaller.repoClonePath is \"${cfg.repoClonePath}\". ${unseen} Choose a directory outside /mnt/etc.";
  }
]
