# This system's initrd: the ready parts and, as a third archive behind them, its own settings and /init.
mkdir -p "$out" own
cp "$init" own/init
cp "$settings" own/settings
chmod 0755 own/init
if [ -n "$plain" ]; then
    # The kernel looks for an archive that is not packed at multiples of four bytes: it comes first.
    (cd own && find . | sort | cpio -o -H newc -R 0:0 2>/dev/null) > own.cpio
    cat own.cpio "$stage1/base.cpio.gz" ${luks:+"$stage1/luks.cpio.gz"} > "$out/initrd"
else
    (cd own && find . | sort | cpio -o -H newc -R 0:0 2>/dev/null | gzip) > own.cpio.gz
    cat "$stage1/base.cpio.gz" ${luks:+"$stage1/luks.cpio.gz"} own.cpio.gz > "$out/initrd"
fi
