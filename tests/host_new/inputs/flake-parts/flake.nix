# Stands for flake-parts: `flake` and `perSystem` of one module, and hosts of those that it imports.
{
  outputs =
    { self }:
    {
      lib.mkFlake =
        { inputs }:
        module:
        let
          value = if builtins.isFunction module then module { withSystem = _: _: null; } else module;
          of = system: (value.perSystem or (_: { })) { inherit system; pkgs = { }; };
          own = value.flake or { };
          hosts = set: set.nixosConfigurations or { };
          imported = map (path: hosts (import path { inherit inputs; }).flake) (value.imports or [ ]);
          flake =
            if value ? imports then
              own // { nixosConfigurations = builtins.foldl' (a: b: a // b) (hosts own) imported; }
            else
              own;
          packages = (flake.packages or { }) // {
            x86_64-linux = (flake.packages.x86_64-linux or { }) // ((of "x86_64-linux").packages or { });
          };
        in
        flake // { inherit packages; };
    };
}
