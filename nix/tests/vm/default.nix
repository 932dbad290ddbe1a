# NixOS machines that install with the module: one behaviour a file, named for it. `tests.<name>` is built on a machine
# with KVM (`nix flake check`); `evaluated.<name>` is what can be looked at without building.
#
# The laboratory shows the rest, at every write and byte (docs/design/failure-model.md). Here NixOS itself is
# installed, by NixOS's own nixos-install.
{
  nixpkgs ? <nixpkgs>,
  pkgs ? import nixpkgs { system = "x86_64-linux"; },
}:
let
  inherit (pkgs) lib;
  common = import ./common.nix { inherit nixpkgs pkgs; };
  names = [
    "disk-too-small"
    "esp-full"
    "flake-clone"
    "iso-uefi"
    "luks"
    "netboot"
    "network-down"
    "no-disk"
    "own-medium"
    "plain"
    "power-cut"
    "prebuilt-offline"
    "rerun"
    "secrets"
    "swap"
    "two-disks"
    "wrong-passphrase"
  ];
  tests = lib.genAttrs names (
    name:
    pkgs.testers.runNixOSTest (
      { name = "landfall-${name}"; } // import (./. + "/${name}.nix") { inherit common lib pkgs; }
    )
  );
in
{
  inherit names tests;
  evaluated = lib.mapAttrs (_: test: {
    inherit (test) drvPath;
    script = builtins.unsafeDiscardStringContext test.config.testScriptString;
  }) tests;
}
