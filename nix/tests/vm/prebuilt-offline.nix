# A prebuilt installer installs without any network, and the clone has the remote as its origin.
{ common, lib, ... }:
{
  globalTimeout = 1800;
  nodes.installer = {
    imports = [ (common.installerOf { options.repoRemote = "https://forge.example/ops/nix-config"; }) ];
    virtualisation.vlans = lib.mkForce [ ];
    virtualisation.qemu.networkingOptions = lib.mkForce [ "-nic none" ];
  };
  testScript = common.python + ''
    installer.start()
    begin(installer)
    wait_landed(installer)
    installer.succeed(f"mount {DISK}-part2 /mnt")
    origin = installer.succeed("git -C /mnt/nix-config remote get-url origin")
    assert origin.strip() == "https://forge.example/ops/nix-config", origin
  '';
}
