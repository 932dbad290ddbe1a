# A derivation whose builder is busybox' shell. Everything but `name`, which it must have, and `script` reaches the script as
# environment.
{ busybox }:

{ script, ... }@attrs:

derivation (
  {
    system = "x86_64-linux";
    builder = "${busybox}/bin/busybox";
    # Busybox is one program: a folder of links to it, made anew for every build, is the path.
    args = [
      "sh"
      "-euc"
      ''
        $builder mkdir -p "$NIX_BUILD_TOP/.path"
        $builder --install -s "$NIX_BUILD_TOP/.path"
        export PATH="$NIX_BUILD_TOP/.path"
        cd "$NIX_BUILD_TOP"
        . "$script"
      ''
    ];
    inherit busybox script;
  }
  // attrs
)
