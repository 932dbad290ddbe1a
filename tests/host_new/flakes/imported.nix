# Declined: the hosts stand in another file.
{
  inputs = {
    nixpkgs.url = "path:./inputs/nixpkgs";
    landfall.url = "path:./inputs/landfall";
    agenix.url = "path:./inputs/agenix";
  };

  outputs =
    { self, nixpkgs, landfall, ... }:
    {
      nixosConfigurations = import ./hosts.nix { inherit nixpkgs; };
    };
}
