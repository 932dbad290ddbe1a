# docs/reference/options.md: the reference of the module's options, from the options themselves. With `lib` alone, so that it can be
# made without building anything: `nix-instantiate --eval --raw nix/docs.nix`, or `cargo lab nix`.
#
# Options of NixOS itself are left out.
{
  nixpkgs ? <nixpkgs>,
  lib ? import (nixpkgs + "/lib"),
}:
let
  evaluated = lib.evalModules {
    modules = [
      ./tests/eval/stubs.nix
      ./modules/options.nix
    ];
  };
  options = lib.filter (
    option: option.visible && !option.internal && lib.head option.loc == "autoInstaller"
  ) (lib.optionAttrSetToDocList evaluated.options);

  value =
    text: if text ? text then text.text else lib.generators.toPretty { multiline = false; } text;
  # A pipe would end the cell, a line feed the row.
  code = text: "`${lib.replaceStrings [ "\n" ] [ " " ] (lib.trim text)}`";
  section =
    option:
    lib.concatStringsSep "\n" (
      [
        "### `${option.name}`"
        ""
        (lib.trim option.description)
        ""
        "- type: ${option.type}"
        "- default: ${if option ? default then code (value option.default) else "none; it must be set"}"
      ]
      ++ lib.optional (option ? example) "- example: ${code (value option.example)}"
    );
in
''
  # Options of the NixOS module

  Written from the options themselves (`nix/docs.nix`; `cargo lab nix` compares). How they are used:
  [getting-started.md](../install/getting-started.md). The file that follows from them: [configuration.md](configuration.md).

  The old name `autoInstaller.powerOff` still works and warns: `true` is `onSuccess = "poweroff"`, `false` is `"reboot"`.

''
+ lib.concatMapStringsSep "\n\n" section options
+ "\n"
