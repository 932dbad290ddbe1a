{
  inputs.flake-parts.url = "path:./inputs/flake-parts";
  inputs.nixpkgs.url = "path:./inputs/nixpkgs";
  inputs.landfall.url = "path:./inputs/landfall";

  outputs = inputs:
    inputs.flake-parts.lib.mkFlake { inherit inputs; } ({ withSystem, ... }: {
      perSystem = { system, ... }: { };
      flake.nixosConfigurations.web = inputs.nixpkgs.lib.nixosSystem {
        modules = [ ./hosts/web ];
      };
    });
}
