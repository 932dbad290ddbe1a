# The binary caches of the host that is installed, for its installer: what `nix.settings` of the target says, as far as the installer
# can use it. Nothing secret goes along: no `netrc-file`, and no address with a user, a password or a token in it, of which not even
# the text is shown.
#
# Whether a server answers there is not checked; Nix skips a cache that does not.
{ lib }:
let
  landfall = import ./types.nix { inherit lib; };

  # Nix takes a list or words of one text, and NixOS any of both.
  wordsOf =
    value:
    lib.filter (word: lib.isString word && word != "") (
      if lib.isList value then
        lib.concatMap wordsOf value
      else if lib.isString value then
        builtins.split "[[:space:]]+" value
      else
        [ ]
    );
  of = settings: names: lib.unique (lib.concatMap (name: wordsOf (settings.${name} or [ ])) names);

  # Every installer has these.
  isNixos = url: builtins.match "https?://cache[.]nixos[.]org/?([?].*)?" url != null;
  # Served by the host itself, which does not run yet.
  isOwn =
    url: builtins.match "https?://(localhost|127[.][0-9.]+|\\[::1]|0[.]0[.]0[.]0)([:/].*)?" url != null;
  # Over ssh and from s3 with a key that the installer does not have; the others are places on the host.
  isWeb = url: builtins.match "https?://.*" url != null;
  isUsable = url: isWeb url && !(isOwn url) && landfall.cache.check url;
in
# `nix.settings` of the target.
settings:
let
  urls = lib.filter (url: !(isNixos url)) (
    of settings [
      "substituters"
      "extra-substituters"
      "trusted-substituters"
      "extra-trusted-substituters"
    ]
  );
  keys = lib.filter (key: !(lib.hasPrefix "cache.nixos.org-1:" key)) (
    of settings [
      "trusted-public-keys"
      "extra-trusted-public-keys"
    ]
  );
  secret = lib.filter (url: isWeb url && !(landfall.cache.check url)) urls;
  other = lib.filter (url: !(isWeb url) || isOwn url) urls;
  count = list: what: "${toString (lib.length list)} of the host's binary caches ${what}";
in
{
  substituters = lib.filter isUsable urls;
  trustedPublicKeys = lib.filter landfall.publicKey.check keys;
  # What is not taken over though it may be missed.
  warnings =
    lib.optional (secret != [ ])
      "autoInstaller.takeCaches: ${count secret "has a user, a password or a token in its address, or a setting that is not for reading a store"}: it is not taken over, because every user can read what is in the installer. Remove that from nix.settings.substituters; put a login in a netrc-file."
    ++
      lib.optional (other != [ ])
        "autoInstaller.takeCaches: ${count other "is reached over ssh, from s3 or on the host itself"}: it is not taken over. Name one that the installer can reach in autoInstaller.substituters."
    ++
      lib.optional (lib.any isUsable urls && settings.netrc-file or null != null)
        "autoInstaller.takeCaches: the host has a nix.settings.netrc-file, which is not taken over: the installer gets nothing from a cache that requires a login.";
}
