# From an evaluated host to its installer. Works with any nixpkgs: it is the target's that is used.
#
# It works without flakes; flake.nix passes its hosts in.
{ lib }:
rec {
  # One installer, as an evaluated NixOS system.
  mkInstaller =
    {
      # The host, evaluated: `nixosConfigurations.<host>`.
      target,
      # Name of that entry, when it is not the host's own name.
      host ? target.config.networking.hostName,
      # `iso` or `netboot`.
      image ? "iso",
      # What sets `autoInstaller.*`, and whatever else the installer needs.
      modules ? [ ],
    }:
    let
      imageModule =
        {
          iso = ../modules/iso.nix;
          netboot = ../modules/netboot.nix;
        }
        .${image}
          or (throw "landfall.mkInstaller: image \"${image}\" is not allowed: it must be iso or netboot");
      caches = import ./caches.nix { inherit lib; } target.config.nix.settings;
      # A host that imports the target module has the labels already.
      inherited = target.config.autoInstaller or null;
      fromTarget =
        { config, ... }:
        {
          key = "landfall/from-target";
          _file = ./default.nix;
          config = {
            nixpkgs.hostPlatform = lib.mkDefault target.config.nixpkgs.hostPlatform;
            autoInstaller = {
              targetHost = lib.mkDefault host;
              targetSystem = lib.mkDefault target.config.system.build.toplevel;
              # Behind what the installer names itself.
              substituters = lib.mkIf config.autoInstaller.takeCaches (lib.mkAfter caches.substituters);
              trustedPublicKeys = lib.mkIf config.autoInstaller.takeCaches (lib.mkAfter caches.trustedPublicKeys);
              canTouchEfiVariables = lib.mkDefault target.config.boot.loader.efi.canTouchEfiVariables;
              rootImage = lib.mkDefault (
                if config.autoInstaller.prebuilt then
                  import ./image.nix
                    {
                      inherit lib;
                      inherit (target) pkgs;
                      inherit (config.autoInstaller) package;
                    }
                    {
                      name = host;
                      system = config.autoInstaller.targetSystem;
                      # One that only the installer will have, outside the store, is not there when the image is made.
                      bundle =
                        let
                          inherit (config.autoInstaller) repoBundle;
                        in
                        if repoBundle != null && lib.hasPrefix builtins.storeDir "${repoBundle}" then repoBundle else null;
                    }
                else
                  null
              );
            }
            // lib.optionalAttrs (inherited != null) {
              labels = lib.mapAttrs (_: lib.mkDefault) {
                inherit (inherited.labels)
                  efi
                  root
                  luks
                  swap
                  ;
              };
              luks = lib.mapAttrs (_: lib.mkDefault) { inherit (inherited.luks) enable mapperName; };
              swap = lib.mapAttrs (_: lib.mkDefault) { inherit (inherited.swap) enable size; };
            };
            # Activation mounts such a host's /etc with the installer's kernel.
            boot.kernelModules = lib.optionals (target.config.system.etc.overlay.enable or false) [
              "loop"
              "erofs"
              "overlay"
            ];
            warnings = lib.optionals config.autoInstaller.takeCaches caches.warnings;
            assertions = import ./compare.nix { inherit lib; } {
              target = target.config;
              cfg = config.autoInstaller;
            };
          };
        };
    in
    import (target.pkgs.path + "/nixos/lib/eval-config.nix") {
      # Neither this machine's system nor the caller's: the modules say it.
      system = null;
      modules = [
        imageModule
        fromTarget
      ]
      ++ modules;
    };

  # Packages for a flake: `<host>InstallerIso` and `<host>InstallerNetboot` of every host.
  mkInstallerPackages =
    # `{ <host> = { target; modules; }; }`, as for mkInstaller.
    hosts:
    lib.concatMapAttrs (
      host: arguments:
      let
        build =
          image:
          (mkInstaller ({ inherit host; } // arguments // { inherit image; }))
          .config.system.build.landfallImage;
      in
      {
        "${host}InstallerIso" = build "iso";
        "${host}InstallerNetboot" = build "netboot";
      }
    ) hosts;
}
