# `nix fmt`: Nix files by nixfmt, Rust files by rustfmt. Only files that Git tracks, and not the flakes of a test, whose odd forms are what is
# tested.
{
  writeShellApplication,
  git,
  nixfmt,
  rustfmt,
}:
writeShellApplication {
  name = "landfall-format";
  runtimeInputs = [
    git
    nixfmt
    rustfmt
  ];
  text = ''
    cd "$(git rev-parse --show-toplevel)"
    git ls-files -z '*.nix' ':!tests/host_new/flakes' | xargs -0 nixfmt
    git ls-files -z '*.rs' | xargs -0 rustfmt --edition 2024
  '';
}
