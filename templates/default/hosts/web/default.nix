# The host. Its filesystems come from the labels, through landfall's target module.
{
  networking.hostName = "web";
  nixpkgs.hostPlatform = "x86_64-linux";
  system.stateVersion = "26.05";

  autoInstaller.labels = {
    efi = "ESP-WEB";
    root = "root-web";
  };

  boot.loader.systemd-boot.enable = true;
  boot.loader.efi.canTouchEfiVariables = true;

  # CHANGE: the drivers of your machine's disk, as `nixos-generate-config --show-hardware-config` says.
  boot.initrd.availableKernelModules = [
    "ahci"
    "nvme"
    "usbhid"
    "usb_storage"
    "xhci_pci"
  ];

  users.users.op = {
    isNormalUser = true;
    extraGroups = [ "wheel" ];
    # CHANGE: a hash of `mkpasswd`. There is no root password, so without this nobody can log in.
    initialHashedPassword = "!";
  };
}
