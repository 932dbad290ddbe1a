{
  inputs = {
    nixpkgs.url = "path:./inputs/nixpkgs";
    landfall.url = "path:./inputs/landfall";
    agenix.url = "path:./inputs/agenix";
  };

  outputs = inputs@{ self, nixpkgs, landfall, ... }: rec {
    lib = nixpkgs.lib;
    nixosConfigurations = { web = lib.nixosSystem { modules = [ ./hosts/web ]; }; };
    packages = { x86_64-linux = { hello = "hello"; }; };
  };
}
