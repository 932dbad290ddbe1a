# Root in LUKS2: the passphrase comes as a credential, and the installed host asks for it.
{ common, ... }:
{
  globalTimeout = 1800;
  nodes = {
    installer = common.installerOf { layout = "luks"; };
    target = common.installed;
  };
  testScript = common.python + ''
    installer.start()
    begin(installer)
    wait_landed(installer)
    installer.succeed("cryptsetup luksDump /dev/disk/by-partlabel/luks-web | grep argon2id")
    installer.fail("journalctl | grep --fixed-strings '${common.passphrase}'")
    installer.shutdown()
    target.state_dir = installer.state_dir
    target.start()
    target.wait_for_console_text("passphrase for disk")
    target.send_console("${common.passphrase}\n")
    target.wait_for_unit("multi-user.target")
    target.succeed("findmnt --source /dev/mapper/cryptroot /")
  '';
}
