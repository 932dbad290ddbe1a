# The program that the boot loader's installer starts for initrds with secrets.
mkdir -p "$out/bin" "$out/programs"
for name in sh mktemp rm mkdir cp find touch sort cpio gzip; do
    ln -s "$busybox/bin/busybox" "$out/programs/$name"
done
{
    echo "#!$busybox/bin/busybox sh"
    echo "programs='$out/programs'"
    echo "initrdSecret='$initrdSecret'"
    cat "$append"
} > "$out/bin/append-initrd-secrets"
chmod 0555 "$out/bin/append-initrd-secrets"
