# Kernel and initrd of the netboot image boot without any medium, and install.
{ common, pkgs, ... }:
let
  inherit (common.imageOf "netboot" { serialConsole = "ttyS0"; }) config;
  inherit (config.system) build;
in
{
  globalTimeout = 2700;
  nodes = { };
  testScript = common.python + ''
    import os

    disk = os.path.join(os.getcwd(), "disk.qcow2")
    os.system(f"${pkgs.qemu_test}/bin/qemu-img create -f qcow2 {disk} 8G")
    machine = create_machine(
        "${pkgs.qemu_test}/bin/qemu-kvm -m 6144 "
        "-drive if=pflash,format=raw,unit=0,readonly=on,file=${pkgs.OVMF.firmware} "
        "-drive if=pflash,format=raw,unit=1,snapshot=on,file=${pkgs.OVMF.variables} "
        "-kernel ${build.kernel}/${config.system.boot.loader.kernelFile} -initrd ${build.netbootRamdisk}/initrd "
        "-append 'init=${build.toplevel}/init ${toString config.boot.kernelParams}' "
        f"-drive id=target,file={disk},if=none,format=qcow2 "
        "-device virtio-blk-pci,drive=target,serial=${common.serial}"
    )
    machine.start()
    wait_landed(machine)
  '';
}
