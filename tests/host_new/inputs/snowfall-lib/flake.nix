# Stands for snowfall-lib: hosts are folders below the name of their system.
{
  outputs =
    { self }:
    {
      mkFlake =
        { inputs, src }:
        let
          root = src + "/systems/x86_64-linux";
          make = name: _: inputs.nixpkgs.lib.nixosSystem { modules = [ (root + "/${name}") ]; };
        in
        {
          nixosConfigurations = builtins.mapAttrs make (builtins.readDir root);
        };
    };
}
