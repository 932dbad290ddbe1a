# Appends this configuration's secrets to an initrd: an archive of its own behind the others, made of the files as they are
# in the target now. $1 is the initrd. A secret that is not there ends it.
export PATH="$programs"
set -e
[ "$#" = 1 ] || {
    echo "USAGE: $0 INITRD_FILE" >&2
    exit 1
}
scratch=$(mktemp -d "${TMPDIR:-/tmp}/initrd-secrets.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/.initrd-secrets"
cp -a "$initrdSecret" "$scratch/.initrd-secrets/secret"
(cd "$scratch" && find . -mindepth 1 -exec touch -h -d 1970-01-01 {} \; && find . -mindepth 1 | sort | cpio -o -H newc -R 0:0 2> /dev/null | gzip) >> "$1"
