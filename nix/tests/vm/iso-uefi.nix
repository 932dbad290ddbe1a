# The image itself: it boots by UEFI from a stick, shows its banner, and installs.
{ common, pkgs, ... }:
let
  iso =
    (common.imageOf "iso" {
      bannerText = "LANDFALL BANNER";
      serialConsole = "ttyS0";
    }).config;
in
{
  globalTimeout = 2700;
  nodes = { };
  testScript = common.python + ''
    import os

    disk = os.path.join(os.getcwd(), "disk.qcow2")
    os.system(f"${pkgs.qemu_test}/bin/qemu-img create -f qcow2 {disk} 8G")
    machine = create_machine(
        "${pkgs.qemu_test}/bin/qemu-kvm -m 4096 "
        "-drive if=pflash,format=raw,unit=0,readonly=on,file=${pkgs.OVMF.firmware} "
        "-drive if=pflash,format=raw,unit=1,snapshot=on,file=${pkgs.OVMF.variables} "
        "-device usb-ehci -drive id=stick,file=${iso.system.build.isoImage}/iso/${iso.image.fileName},if=none,readonly=on,format=raw "
        "-device usb-storage,drive=stick,removable=off,bootindex=1 "
        f"-drive id=target,file={disk},if=none,format=qcow2 "
        "-device virtio-blk-pci,drive=target,serial=${common.serial},bootindex=2"
    )
    machine.start()
    machine.wait_for_console_text("LANDFALL BANNER")
    wait_landed(machine)
  '';
}
