{
  inputs.flake-parts.url = "path:./inputs/flake-parts";
  inputs.nixpkgs.url = "path:./inputs/nixpkgs";
  inputs.landfall.url = "path:./inputs/landfall";

  outputs = inputs @ { flake-parts, ... }:
    flake-parts.lib.mkFlake { inherit inputs; } {
      systems = [ "x86_64-linux" ];
      perSystem = { pkgs, ... }: {
        packages.tool = "tool";
      };
      flake = {
        nixosConfigurations.web = inputs.nixpkgs.lib.nixosSystem {
          modules = [ ./hosts/web ];
        };
      };
    };
}
