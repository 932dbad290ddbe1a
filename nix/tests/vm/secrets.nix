# Deploy key and age identity get to their places with their modes before the first boot, and to nowhere else.
{ common, ... }:
{
  globalTimeout = 1800;
  nodes = {
    installer = common.installerOf {
      options = {
        targetUser = "op";
        deployKey = {
          enable = true;
          credential = "/run/test/deploy-key";
        };
        ageIdentity = {
          enable = true;
          credential = "/run/test/age-identity";
        };
      };
    };
    target = common.installed;
  };
  testScript = common.python + ''
    installer.start()
    installer.wait_for_unit("multi-user.target")
    installer.succeed(
        "ssh-keygen -q -t ed25519 -N ''' -f /run/test/deploy-key",
        "echo AGE-SECRET-KEY-1CANARY > /run/test/age-identity",
    )
    begin(installer)
    wait_landed(installer)
    installer.fail("journalctl | grep AGE-SECRET-KEY-1CANARY")
    boot_installed(installer, target)
    assert target.succeed("stat --format '%a %U' /etc/age/web.agekey").strip() == "600 root"
    assert target.succeed("stat --format %a /etc/age").strip() == "700"
    assert target.succeed("stat --format '%a %U' /home/op/.ssh/id_ed25519").strip() == "600 op"
    target.fail("grep -r AGE-SECRET-KEY-1CANARY /nix/store --files-with-matches")
  '';
}
