# A configuration with one host, `web`, and its installer. Change what is marked CHANGE, then:
#
#   git add --all
#   nix build .#webInstallerIso --print-build-logs
#
# and go on in landfall's docs/install/getting-started.md.
{
  description = "Hosts, and their installers";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
    # CHANGE: where landfall comes from.
    landfall.url = "git+https://forge.example/landfall";
    landfall.inputs.nixpkgs.follows = "nixpkgs";
  };

  outputs =
    {
      self,
      nixpkgs,
      landfall,
    }:
    {
      nixosConfigurations.web = nixpkgs.lib.nixosSystem {
        modules = [
          landfall.nixosModules.target
          ./hosts/web
        ];
      };

      packages.x86_64-linux = landfall.lib.mkInstallerPackages {
        web = {
          target = self.nixosConfigurations.web;
          modules = [ ./hosts/web/installer.nix ];
        };
      };
    };
}
