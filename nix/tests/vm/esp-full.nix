# An ESP without room for the kernel is a fault that names it; the install goes on once there is room.
{ common, ... }:
{
  globalTimeout = 2700;
  nodes.installer = common.installerOf {
    options.extraPostMountCommands = [
      # Only as long as the test wants it.
      "test ! -e /run/test/fill || dd if=/dev/zero of=/mnt/boot/filler bs=1M || true"
    ];
  };
  testScript = common.python + ''
    installer.start()
    installer.wait_for_unit("multi-user.target")
    installer.succeed("touch /run/test/fill")
    begin(installer)
    installer.wait_until_succeeds(f"systemctl is-failed {SERVICE}", timeout=1200)
    installer.succeed("rm /run/test/fill", f"mount {DISK}-part1 /mnt", "rm /mnt/filler", "umount /mnt")
    begin(installer)
    wait_landed(installer)
  '';
}
