{
  inputs = {
    nixpkgs.url = "path:./inputs/nixpkgs";
    landfall.url = "path:./inputs/landfall";
    agenix.url = "path:./inputs/agenix";
  };

  outputs =
    { self, nixpkgs, landfall, ... }:
    let
      host = name: _: nixpkgs.lib.nixosSystem { modules = [ (./hosts + "/${name}") ]; };
    in
    {
      nixosConfigurations = builtins.mapAttrs host (builtins.readDir ./hosts);
    };
}
