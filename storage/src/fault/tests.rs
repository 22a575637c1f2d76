//! The simulated disk keeps what it promised, and only that.

use super::*;

#[test]
fn synced_bytes_survive_every_crash_and_unsynced_ones_may_not() {
    let (mut lost, mut kept) = (0, 0);
    for seed in 0..100 {
        let disk = FaultDisk::new();
        let (dir, path) = (Path::new("/d"), Path::new("/d/a"));
        let file = disk.create(path).expect("created");
        file.write_at(b"synced", 0).expect("written");
        file.sync_data().expect("synced");
        disk.sync_dir(dir).expect("synced");
        file.write_at(b"later", 6).expect("written");
        disk.crash(seed);
        assert!(file.write_at(b"x", 0).is_err(), "the process is gone");
        let bytes = disk.bytes(path).expect("still named");
        assert!(bytes.starts_with(b"synced"), "seed {seed}");
        if bytes.ends_with(b"later") {
            kept += 1
        } else {
            lost += 1
        }
    }
    assert!(lost > 20 && kept > 20, "both happen: {lost} lost, {kept} kept");
}

#[test]
fn a_full_disk_refuses_until_healed() {
    let disk = FaultDisk::new();
    let file = disk.create(Path::new("/a")).expect("created");
    disk.fail_after(1, Fault::NoSpace);
    file.write_at(b"one", 0).expect("the last change that fits");
    assert_eq!(
        file.write_at(b"two", 3).expect_err("full").kind(),
        io::ErrorKind::StorageFull
    );
    disk.heal();
    file.write_at(b"two", 3).expect("space again");
}
