# Its installer: the flake and its private inputs come over ssh. The private key is handed over on a medium with the
# label LF-KEYS; the build knows the public half only.
{
  autoInstaller = {
    labels = {
      efi = "ESP-BUILD1";
      root = "root-build1";
    };
    espSize = "2G";
    repoRemote = "git+ssh://git@forge.example/ops/nix-config";
    repoRev = "89abcdef0123456789abcdef0123456789abcdef";
    repoClonePath = "/mnt/home/op/nix-config";
    targetUser = "op";
    ssh = {
      credential = "medium";
      publicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA build-1 installer";
      knownHosts = "forge.example ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n";
    };
    authorizedKeys = [
      "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA op@desk"
    ];
    serialConsole = "ttyS0,115200n8";
    onSuccess = "stay";
    reinstall = 1;
    retry = {
      phaseAttemptsMax = 20;
      totalAttemptsMax = 100;
    };
  };
}
