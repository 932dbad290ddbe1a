# Stands for flake-utils, with one system.
{
  outputs =
    { self }:
    {
      lib.eachDefaultSystem =
        make: builtins.mapAttrs (_: value: { x86_64-linux = value; }) (make "x86_64-linux");
    };
}
