# A disk that has no room for the layout is refused before the first write.
{ common, ... }:
{
  globalTimeout = 900;
  nodes.installer = common.installerOf { disks = [ (common.disk common.serial 1100) ]; };
  testScript = common.python + ''
    installer.start()
    begin(installer)
    wait_failed(installer, "${common.serial}")
    installer.fail(f"blkid --probe {DISK}")
  '';
}
