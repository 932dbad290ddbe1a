# What `nix flake check` builds: landfall itself, the option cases, the examples' images, and the NixOS machines.
#
# The laboratory is not part of it; that is `cargo lab test`.
{
  lib,
  nixpkgs,
  pkgs,
}:
let
  cases = import ./tests/eval/lib-only.nix { inherit lib; };
  landfall = import ../. {
    inherit nixpkgs lib pkgs;
    inherit (pkgs.stdenv.hostPlatform) system;
  };
  image = example: kind: landfall.examples.${example}.${kind}.config.system.build.landfallImage;
in
{
  inherit (landfall.packages) landfall;
  inherit (landfall) devShell;
  inherit (landfall.packages.landfall.tests) goldens;

  # Evaluated here; the build only says so.
  options =
    if cases.failures == [ ] then
      pkgs.runCommand "landfall-option-cases" { } "echo ${toString cases.count} cases > $out"
    else
      throw "option cases failed: ${lib.generators.toPretty { } cases.failures}";

  options-reference = pkgs.runCommand "landfall-options-reference" { } ''
    diff -u ${../docs/reference/options.md} ${pkgs.writeText "options.md" landfall.optionsText}
    touch $out
  '';
}
# The examples are hosts of this architecture, and so are the machines.
// lib.optionalAttrs (pkgs.stdenv.hostPlatform.system == "x86_64-linux") {
  iso-plain = image "plain" "iso";
  iso-swap = image "swap" "iso";
  iso-luks-prebuilt = image "luks-prebuilt" "iso";
  iso-flake-ssh = image "flake-ssh" "iso";
  netboot-plain = image "plain" "netboot";
}
// lib.optionalAttrs (pkgs.stdenv.hostPlatform.system == "x86_64-linux") (
  lib.mapAttrs' (name: lib.nameValuePair "machines-${name}")
    (import ./tests/vm { inherit nixpkgs pkgs; }).tests
)
