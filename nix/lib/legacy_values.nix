# What becomes of the values that the replaced module took. Its options were any text, put into a shell script: each function here
# takes such a text and gives what landfall writes for it, so that a host's block evaluates as it stands. What could never have
# worked is left as it is, for the type or the assertion of its option to refuse; so is what a shell would have read as more than
# a text.
#
# Absent: refusals (types.nix, modules/options.nix).
{ lib }:
let
  characters = lib.stringToCharacters;
  isPlain = character: builtins.match "[A-Za-z0-9._-]" character != null;
  # A byte of a letter outside ASCII.
  isForeign =
    character:
    builtins.match "[ -~]" character == null && builtins.match "[[:cntrl:]]" character == null;

  # The shell left blanks behind a word out, and made two of what has some inside.
  word =
    text:
    let
      found = builtins.match "([^ \t]*)[ \t]*" text;
    in
    if found == null then text else lib.head found;

  # A label: what udev would have found under that name, and landfall's rule does not have, becomes a hyphen.
  label =
    max: text:
    let
      replaced = lib.concatMapStrings (
        character:
        if
          lib.elem character [
            "#"
            "+"
            "="
            "@"
          ]
          || isForeign character
        then
          "-"
        else
          character
      ) (characters (word text));
    in
    # What would be refused is not cut: the refusal shows all of it.
    if lib.all isPlain (characters replaced) then lib.substring 0 max replaced else text;

  # The parts of a path without empty ones and `.`, and with `..` carried out; null where it leads out.
  partsOf =
    text:
    lib.foldl' (
      found: part:
      if found == null || part == "" || part == "." then
        found
      else if part != ".." then
        found ++ [ part ]
      else if found == [ ] then
        null
      else
        lib.init found
    ) [ ] (lib.splitString "/" text);
  joined = parts: "/" + lib.concatStringsSep "/" parts;
in
rec {
  # What an option was set to, before it became what is written.
  said = option: if option.definitions == [ ] then option.value else lib.head option.definitions;

  # Upper case only, which is what FAT keeps.
  espLabel = text: lib.toUpper (label 36 text);
  # mkfs.ext4 and mkswap cut what is longer, too.
  rootLabel = label 16;
  swapLabel = label 15;
  luksLabel = label 1024;

  # The name is used while installing, and nowhere on the disk: one that device-mapper takes and landfall does not is replaced.
  mapperName = isOurs: text: if isOurs text then text else "cryptroot";
  isMapperName =
    text:
    builtins.match "[]A-Za-z0-9#+.:=@_-]{1,127}" text != null
    && !(lib.elem text [
      "."
      ".."
      "control"
    ]);

  # As sgdisk reads a size: a number; then a unit, of which the first letter counts; without a unit, sectors. Whole mebibytes are
  # written, and sectors are taken to be of 512 bytes. Null where sgdisk would read another thing, or nothing.
  swapBytes =
    text:
    let
      parts = builtins.match "0*([0-9]{1,15})(([KMGTPEkmgtpe])[A-Za-z]*|[A-DFH-JLNOQ-SU-Za-dfh-jlnoq-su-z][A-Za-z]*|)" (
        word text
      );
      number = lib.toIntBase10 (lib.head parts);
      unit = builtins.elemAt parts 2;
      # In units of 512 bytes.
      factor =
        if unit == null then
          1
        else
          {
            K = 2;
            M = 2048;
            G = 2048 * 1024;
            T = 2048 * 1024 * 1024;
            P = 2048 * 1024 * 1024 * 1024;
            E = 2048 * 1024 * 1024 * 1024 * 1024;
          }
          .${lib.toUpper unit};
      # Past this many a number of bytes would leave 62 bits.
      sectorsMax = 9007199254740991;
    in
    if parts == null || number == 0 || number > sectorsMax / factor then
      null
    else
      number * factor * 512;
  swapSize =
    text:
    let
      bytes = swapBytes text;
      mib = (bytes + 1048575) / 1048576;
      whole = size: unit: if lib.mod mib size == 0 then "${toString (mib / size)}${unit}" else null;
    in
    if bytes == null then
      text
    else if
      lib.elem (lib.toUpper text) [
        "${toString mib}M"
        (whole 1024 "G")
        (whole (1024 * 1024) "T")
        (whole (1024 * 1024 * 1024) "P")
      ]
    then
      lib.toUpper text
    else if bytes == mib * 1048576 && whole 1024 "G" != null then
      whole 1024 "G"
    else
      "${toString mib}M";

  # A directory below the mounted root, named as the target sees it, or as the installer does, or without a slash before it. Null
  # where there is nothing to make.
  targetDir =
    text:
    let
      parts = partsOf (word text);
      isBelowMnt = lib.hasPrefix "/mnt/" (word text) || word text == "/mnt";
      named = if isBelowMnt then lib.drop 1 parts else parts;
    in
    if parts == null then
      text
    else if named == [ ] then
      null
    else
      joined named;

  # A path that is not below /mnt is one of the target.
  clonePath =
    text:
    let
      parts = partsOf (word text);
    in
    if parts == null || parts == [ ] then
      text
    else if lib.head parts == "mnt" then
      joined parts
    else
      joined ([ "mnt" ] ++ parts);

  # Forms that Git takes for ssh, in the one that says so.
  remote =
    text:
    let
      schemed = builtins.match "ssh[+]git://(.+)" text;
      absolute = builtins.match "([A-Za-z0-9._-]+):(/[^/].*)" text;
    in
    if schemed != null then
      "ssh://${lib.head schemed}"
    else if absolute != null then
      "ssh://${lib.concatStrings absolute}"
    else
      text;

  # The commands were the lines of one script, which ended where one of them failed: a later one sees what an earlier one set, and
  # may end what it began.
  script =
    commands:
    let
      written = lib.filter (text: builtins.match "[[:space:]]*" text == null) commands;
    in
    lib.optional (written != [ ]) (
      lib.concatStringsSep "\n" ([ "set -e -o pipefail" ] ++ map (lib.removeSuffix "\n") written)
    );
}
