# A folder for `cargo lab scenario … --nixos-tools DIR`: nixos-install and nixos-enter of a nixpkgs, with all that they need.
#
#   nix-build tests/lab/nixos-tools.nix -I nixpkgs=/path/to/nixpkgs -o nixos-tools
#
# Absent: target/ and systems/, which are for whoever wants NixOS's boot loader installer and activation as well.
{
  pkgs ? import <nixpkgs> { },
}:

let
  programs = [
    pkgs.nixos-install
    pkgs.nixos-enter
  ];
  closure = pkgs.closureInfo { rootPaths = programs; };
in
pkgs.runCommand "landfall-nixos-tools" { } ''
  mkdir -p $out/bin $out/store
  cp ${pkgs.nixos-install}/bin/nixos-install ${pkgs.nixos-enter}/bin/nixos-enter $out/bin/
  for path in $(cat ${closure}/store-paths); do
    cp -a "$path" $out/store/
  done
  cp ${closure}/registration $out/registration
''
