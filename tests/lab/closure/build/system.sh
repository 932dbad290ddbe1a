# Puts the system together. Scripts name their interpreter and their settings by store path; a program that names its own is
# NixOS's, and has three words replaced.
script() {
    case "$(head -c 2 "$1" | tr -d '\0')" in
        '#!')
            sed "s|@out@|$out|g;s|@tools@|$tools|g;s|@busybox@|$busybox|g" "$1" > "$2"
            chmod 0555 "$2"
            return
            ;;
        ?E)
            cp "$1" "$2"
            chmod 0555 "$2"
            return
            ;;
    esac
    {
        echo "#!$busybox/bin/busybox sh"
        echo "system='$out'"
        echo "tools='$tools'"
        echo "busybox='$busybox'"
        echo "kernelVersion='$kernelVersion'"
        cat "$settings"
        cat "$1"
    } > "$2"
    chmod 0555 "$2"
}

mkdir -p "$out/bin" "$out/sw/bin" "$out/etc"
ln -s "$kernel/bzImage" "$out/kernel"
ln -s "$initrd/initrd" "$out/initrd"
ln -s "$tools" "$out/systemd"
echo -n "console=ttyS0,115200 loglevel=4 nohz=off highres=off" > "$out/kernel-params"
[ -z "$rootDevice" ] || {
    echo -n " net.ifnames=0 mitigations=off audit=0 apparmor=0 systemd.show_status=no" >> "$out/kernel-params"
    cp "$fstab" "$out/etc/fstab"
}
echo -n "$version" > "$out/nixos-version"
echo -n "x86_64-linux" > "$out/system"
echo -n "systemd 257" > "$out/init-interface-version"

# One process for all applets: three hundred would take longer than everything else in an emulated machine.
"$busybox/bin/busybox" --install -s "$out/sw/bin"
ln -sf "$tools"/bin/* "$out/sw/bin/"

sed "/^@marker@\$/{
r $marker
d
}" "$init" > stage-2.sh
script stage-2.sh "$out/init"
script "$activate" "$out/activate"
script "$switchToConfiguration" "$out/bin/switch-to-configuration"
script "$installBootLoader" "$out/bin/install-boot-loader"

cat > "$out/etc/os-release" <<END
ID=nixos
NAME=NixOS
PRETTY_NAME="NixOS $version (the laboratory's)"
VERSION_ID="$version"
END
echo "$host" > "$out/etc/hostname"
sed -n "s/^revision='\(.*\)'/\1/p" "$settings" > "$out/etc/configuration-revision"

# Specialisations: whole systems of their own, which this one's bootspec holds too.
mkdir "$out/specialisation"
echo "$specialisations" | while read -r child path; do
    [ -z "$child" ] || ln -s "$path" "$out/specialisation/$child"
done
[ -z "$secretAppender" ] || ln -s "$secretAppender/bin/append-initrd-secrets" "$out/append-initrd-secrets"

# The bootspec (RFC 125, version 1), laid out as jq does it with sorted keys.
{
    echo "{"
    echo "  \"org.nixos.bootspec.v1\": {"
    echo "    \"init\": \"$out/init\","
    echo "    \"initrd\": \"$initrd/initrd\","
    [ -z "$secretAppender" ] || echo "    \"initrdSecrets\": \"$secretAppender/bin/append-initrd-secrets\","
    echo "    \"kernel\": \"$kernel/bzImage\","
    echo "    \"kernelParams\": ["
    sed 's/ *$//;s/ /\n/g;s/$/\n/' "$out/kernel-params" | sed '/^$/d;s/.*/      "&",/' | sed '$s/,$//'
    echo "    ],"
    echo "    \"label\": \"NixOS $version (Linux $kernelVersion)\","
    echo "    \"system\": \"x86_64-linux\","
    echo "    \"toplevel\": \"$out\""
    echo "  },"
    comma=
    echo "  \"org.nixos.specialisation.v1\": {"
    echo "$specialisations" | while read -r child path; do
        [ -n "$child" ] || continue
        [ -z "$comma" ] || echo "    ,"
        comma=1
        echo "    \"$child\":"
        sed 's/^/    /' "$path/boot.json"
    done
    echo "  },"
    echo "  \"org.nixos.systemd-boot\": {"
    echo "    \"sortKey\": \"nixos\""
    echo "  }"
    echo "}"
} > "$out/boot.json"

# Store paths that nothing but the closure needs.
mkdir -p "$out/extra"
for path in $(cat "$fillerPath"); do
    ln -s "$path" "$out/extra/${path##*/}"
done
