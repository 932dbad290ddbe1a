# Stage 2 of the laboratory's system: activates it, mounts the rest by its labels, says in one line who it is, and
# powers off. Started by stage 1 as process 1, with /dev, /proc, /sys and /run in place.
export PATH="$system/sw/bin"
exec < /dev/ttyS0 > /dev/ttyS0 2>&1
fail() {
    echo "LANDFALL-FAILED stage=2 host=$host $*"
    sync
    poweroff -f
}

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
