//! Detects what a file is, by its first bytes.
//!
//! Every kind of file that firmware cannot boot from a stick has its own message, with the command that makes an image from it. The
//! file name decides nothing.
//!
//! `source` reads and unpacks.

/// Bytes from the start that decide: a tar archive says it behind byte 256.
pub const HEAD_BYTES: usize = 512;

/// How an image is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// zstd.
    Zstd,
    /// xz.
    Xz,
    /// gzip.
    Gzip,
}

impl Packing {
    /// Its name, and the ending of its files.
    pub fn name(self) -> Option<(&'static str, &'static str)> {
        match self {
            Packing::Plain => None,
            Packing::Zstd => Some(("zstd", ".zst")),
            Packing::Xz => Some(("xz", ".xz")),
            Packing::Gzip => Some(("gzip", ".gz")),
        }
    }

    /// The command that unpacks FILE, whatever memory it takes.
    pub fn unpack(self) -> &'static str {
        match self {
            Packing::Plain => "FILE",
            Packing::Zstd => "zstd -dc --long=31 FILE > NEW.img",
            Packing::Xz => "xz -dc FILE > NEW.img",
            Packing::Gzip => "gunzip -c FILE > NEW.img",
        }
    }
}

/// What no stick boots from: what it is, and what to do with FILE.
pub type Other = (&'static str, &'static str);

/// Where which bytes are, and what has them.
const OTHERS: [(usize, &[u8], Other); 19] = [
    (
        0,
        b"BZh",
        (
            "it is packed with bzip2",
            "unpack it first: bunzip2 -c FILE > NEW.img",
        ),
    ),
    (
        0,
        b"PK\x03\x04",
        ("it is a zip archive", "unpack it first: unzip FILE"),
    ),
    (
        0,
        b"PK\x05\x06",
        ("it is an empty zip archive", "download it again"),
    ),
    (
        0,
        b"7z\xBC\xAF\x27\x1C",
        ("it is a 7z archive", "unpack it first: 7z x FILE"),
    ),
    (
        0,
        b"Rar!\x1A\x07",
        ("it is a rar archive", "unpack it first: unrar x FILE"),
    ),
    (
        0,
        b"LZIP",
        (
            "it is packed with lzip",
            "unpack it first: lzip -dc FILE > NEW.img",
        ),
    ),
    (
        0,
        b"\x04\x22\x4D\x18",
        ("it is packed with lz4", "unpack it first: lz4 -d FILE NEW.img"),
    ),
    (
        0,
        b"\x5D\x00\x00",
        (
            "it is packed with lzma",
            "unpack it first: xz -dc --format=lzma FILE > NEW.img",
        ),
    ),
    (
        0,
        b"\x1F\x9D",
        (
            "it is packed with compress",
            "unpack it first: gunzip -c FILE > NEW.img",
        ),
    ),
    (
        0,
        b"\x89LZO\0",
        (
            "it is packed with lzop",
            "unpack it first: lzop -dc FILE > NEW.img",
        ),
    ),
    (
        257,
        b"ustar",
        ("it is a tar archive", "unpack it first: tar -xf FILE"),
    ),
    (
        0,
        b"QFI\xFB",
        (
            "it is a qcow2 image",
            "convert it first: qemu-img convert -O raw FILE NEW.img",
        ),
    ),
    (
        0,
        b"KDMV",
        (
            "it is a VMDK image",
            "convert it first: qemu-img convert -O raw FILE NEW.img",
        ),
    ),
    (
        0,
        b"vhdxfile",
        (
            "it is a VHDX image",
            "convert it first: qemu-img convert -O raw FILE NEW.img",
        ),
    ),
    (
        0,
        b"conectix",
        (
            "it is a VHD image",
            "convert it first: qemu-img convert -O raw FILE NEW.img",
        ),
    ),
    (
        64,
        b"\x7F\x10\xDA\xBE",
        (
            "it is a VDI image",
            "convert it first: qemu-img convert -O raw FILE NEW.img",
        ),
    ),
    (
        0,
        b"hsqs",
        (
            "it is a squashfs filesystem, which does not boot by itself",
            "flash the installer's ISO",
        ),
    ),
    (
        0,
        b"\x7FELF",
        ("it is a program (ELF)", "flash the installer's ISO"),
    ),
    (
        0,
        b"LANDFALL-IMAGE",
        (
            "it is an image of a root filesystem, which does not boot by itself",
            "flash the installer's ISO; landfall image write FILE DEVICE writes this one to a partition",
        ),
    ),
];

