# What every system of the laboratory is made of, built once from Debian's packages: the ready parts that stand in
# nixpkgs' place. `source` is the folder that the laboratory's closure.rs lays out. There is no nixpkgs here: every
# builder is a static busybox and a shell script.
{ source }:

let
  # A folder, because busybox goes by the name it is called with.
  busybox = builtins.path {
    name = "busybox";
    path = source + "/busybox";
  };
  debian = builtins.path {
    name = "debian-parts";
    path = source + "/parts";
  };
  version = builtins.replaceStrings [ "\n" ] [ "" ] (
    builtins.readFile (source + "/parts/kernel/version")
  );
  run = import ./run.nix { inherit busybox; };

  # Debian's programs with their interpreter and library path inside this store path, so that Nix sees every
  # reference that there is and the target needs no /lib.
  tools = run {
    name = "lab-tools";
    script = ./build/tools.sh;
    inherit debian;
  };
  kernel = run {
    name = "linux-${version}";
    script = ./build/kernel.sh;
    inherit debian;
  };
  # Two archives that a system's initrd is put together from, so that the machine being installed in flake mode, where
  # a second of work takes ten, has only its own configuration to pack.
  stage1 = run {
    name = "stage-1-base";
    script = ./build/stage-1-base.sh;
    inherit debian tools;
  };
in
{
  inherit
    busybox
    tools
    kernel
    stage1
    version
    ;
}
