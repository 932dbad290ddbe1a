# The host's installer. Every option is in landfall's docs/options.md.
{
  autoInstaller = {
    # CHANGE: where this repository is fetched from.
    repoRemote = "https://forge.example/ops/nix-config";
    targetUser = "op";
  };
}
