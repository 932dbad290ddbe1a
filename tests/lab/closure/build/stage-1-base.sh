# The parts of stage 1 that no configuration changes: `base.cpio.gz` with busybox and the modules every layout needs,
# `luks.cpio.gz` with cryptsetup and its modules.
pack() { (cd "$1" && find . | sort | cpio -o -H newc -R 0:0 2>/dev/null | gzip -9) > "$out/$2"; }
# Modules are loaded in the order in which modules.order names them; those after `# luks` are for LUKS alone.
modules() {
    mkdir -p "$1/lib/modules"
    while read -r module; do
        xzcat "$debian/modules/$module.ko.xz" > "$1/lib/modules/$module.ko"
        echo "$module" >> "$1/lib/modules/$2"
    done
}

mkdir -p "$out" base luks
mkdir -p base/bin base/dev base/proc base/sys base/run base/target
cp "$busybox/bin/busybox" base/bin/
for applet in $(busybox --list); do
    [ -e "base/bin/$applet" ] || ln -s busybox "base/bin/$applet"
done
sed '/^# luks/,$d' "$debian/modules/order" | modules base base.order
pack base base.cpio.gz

mkdir -p "luks$tools/bin" luks/bin
cp -r "$tools/lib" "luks$tools/lib"
cp "$tools/bin/cryptsetup" "luks$tools/bin/"
ln -s "$tools/bin/cryptsetup" luks/bin/cryptsetup
# Nothing that cryptsetup loads.
chmod -R u+w luks
rm -f "luks$tools"/lib/libsystemd-shared-*
sed '1,/^# luks/d' "$debian/modules/order" | modules luks luks.order
pack luks luks.cpio.gz
