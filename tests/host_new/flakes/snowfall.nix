{
  inputs = {
    nixpkgs.url = "path:./inputs/nixpkgs";
    snowfall-lib.url = "path:./inputs/snowfall-lib";
    landfall.url = "path:./inputs/landfall";
  };

  outputs = inputs:
    inputs.snowfall-lib.mkFlake {
      inherit inputs;
      src = ./.;
    };
}
