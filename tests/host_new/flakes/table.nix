{
  inputs = {
    nixpkgs.url = "path:./inputs/nixpkgs";
    landfall.url = "path:./inputs/landfall";
    agenix.url = "path:./inputs/agenix";
  };

  outputs =
    { self, nixpkgs, landfall, ... }@inputs:
    let
      lib = nixpkgs.lib;
      # Everything that we run.
      hosts = {
        web = {
          system = "x86_64-linux";
        };
        db = {
          system = "x86_64-linux";
        };
      };
      mkHost =
        name:
        { system }:
        lib.nixosSystem {
          inherit system;
          specialArgs = { inherit inputs; };
          modules = [ ./hosts/${name} ];
        };
    in
    {
      nixosConfigurations = lib.mapAttrs mkHost hosts;
    };
}
