# Evaluates the options, and says what came of it.
{ lib }:
rec {
  # The smallest right configuration; cases change it.
  base = {
    autoInstaller = {
      targetHost = "web";
      labels = {
        efi = "ESP-WEB";
        root = "root-web";
      };
      repoRemote = "https://forge.example/ops/nix-config";
    };
  };

  evaluate =
    modules:
    lib.evalModules {
      modules = [
        ./stubs.nix
        ../../modules/options.nix
      ]
      ++ modules;
    };

  # The base with some options set otherwise.
  evaluateWith = options: evaluate [ (lib.recursiveUpdate base { autoInstaller = options; }) ];

  failedIn = config: map (a: a.message) (lib.filter (a: !a.assertion) config.assertions);

  settingsWith =
    options:
    let
      inherit (evaluateWith options) config;
    in
    builtins.deepSeq (failedIn config) config.autoInstaller.settings;
}
