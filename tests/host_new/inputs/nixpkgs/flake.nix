# Stands for nixpkgs: as much of its `lib` as the flakes here call. Modules are merged without options; `age` and `autoInstaller` are
# refused, as options are, where the module that declares them is not among the host's.
{
  outputs =
    { self }:
    {
      lib = import ./lib.nix;
      legacyPackages.x86_64-linux.hello = "hello";
    };
}
