# With two disks and none named, it lists both and touches neither.
{ common, lib, ... }:
{
  globalTimeout = 900;
  nodes.installer = common.installerOf {
    disks = [
      (common.disk "LFONE" 8192)
      (common.disk "LFTWO" 8192)
    ];
    options.unattended = {
      disk = lib.mkForce null;
      consentCredential = "system";
    };
  };
  testScript = common.python + ''
    installer.start()
    begin(installer)
    wait_failed(installer, "LFONE")
    installer.succeed(f"journalctl --unit {SERVICE} | grep LFTWO")
    for name in ["LFONE", "LFTWO"]:
        installer.fail(f"blkid --probe /dev/disk/by-id/virtio-{name}")
  '';
}
