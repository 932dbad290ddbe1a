# The root filesystem of a host as an image, which a prebuilt installer writes chunk by chunk: `root.image` in a directory.
#
# Absent: a virtual machine and root; `landfall image build` needs neither.
{
  pkgs,
  # landfall.
  package,
}:
{
  # Of the host, for the name of the store path.
  name,
  # Its system.
  system,
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
      --out "$out/root.image"
  '';
}
