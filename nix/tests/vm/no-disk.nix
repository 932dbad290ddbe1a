# Without a disk it stops, says so, and the machine stays on with a login.
{ common, ... }:
{
  globalTimeout = 900;
  nodes.installer = common.installerOf { disks = [ ]; };
  testScript = common.python + ''
    installer.start()
    begin(installer)
    wait_failed(installer, "disk")
    installer.wait_for_unit("landfall-help.service", timeout=60)
    installer.succeed("true")
  '';
}
