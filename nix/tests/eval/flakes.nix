# flake.nix and the template's, as functions of their inputs: what `nix flake check` would see, without a fetch.
#
# Locking, and the sandbox of pure evaluation, are not tested.
{
  nixpkgs ? <nixpkgs>,
}:
let
  lib = import (nixpkgs + "/lib");
  evalConfig = import (nixpkgs + "/nixos/lib/eval-config.nix");
  # As far as the two flakes use it.
  nixpkgsFlake = {
    outPath = toString nixpkgs;
    lib = lib // {
      nixosSystem = arguments: evalConfig ({ system = null; } // arguments);
    };
    legacyPackages = lib.genAttrs [
      "x86_64-linux"
      "aarch64-linux"
    ] (system: import nixpkgs { inherit system; });
  };
  landfall = (import ../../../flake.nix).outputs {
    nixpkgs = nixpkgsFlake;
    self = landfall;
  };
  template = (import (landfall.templates.default.path + "/flake.nix")).outputs {
    nixpkgs = nixpkgsFlake;
    self = template;
    inherit landfall;
  };
  packagesOf = flake: lib.mapAttrs (_: lib.attrNames) flake.packages;
in
{
  failures = lib.runTests {
    "test outputs" = {
      expr = lib.attrNames landfall;
      expected = [
        "checks"
        "devShells"
        "formatter"
        "lib"
        "nixosModules"
        "overlays"
        "packages"
        "templates"
      ];
    };
    "test packages" = {
      expr = packagesOf landfall;
      expected = lib.genAttrs [ "aarch64-linux" "x86_64-linux" ] (_: [
        "default"
        "landfall"
      ]);
    };
    "test modules" = {
      expr = lib.attrNames landfall.nixosModules;
      expected = [
        "default"
        "iso"
        "landfall"
        "netboot"
        "target"
      ];
    };
    "test functions" = {
      expr = lib.attrNames landfall.lib;
      expected = [
        "mkInstaller"
        "mkInstallerPackages"
      ];
    };
    "test the overlay has the package" = {
      expr =
        (import nixpkgs {
          system = "x86_64-linux";
          overlays = [ landfall.overlays.default ];
        }).landfall.drvPath;
      expected = landfall.packages.x86_64-linux.landfall.drvPath;
    };
    "test packages, shells and formatters are derivations" = {
      expr = lib.all (lib.hasSuffix ".drv") (
        lib.concatMap
          (system: [
            landfall.packages.${system}.landfall.drvPath
            landfall.packages.${system}.landfall.tests.goldens.drvPath
            landfall.devShells.${system}.default.drvPath
            landfall.formatter.${system}.drvPath
          ])
          [
            "x86_64-linux"
            "aarch64-linux"
          ]
      );
      expected = true;
    };
    "test checks are there" = {
      expr = lib.subtractLists (lib.attrNames landfall.checks.x86_64-linux) [
        "devShell"
        "iso-plain"
        "landfall"
        "machines-power-cut"
        "options"
        "options-reference"
      ];
      expected = [ ];
    };
    "test the cases are a check" = {
      expr = lib.hasSuffix ".drv" landfall.checks.aarch64-linux.options.drvPath;
      expected = true;
    };
    "test the template's packages" = {
      expr = packagesOf template;
      expected.x86_64-linux = [
        "webInstallerIso"
        "webInstallerNetboot"
      ];
    };
    "test the template's image is a derivation" = {
      expr = lib.hasSuffix ".drv" template.packages.x86_64-linux.webInstallerIso.drvPath;
      expected = true;
    };
  };
}
