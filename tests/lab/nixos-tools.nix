# A folder for `cargo lab scenario … --nixos-tools DIR`: NixOS's own nixos-install and nixos-enter, and for each of the laboratory's hosts a
# whole NixOS, with its own boot loader installer and activation.
#
#   nix-build tests/lab/nixos-tools.nix -I nixpkgs=/path/to/nixpkgs -o nixos-tools
#
# target/ is left out: it is for people who have NixOS's scripts and no nixpkgs that can be built.
{
  pkgs ? import <nixpkgs> { },
  evalConfig ? import <nixpkgs/nixos/lib/eval-config.nix>,
}:

let
  inherit (pkgs) lib;
  hosts = {
    plain = { };
    swap.swap = true;
    luks.luks = true;
    luks-swap = {
      luks = true;
      swap = true;
    };
    specialised.specialised = true;
    counted = {
      specialised = true;
      counted = true;
    };
    initrd-secret.initrdSecret = true;
    password-file.passwordFile = true;
    broken-snippet.brokenSnippet = true;
    no-variables.noVariables = true;
  };
  system =
    host: lab:
    (evalConfig {
      system = null;
      modules = [
        ./nixos-host.nix
        {
          nixpkgs.hostPlatform = pkgs.stdenv.hostPlatform.system;
          lab = lab // {
            inherit host;
          };
        }
      ];
    }).config.system.build.toplevel;
  systems = lib.mapAttrs system hosts;
  programs = [
    pkgs.nixos-install
    pkgs.nixos-enter
  ];
  closure = pkgs.closureInfo { rootPaths = programs ++ lib.attrValues systems; };
in
pkgs.runCommand "landfall-nixos-tools" { passthru = { inherit systems; }; } ''
  mkdir -p $out/bin $out/store $out/systems
  cp ${pkgs.nixos-install}/bin/nixos-install ${pkgs.nixos-enter}/bin/nixos-enter $out/bin/
  for path in $(cat ${closure}/store-paths); do
    cp -a "$path" $out/store/
  done
  cp ${closure}/registration $out/registration
  ${lib.concatStrings (lib.mapAttrsToList (host: path: "echo ${path} > $out/systems/${host}\n") systems)}
''
