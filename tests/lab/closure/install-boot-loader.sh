# What NixOS's builder for systemd-boot does to the ESP, habit by habit, the unkind ones too:
#   - the loader itself when NIXOS_INSTALL_BOOTLOADER is 1, else bootctl decides whether it is newer;
#   - what no generation needs goes away first, and is reported by its name: any file in EFI/nixos, nixos-?*.conf among the entries.
#     A temporary file of an entry is none of these, and stays for ever;
#   - a kernel, initrd or entry that is there is never written again, whatever it holds. An initrd with secrets always is;
#   - an entry is named by its content's SHA-256, `nixos-<hash>.conf`, with `+<tries>` where boots are counted. One with
#     another counter and the same content is kept;
#   - each generation's specialisations have entries of their own, with the same version and sort-key;
#   - loader.conf last, through loader/loader.tmp, which must not be there: what a cut left there fails every later run;
#   - then the extra files of the run before go, each directory that has a record listed, there or not: a record of one that is
#     gone fails every later run.
# $1 is the system that becomes the default. Without one among the generations the newest is, by a pattern.
export PATH="$system/sw/bin"
set -e
default=$1
esp=/boot
tab=$(printf '\t')

if ! grep -q " $esp vfat " /proc/mounts; then
    echo "efiSysMountPoint = '$esp' is not a mounted partition. Is the path configured correctly?" >&2
    exit 1
fi
# Also after a failure. This is no flush of the disk's own cache: FAT sends none.
trap 'sync -f "$esp"' EXIT

machine=
[ ! -e /etc/machine-id ] || read -r machine < /etc/machine-id || true

# bootctl has the place of the loader it installs compiled in, and refuses one that is a link.
mkdir -p /usr/lib/systemd/boot/efi
cp "$tools/lib/systemd/boot/efi/systemd-bootx64.efi" /usr/lib/systemd/boot/efi/systemd-bootx64.efi
variables=
[ -n "$canTouchEfiVariables" ] || variables=--no-variables
if [ "${NIXOS_INSTALL_BOOTLOADER:-}" = 1 ]; then
    # bootctl refuses to write one that is there.
    rm -f "$esp/loader/loader.conf"
    bootctl "--esp-path=$esp" $variables install
else
    bootctl "--esp-path=$esp" $variables update || [ "$?" = 1 ]
fi
mkdir -p "$esp/EFI/nixos" "$esp/loader/entries"

