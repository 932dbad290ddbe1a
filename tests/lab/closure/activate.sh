# Makes the parts of a running system that are not in the store. Runs in nixos-enter and at every boot, and may run
# any number of times.
#
# As NixOS's: it is made of snippets; one that fails is reported in a line and the next one runs; the exit status is 1 then.
# Nothing that it writes is synced, so that a power cut may leave a file of no bytes: one of these ends the making of accounts.
# Accounts are made by the first activation: what a password file says is read when the account is made, and never again
# where users are mutable. What is written below /proc/sys and /sys is the running kernel's, inside nixos-enter too.
export PATH="$system/sw/bin"
umask 0022
status=0
# Runs a command of a snippet; the last failure is told.
try() { "$@" || failed=$?; }
snippet() {
    failed=0
    "$1"
    [ "$failed" = 0 ] || {
        status=1
        printf "Activation script snippet '%s' failed (%s)\n" "$1" "$failed"
    }
}
# Everything below /etc is written beside its place and renamed into it.
put() {
    cat > "$1.tmp" && chmod "$2" "$1.tmp" && mv -f "$1.tmp" "$1"
}

specialfs() {
    try mkdir -m 0755 -p /proc /run /dev /sys /etc /var /var/log /home /bin /usr/bin /boot
    try mkdir -m 0700 -p /root
    [ -d /tmp ] || try mkdir -m 1777 /tmp
    grep -q ' /proc proc ' /proc/mounts 2> /dev/null || try mount -t proc -o nosuid,noexec,nodev proc /proc
    grep -q ' /run tmpfs ' /proc/mounts || try mount -t tmpfs -o nosuid,nodev,mode=0755 run /run
    # What is mounted gets this system's options; in nixos-enter that is the installer's.
    ! grep -q ' /dev devtmpfs ' /proc/mounts || try mount -o remount,nosuid,strictatime,mode=755,size=5% /dev
}
# The path is this system's: in an installer nothing is there, and its kernel loads no module by itself any more.
modprobe() {
    [ ! -w /proc/sys/kernel/modprobe ] || echo "$system/sw/bin/modprobe" > /proc/sys/kernel/modprobe || failed=$?
}
udevd() {
    parameter=/sys/module/firmware_class/parameters/path
    [ ! -e "$parameter" ] || printf %s "$system/firmware" > "$parameter" || failed=$?
}
etc() {
    try ln -sfn "$system/etc" /etc/static
    for file in os-release hostname; do
        try ln -sfn "/etc/static/$file" "/etc/$file"
    done
}
# What agenix and its like do: with the identity, secrets are there before the accounts are made.
secrets() {
    [ -n "$passwordFile" ] || return 0
    if [ ! -r "$identity" ]; then
        echo "[agenix] WARNING: config.age.identityPaths entry $identity not present!"
        failed=1
        return
    fi
    try mkdir -m 0751 -p "${passwordFile%/*}"
    umask 0377
    try age --decrypt -i "$identity" -o "$passwordFile.tmp" "$encrypted"
    umask 0022
    [ "$failed" != 0 ] || try mv -f "$passwordFile.tmp" "$passwordFile"
}
users() {
    for map in gid-map uid-map; do
        if [ -e "/var/lib/nixos/$map" ] && [ ! -s "/var/lib/nixos/$map" ]; then
            echo "malformed JSON string, neither array, object, number, string or atom, at character offset 0 (before \"(end of string)\") at update-users-groups.pl line 11." >&2
            failed=255
            return
        fi
    done
    try mkdir -m 0755 -p /var/lib /var/lib/nixos
    echo '{"nogroup":65534,"root":0,"shadow":318,"users":100,"wheel":1}' | put /var/lib/nixos/gid-map 0644 || failed=$?
    echo "{\"root\":0${user:+,\"$user\":$uid}}" | put /var/lib/nixos/uid-map 0644 || failed=$?
    {
        echo "root:x:0:0:System administrator:/root:$system/sw/bin/bash"
        [ -z "$user" ] || echo "$user:x:$uid:100::/home/$user:$system/sw/bin/bash"
        echo "nobody:x:65534:65534:Unprivileged account:/var/empty:/run/current-system/sw/bin/nologin"
    } | put /etc/passwd 0644 || failed=$?
    {
        echo "root:x:0:"
        echo "wheel:x:1:$user"
        echo "users:x:100:"
        echo "shadow:x:318:"
        echo "nogroup:x:65534:"
    } | put /etc/group 0644 || failed=$?
    hash=!
    if [ -n "$passwordFile" ]; then
        if [ -e "$passwordFile" ]; then
            hash=$(cat "$passwordFile")
        else
            echo "warning: password file ‘$passwordFile’ does not exist" >&2
        fi
    fi
    {
        [ ! -e /etc/shadow ] || cat /etc/shadow
        grep -q '^root:' /etc/shadow 2> /dev/null || echo "root:!:1::::::"
        # Users are mutable: an account that is there keeps what it has.
        [ -z "$user" ] || grep -q "^$user:" /etc/shadow 2> /dev/null || echo "$user:$hash:1::::::"
    } | put /etc/shadow 0640 || failed=$?
    try chown 0:318 /etc/shadow
    if [ -n "$user" ] && [ ! -d "/home/$user" ]; then
        try mkdir -m 0700 "/home/$user"
        try chown "$uid:100" "/home/$user"
    fi
}
binsh() {
    try ln -sfn "$system/sw/bin/bash" /bin/sh
}
usrbinenv() {
    try ln -sfn "$system/sw/bin/env" /usr/bin/env
}
broken() {
    try cat /run/this-host/has-no-such-file
}

for name in specialfs modprobe udevd etc secrets users binsh usrbinenv; do
    snippet "$name"
done
[ -z "$brokenSnippet" ] || snippet broken
ln -sfn "$system" /run/current-system
[ -e /run/booted-system ] || [ -n "${IN_NIXOS_ENTER:-}" ] || ln -sfn "$system" /run/booted-system
exit "$status"
