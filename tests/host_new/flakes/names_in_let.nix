{
  inputs = {
    nixpkgs.url = "path:./inputs/nixpkgs";
    landfall.url = "path:./inputs/landfall";
    agenix.url = "path:./inputs/agenix";
  };

  outputs = { self, nixpkgs, landfall, ... }:
    let
      names = [ "web" "db" ];
      make = name: {
        inherit name;
        value = nixpkgs.lib.nixosSystem { modules = [ (./hosts + "/${name}") ]; };
      };
    in {
      nixosConfigurations = builtins.listToAttrs (map make names);
    };
}
