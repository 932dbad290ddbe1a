{
  inputs.flake-utils.url = "path:./inputs/flake-utils";
  inputs.nixpkgs.url = "path:./inputs/nixpkgs";
  inputs.landfall.url = "path:./inputs/landfall";

  outputs = { self, nixpkgs, flake-utils, landfall }:
    flake-utils.lib.eachDefaultSystem (system: {
      packages.tool = "tool";
    }) // {
      nixosConfigurations.web = nixpkgs.lib.nixosSystem {
        system = "x86_64-linux";
        modules = [ ./hosts/web/default.nix ];
      };
    };
}
