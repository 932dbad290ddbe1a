# Its installer: the smallest there is. The labels come from the target.
{
  autoInstaller.repoRemote = "https://forge.example/ops/nix-config";
}
