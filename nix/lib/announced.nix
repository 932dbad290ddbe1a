# An image from a build that prints the installer's public key, for the forge. The key was passed in; nothing is made
# here.
{
  lib,
  pkgs,
  cfg,
  # `iso` or `netboot`.
  what,
  image,
}:
let
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
    passthru = { inherit image; };
    preferLocalBuild = true;
  }
  ''
    echo ${lib.escapeShellArg "INSTALLER SSH PUBLIC KEY for ${cfg.targetHost}: ${key}"}
    mkdir $out
    ln -s ${image}/* $out/
  ''
