# landfall among the packages of a nixpkgs.
final: _: { landfall = final.callPackage ./packages/landfall.nix { }; }
