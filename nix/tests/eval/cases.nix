# Every case with `lib` alone, for lib.runTests: an empty list means that all is well.
{ lib }:
let
  harness = import ./harness.nix { inherit lib; };
  good = import ./good.nix { inherit lib; };
  bad = import ./bad.nix { inherit lib; };
  target = import ./target.nix { inherit lib; };
  old = import ./old.nix { inherit lib; };
  caches = import ./caches.nix { inherit lib; };
  goldens = import ./goldens.nix { inherit lib; };

  saysAll = message: parts: lib.all (part: lib.hasInfix part message) parts;

  refused =
    case:
    let
      inherit (harness.evaluateWith case.options) config;
      read = builtins.tryEval (
        builtins.deepSeq {
          inherit (config.autoInstaller) settings;
          all = lib.mapAttrs (_: toString) (lib.filterAttrs (_: lib.isString) config.autoInstaller);
          every = lib.attrValues (removeAttrs config.autoInstaller [ "settings" ]);
        } true
      );
      messages = harness.failedIn config;
    in
    if case.kind == "type" then
      # The message is read by `cargo lab nix`.
      !read.success
    else
      read.success && lib.length messages == 1 && saysAll (lib.head messages) case.says;

  # Options that people set, dotted, below `autoInstaller`.
  optionNames = map (option: lib.concatStringsSep "." (lib.tail option.loc)) (
    lib.filter (option: option.visible && !option.internal && lib.head option.loc == "autoInstaller") (
      lib.optionAttrSetToDocList (harness.evaluateWith { }).options
    )
  );
  # The name of a good case begins with its option's; a bad one sets it.
  isTested = name: lib.any (case: lib.head (lib.splitString " " case) == name) (lib.attrNames good);
  isRefusedSomewhere =
    name:
    lib.any (case: lib.hasAttrByPath (lib.splitString "." name) case.options) (lib.attrValues bad);

  warningsOf = options: (harness.evaluateWith options).config.warnings;
in
lib.mapAttrs' (name: lib.nameValuePair "test good: ${name}") good
// lib.mapAttrs' (
  name: case:
  lib.nameValuePair "test bad: ${name}" {
    expr = refused case;
    expected = true;
  }
) bad
// lib.mapAttrs' (name: lib.nameValuePair "test target: ${name}") target
// lib.mapAttrs' (name: lib.nameValuePair "test old: ${name}") old
// lib.mapAttrs' (name: lib.nameValuePair "test caches: ${name}") caches
// goldens.cases
// {
  "test every option has a good case" = {
    expr = lib.filter (name: !(isTested name)) optionNames;
    expected = [ ];
  };
  "test every option has a bad case" = {
    expr = lib.filter (name: !(isRefusedSomewhere name)) optionNames;
    expected = [ ];
  };
  "test the options are seen at all" = {
    expr = lib.length optionNames > 40;
    expected = true;
  };
  # The control: a right value is not refused.
  "test a right value is not refused" = {
    expr = refused {
      options.labels.root = "root-web";
      kind = "type";
      says = [ ];
    };
    expected = false;
  };

  "test the old name powerOff works" = {
    expr = map (value: (harness.evaluateWith { powerOff = value; }).config.autoInstaller.onSuccess) [
      true
      false
    ];
    expected = [
      "poweroff"
      "reboot"
    ];
  };
  "test the old name powerOff warns" = {
    expr = lib.any (lib.hasInfix "autoInstaller.onSuccess") (warningsOf {
      powerOff = true;
    });
    expected = true;
  };
  "test nothing warns without a reason" = {
    expr = warningsOf { };
    expected = [ ];
  };
  "test an ESP label in lower case is written in upper case, and warns" = {
    expr = {
      label = (harness.settingsWith { labels.efi = "esp-web"; }).labels.efi;
      warned = lib.any (lib.hasInfix "written as \"ESP-WEB\"") (warningsOf {
        labels.efi = "esp-web";
      });
    };
    expected = {
      label = "ESP-WEB";
      warned = true;
    };
  };
  "test labels that nothing uses warn" = {
    expr = lib.length (warningsOf {
      labels = {
        luks = "luks-web";
        swap = "swap-web";
      };
    });
    expected = 2;
  };
  "test a remote that anybody can change warns" = {
    expr = lib.any (lib.hasInfix "neither encrypted nor authenticated") (warningsOf {
      repoRemote = "git://forge.example/x";
    });
    expected = true;
  };
  "test a token in the remote is refused, and is not shown" = {
    expr =
      let
        said =
          harness.failedIn
            (harness.evaluateWith { repoRemote = "https://gho0123456789@forge.example/x"; }).config;
      in
      lib.length said == 1
      && lib.hasInfix "a token before the host" (lib.head said)
      && !lib.hasInfix "gho0123456789" (lib.head said);
    expected = true;
  };
  "test a user of ssh is no token" = {
    expr =
      harness.failedIn
        (harness.evaluateWith {
          repoRemote = "ssh://git@forge.example/x";
          ssh.knownHosts = "forge.example ssh-ed25519 AAAA";
        }).config;
    expected = [ ];
  };
  "test a path in the store is refused with the remedy" = {
    expr =
      lib.all
        (part: lib.hasInfix part (import ../../lib/types.nix { inherit lib; }).secretFile.description)
        [
          "LF-KEYS"
          "credential of the machine"
        ];
    expected = true;
  };
  "test ssh without known hosts warns" = {
    expr = lib.any (lib.hasInfix "knownHosts is empty") (warningsOf {
      repoRemote = "git@forge.example:x";
    });
    expected = true;
  };
  "test a key that is made for nothing warns" = {
    expr = lib.any (lib.hasInfix "ssh.generateKey is not used") (warningsOf {
      ssh.generateKey = true;
    });
    expected = true;
  };
  "test caches without keys warn" = {
    expr = lib.any (lib.hasInfix "without autoInstaller.trustedPublicKeys") (warningsOf {
      substituters = [ "https://cache.example" ];
    });
    expected = true;
  };
  "test settings reach what has no option" = {
    expr = (harness.settingsWith { settings.later = true; }).later;
    expected = true;
  };
}
