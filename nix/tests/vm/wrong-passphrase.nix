# A wrong passphrase in the middle of an install is a fault, and never a reason to format the container.
{ common, ... }:
{
  globalTimeout = 2700;
  nodes.installer = common.installerOf { layout = "luks"; };
  testScript = common.python + ''
    installer.start()
    begin(installer)
    installer.wait_until_succeeds("landfall status | grep -i realise", timeout=600)
    uuid = installer.succeed("cryptsetup luksUUID /dev/disk/by-partlabel/luks-web")
    installer.crash()

    installer.start()
    installer.wait_for_unit("multi-user.target")
    installer.succeed("echo -n wrong > /run/test/passphrase")
    begin(installer)
    wait_failed(installer, "passphrase")
    assert uuid == installer.succeed("cryptsetup luksUUID /dev/disk/by-partlabel/luks-web")

    installer.succeed("echo -n '${common.passphrase}' > /run/test/passphrase")
    begin(installer)
    wait_landed(installer)
    assert uuid == installer.succeed("cryptsetup luksUUID /dev/disk/by-partlabel/luks-web")
  '';
}
