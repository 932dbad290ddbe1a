# A NixOS-shaped system: the store path `nixos-system-<host>-<version>` with what nixos-install, nixos-enter and a boot
# loader expect of one. `inputs` come from inputs.nix, or are the same store paths named by hand in a flake.
#
# params: host, version, revision, espLabel, rootLabel, luksLabel and luksMapper ("" without LUKS), swapLabel ("" without
# swap), user ("" for root alone), uid, clonePath (as the target sees it), filler (extra store paths), fillerKib (size of each).
{ inputs, params }:

let
  inherit (inputs)
    busybox
    tools
    kernel
    stage1
    ;
  run = import ./run.nix { inherit busybox; };
  luks = params.luksLabel != "";
  swap = params.swapLabel != "";
  layout =
    if luks && swap then
      "luks-swap"
    else if luks then
      "luks"
    else if swap then
      "swap"
    else
      "plain";

  # One line for each thing that the shell scripts of both stages need to know.
  settings = builtins.toFile "settings.sh" (
    builtins.concatStringsSep "" (
      map (name: "${name}='${toString (params // { inherit layout; }).${name}}'\n") [
        "host"
        "version"
        "revision"
        "layout"
        "espLabel"
        "rootLabel"
        "luksLabel"
        "luksMapper"
        "swapLabel"
        "user"
        "uid"
        "clonePath"
      ]
    )
  );

  initrd = run {
    name = "initrd-linux-${inputs.version}";
    script = ./build/initrd.sh;
    init = ./stage-1.sh;
    inherit stage1 settings;
    luks = if luks then "1" else "";
  };

  # Many store paths from few builds: each derivation has a hundred outputs.
  range = from: count: builtins.genList (n: from + n) count;
  per = 100;
  batch =
    first:
    let
      left = params.filler - first;
      names = map (n: "f${toString n}") (range first (if left < per then left else per));
      made = run {
        name = "filler";
        script = ./build/filler.sh;
        outputs = names;
        kib = toString params.fillerKib;
        inherit kernel;
      };
    in
    map (name: made.${name}) names;
  filler = builtins.concatLists (
    builtins.genList (n: batch (n * per)) ((params.filler + per - 1) / per)
  );
in
run {
  name = "nixos-system-${params.host}-${params.version}";
  script = ./build/system.sh;
  inherit
    tools
    kernel
    initrd
    settings
    ;
  filler = builtins.concatStringsSep "\n" (map toString filler);
  passAsFile = [ "filler" ];
  kernelVersion = inputs.version;
  inherit (params) host version;
  init = ./stage-2.sh;
  activate = ./activate.sh;
  switchToConfiguration = ./switch-to-configuration.sh;
  installBootLoader = ./install-boot-loader.sh;
}
