# Says in one line who a system is. Put into stage 2 of the laboratory's systems, and a service of NixOS's (nixos-tools.nix).
# Wanted: host, user, layout, espLabel, rootLabel, clonePath, revision, version, specialisation, system, boot and swap (what is
# mounted and used), activation (the status of activate).
generation=none
for link in /nix/var/nix/profiles/system-*-link; do
    if [ "$(readlink "$link")" = "$system" ]; then
        generation=${link##*/system-}
        generation=${generation%-link}
    fi
done
current=no
[ "$(readlink -f /nix/var/nix/profiles/system)" != "$system" ] || current=yes

# The loader's name for the entry it started, in UTF-16 behind four bytes of attributes.
mount -t efivarfs efivarfs /sys/firmware/efi/efivars 2> /dev/null
entry=$(tail -c +5 /sys/firmware/efi/efivars/LoaderEntrySelected-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f 2> /dev/null | tr -d '\0')

clone=none
if [ -n "$clonePath" ] && [ -f "$clonePath/.git/HEAD" ]; then
    clone=$(cat "$clonePath/.git/HEAD")
    case "$clone" in ref:*) clone=$(cat "$clonePath/.git/${clone#ref: }" 2> /dev/null || echo packed) ;; esac
    clone=$clone:$(stat -c %U "$clonePath")
fi

# Who may read the keys that were put in place: path:mode:user:group, joined by commas.
keys=
for key in /etc/age /etc/age/* /root/.ssh/* /home/*/.ssh/*; do
    [ -e "$key" ] || continue
    keys=$keys${keys:+,}$key:$(stat -c %a:%U:%G "$key")
done
homes=
for home in /home/*; do
    [ -d "$home" ] || continue
    homes=$homes${homes:+,}$home:$(stat -c %a:%U:%G "$home")
done
# The password of the account, as login would compare it; `!` is none.
password=$(sed -n "s/^$user:\([^:]*\):.*/\1/p" /etc/shadow)
secret=none
[ ! -e /run/initrd-secret ] || secret=$(cat /run/initrd-secret)
partitions=$(sed -n 's/^PARTNAME=//p' /sys/class/block/*/uevent | sort | tr '\n' ',')
paths=$(ls /nix/store | grep -c -E '^[0-9a-z]{32}-')
source=$(sed -n 's|^\([^ ]*\) / ext4.*|\1|p' /proc/mounts | head -n 1)

echo
echo "LANDFALL-MARKER host=$host generation=$generation system=$system layout=$layout root=$rootLabel@$source" \
    "boot=$espLabel@$boot swap=${swap:-none} revision=${revision:-none} clone=$clone keys=${keys:-none}" \
    "homes=${homes:-none} partitions=${partitions%,} entry=${entry:-none} current=$current paths=$paths" \
    "version=$version activation=$activation specialisation=${specialisation:-none}" \
    "password=${password:-none} initrd-secret=$secret end"
