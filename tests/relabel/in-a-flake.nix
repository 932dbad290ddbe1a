{
  outputs = { self, nixpkgs }: {
    nixosConfigurations.web = nixpkgs.lib.nixosSystem {
      modules = [
        ({ lib, ... }: {
          config = lib.mkIf true {
            fileSystems."/" = { device = "/dev/disk/by-uuid/8f1c2d3e-0a1b-4c2d-9e3f-112233445566"; fsType = "ext4"; };
            boot.initrd.luks.devices.cryptroot = { device = "/dev/disk/by-uuid/d3b07384-d113-4ec5-9a5e-aabbccddeeff"; };
          };
        })
      ];
    };
  };
}
