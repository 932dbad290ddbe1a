# Stands for flake-parts: `flake` and `perSystem` of one module.
{
  outputs =
    { self }:
    {
      lib.mkFlake =
        { inputs }:
        module:
        let
          value = if builtins.isFunction module then module { withSystem = _: _: null; } else module;
          of = system: value.perSystem { inherit system; pkgs = { }; };
          flake = value.flake or { };
          packages = (flake.packages or { }) // {
            x86_64-linux = (flake.packages.x86_64-linux or { }) // ((of "x86_64-linux").packages or { });
          };
        in
        flake // { inherit packages; };
    };
}
