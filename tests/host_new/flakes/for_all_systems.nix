{
  inputs = {
    nixpkgs.url = "path:./inputs/nixpkgs";
    landfall.url = "path:./inputs/landfall";
    agenix.url = "path:./inputs/agenix";
  };

  outputs =
    { self, nixpkgs, landfall, ... }:
    let
      forAllSystems = nixpkgs.lib.genAttrs [ "x86_64-linux" ];
    in
    {
      packages = forAllSystems (system: { tool = "tool"; });
      nixosConfigurations = {
        web = nixpkgs.lib.nixosSystem { modules = [ ./hosts/web ]; };
      };
    };
}
