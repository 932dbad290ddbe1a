{
  inputs = {
    nixpkgs.url = "path:./inputs/nixpkgs";
    landfall.url = "path:./inputs/landfall";
    agenix.url = "path:./inputs/agenix";
  };

  outputs =
    { self, nixpkgs, landfall, ... }:
    {
      nixosConfigurations = nixpkgs.lib.genAttrs [
        "web"
        "db" # the database
      ] (name: nixpkgs.lib.nixosSystem { modules = [ ./hosts/${name}/default.nix ]; });
      packages.x86_64-linux = {
        hello = nixpkgs.legacyPackages.x86_64-linux.hello;
      };
    };
}
