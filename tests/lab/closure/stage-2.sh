# Stage 2 of the laboratory's system: activates it, mounts the rest by its labels, says in one line who it is, and
# powers off. Started by stage 1 as process 1, with /dev, /proc, /sys and /run in place.
export PATH="$system/sw/bin"
exec < /dev/ttyS0 > /dev/ttyS0 2>&1
fail() {
    echo "LANDFALL-FAILED stage=2 host=$host $*"
    sync
    poweroff -f
}

# A system that stays: root is an operating system of its own, which goes on from here and mounts what the fstab says. With nothing
# attached that it could work for, it only shows that everything is found by its name, and powers off.
if [ -n "$rootDevice" ]; then
    ln -sfn "$system" /run/current-system
    ln -sfn "$system" /run/booted-system
    ln -sfn "$system/etc/fstab" /etc/fstab
    if grep -q LFWORK /sys/class/block/*/serial; then
        # What the udev of a stage 1 leaves of a mapping.
        mkdir -p /run/udev/data
        printf 'E:DM_UDEV_PRIMARY_SOURCE_FLAG=1\nE:DM_UDEV_RULES_VSN=2\nE:DM_NAME=%s\n' "$luksMapper" \
            > "/run/udev/data/b$(cat /sys/block/dm-0/dev)"
        exec /usr/lib/systemd/systemd
    fi
    PATH=$PATH:/usr/sbin:/usr/bin
    seen=
    while read -r name at kind options rest; do
        case "$name" in
            /dev/disk/by-uuid/*) tag=UUID ;;
            /dev/disk/by-label/*) tag=LABEL ;;
            *) fail "reason=no-name name=$name" ;;
        esac
        device=$(/usr/sbin/blkid -c /dev/null -l -o device -t "$tag=${name##*/}") || fail "reason=no-device name=$name"
        label=$(/usr/sbin/blkid -p -o value -s LABEL "$device")
        case "$at" in
            /) ;;
            none) swapon "$device" || fail "reason=swapon name=$name" ;;
            *) mount -t "$kind" "$device" "$at" || fail "reason=does-not-mount name=$name" ;;
        esac
        seen="$seen $at=${label:-none}"
    done < "$system/etc/fstab"
    file=$(sha256sum < /etc/nixos/hardware-configuration.nix)
    echo
    echo "LANDFALL-MARKER host=$host system=$system$seen file=${file%% *} end"
    sync
    poweroff -f
fi

# A failed activation ends no boot: it is told.
"$system/activate"
activation=$?
boot=$(findfs "LABEL=$espLabel") || fail "reason=no-esp label=$espLabel"
mkdir -p /boot
mount -t vfat "$boot" /boot || fail "reason=esp-does-not-mount device=$boot"
if [ -n "$swapLabel" ]; then
    area=$(findfs "LABEL=$swapLabel") || fail "reason=no-swap label=$swapLabel"
    swapon "$area" || fail "reason=swapon device=$area"
    swap=$swapLabel@$area
fi

# marker.sh is put here.
@marker@
umount /boot
[ -z "$swapLabel" ] || swapoff "$area"
sync
mount -o remount,ro / 2> /dev/null
sync
poweroff -f
