{
  inputs = {
    nixpkgs.url = "path:./inputs/nixpkgs";
    blueprint.url = "path:./inputs/blueprint";
    landfall.url = "path:./inputs/landfall";
  };

  outputs = inputs: inputs.blueprint { inherit inputs; };
}
