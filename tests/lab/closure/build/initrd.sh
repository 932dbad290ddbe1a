# This system's initrd: the ready parts and, as a third archive behind them, its own settings and /init.
mkdir -p "$out" own
cp "$init" own/init
cp "$settings" own/settings
chmod 0755 own/init
pack=gzip
[ -z "$plain" ] || pack=cat
(cd own && find . | sort | cpio -o -H newc -R 0:0 2>/dev/null | $pack) > own.cpio
cat "$stage1/base.cpio.gz" ${luks:+"$stage1/luks.cpio.gz"} own.cpio > "$out/initrd"
