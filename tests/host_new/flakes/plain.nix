# A host and its installer, as the project's own template has them.
{
  description = "Hosts, and their installers";

  inputs = {
    nixpkgs.url = "path:./inputs/nixpkgs";
    landfall.url = "path:./inputs/landfall";
    agenix.url = "path:./inputs/agenix";
  };

  outputs =
    {
      self,
      nixpkgs,
      landfall,
      agenix,
    }:
    {
      nixosConfigurations = {
        web = nixpkgs.lib.nixosSystem {
          modules = [
            landfall.nixosModules.target
            agenix.nixosModules.default
            ./hosts/web
          ];
        };
      };

      packages.x86_64-linux = landfall.lib.mkInstallerPackages {
        web = {
          target = self.nixosConfigurations.web;
          modules = [ ./hosts/web/installer.nix ];
        };
      };
    };
}
