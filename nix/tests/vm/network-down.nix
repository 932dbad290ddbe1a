# The network goes while the repository would be fetched: nothing is written to the disk; with the network back, it lands.
{ common, pkgs, ... }:
{
  globalTimeout = 2700;
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
    installer = {
      imports = [
        (common.installerOf {
          options.retry = {
            retriesPerRunMax = 1;
            backoffFirstMs = 1;
          };
        })
      ];
      systemd.services.web-auto-install.environment.REPO_REMOTE = "git://forge/nix-config";
    };
  };
  testScript = common.python + ''
    forge.start()
    forge.wait_for_unit("git-daemon.service")
    forge.succeed(
        "git init --initial-branch main /srv/nix-config",
        "git -C /srv/nix-config -c user.name=t -c user.email=t@t commit --allow-empty --message first",
    )
    installer.start()
    installer.wait_for_unit("multi-user.target")
    forge.block()
    begin(installer)
    wait_failed(installer, "forge")
    installer.fail(f"blkid --probe {DISK}")
    forge.unblock()
    begin(installer)
    wait_landed(installer)
  '';
}
