{
  inputs = {
    nixpkgs.url = "path:./inputs/nixpkgs";
    landfall.url = "path:./inputs/landfall";
    agenix.url = "path:./inputs/agenix";
  };

  outputs =
    { self, nixpkgs, landfall, ... }:
    {
      nixosConfigurations.web = nixpkgs.lib.nixosSystem {
        modules = [ ./hosts/web ];
      };
      # The database has more.
      nixosConfigurations.db = nixpkgs.lib.nixosSystem {
        modules = [ ./hosts/db { services.postgresql.enable = true; } ];
      };

      formatter.x86_64-linux = "fmt";
    };
}
