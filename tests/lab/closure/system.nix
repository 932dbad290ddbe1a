# A NixOS-shaped system: the store path `nixos-system-<host>-<version>` with what nixos-install, nixos-enter and a boot
# loader expect of one. `inputs` come from inputs.nix, or are the same store paths named by hand in a flake.
#
# params: host, version, revision, espLabel, rootLabel, luksLabel and luksMapper ("" without LUKS), swapLabel ("" without
# swap), user ("" for root alone), uid, clonePath (as the target sees it), filler (extra store paths), fillerKib (size of each),
# specialisations (names), bootCounting (tries, "" without), initrdSecret (a file of the target, "" without), passwordFile (""
# without), identity (what it is decrypted with) and encrypted (a file, by its path from here), brokenSnippet ("" without),
# canTouchEfiVariables ("" without), devices (lines of an fstab, by the names of a host's own configuration) and container (the same
# for the LUKS container): with them, the system is one that stays: see stage-2.sh.
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

  # Which specialisation this system itself is.
  specialisation = params.specialisation or "";
  children = map (name: {
    inherit name;
    system = import ./system.nix {
      inherit inputs;
      params = params // {
        specialisations = [ ];
        specialisation = name;
        filler = 0;
      };
    };
  }) params.specialisations;

  # NixOS's own programs in the place of the laboratory's, where the folder target/ has them; `foreign` are the store paths that
  # they name.
  program =
    name: own: if builtins.pathExists (./target + "/${name}") then ./target + "/${name}" else own;
  foreign =
    if builtins.pathExists ./target/paths then
      map (path: builtins.appendContext path { ${path}.path = true; }) (
        builtins.filter (line: builtins.isString line && line != "") (
          builtins.split "\n" (builtins.readFile ./target/paths)
        )
      )
    else
      [ ];

  # A store path of its own, as agenix has it.
  encrypted =
    if params.passwordFile == "" then
      ""
    else
      builtins.path {
        name = "password.age";
        path = ./. + "/${params.encrypted}";
      };
  # A host's own names for its devices, as `fileSystems`, `swapDevices` and `boot.initrd.luks.devices` have them.
  fstab = builtins.toFile "fstab" (
    builtins.concatStringsSep "" (map (line: "${line}\n") (params.devices or [ ]))
  );
  rootDevice =
    if params.devices or [ ] == [ ] then
      ""
    else
      builtins.head (builtins.split " " (builtins.head params.devices));
  container = params.container or "";
  derived = {
    inherit
      layout
      specialisation
      encrypted
      rootDevice
      container
      ;
  };

  # One line for each thing that the shell scripts of both stages need to know.
  settings = builtins.toFile "settings.sh" (
    builtins.concatStringsSep "" (
      map (name: "${name}='${toString (params // derived).${name}}'\n") [
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
        "specialisation"
        "bootCounting"
        "initrdSecret"
        "passwordFile"
        "identity"
        "encrypted"
        "brokenSnippet"
        "canTouchEfiVariables"
        "rootDevice"
        "container"
      ]
    )
  );

  initrd = run {
    name = "initrd-linux-${inputs.version}";
    script = ./build/initrd.sh;
    init = ./stage-1.sh;
    inherit stage1 settings;
    luks = if luks then "1" else "";
    # As `boot.initrd.compressor = "cat"`.
    plain = if rootDevice != "" then "1" else "";
  };

  # A store path of its own, as NixOS's is.
  secretAppender =
    if params.initrdSecret == "" then
      ""
    else
      run {
        name = "append-initrd-secrets";
        script = ./build/append-initrd-secrets.sh;
        append = ./append-initrd-secrets.sh;
        inherit (params) initrdSecret;
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
    secretAppender
    fstab
    rootDevice
    ;
  specialisations = builtins.concatStringsSep "\n" (
    map (child: "${child.name} ${child.system}") children
  );
  filler = builtins.concatStringsSep "\n" (map toString filler);
  passAsFile = [ "filler" ];
  kernelVersion = inputs.version;
  inherit (params) host version;
  init = ./stage-2.sh;
  marker = ./marker.sh;
  inherit foreign;
  activate = program "activate" ./activate.sh;
  switchToConfiguration = program "switch-to-configuration" ./switch-to-configuration.sh;
  installBootLoader = program "install-boot-loader" ./install-boot-loader.sh;
}
