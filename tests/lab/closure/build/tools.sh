# Debian's programs, made to live in this store path.
mkdir -p "$out/bin" "$out/lib"
cp "$debian"/tools/bin/* "$out/bin/"
cp "$debian"/tools/lib/* "$out/lib/"
chmod -R u+w "$out"
patchelf() {
    "$debian/patchelf/ld-linux-x86-64.so.2" --library-path "$debian/patchelf" "$debian/patchelf/patchelf" "$@"
}
for program in "$out"/bin/*; do
    patchelf --set-interpreter "$out/lib/ld-linux-x86-64.so.2" --force-rpath --set-rpath "$out/lib" "$program"
done
for library in "$out"/lib/*; do
    case "$library" in
        */ld-linux-x86-64.so.2 | */libc.so.6) ;; # the loader itself, and what it is one with
        *) patchelf --force-rpath --set-rpath "$out/lib" "$library" ;;
    esac
done
# Where every systemd of nixpkgs has it.
mkdir -p "$out/lib/systemd/boot/efi"
cp "$debian/boot/systemd-bootx64.efi" "$out/lib/systemd/boot/efi/"
chmod -R a-w,a+rX "$out"