# A new name beside a file's place. Nothing removes it when writing fails.
beside() { echo "$1$(od -An -N4 -tx4 /dev/urandom | tr -d ' ').tmp"; }
sum() { sha256sum | cut -d ' ' -f 1; }
# Sets `path` to the place of a store file on the ESP.
place() {
    real=$(readlink -f "$1")
    inside=${real#/nix/store/}
    base=${inside%%/*}
    name=${inside##*/}
    [ "$base" = "$name" ] || name=$base-$name
    path=EFI/nixos/$name.efi
}
copy() {
    [ ! -e "$esp/$2" ] || return 0
    tmp=$(beside "$esp/$2")
    cat "$1" > "$tmp"
    sync "$tmp"
    mv -f "$tmp" "$esp/$2"
}
# $1 initrd, $2 its place, $3 what appends the secrets, $4 whether this is what will be booted, $5 generation.
copy_with_secrets() {
    tmp=$(beside "$esp/$2")
    cat "$1" > "$tmp"
    if "$3" "$tmp"; then
        sync "$tmp"
        mv -f "$tmp" "$esp/$2"
        return
    fi
    rm -f "$tmp"
    if [ -n "$4" ]; then
        echo "failed to create initrd secrets!" >&2
        exit 1
    fi
    copy "$1" "$2"
    echo "warning: failed to update initrd secrets for an older generation ($5)." >&2
}
# The value of a key of a bootspec's first document, which is laid out as jq does it, with sorted keys.
bootspec() { sed -n "/^  }/q;s/^    \"$2\": \"\\(.*\\)\",\\{0,1\\}\$/\\1/p" "$1"; }
parameters() { sed -n '/^    "kernelParams": \[/,/^    \]/s/^      "\(.*\)",\{0,1\}$/\1/p' "$1" | tr '\n' ' '; }

# For one bootable system: $1 generation, $2 name of the specialisation or nothing, $3 toplevel as the profile has it.
# Does $act for each of its files: `keep` notes it, `write` writes it.
known=$tab
chosen=
boot_files() {
    json=$(readlink -f "$3/boot.json")
    label=$(bootspec "$json" label)
    top=$(bootspec "$json" toplevel)
    critical=
    [ "$top" != "$default" ] || critical=1
    place "$(bootspec "$json" kernel)"
    linux=$path
    kernel=$(bootspec "$json" kernel)
    initrd=$(bootspec "$json" initrd)
    secrets=$(bootspec "$json" initrdSecrets)
    place "$initrd"
    image=$path
    if [ -n "$secrets" ]; then
        place "$secrets"
        image=EFI/nixos/$(printf '%s\n%s' "$image" "$path" | sum)-initrd.efi
    fi
    title="NixOS${2:+ ($2)}"
    built=$(date -d "@$(stat -c %Z "$3/.")" +%F)
    options="init=$(bootspec "$json" init) $(parameters "$json")"
    text=$(
        echo "title $title"
        echo "version Generation $1 $label, built on $built"
        echo "linux /$linux"
        echo "initrd /$image"
        echo "options ${options% }"
        [ -z "$machine" ] || echo "machine-id $machine"
        echo "sort-key nixos"
    )
    hash=$(printf %s "$text" | sum)
    entry=
    for file in "$esp/loader/entries/nixos-$hash.conf" "$esp/loader/entries/nixos-$hash"+*.conf; do
        [ -f "$file" ] && [ "$(sum < "$file")" = "$hash" ] || continue
        entry=loader/entries/${file##*/}
        break
    done
    [ -n "$entry" ] || entry=loader/entries/nixos-$hash${bootCounting:++$bootCounting}.conf
    [ -z "$critical" ] || chosen=nixos-$hash.conf
    if [ "$act" = keep ]; then
        known=$known$linux$tab$image$tab$entry$tab
        return
    fi
    copy "$kernel" "$linux"
    if [ -n "$secrets" ]; then
        copy_with_secrets "$initrd" "$image" "$secrets" "$critical" "$1"
    else
        copy "$initrd" "$image"
    fi
    if [ ! -e "$esp/$entry" ]; then
        tmp=$(beside "$esp/$entry")
        printf %s "$text" > "$tmp"
        sync "$tmp"
        mv -f "$tmp" "$esp/$entry"
    fi
}
generations() {
    act=$1
    for number in $(ls /nix/var/nix/profiles | sed -n 's/^system-\([0-9]*\)-link$/\1/p' | sort -n); do
        link=/nix/var/nix/profiles/system-$number-link
        found=1
        if [ ! -f "$link/boot.json" ]; then
            [ "$act" = write ] || echo "warning: skipping generation $number: $(readlink -f "$link")/boot.json does not exist" >&2
            continue
        fi
        boot_files "$number" "" "$link"
        for child in "$link"/specialisation/*; do
            [ ! -e "$child/boot.json" ] || boot_files "$number" "${child##*/}" "$child"
        done
    done
}

found=
generations keep
if [ -z "$found" ]; then
    echo "error: no system generations found in /nix/var/nix/profiles, refusing to remove all boot loader entries" >&2
    exit 1
fi
forget() {
    case "$known" in *"$tab$1$tab"*) ;; *) rm "$esp/$1" ;; esac
}
for name in $(ls -A "$esp/EFI/nixos"); do
    [ ! -f "$esp/EFI/nixos/$name" ] || forget "EFI/nixos/$name"
done
for name in $(ls -A "$esp/loader/entries"); do
    case "$name" in
        nixos-?*.conf) [ ! -f "$esp/loader/entries/$name" ] || forget "loader/entries/$name" ;;
    esac
done
generations write

if [ -e "$esp/loader/loader.tmp" ] || [ -L "$esp/loader/loader.tmp" ]; then
    echo "FileExistsError: [Errno 17] File exists: '$esp/loader/loader.tmp'" >&2
    exit 1
fi
set -C
{
    echo "timeout 0"
    if [ -z "$chosen" ]; then
        echo "default nixos-*"
    elif [ -n "$bootCounting" ]; then
        echo "preferred $chosen"
        echo "default nixos-*"
    else
        echo "default $chosen"
    fi
    echo "editor 0"
    echo "console-mode keep"
} > "$esp/loader/loader.tmp"
set +C
sync "$esp/loader/loader.tmp"
mv -f "$esp/loader/loader.tmp" "$esp/loader/loader.conf"
# Each directory of which extra files are recorded is listed, then the record goes, from below.
records=$esp/EFI/nixos/.extra-files
if [ -d "$records" ]; then
    find "$records" -depth -type d | while read -r dir; do
        own=$esp${dir#"$records"}
        for file in "$dir"/*; do
            [ ! -f "$file" ] || rm -f "$own/${file##*/}" "$file"
        done
        if [ ! -d "$own" ]; then
            echo "FileNotFoundError: [Errno 2] No such file or directory: '$own'" >&2
            exit 1
        fi
        [ -n "$(ls -A "$own")" ] || rmdir "$own"
        rmdir "$dir"
    done || exit 1
fi
mkdir -p "$records"
