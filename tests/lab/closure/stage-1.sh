#!/bin/busybox sh
# Stage 1 of the laboratory's system: find root by its label, through LUKS where there is one, and go there.
# Whatever goes wrong is one line that starts LANDFALL-FAILED, and the end of the machine.
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs -o mode=0755 run /run
exec < /dev/ttyS0 > /dev/ttyS0 2>&1
. /settings

fail() {
    echo "LANDFALL-FAILED stage=1 host=$host $*"
    sync
    poweroff -f
}
# The block device whose partition name, as sysfs tells it, is $1.
by_partition_name() {
    for uevent in /sys/class/block/*/uevent; do
        if grep -qx "PARTNAME=$1" "$uevent"; then
            sed -n 's|^DEVNAME=|/dev/|p' "$uevent"
            return
        fi
    done
}
# The block device of a name that a host's configuration has for it.
by_name() {
    case "$1" in
        /dev/disk/by-uuid/*) findfs "UUID=${1##*/}" ;;
        /dev/disk/by-label/*) findfs "LABEL=${1##*/}" ;;
        /dev/disk/by-partlabel/*) by_partition_name "${1##*/}" ;;
    esac
}
# Says what $2... prints, once it prints something; ends the machine when that takes 30 seconds.
wait_for() {
    what=$1
    shift
    tries=150
    while [ "$tries" -gt 0 ]; do
        found=$("$@" 2> /dev/null)
        [ -z "$found" ] || return 0
        tries=$((tries - 1))
        sleep 0.2
    done
    cat /proc/partitions
    fail "reason=no-$what"
}

for order in /lib/modules/*.order; do
    while read -r module; do
        insmod "/lib/modules/$module.ko" || echo "stage 1: $module was not loaded"
    done < "$order"
done

# What the boot loader's installer appended to this initrd.
if [ -e /.initrd-secrets/secret ]; then
    sha256sum < /.initrd-secrets/secret | cut -d ' ' -f 1 > /run/initrd-secret
fi

init=
for word in $(cat /proc/cmdline); do
    case "$word" in init=*) init=${word#init=} ;; esac
done
[ -n "$init" ] || fail "reason=no-init-on-the-command-line"

if [ -n "$luksLabel" ]; then
    if [ -n "$container" ]; then
        wait_for "container-$container" by_name "$container"
        container=$found
    else
        wait_for "partition-$luksLabel" by_partition_name "$luksLabel"
        container=$found
        # LUKS2 keeps its label 24 bytes into the header.
        header=$(dd if="$container" bs=1 skip=24 count=48 2> /dev/null | tr -d '\0')
        [ "$header" = "$luksLabel" ] || fail "reason=luks-header-label is=$header wanted=$luksLabel"
    fi
    mkdir -p /run/cryptsetup
    tries=3
    while :; do
        stty -echo
        printf 'Enter passphrase for %s: ' "$luksLabel"
        read -r passphrase
        stty echo
        echo
        printf %s "$passphrase" | cryptsetup open --type luks2 --key-file=- "$container" "$luksMapper" && break
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || fail "reason=wrong-passphrase"
    done
    unset passphrase
    root=/dev/mapper/$luksMapper
    # What is in the container has to carry root's name as well.
    if [ -n "$rootDevice" ]; then
        wait_for "root-$rootDevice" by_name "$rootDevice"
    else
        wait_for "label-$rootLabel" findfs "LABEL=$rootLabel"
    fi
else
    wait_for "label-$rootLabel" findfs "LABEL=$rootLabel"
    root=$found
fi
mount -t ext4 -o rw "$root" /target || fail "reason=root-does-not-mount device=$root"
[ -x "/target$init" ] || fail "reason=no-init init=$init"

for folder in dev proc sys run; do
    mkdir -p "/target/$folder"
    mount -o move "/$folder" "/target/$folder"
done
exec switch_root -c /dev/ttyS0 /target "$init"
