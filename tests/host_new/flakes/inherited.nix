{
  inputs = {
    nixpkgs.url = "path:./inputs/nixpkgs";
    landfall.url = "path:./inputs/landfall";
    agenix.url = "path:./inputs/agenix";
  };

  outputs =
    { self, nixpkgs, landfall, ... }:
    let
      mkSystem = name: nixpkgs.lib.nixosSystem { modules = [ ./hosts/${name}/default.nix ]; };
      nixosConfigurations = {
        web = mkSystem "web";
        db = mkSystem "db";
      };
      packages = { };
    in
    {
      inherit nixosConfigurations packages;
    };
}
