# landfall with every program that it starts in its PATH. The laboratory is not in it; Cargo starts it.
{
  lib,
  rustPlatform,
  installShellFiles,
  makeWrapper,
  pkg-config,
  runCommand,
  bash,
  coreutils,
  cryptsetup,
  dosfstools,
  e2fsprogs,
  efibootmgr,
  git,
  nix,
  nixos-enter,
  nixos-install,
  openssh,
  systemd,
  util-linux,
}:
let
  manifest = (lib.importTOML ../../Cargo.toml).workspace.package;

  # The workspace does not load without the manifest of each of its members.
  source = lib.fileset.toSource {
    root = ../../.;
    fileset = lib.fileset.unions [
      ../../.cargo
      ../../Cargo.lock
      ../../Cargo.toml
      ../../src
      ../../states
      ../../tests
    ];
  };

  tools = [
    bash
    coreutils
    dosfstools
    e2fsprogs
    efibootmgr
    git
    nix
    nixos-enter
    nixos-install
    openssh
    systemd
    util-linux
  ];
in
rustPlatform.buildRustPackage (finalAttrs: {
  pname = "landfall";
  inherit (manifest) version;
  src = source;
  cargoLock.lockFile = ../../Cargo.lock;

  nativeBuildInputs = [
    installShellFiles
    makeWrapper
    pkg-config
  ];
  buildInputs = [ cryptsetup ];

  # As in .cargo/config.toml: cryptsetup-rs' sys crate asks for static libraries otherwise.
  env.PKG_CONFIG_SYSROOT_DIR = "/";

  cargoBuildFlags = [
    "--package"
    "landfall"
  ];
  # The other tests want Git servers, Nix stores and filesystems, which a build does not have: `cargo lab test`.
  cargoTestFlags = [
    "--package"
    "landfall-states"
  ];

  postInstall = ''
    installShellCompletion --cmd landfall \
      --bash <($out/bin/landfall completions bash) \
      --fish <($out/bin/landfall completions fish) \
      --zsh <($out/bin/landfall completions zsh)
    mkdir -p $out/share/man/man1
    $out/bin/landfall man --out $out/share/man/man1
    wrapProgram $out/bin/landfall --prefix PATH : ${lib.makeBinPath tools}
  '';

  # What the module writes, read by the program as it is shipped; and what must be refused.
  passthru.tests.goldens =
    runCommand "landfall-goldens" { nativeBuildInputs = [ finalAttrs.finalPackage ]; }
      ''
        for golden in ${../tests/golden}/*.json; do
          landfall check "$golden"
        done
        if landfall check ${../tests/golden/wrong/unknown-field.json}; then
          echo "an unknown option was taken" >&2
          exit 1
        fi
        touch $out
      '';

  meta = {
    description = "NixOS installer that never has to start over";
    license = lib.licenses.gpl3Plus;
    mainProgram = "landfall";
    platforms = [
      "x86_64-linux"
      "aarch64-linux"
    ];
  };
})
