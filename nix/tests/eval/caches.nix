# What an installer takes over of its host's binary caches (lib/caches.nix), with `lib` alone. Whole hosts: taken-caches.nix.
{ lib }:
let
  taken = import ../../lib/caches.nix { inherit lib; };
  key = name: "${name}:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
  # What NixOS sets by itself.
  nixos = {
    substituters = [ "https://cache.nixos.org/" ];
    trusted-public-keys = [ "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=" ];
  };
  gives = settings: substituters: trustedPublicKeys: {
    expr = removeAttrs (taken settings) [ "warnings" ];
    expected = { inherit substituters trustedPublicKeys; };
  };
  # Nothing of the settings' secret may be in what is said.
  warns = settings: says: {
    expr =
      let
        found = taken settings;
        told = lib.concatStringsSep "\n" found.warnings;
      in
      {
        inherit (found) substituters;
        unsaid = lib.filter (part: !(lib.hasInfix part told)) says;
        count = lib.length found.warnings;
        secret = lib.hasInfix "canary" (builtins.toJSON found);
      };
    expected = {
      substituters = [ ];
      unsaid = [ ];
      count = 1;
      secret = false;
    };
  };
in
{
  "none beside NixOS's own" = gives nixos [ ] [ ];
  "none at all" = gives { } [ ] [ ];
  "every option that names some, once" =
    gives
      {
        substituters = [
          "https://a.example"
          "https://cache.nixos.org/"
        ];
        extra-substituters = "https://b.example https://a.example";
        trusted-substituters = [ "http://cache.lan:5000" ];
        extra-trusted-substituters = [ "https://c.example?priority=41" ];
        trusted-public-keys = [
          (key "a.example-1")
          "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY="
        ];
        extra-trusted-public-keys = "${key "b.example-1"}  ${key "c.example-1"}";
      }
      [
        "https://a.example"
        "https://b.example"
        "http://cache.lan:5000"
        "https://c.example?priority=41"
      ]
      [
        (key "a.example-1")
        (key "b.example-1")
        (key "c.example-1")
      ];
  "a login stays where it is" = warns { substituters = [ "https://op:canary@cache.example" ]; } [
    "1 of the host's binary caches has a user, a password or a token"
    "netrc-file"
  ];
  "a token in a query stays where it is" = warns {
    substituters = [ "https://cache.example?token=canary" ];
  } [ "a token in its address" ];
  "what only the host reaches" =
    warns
      {
        substituters = [
          "ssh-ng://canary@builder"
          "s3://bucket?profile=canary"
          "http://localhost:8501"
          "http://127.0.0.1:5000/x"
          "file:///var/cache/canary"
          "auto"
        ];
      }
      [
        "6 of the host's binary caches"
        "autoInstaller.substituters"
      ];
  "a netrc-file is told, and not read" = {
    expr =
      let
        found = taken {
          substituters = [ "https://private.example" ];
          netrc-file = "/nix/store/canary-netrc";
        };
      in
      {
        inherit (found) substituters;
        told = lib.any (lib.hasInfix "netrc-file, which is not taken over") found.warnings;
        shown = lib.hasInfix "canary" (builtins.toJSON found);
      };
    expected = {
      substituters = [ "https://private.example" ];
      told = true;
      shown = false;
    };
  };
  "a key that is none is left" = gives { trusted-public-keys = [ "cache.example-1" ]; } [ ] [ ];
}
