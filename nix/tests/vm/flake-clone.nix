# The repository is cloned over the network at the revision that the branch had when the install began.
{ common, pkgs, ... }:
{
  globalTimeout = 1800;
  nodes = {
    forge = {
      networking.firewall.allowedTCPPorts = [ 9418 ];
      environment.systemPackages = [ pkgs.git ];
      services.gitDaemon = {
        enable = true;
        basePath = "/srv";
        exportAll = true;
      };
    };
    # The closure is carried, so that the clone alone is seen; REPO_REMOTE goes before the bundle.
    installer = {
      imports = [ (common.installerOf { }) ];
      systemd.services.web-auto-install.environment.REPO_REMOTE = "git://forge/nix-config";
    };
  };
  testScript = common.python + ''
    forge.start()
    forge.wait_for_unit("git-daemon.service")
    forge.succeed(
        "git init --initial-branch main /srv/nix-config",
        "echo first > /srv/nix-config/file",
        "git -C /srv/nix-config add file",
        "git -C /srv/nix-config -c user.name=t -c user.email=t@t commit --message first",
    )
    revision = forge.succeed("git -C /srv/nix-config rev-parse HEAD").strip()
    installer.start()
    begin(installer)
    wait_landed(installer)
    installer.succeed(f"mount {DISK}-part2 /mnt")
    assert revision == installer.succeed("git -C /mnt/nix-config rev-parse HEAD").strip()
  '';
}
