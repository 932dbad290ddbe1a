# The types of option values: the rules of states/names.rs, so that a value that landfall would refuse is refused before
# anything is built. Each description is the rule, as a person reads it; the module system puts option and value before it.
#
# modules/options.nix has the defaults, and the rules between options.
{ lib }:
let
  inherit (lib) types;

  # `pattern` is a POSIX extended regular expression for the whole text.
  matching =
    description: pattern:
    types.strMatching pattern
    // {
      inherit description;
    };

  # A type narrowed by a function, for rules that a regular expression cannot tell.
  narrowed =
    type: description: rule:
    lib.types.addCheck type rule
    // {
      inherit description;
    };

  plain = "[A-Za-z0-9._-]";

  # What the values of the replaced module become; types here judge that.
  old = import ./legacy_values.nix { inherit lib; };

  # Bytes of a size such as 8G, or null.
  sizeBytes =
    text:
    let
      parts = builtins.match "0*([0-9]{1,15})([KMGTPkmgtp])" text;
      number = lib.toIntBase10 (builtins.elemAt parts 0);
      kib = {
        K = 1;
        M = 1024;
        G = 1024 * 1024;
        T = 1024 * 1024 * 1024;
        P = 1024 * 1024 * 1024 * 1024;
      };
      factor = kib.${lib.toUpper (builtins.elemAt parts 1)};
      # Past this many kibibytes a number of bytes leaves 63 bits.
      kibMax = 9007199254740991;
    in
    if parts == null || number > kibMax / factor then null else number * factor * 1024;

  isSafePath =
    text:
    builtins.stringLength text <= 1024
    && builtins.match "(/[!-.0-~]+)+" text != null
    && !(lib.any (part: part == "." || part == "..") (lib.splitString "/" text));

  isBelow = dir: path: path == dir || lib.hasPrefix (dir + "/") path;

  # Places of the target that others use, as in states/reserved_paths.rs.
  owned = [
    "/boot"
    "/nix/store"
    "/nix/var"
    "/proc"
    "/sys"
    "/dev"
    "/run"
    "/etc/static"
    "/bin"
    "/lib"
    "/lib64"
    "/sbin"
    "/usr/bin"
    "/etc/binfmt.d"
    "/etc/dbus-1"
    "/etc/fonts"
    "/etc/kernel"
    "/etc/modprobe.d"
    "/etc/modules-load.d"
    "/etc/pam.d"
    "/etc/pki"
    "/etc/polkit-1"
    "/etc/profiles"
    "/etc/security"
    "/etc/ssl"
    "/etc/sysctl.d"
    "/etc/systemd"
    "/etc/terminfo"
    "/etc/tmpfiles.d"
    "/etc/udev"
    "/etc/zoneinfo"
    "/var/empty"
    "/var/lock"
    "/var/run"
    "/lost+found"
    "/var/tmp/landfall"
    "/var/log/landfall"
  ];
  emptied = [
    "/tmp"
    "/var/tmp"
  ];
  directories = [
    "/"
    "/efi"
    "/etc"
    "/etc/default"
    "/etc/lvm"
    "/etc/nix"
    "/etc/ssh"
    "/etc/X11"
    "/etc/xdg"
    "/home"
    "/media"
    "/mnt"
    "/nix"
    "/opt"
    "/root"
    "/srv"
    "/usr"
    "/usr/lib"
    "/usr/local"
    "/usr/share"
    "/var"
    "/var/cache"
    "/var/db"
    "/var/db/sudo"
    "/var/lib"
    "/var/lib/nixos"
    "/var/lib/private"
    "/var/lib/systemd"
    "/var/log"
    "/var/log/journal"
    "/var/mail"
    "/var/spool"
    "/var/spool/cron"
  ];
  files = [
    "/bin/sh"
    "/etc/.clean"
    "/etc/.pwd.lock"
    "/etc/.updated"
    "/etc/NIXOS"
    "/etc/adjtime"
    "/etc/bash_logout"
    "/etc/bashrc"
    "/etc/crypttab"
    "/etc/dhcpcd.conf"
    "/etc/environment"
    "/etc/fstab"
    "/etc/fuse.conf"
    "/etc/group"
    "/etc/gshadow"
    "/etc/host.conf"
    "/etc/hostname"
    "/etc/hosts"
    "/etc/inputrc"
    "/etc/issue"
    "/etc/ld-nix.so.preload"
    "/etc/locale.conf"
    "/etc/localtime"
    "/etc/login.defs"
    "/etc/lsb-release"
    "/etc/machine-id"
    "/etc/man_db.conf"
    "/etc/mke2fs.conf"
    "/etc/mtab"
    "/etc/nanorc"
    "/etc/netgroup"
    "/etc/nix/nix.conf"
    "/etc/nix/registry.json"
    "/etc/nscd.conf"
    "/etc/nsswitch.conf"
    "/etc/os-release"
    "/etc/passwd"
    "/etc/profile"
    "/etc/protocols"
    "/etc/resolv.conf"
    "/etc/resolvconf.conf"
    "/etc/rpc"
    "/etc/services"
    "/etc/set-environment"
    "/etc/shadow"
    "/etc/shells"
    "/etc/ssh/moduli"
    "/etc/ssh/ssh_config"
    "/etc/ssh/ssh_known_hosts"
    "/etc/ssh/sshd_config"
    "/etc/subgid"
    "/etc/subuid"
    "/etc/sudoers"
    "/etc/vconsole.conf"
    "/etc/zprofile"
    "/etc/zshenv"
    "/etc/zshrc"
    "/usr/bin/env"
    "/var/lib/nixos/auto-subuid-map"
    "/var/lib/nixos/declarative-groups"
    "/var/lib/nixos/declarative-users"
    "/var/lib/nixos/gid-map"
    "/var/lib/nixos/uid-map"
  ];
  ofSsh = [
    "authorized_keys"
    "config"
    "environment"
    "known_hosts"
    "rc"
  ];
  isTaken = path: lib.any (place: isBelow place path) (owned ++ files);
  # Where a directory of the host's would be hidden, or is made anyway: nothing has to be made there.
  isMadeAnyway =
    path:
    lib.elem path owned
    || lib.any (place: isBelow place path) [
      "/boot"
      "/proc"
      "/sys"
      "/dev"
      "/run"
    ];
  # What a shell would have made something else of.
  isLiteral = text: builtins.match "[^][$`'\"*?{}~;&|<>()!\\]*" text != null;
  # What is below an account's home, where homes usually are; null elsewhere.
  belowHome =
    path:
    let
      found = builtins.match "(/root|/home/[^/]+)(/.*)?" path;
    in
    if found == null then
      null
    else if lib.last found == null then
      ""
    else
      lib.last found;
  isSsh = path: belowHome path != null && isBelow "/.ssh" (belowHome path);
  # For what has its place for itself: a file, or the clone.
  isTakenForOne =
    path:
    isTaken path
    || lib.elem path directories
    || belowHome path == ""
    || lib.any (place: isBelow place path) emptied
    || lib.any (place: isBelow path place) (owned ++ files);

  # Settings of a store in the URL of a cache, as in src/config/url.rs.
  storeSettings = [
    "addressing-style"
    "base64-ssh-public-host-key"
    "buffer-size"
    "compress"
    "compression"
    "compression-level"
    "endpoint"
    "index-debug-info"
    "local-nar-cache"
    "log-compression"
    "ls-compression"
    "max-connection-age"
    "max-connections"
    "multipart-upload"
    "narinfo-compression"
    "parallel-compression"
    "path-info-cache-size"
    "priority"
    "profile"
    "read-only"
    "real"
    "region"
    "remote-program"
    "remote-store"
    "root"
    "scheme"
    "ssh-key"
    "state"
    "store"
    "system-features"
    "trusted"
    "want-mass-query"
  ];

  # A text that becomes the name of a link in /dev/disk/by-label.
  label =
    written: pattern: text:
    let
      name = written text;
    in
    builtins.match pattern name != null
    && name != "."
    && name != ".."
    # The one of the medium that landfall takes keys from.
    && lib.toUpper name != "LF-KEYS";
