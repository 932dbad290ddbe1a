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

# cryptsetup at the place it knows itself by, with the libraries that its loader lists and no others.
loader=$tools/lib/ld-linux-x86-64.so.2
mkdir -p "luks$tools/bin" "luks$tools/lib" luks/bin
cp "$tools/bin/cryptsetup" "luks$tools/bin/"
ln -s "$tools/bin/cryptsetup" luks/bin/cryptsetup
cp "$loader" "luks$tools/lib/"
for library in $("$loader" --list "$tools/bin/cryptsetup" | sed -n 's/.* => \([^ ]*\) .*/\1/p'); do
    case "$library" in "$loader") ;; *) cp "$library" "luks$tools/lib/" ;; esac
done
sed '1,/^# luks/d' "$debian/modules/order" | modules luks luks.order
pack luks luks.cpio.gz
