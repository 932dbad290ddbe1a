# Declined: the outputs are not given landfall, nor themselves.
{
  inputs.nixpkgs.url = "path:./inputs/nixpkgs";
  inputs.landfall.url = "path:./inputs/landfall";

  outputs =
    { nixpkgs, ... }:
    {
      nixosConfigurations.web = nixpkgs.lib.nixosSystem { modules = [ ./hosts/web ]; };
    };
}