in
rec {
  inherit sizeBytes;

  hostName = matching "host name (1 to 63 characters of A-Z a-z 0-9 . _ -, beginning with a letter, a digit or _)" "[A-Za-z0-9_][A-Za-z0-9._-]{0,62}";

  # mkfs.vfat refuses the dot.
  espLabel =
    narrowed types.str
      "ESP label (1 to 11 characters of A-Z 0-9 _ -; lower case is written as upper case; no dot, which mkfs.vfat refuses)"
      isEspLabel;
  rootLabel =
    narrowed types.str
      "root label (characters of A-Z a-z 0-9 . _ -, without spaces; 16 of them are kept, for which ext4 has room; not . or ..)"
      isRootLabel;

  # Whether landfall can use these. The first two are always used; the others where LUKS or swap is on.
  isEspLabel = label old.espLabel "[A-Z0-9_-]{1,11}";
  isRootLabel = label old.rootLabel "${plain}{1,16}";
  isLuksLabel = label old.luksLabel "${plain}{1,36}";
  isSwapLabel = label old.swapLabel "${plain}{1,15}";
  isMapperName =
    text:
    builtins.match "${plain}{1,64}" text != null && text != "control" && !(lib.hasPrefix "." text);

  size =
    narrowed types.str
      "size (a whole number and one of K M G T P, such as 512M or 8G, in all a whole number of mebibytes (1536M, not 1.5G))"
      (
        text:
        let
          bytes = sizeBytes text;
        in
        bytes != null && bytes > 0 && lib.mod bytes (1024 * 1024) == 0
      );
  espSize = narrowed size "size (as 512M or 8G) of at least 260M, which FAT32 needs" (
    text: sizeBytes text >= 260 * 1024 * 1024
  );

  clonePath =
    narrowed types.str
      "clone path (below /mnt, not in /mnt/boot or /mnt/nix nor where NixOS puts files; without characters that mean something to a shell)"
      (
        text:
        let
          path = old.clonePath text;
        in
        isLiteral text
        && isSafePath path
        && lib.hasPrefix "/mnt/" path
        && !(isBelow "/mnt/nix" path)
        && !(isTakenForOne (lib.removePrefix "/mnt" path))
        && !(isSsh (lib.removePrefix "/mnt" path))
      );

  targetDir =
    narrowed types.str
      "directory of the target (below its root, not in /nix/store /nix/var nor where NixOS puts files; one for each entry, without characters that mean something to a shell)"
      (
        text:
        let
          path = old.targetDir text;
        in
        isLiteral text && (path == null || isMadeAnyway path || (isSafePath path && !(isTaken path)))
      );
  # What is left to make of such an entry.
  isMade = path: path != null && !(isMadeAnyway path);

  targetFile =
    narrowed types.str
      "file of the target (an absolute path without . or .. or empty parts, not in /boot /nix/store /nix/var /proc /sys /dev /run nor where NixOS puts files)"
      (
        text:
        isSafePath text
        && !(isTakenForOne text)
        && !(
          isSsh text
          && lib.elem (lib.removePrefix "/.ssh" (belowHome text)) ([ "" ] ++ map (name: "/${name}") ofSsh)
        )
      );

  # What git takes for a remote; a password in it would stand in logs and in the store.
  remote =
    narrowed types.str
      "remote without a password (https://…, http://…, ssh://…, git+ssh://…, git://…, file:///…, user@host:path or an absolute path)"
      (
        text:
        builtins.stringLength text <= 512
        && builtins.match "[!-~]+" text != null
        && (
          builtins.match "(https|http|ssh|git[+]ssh|git)://[^/].*|file:///.+|/.+" (old.remote text) != null
          || builtins.match "[^-/:][^/:]*:[^/].*" text != null
          || builtins.match "[^-:][^:]*@[^:]*:.+" text != null
        )
        && builtins.match "[a-z+]+://[^/@]*:[^/@]*@.*" text == null
        # A helper of Git's: TRANSPORT::ADDRESS.
        && builtins.match "[A-Za-z0-9]+::.*" text == null
      );

  branch =
    narrowed types.str
      "branch (a Git reference of A-Z a-z 0-9 . _ / -, not beginning with -, without .., and no part of it begins with . or ends with . or .lock)"
      (
        text:
        builtins.match "[A-Za-z0-9_]([A-Za-z0-9._/-]{0,198}[A-Za-z0-9_-])?" text != null
        && !(lib.hasInfix ".." text)
        && lib.all (part: part != "" && builtins.match "[.].*|.*[.]|.*[.]lock" part == null) (
          lib.splitString "/" text
        )
      );
  revision = matching "revision (40 or 64 lower-case hexadecimal digits)" "[0-9a-f]{40}([0-9a-f]{24})?";

  # The empty text is taken for none.
  userName = matching "user name (1 to 31 characters of A-Z a-z 0-9 . _ -, beginning with a letter, a digit or _)" "([A-Za-z0-9_][A-Za-z0-9._-]{0,30})?";

  # As `landfall disks` prints them. Kernel names change from boot to boot.
  diskName =
    narrowed types.str
      "disk name (serial number, WWN, bus address, or name of a link in /dev/disk/by-id or /dev/disk/by-path without the path; kernel names such as sda change from boot to boot)"
      (
        text:
        builtins.match "[!-.0-~]([ -.0-~]{0,254}[!-.0-~])?" text != null
        && builtins.match "(sd|vd|hd|xvd)[a-z]{1,3}" text == null
        && builtins.match "(nvme|mmcblk)[0-9][0-9n]*" text == null
      );

  # A login or a token in it would stand in the store, in logs and on command lines; as in src/config/url.rs.
  cache = narrowed types.str "binary cache (a URL such as https://cache.example)" (
    text:
    let
      split = lib.splitString "?" text;
      settings = lib.concatMap (lib.splitString "&") (lib.tail split);
    in
    lib.length split <= 2
    &&
      builtins.match "((https?|s3|file)://[^@#[:space:]]*|ssh(-ng)?://([A-Za-z0-9._~-]+@)?[^@#[:space:]]+)" text
      != null
    && lib.all (setting: lib.elem (lib.head (lib.splitString "=" setting)) storeSettings) settings
  );
  publicKey = matching "public key of a cache (NAME:KEY, where KEY is 32 bytes in base 64: 43 characters and a =)" "[^:[:space:]]+:[A-Za-z0-9+/]{43}=";
  sshPublicKey = matching "ssh public key (one line: type, base 64, comment)" "(ssh|ecdsa|sk)-[^[:space:]]+ [A-Za-z0-9+/=]+( [^\n]*)?";

  # Which terminal the kernel calls by this name.
  serialConsole = matching "serial console of the kernel (name and optional settings, such as ttyS0 or ttyS0,115200n8)" "tty[A-Z]+[0-9]+(,[0-9]+[noe]?[78]?r?)?";

  # Whatever is named here is a secret: the store can be read by everybody, and is pushed to caches.
  secretFile = types.externalPath // {
    description = "absolute path not in the Nix store (which every user can read: put the secret on a medium with the label LF-KEYS, or hand it over as a credential of the machine)";
  };

  # Where a credential comes from.
  credential = types.either (types.enum [
    "system"
    "medium"
  ]) secretFile;

  between =
    lowest: highest:
    narrowed types.int "whole number from ${toString lowest} to ${toString highest}" (
      value: lowest <= value && value <= highest
    );
}
