# What `cargo lab` and the tests need, where no apt can bring it. Debian's packages for the installer environment are
# fetched by mmdebstrap, a Perl program.
#
# A nixpkgs without mmdebstrap is allowed (docs/develop/laboratory.md says what to do).
{
  lib,
  mkShell,
  runCommand,
  pkgsStatic,
  OVMF,
  apt,
  btrfs-progs,
  cargo,
  clippy,
  cryptsetup,
  dosfstools,
  dpkg,
  e2fsprogs,
  efibootmgr,
  gcc,
  git,
  gptfdisk,
  jq,
  # The laboratory names it when it is missing.
  mmdebstrap ? null,
  mtools,
  nix,
  patchelf,
  perl,
  pkg-config,
  python3,
  qemu,
  rustc,
  rustfmt,
  squashfsTools,
  systemd,
  util-linux,
  xfsprogs,
  xorriso,
  xz,
  zstd,
}:
let
  # Its applets would take the place of the real programs.
  busyboxAlone = runCommand "busybox-alone" { } ''
    mkdir -p $out/bin
    ln -s ${pkgsStatic.busybox}/bin/busybox $out/bin/busybox
  '';
in
mkShell {
  packages = [
    apt
    btrfs-progs
    busyboxAlone
    cargo
    clippy
    dosfstools
    dpkg
    e2fsprogs
    efibootmgr
    gcc
    git
    gptfdisk
    jq
    mtools
    nix
    patchelf
    perl
    pkg-config
    python3
    qemu
    rustc
    rustfmt
    squashfsTools
    systemd
    util-linux
    xfsprogs
    xorriso
    xz
    zstd
  ]
  ++ lib.optional (mmdebstrap != null) mmdebstrap;
  buildInputs = [ cryptsetup ];

  # The laboratory uses the firmware that comes with QEMU; this one is for runs by hand.
  OVMF_DIR = "${OVMF.fd}/FV";
}
