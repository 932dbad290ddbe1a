# The root filesystem of a host as an image, which a prebuilt installer writes chunk by chunk: `root.image` in a directory, and in
# `digest` what the installer's configuration knows it by.
#
# It needs no virtual machine and no root, because `landfall image build` needs neither.
{
  lib,
  pkgs,
  # landfall.
  package,
}:
{
  # Of the host, for the name of the store path.
  name,
  # Its system.
  system,
  # A Git bundle of its configuration, which the host then has as /nix/var/landfall/repository.bundle.
  bundle ? null,
}:
pkgs.stdenvNoCC.mkDerivation {
  name = "${name}-root-image";
  __structuredAttrs = true;
  # The image names its system, and whoever carries the image shall not carry the closure as well.
  unsafeDiscardReferences.out = true;
  nativeBuildInputs = [ package ];
  buildCommand = ''
    mkdir "$out"
    landfall image build \
      --system ${system} \
      --closure-info ${pkgs.closureInfo { rootPaths = [ system ]; }} \
      ${lib.optionalString (bundle != null) "--add ${bundle}=/nix/var/landfall/repository.bundle "}\
      --out "$out/root.image"
    landfall image info "$out/root.image" | sed -n 's/^digest  *//p' >"$out/digest"
    test -s "$out/digest"
  '';
}
