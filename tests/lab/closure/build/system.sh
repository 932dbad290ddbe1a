# Puts the system together. Scripts name their interpreter and their settings by store path.
script() {
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
echo -n "$version" > "$out/nixos-version"
echo -n "x86_64-linux" > "$out/system"
echo -n "systemd 257" > "$out/init-interface-version"

# One process for all applets: three hundred would take longer than everything else in an emulated machine.
"$busybox/bin/busybox" --install -s "$out/sw/bin"
ln -sf "$tools"/bin/* "$out/sw/bin/"

script "$init" "$out/init"
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

cat > "$out/boot.json" <<END
{"org.nixos.bootspec.v1":{"init":"$out/init","initrd":"$initrd/initrd","kernel":"$kernel/bzImage","kernelParams":["console=ttyS0,115200","loglevel=4","nohz=off","highres=off"],"label":"NixOS $version","system":"x86_64-linux","toplevel":"$out"},"org.nixos.specialisation.v1":{}}
END

# Store paths that nothing but the closure needs.
mkdir -p "$out/extra"
for path in $(cat "$fillerPath"); do
    ln -s "$path" "$out/extra/${path##*/}"
done
