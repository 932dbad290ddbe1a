# The power goes in the middle of the install. The next boot goes on: the table and the filesystems stay the same.
{ common, ... }:
{
  globalTimeout = 2700;
  nodes = {
    installer = common.installerOf { };
    target = common.installed;
  };
  testScript = common.python + ''
    installer.start()
    begin(installer)
    installer.wait_until_succeeds("landfall status | grep -i realise", timeout=600)
    before = table(installer)
    root = installer.succeed(f"blkid --probe --output value --match-tag UUID {DISK}-part2")
    installer.crash()

    installer.start()
    begin(installer)
    wait_landed(installer)
    assert before == table(installer), "the disk was partitioned again"
    again = installer.succeed(f"blkid --probe --output value --match-tag UUID {DISK}-part2")
    assert root == again, "root was formatted again"
    boot_installed(installer, target)
  '';
}
