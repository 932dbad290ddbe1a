# Debian's kernel under the name that NixOS gives it.
mkdir -p "$out"
cp "$debian/kernel/vmlinuz" "$out/bzImage"
