# Its installer: wholly offline, with closure and repository in the image, and unattended. The disk sits behind
# Thunderbolt, so stage 1 authorises what is plugged in.
{
  autoInstaller = {
    prebuilt = true;
    # In a flake: `repoSource = self`.
    repoSource = ./.;
    repoRemote = "git+ssh://git@forge.example/ops/nix-config";
    luks.passphraseCredential = "system";
    unattended = {
      enable = true;
      disk = "S5GXNX0T123456";
    };
    targetUser = "op";
    deployKey.enable = true;
    ageIdentity.enable = true;
    extraInitrdKernelModules = [ "thunderbolt" ];
    extraBootCommands = ''
      for device in /sys/bus/thunderbolt/devices/*/authorized; do
        if [ -e "$device" ] && [ "$(cat "$device")" = 0 ]; then
          echo 1 > "$device"
        fi
      done
    '';
  };
}
