# The configuration files of the examples, and of hosts of the replaced module, against nix/tests/golden/*.json. The Rust tests decode the same files: together
# that is the contract between module and program.
#
# What differs from one nixpkgs to the next, the store paths of a prebuilt image, stands in them as fixed paths.
{ lib }:
let
  harness = import ./harness.nix { inherit lib; };
  examples = ../../../examples;
  names = [
    "flake-ssh"
    "luks-prebuilt"
    "plain"
    "swap"
  ];
  allNames = names ++ lib.attrNames oldHosts;
  # What mkInstaller would take from the host.
  layoutOf =
    name:
    let
      host = import (examples + "/${name}/target.nix");
    in
    {
      autoInstaller = (host.autoInstaller or { }) // {
        targetHost = host.networking.hostName;
      };
    };
  carried = {
    autoInstaller = {
      targetSystem = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-vault";
      rootImage = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-vault-root-image";
      repoBundle = lib.mkDefault "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nix-config.bundle";
    };
  };
  oldHosts = lib.mapAttrs (
    _: host: (harness.evaluate [ host.module ]).config.autoInstaller.settings
  ) (import ./old-hosts.nix);
  settingsOf =
    name:
    oldHosts.${name} or (harness.evaluate (
      [
        (layoutOf name)
        (examples + "/${name}/installer.nix")
      ]
      ++ lib.optional (name == "luks-prebuilt") carried
    )).config.autoInstaller.settings;
in
{
  settings = lib.genAttrs allNames settingsOf;
  cases = lib.listToAttrs (
    map (name: {
      name = "test golden: ${name}";
      value = {
        expr = settingsOf name;
        expected = lib.importJSON (../golden + "/${name}.json");
      };
    }) allNames
  );
}
