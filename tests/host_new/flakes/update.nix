{
  inputs = {
    nixpkgs.url = "path:./inputs/nixpkgs";
    landfall.url = "path:./inputs/landfall";
    agenix.url = "path:./inputs/agenix";
  };

  outputs =
    { self, nixpkgs, landfall, ... }:
    {
      nixosConfigurations = {
        web = nixpkgs.lib.nixosSystem { modules = [ ./hosts/web ]; };
      } // builtins.mapAttrs (name: modules: nixpkgs.lib.nixosSystem { inherit modules; }) {
        db = [ ./hosts/db ];
      };
    };
}
