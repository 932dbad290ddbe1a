# Its installer: a branch of its own, a directory for data, and a reboot into the new system.
{
  autoInstaller = {
    repoRemote = "https://forge.example/ops/nix-config";
    repoBranch = "production";
    repoClonePath = "/mnt/srv/nix-config";
    extraMountDirs = [ "/srv/data" ];
    onSuccess = "reboot";
    substituters = [ "https://cache.forge.example" ];
    trustedPublicKeys = [ "cache.forge.example-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" ];
  };
}
