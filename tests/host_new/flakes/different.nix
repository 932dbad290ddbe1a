# Declined: a table whose hosts differ in what nobody can guess.
{
  inputs = {
    nixpkgs.url = "path:./inputs/nixpkgs";
    landfall.url = "path:./inputs/landfall";
    agenix.url = "path:./inputs/agenix";
  };

  outputs =
    { self, nixpkgs, landfall, ... }:
    let
      hosts = {
        web = { address = "192.0.2.1"; };
        db = { address = "192.0.2.2"; };
      };
    in
    {
      nixosConfigurations = builtins.mapAttrs (
        name: { address }: nixpkgs.lib.nixosSystem { modules = [ ./hosts/${name} { networking.address = address; } ]; }
      ) hosts;
    };
}
