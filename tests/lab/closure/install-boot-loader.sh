# What NixOS's builder for systemd-boot does, with the same names on the ESP: the loader itself when
# NIXOS_INSTALL_BOOTLOADER is 1, kernel and initrd as EFI/nixos/<store name>-<file>.efi, an entry for every generation
# of the system profile, loader.conf last, and away with everything of its own that no generation needs.
# $1 is the system that becomes the default.
export PATH="$system/sw/bin"
set -e
default=$1
esp=/boot

if ! grep -q " $esp vfat " /proc/mounts; then
    echo "install-boot-loader: $esp is not a mounted FAT filesystem" >&2
    exit 1
fi

# bootctl has the place of the loader it installs compiled in, and refuses one that is a link.
mkdir -p /usr/lib/systemd/boot/efi
cp "$tools/share/systemd-bootx64.efi" /usr/lib/systemd/boot/efi/systemd-bootx64.efi

if [ "${NIXOS_INSTALL_BOOTLOADER:-}" = 1 ]; then
    rm -f "$esp/loader/loader.conf"
    bootctl "--esp-path=$esp" install
else
    bootctl "--esp-path=$esp" update || [ "$?" = 1 ]
fi

mkdir -p "$esp/EFI/nixos" "$esp/loader/entries"
# A file beside its place, brought to the disk and renamed. On a full ESP half a file would keep it full.
atomically() {
    if ! cat > "$1.tmp"; then
        rm -f "$1.tmp"
        echo "install-boot-loader: cannot write $1" >&2
        exit 1
    fi
    sync "$1.tmp"
    mv -f "$1.tmp" "$1"
}
# Copies $1, a file in the store, unless it is there, and sets `name` to its name on the ESP.
place() {
    real=$(readlink -f "$1")
    folder=${real%/*}
    name=${folder##*/}-${real##*/}.efi
    known="$known $name"
    [ -e "$esp/EFI/nixos/$name" ] || atomically "$esp/EFI/nixos/$name" < "$real"
}

known=
entries=
chosen=
for link in /nix/var/nix/profiles/system-*-link; do
    [ -e "$link/init" ] || continue
    number=${link##*/system-}
    number=${number%-link}
    toplevel=$(readlink -f "$link")
    place "$toplevel/kernel"
    linux=$name
    place "$toplevel/initrd"
    entry=nixos-generation-$number.conf
    entries="$entries $entry"
    [ "$toplevel" != "$default" ] || chosen=$entry
    atomically "$esp/loader/entries/$entry" << END
title NixOS
sort-key nixos
version Generation $number NixOS $(cat "$toplevel/nixos-version"), Linux Kernel $kernelVersion
linux /EFI/nixos/$linux
initrd /EFI/nixos/$name
options init=$toplevel/init $(cat "$toplevel/kernel-params")
END
done
if [ -z "$chosen" ]; then
    echo "install-boot-loader: no generation of /nix/var/nix/profiles/system is $default" >&2
    exit 1
fi
atomically "$esp/loader/loader.conf" << END
timeout 0
default $chosen
editor 0
console-mode keep
END

# Only after the new entries stand.
for file in "$esp"/loader/entries/nixos*-generation-*.conf; do
    case " $entries " in *" ${file##*/} "*) ;; *) rm -f "$file" ;; esac
done
for file in "$esp"/EFI/nixos/*; do
    [ -f "$file" ] || continue
    case " $known " in *" ${file##*/} "*) ;; *) rm -f "$file" ;; esac
done
sync -f "$esp"
