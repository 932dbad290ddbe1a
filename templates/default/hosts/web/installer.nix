# The host's installer. Every option is in landfall's docs/reference/options.md.
{
  autoInstaller = {
    # CHANGE: where this repository is fetched from.
    repoRemote = "https://forge.example/ops/nix-config";
    targetUser = "op";
  };
}
