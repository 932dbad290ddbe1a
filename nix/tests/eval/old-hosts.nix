# Hosts made after the public ones of the replaced module: their blocks as such hosts have them, and the warnings that landfall has
# for them. Their settings are goldens as well (goldens.nix), which the program reads.
let
  system = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-fieldkit";
  # What such a host took from the replaced module's defaults, or from its own fork of it.
  remote.repoRemote = "https://forge.example/ops/nix-config";
  package = {
    type = "derivation";
    name = "bolt";
    outPath = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-bolt";
  };
in
{
  # A server with swap: labels in upper case, the clone in a home, a banner of block characters.
  old-swap = {
    module.autoInstaller = remote // {
      targetHost = "uplink";
      labels = {
        efi = "UP-EFI";
        root = "UP-ROOT";
        swap = "UP-SWAP";
      };
      swap = {
        enable = true;
        size = "9G";
      };
      repoClonePath = "/mnt/home/op/nix-config";
      targetUser = "op";
      bannerText = ''
        ██╗   ██╗██████╗
        ╚██████╔╝██║      \o/  "uplink"

        Uplink auto-installer. The system will install automatically on boot.
      '';
    };
    warnings = [ ];
  };
  # A machine on Thunderbolt storage: prebuilt, LUKS, directories relative to the root, commands, stage 1.
  old-luks-prebuilt = {
    module.autoInstaller = remote // {
      targetHost = "fieldkit";
      prebuilt = true;
      targetSystem = system;
      labels = {
        efi = "KIT-EFI";
        root = "KIT-ROOT";
        luks = "KIT-LUKS";
      };
      luks = {
        enable = true;
        mapperName = "kitcrypt";
      };
      extraMountDirs = [
        "persist"
        "models"
      ];
      extraPostMountCommands = [
        "chmod 755 /mnt/persist"
        "chmod 755 /mnt/models"
        "install -d -m 0755 -o root -g root /mnt/persist/cache"
      ];
      repoClonePath = "/mnt/persist/nix-config";
      extraInitrdKernelModules = [ "thunderbolt" ];
      extraBootCommands = ''
        for dev in /sys/bus/thunderbolt/devices/*; do
          if [ -w "$dev/authorized" ]; then
            echo 1 >"$dev/authorized"
          fi
        done
      '';
      extraPackages = [ package ];
      bannerText = "Field kit.\n";
    };
    warnings = [ "the repository is still fetched over the network" ];
  };
  # A host by somebody who wrote everything in another way.
  old-strange = {
    module.autoInstaller = {
      targetHost = "lab_1.ops";
      labels = {
        efi = "esp-lab";
        root = "root-of-the-lab-host";
        luks = "";
        swap = "swap+lab";
      };
      swap = {
        enable = true;
        size = "16GiB";
      };
      luks = {
        enable = false;
        mapperName = "";
      };
      extraMountDirs = [
        "persist/"
        "/mnt/srv/data"
        "/var/lib/models"
        "boot"
      ];
      extraPostMountCommands = [
        ""
        "dir=/mnt/persist"
        ''
          mkdir -p "$dir/it's"
          printf '%s\n' "a \"b\"" >"$dir/note"
        ''
      ];
      repoClonePath = "/home/Jo.Op/nix-config/";
      repoRemote = "git@forge.example:ops/nix-config.git";
      ssh.knownHosts = "forge.example ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
      powerOff = false;
      targetUser = "Jo.Op";
    };
    warnings = [
      "labels.efi \"esp-lab\""
      "labels.root \"root-of-the-lab-host\""
      "labels.swap \"swap+lab\""
      "swap.size \"16GiB\""
      "extraMountDirs: boot is not made"
      "repoClonePath \"/home/Jo.Op/nix-config/\""
      "powerOff"
    ];
  };
}
