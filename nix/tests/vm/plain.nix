# An ESP and an ext4 root are installed, and the disk boots by its own boot loader.
{ common, ... }:
{
  globalTimeout = 1800;
  nodes = {
    installer = common.installerOf { };
    target = common.installed;
  };
  testScript = common.python + ''
    installer.start()
    begin(installer)
    wait_landed(installer)
    boot_installed(installer, target)
    target.succeed("test -e /nix-config/target.nix")
    target.succeed("test -s /var/log/landfall/install.jsonl")
  '';
}
