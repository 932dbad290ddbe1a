# A host with binary caches of its own, evaluated with a whole nixpkgs, and its installer's settings: with `takeCaches` and without.
# Values that NixOS itself merges into `nix.settings` are seen here, and nowhere with `lib` alone.
#
# Nothing is built; caches.nix tests the warnings.
{
  nixpkgs ? <nixpkgs>,
}:
let
  lib = import (nixpkgs + "/lib");
  landfall = import ../../.. {
    inherit nixpkgs;
    system = "x86_64-linux";
  };
  key = name: "${name}:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
  target = import (nixpkgs + "/nixos/lib/eval-config.nix") {
    system = null;
    modules = [
      ../../../examples/plain/target.nix
      {
        nix.settings = {
          substituters = [ "https://cache.ops.example" ];
          trusted-public-keys = [ (key "cache.ops.example-1") ];
          extra-substituters = [
            "https://more.example"
            "https://op:canary@private.example"
          ];
          extra-trusted-public-keys = [ (key "more.example-1") ];
          netrc-file = "/etc/nix/canary";
        };
      }
    ];
  };
  installer =
    options:
    (landfall.lib.mkInstaller {
      inherit target;
      modules = [
        {
          autoInstaller = {
            repoRemote = "https://forge.example/ops/nix-config";
          }
          // options;
        }
      ];
    }).config;
  nixOf =
    options:
    let
      inherit ((installer options).autoInstaller.settings) nix;
    in
    {
      inherit (nix) substituters;
      keys = nix.trusted_public_keys;
    };
  own = {
    substituters = [ "https://own.example" ];
    trustedPublicKeys = [ (key "own.example-1") ];
  };
in
{
  failures = lib.runTests {
    "test the host's caches are the installer's, behind its own" = {
      expr = nixOf own;
      expected = {
        substituters = [
          "https://own.example"
          "https://cache.ops.example"
          "https://more.example"
        ];
        keys = [
          (key "own.example-1")
          (key "cache.ops.example-1")
          (key "more.example-1")
        ];
      };
    };
    "test takeCaches = false leaves them" = {
      expr = nixOf (own // { takeCaches = false; });
      expected = {
        inherit (own) substituters;
        keys = own.trustedPublicKeys;
      };
    };
    "test nothing secret is in the installer's settings" = {
      expr = lib.hasInfix "canary" (builtins.toJSON (installer { }).autoInstaller.settings);
      expected = false;
    };
  };
}
