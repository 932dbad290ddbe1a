# The stick is left in the machine: the second run touches nothing, and counts as a success.
{ common, ... }:
{
  globalTimeout = 2700;
  nodes.installer = common.installerOf { };
  testScript = common.python + ''
    installer.start()
    begin(installer)
    wait_landed(installer)
    installer.wait_until_fails(f"systemctl is-active {SERVICE}")
    before = installer.succeed(f"sha256sum {DISK}")
    begin(installer)
    installer.wait_until_succeeds(f"journalctl --unit {SERVICE} | grep 'already finished'", timeout=300)
    installer.wait_until_fails(f"systemctl is-active {SERVICE}")
    installer.fail(f"systemctl is-failed {SERVICE}")
    assert before == installer.succeed(f"sha256sum {DISK}")
  '';
}
