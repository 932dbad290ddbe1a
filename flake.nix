{
  description = "A NixOS installer that never has to start over";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  # Everything is in default.nix; this file says which of it a flake has.
  outputs =
    { nixpkgs, ... }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      landfallFor =
        system:
        import ./. {
          inherit nixpkgs lib system;
          pkgs = nixpkgs.legacyPackages.${system};
        };
      each = attribute: lib.genAttrs systems (system: (landfallFor system).${attribute});
      # What is the same on every system.
      landfall = landfallFor (lib.head systems);
    in
    {
      inherit (landfall) lib nixosModules;
      overlays.default = landfall.overlay;
      packages = each "packages";
      checks = each "checks";
      formatter = each "formatter";
      devShells = lib.mapAttrs (_: default: { inherit default; }) (each "devShell");
      templates.default = {
        path = ./templates/default;
        description = "A flake with one host and its landfall installer";
      };
    };
}
