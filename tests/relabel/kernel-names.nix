{ ... }: {
  fileSystems."/".device = "/dev/sda2";
  fileSystems."/".fsType = "ext4";
  fileSystems."/boot".device = "/dev/sda1";
	fileSystems."/boot".fsType = "vfat";
  swapDevices = [{device="/dev/sda3";}];
}