# Every case with `lib` alone: `nix-instantiate --eval --strict nix/tests/eval/lib-only.nix -A failures`, an empty list
# when all is well. `lib` is a nixpkgs' lib folder, or what `import <nixpkgs/lib>` gives.
{
  nixpkgs ? <nixpkgs>,
  lib ? import (nixpkgs + "/lib"),
}:
let
  harness = import ./harness.nix { inherit lib; };
  bad = import ./bad.nix { inherit lib; };
  cases = import ./cases.nix { inherit lib; };
in
{
  failures = lib.runTests cases;
  count = lib.length (lib.attrNames cases);

  # For a reader of messages: what each bad value must say, and the value put in. The second one throws.
  refusals = lib.mapAttrs (_: case: case.says) (lib.filterAttrs (_: case: case.kind == "type") bad);
  provoke = lib.mapAttrs (
    _: case:
    let
      inherit ((harness.evaluateWith case.options).config) autoInstaller;
    in
    builtins.deepSeq [
      autoInstaller.settings
      (lib.attrValues autoInstaller)
    ] true
  ) bad;

  goldens = (import ./goldens.nix { inherit lib; }).settings;
}
