//! The simulated disk: what a power cut keeps.

use super::*;

fn disk() -> Disk {
    let identity = DiskIdentity {
        wwn: None,
        serial: Some("S".into()),
        path: None,
        size_bytes: 1,
        sector_bytes: 512,
    };
    Disk::new(identity, [])
}

#[test]
fn a_flush_makes_durable_what_the_device_has_and_a_cut_loses_the_rest() {
    let mut disk = disk();
    let file = Key::File(Fs::Esp, "x");
    disk.write(Held::Device, Key::Keyslot, Some(Value::Of(1)));
    disk.write(Held::Mount(Fs::Esp), file, Some(Value::Of(2)));
    disk.flush();
    assert_eq!(disk.pending().len(), 1, "the mount holds its write back");
    assert!(disk.see(file).is_some());
    disk.cut(Keep::None);
    assert!(disk.see(file).is_none() && disk.see(Key::Keyslot).is_some());
}

#[test]
fn every_option_reads_back() {
    for keep in Keep::options(5).into_iter().chain(Keep::subsets(3)) {
        assert_eq!(keep.to_string().parse(), Ok(keep));
    }
    assert!("some".parse::<Keep>().is_err());
}

#[test]
fn every_subset_of_a_few_is_tried() {
    let kept = |keep: Keep| (0..4).map(|index| keep.keeps(index)).collect::<Vec<_>>();
    let mut subsets: Vec<_> = Keep::subsets(4)
        .into_iter()
        .filter(|keep| matches!(keep, Keep::None | Keep::Mask(_)))
        .map(kept)
        .collect();
    subsets.sort();
    subsets.dedup();
    assert_eq!(subsets.len(), 16);
    // Each of four torn, with each of the eight subsets of the other three.
    let torn = |keep: &Keep| matches!(keep, Keep::TornWith(..));
    assert_eq!(Keep::subsets(4).iter().filter(|keep| torn(keep)).count(), 32);
    assert_eq!(Keep::subsets(12).iter().filter(|keep| torn(keep)).count(), 12);
}

#[test]
fn a_write_is_torn_also_where_others_are_lost() {
    let [first, second] = [Key::Body(Region::Root), Key::Keyslot];
    let cut = |keep: Keep| {
        let mut disk = disk();
        disk.write(Held::Device, first, Some(Value::Of(1)));
        disk.write(Held::Device, second, Some(Value::Of(2)));
        disk.cut(keep);
        (disk.see(first).cloned(), disk.see(second).cloned())
    };
    assert_eq!(cut(Keep::Torn(1)), (Some(Value::Of(1)), Some(Value::Torn)));
    assert_eq!(cut(Keep::TornWith(1, 0)), (None, Some(Value::Torn)));
    assert_eq!(cut(Keep::TornWith(0, 2)), (Some(Value::Torn), Some(Value::Of(2))));
}
