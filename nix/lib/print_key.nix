# An image from a build that prints the installer's public key, for the forge. The key was passed in; nothing is made
# here.
{
  lib,
  pkgs,
  # The installer's whole configuration.
  config,
  # `iso` or `netboot`.
  what,
  image,
}:
let
  cfg = config.autoInstaller;
  key =
    if cfg.ssh.publicKey == null && cfg.ssh.generateKey then
      "one is made at the first boot, and shown there (autoInstaller.ssh.generateKey)"
    else if cfg.ssh.publicKey == null then
      "none was given (autoInstaller.ssh.publicKey)"
    else
      cfg.ssh.publicKey;
in
pkgs.runCommand "landfall-${cfg.targetHost}-${what}"
  {
    passthru = {
      inherit image;
      # What `landfall doctor` asks of an installer; src/doctor/operator.rs reads it.
      landfall = {
        host = cfg.targetHost;
        inherit (cfg.ssh) publicKey;
        version = cfg.package.version or "unknown";
        # What keeps it from being built, or the host from booting as it is installed (compare.nix).
        disagreements = map (assertion: assertion.message) (
          lib.filter (assertion: !assertion.assertion) config.assertions
        );
      };
    };
    preferLocalBuild = true;
  }
  ''
    echo ${lib.escapeShellArg "INSTALLER SSH PUBLIC KEY for ${cfg.targetHost}: ${key}"}
    mkdir $out
    ln -s ${image}/* $out/
  ''
