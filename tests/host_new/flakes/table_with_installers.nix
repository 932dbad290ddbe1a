{
  inputs = {
    nixpkgs.url = "path:./inputs/nixpkgs";
    landfall.url = "path:./inputs/landfall";
    agenix.url = "path:./inputs/agenix";
  };

  outputs =
    inputs:
    let
      inherit (inputs.nixpkgs) lib;
      hosts = {
        web = { };
        db = { };
      };
    in
    {
      nixosConfigurations = builtins.mapAttrs (
        name: _:
        lib.nixosSystem {
          modules = [
            inputs.landfall.nixosModules.target
            (./machines + "/${name}/configuration.nix")
          ];
        }
      ) hosts;
      packages.x86_64-linux = inputs.landfall.lib.mkInstallerPackages (
        builtins.mapAttrs (name: _: {
          target = inputs.self.nixosConfigurations.${name};
          modules = [ (./machines + "/${name}/installer.nix") ];
        }) hosts
      );
    };
}
