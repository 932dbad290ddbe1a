# The stick is not chosen, even when it says that it is no removable disk and is the only one.
{ common, pkgs, ... }:
let
  iso = (common.imageOf "iso" { serialConsole = "ttyS0"; }).config;
in
{
  globalTimeout = 1200;
  nodes = { };
  testScript = common.python + ''
    machine = create_machine(
        "${pkgs.qemu_test}/bin/qemu-kvm -m 4096 "
        "-drive if=pflash,format=raw,unit=0,readonly=on,file=${pkgs.OVMF.firmware} "
        "-drive if=pflash,format=raw,unit=1,snapshot=on,file=${pkgs.OVMF.variables} "
        "-drive id=stick,file=${iso.system.build.isoImage}/iso/${iso.image.fileName},if=none,snapshot=on,format=raw "
        "-device virtio-blk-pci,drive=stick,serial=${common.serial}"
    )
    machine.start()
    wait_failed(machine, "boot medium")
  '';
}
