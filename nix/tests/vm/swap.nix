# Swap at the end of the disk is made, and the installed host uses it.
{ common, ... }:
{
  globalTimeout = 1800;
  nodes = {
    installer = common.installerOf { layout = "swap"; };
    target = common.installed;
  };
  testScript = common.python + ''
    installer.start()
    begin(installer)
    wait_landed(installer)
    boot_installed(installer, target)
    target.wait_for_unit("swap.target")
    target.succeed("swapon --show=NAME,LABEL | grep swap-web")
  '';
}
