# Stands for blueprint: hosts are folders with a configuration.nix.
{
  outputs =
    { self }:
    {
      __functor =
        _:
        { inputs }:
        let
          root = inputs.self.outPath + "/hosts";
          make =
            name: _:
            inputs.nixpkgs.lib.nixosSystem {
              modules = [ (root + "/${name}/configuration.nix") ];
            };
        in
        {
          nixosConfigurations = builtins.mapAttrs make (builtins.readDir root);
          packages.x86_64-linux.tool = "tool";
        };
    };
}