/// What the first bytes of a file say.
///
/// # Errors
/// They are those of something that is no image.
pub fn sniffed(head: &[u8]) -> Result<Packing, Other> {
    if head.starts_with(b"\x28\xB5\x2F\xFD") || is_skippable(head) {
        return Ok(Packing::Zstd);
    }
    if head.starts_with(b"\xFD7zXZ\0") {
        return Ok(Packing::Xz);
    }
    if head.starts_with(b"\x1F\x8B\x08") {
        return Ok(Packing::Gzip);
    }
    let has = |at: usize, magic: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(magic));
    match OTHERS.iter().find(|(at, magic, _)| has(*at, magic)) {
        Some((_, _, other)) => Err(*other),
        None => text(head).map_or(Ok(Packing::Plain), Err),
    }
}

/// A frame that decoders of zstd pass over, with which parallel packers begin (RFC 8878, 3.1.2).
fn is_skippable(head: &[u8]) -> bool {
    matches!(head, [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..])
}

/// Text is no image; what servers send in place of one is a page.
fn text(head: &[u8]) -> Option<Other> {
    let head = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head);
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The last character may be cut off.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(head.get(..error.valid_up_to())?).ok()?
        }
        Err(_) => return None,
    };
    if text.is_empty() || text.contains(|c: char| c.is_control() && !c.is_whitespace()) {
        return None;
    }
    let text = text.trim_start().to_ascii_lowercase();
    let begins = |words: &[&str]| words.iter().any(|word| text.starts_with(word));
    if begins(&["<!doctype", "<html", "<head", "<body", "<?xml", "<!--"]) {
        return Some(("it is a web page", "download the image itself"));
    }
    Some((
        "it is text",
        "name the image itself; a server may have sent this text instead",
    ))
}

/// What firmware would not find at the start of an image: it is told, for some boards boot from elsewhere.
pub fn boots_not(head: &[u8]) -> Option<&'static str> {
    let has = |at: usize, magic: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(magic));
    if has(510, &[0x55, 0xAA]) || has(512, b"EFI PART") || has(4096, b"EFI PART") {
        return None;
    }
    Some(if has(0x8001, b"CD001") {
        "it is an ISO for optical disks only: it has no partition table, so firmware cannot boot it from a stick (isohybrid makes one)"
    } else {
        "firmware cannot boot it from a stick: it has no boot sector and no partition table"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_stick_boots_from_is_told_by_its_kind() {
        let mut tar = vec![0; 512];
        tar[..9].copy_from_slice(b"a/b/c.iso");
        tar[257..262].copy_from_slice(b"ustar");
        let cut = "<p>ä".as_bytes();
        for (head, word) in [
            (&b"  \n<!doctype HTML>"[..], "web page"),
            (b"\xEF\xBB\xBF<HTML lang=en>", "web page"),
            (b"<?xml version='1.0'?><Error>", "web page"),
            (b"{\"message\": \"Not Found\"}", "text"),
            (b"404: Not Found\n", "text"),
            (b"d2a1c0 installer.iso\n", "text"),
            (&cut[..cut.len() - 1], "text"),
            (b"\x5D\0\0\x80\0\xFF\xFF", "lzma"),
            (b"\x04\x22\x4D\x18\x64", "lz4"),
            (&tar, "tar"),
            (b"\x7FELF\x02", "program"),
        ] {
            let (what, next) = sniffed(head).unwrap_err();
            assert!(what.contains(word) && !next.is_empty(), "{what}: {word}");
        }
        assert_eq!(sniffed(b"\x50\x2A\x4D\x18\x04\0\0\0"), Ok(Packing::Zstd));
        // Code, zeros, and bytes that are no text.
        for head in [
            &b"\xEB\x58\x90mkfs.fat\0\x02"[..],
            &[0; 512],
            b"\xFF\xFEa\0",
            b"ab\x07",
        ] {
            assert_eq!(sniffed(head), Ok(Packing::Plain), "{head:?}");
        }
    }

    #[test]
    fn what_firmware_looks_for_is_looked_for() {
        let with = |at: usize, magic: &[u8]| {
            let mut head = vec![0; 1 << 20];
            head[at..at + magic.len()].copy_from_slice(magic);
            boots_not(&head)
        };
        assert_eq!(with(510, &[0x55, 0xAA]), None);
        assert_eq!(with(512, b"EFI PART"), None);
        assert_eq!(with(4096, b"EFI PART"), None);
        assert!(with(0x8001, b"CD001").unwrap().contains("optical"));
        assert!(with(0, b"x").unwrap().contains("no boot sector"));
    }
}
