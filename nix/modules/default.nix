# The installer without an image: options, service, stage 1. iso.nix and netboot.nix add the image.
{
  key = "landfall/default";
  _file = ./default.nix;

  imports = [
    ./options.nix
    ./service.nix
    ./initrd.nix
  ];
}
