# Makes the parts of a running system that are not in the store. Runs in nixos-enter and at every boot, and may run
# any number of times.
export PATH="$system/sw/bin"
set -e
umask 0022

mkdir -m 0755 -p /proc /run /dev /sys /etc /var /var/log /home /bin /usr/bin /boot
mkdir -m 0700 -p /root
[ -d /tmp ] || mkdir -m 1777 /tmp
grep -q ' /proc proc ' /proc/mounts 2> /dev/null || mount -t proc -o nosuid,noexec,nodev proc /proc
grep -q ' /run tmpfs ' /proc/mounts || mount -t tmpfs -o nosuid,nodev,mode=0755 run /run

# Everything below /etc is written beside its place and renamed into it.
put() {
    cat > "$1.tmp"
    chmod "$2" "$1.tmp"
    mv -f "$1.tmp" "$1"
}
ln -sfn "$system/etc" /etc/static
for file in os-release hostname; do
    ln -sfn "/etc/static/$file" "/etc/$file"
done
{
    echo "root:x:0:0:System administrator:/root:$system/sw/bin/bash"
    [ -z "$user" ] || echo "$user:x:$uid:100::/home/$user:$system/sw/bin/bash"
    echo "nobody:x:65534:65534:Unprivileged account:/var/empty:/run/current-system/sw/bin/nologin"
} | put /etc/passwd 0644
{
    echo "root:x:0:"
    echo "wheel:x:1:$user"
    echo "users:x:100:"
    echo "nogroup:x:65534:"
} | put /etc/group 0644
[ -e /etc/shadow ] || {
    echo "root:!:1::::::"
    [ -z "$user" ] || echo "$user:!:1::::::"
} | put /etc/shadow 0640
if [ -n "$user" ] && [ ! -d "/home/$user" ]; then
    mkdir -m 0700 "/home/$user"
    chown "$uid:100" "/home/$user"
fi
ln -sfn "$system/sw/bin/bash" /bin/sh
ln -sfn "$system/sw/bin/env" /usr/bin/env
ln -sfn "$system" /run/current-system
[ -e /run/booted-system ] || [ -n "${IN_NIXOS_ENTER:-}" ] || ln -sfn "$system" /run/booted-system
