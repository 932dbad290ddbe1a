# Everything without flakes: `import ./. { }` with a nixpkgs in NIX_PATH, or `import ./. { nixpkgs = <path>; }`. Pure
# parts (lib, modules, overlay) need no packages; what needs them takes them when asked for.
{
  nixpkgs ? <nixpkgs>,
  system ? builtins.currentSystem,
  lib ? import (nixpkgs + "/lib"),
  pkgs ? import nixpkgs { inherit system; },
}:
let
  landfallLib = import ./nix/lib { inherit lib; };
  evalConfig = import (nixpkgs + "/nixos/lib/eval-config.nix");
  exampleNames = [
    "plain"
    "swap"
    "luks-prebuilt"
    "flake-ssh"
  ];
  target =
    name:
    evalConfig {
      system = null;
      modules = [ (./examples + "/${name}/target.nix") ];
    };
in
{
  lib = landfallLib;
  overlay = import ./nix/overlay.nix;

  nixosModules = {
    landfall = ./nix/modules;
    default = ./nix/modules;
    iso = ./nix/modules/iso.nix;
    netboot = ./nix/modules/netboot.nix;
    target = ./nix/modules/target.nix;
  };

  packages = rec {
    landfall = pkgs.callPackage ./nix/packages/landfall.nix { };
    default = landfall;
  };

  devShell = pkgs.callPackage ./nix/devshell.nix { };
  formatter = pkgs.callPackage ./nix/treefmt.nix { };
  optionsText = import ./nix/docs.nix { inherit nixpkgs lib; };
  checks = import ./nix/checks.nix { inherit lib nixpkgs pkgs; };

  # The example hosts and their installers, evaluated. Each is a function of what is added to the installer.
  examples = lib.genAttrs exampleNames (name: rec {
    host = target name;
    installerWith =
      image: modules:
      landfallLib.mkInstaller {
        target = host;
        inherit image;
        modules = [ (./examples + "/${name}/installer.nix") ] ++ modules;
      };
    iso = installerWith "iso" [ ];
    netboot = installerWith "netboot" [ ];
  });
}
