# What options.nix needs of NixOS, and no more, so that it can be evaluated with `lib` alone: a place for assertions and
# warnings, and packages that are names.
#
# There are no services and no images.
{ lib, ... }:
{
  _file = ./stubs.nix;

  options = {
    assertions = lib.mkOption {
      type = lib.types.listOf lib.types.unspecified;
      default = [ ];
    };
    warnings = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
    };
  };

  config._module.args.pkgs = {
    callPackage = _: _: {
      type = "derivation";
      name = "landfall";
      outPath = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-landfall";
    };
    formats.json = _: { type = lib.types.attrsOf lib.types.anything; };
  };
}
