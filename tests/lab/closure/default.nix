# What the laboratory's closure.rs evaluates: a system, or the inputs alone that a flake needs to be built offline.
{
  source,
  params ? "{}",
}:

let
  inputs = import ./inputs.nix { inherit source; };
in
{
  inherit inputs;
  system = import ./system.nix {
    inherit inputs;
    params = builtins.fromJSON params;
  };
}
