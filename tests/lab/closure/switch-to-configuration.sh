# `boot` installs the boot loader, `switch` and `test` activate; what NixOS does besides (units) is absent.
export PATH="$system/sw/bin"
set -e
action=${1:-}
case "$action" in
    boot | switch | test | dry-activate) ;;
    *)
        echo "Usage: switch-to-configuration [switch|boot|test|dry-activate]" >&2
        exit 1
        ;;
esac
if [ ! -e /etc/NIXOS ]; then
    echo "This is not a NixOS installation!" >&2
    exit 1
fi
mkdir -p /run/nixos
case "$action" in
    boot | switch)
        "$system/bin/install-boot-loader" "$system" || {
            echo "Failed to install bootloader" >&2
            exit 1
        }
        ;;
esac
# As NixOS does it: the store is brought to the disk after the boot loader, not before.
[ "${NIXOS_NO_SYNC:-}" = 1 ] || sync -f /nix/store
case "$action" in
    switch | test) "$system/activate" ;;
esac
