use super::*;
use camino::Utf8PathBuf;
use std::io::Write as _;

const SYSTEM: &str = "/nix/store/2xyifq2nh639qmif11q87l313ylaxf6d-nixos-system-web";
const LINK: &str = "/dev/disk/by-partlabel/luks-web";

/// A system with this initrd.
fn system(initrd: &[u8]) -> (tempfile::TempDir, Root) {
    let keep = tempfile::tempdir().unwrap();
    let dir = Utf8PathBuf::from_path_buf(keep.path().to_owned()).unwrap();
    let store = dir.join(SYSTEM.trim_start_matches('/'));
    fs_err::create_dir_all(&store).unwrap();
    for (name, bytes) in [("kernel", b"kernel".as_slice()), ("initrd", initrd)] {
        let path = format!("/nix/store/1hyligdilnd1v73rx5x77rghlaqks5q5-{name}");
        fs_err::write(dir.join(path.trim_start_matches('/')), bytes).unwrap();
        fs_err::os::unix::fs::symlink(&path, store.join(name)).unwrap();
    }
    (keep, Root::at(&dir))
}

fn has(initrd: &[u8], text: &str) -> Option<bool> {
    let (_keep, root) = system(initrd);
    initrd_has(&root, &SYSTEM.parse().unwrap(), text).unwrap()
}

#[test]
fn what_an_initrd_names_is_found_however_it_is_packed() {
    let plain = [vec![7; (1 << 20) - 9], LINK.as_bytes().to_vec(), vec![0; 77]].concat();
    let zstd = zstd::stream::encode_all(plain.as_slice(), 3).unwrap();
    let microcode = vec![b'0'; 4_096];
    let mut gzip = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let gzip = gzip.finish().unwrap();
    for (what, initrd, found) in [
        ("plain", plain.clone(), Some(true)),
        ("zstd", zstd.clone(), Some(true)),
        (
            "behind microcode",
            [microcode.clone(), zstd.clone()].concat(),
            Some(true),
        ),
        ("plain behind gzip", [gzip.clone(), plain].concat(), Some(true)),
        // What cannot be unpacked says neither.
        ("gzip", gzip, None),
        ("cut off", zstd.get(..zstd.len() / 2).unwrap().to_vec(), None),
    ] {
        assert_eq!(has(&initrd, LINK), found, "{what}");
    }
    assert_eq!(has(&zstd, "/dev/disk/by-partlabel/luks-other"), Some(false));
}
