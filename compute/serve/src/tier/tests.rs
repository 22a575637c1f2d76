use std::{fs, sync::mpsc, time::Duration};

use compute::{
    lora::{LowRank, Projection, Site},
    tensors::Matrix,
};

use super::*;

fn adapter(number: u16, rank: usize) -> Adapter {
    wide(number, rank, 16)
}

fn wide(number: u16, rank: usize, width: usize) -> Adapter {
    let matrix = || Matrix::of_f32(rank, width, &vec![f32::from(number) + 0.5; rank * width]);
    let low = LowRank {
        scale: 1.0,
        a: matrix(),
        b: matrix(),
    };
    let site = Site {
        layer: 0,
        projection: Projection::Q,
    };
    Adapter::new([(site, low)].into())
}

fn write(root: &Path, name: &str, adapter: &Adapter) -> Source {
    let dir = root.join(name);
    fs::create_dir_all(&dir).expect("a directory of the test");
    adapter.write(&dir, "toy").expect("written");
    Source::Dir(dir.into())
}

fn fetch(tiers: &Tiers, name: &str) -> Result<Arc<Adapter>, String> {
    let (reply, answer) = mpsc::channel();
    let reply: Reply = Box::new(move |result| reply.send(result).expect("the test waits"));
    match tiers.fetch(&tiers.resolve(name).map_err(|error| error.to_string())?, reply) {
        Some(adapter) => Ok(adapter),
        None => answer.recv_timeout(Duration::from_secs(20)).expect("a loader answers"),
    }
}

fn tiers(host_bytes: u64) -> Tiers {
    let budget = Budget {
        host_bytes,
        ..Budget::default()
    };
    Tiers::new(budget, None)
}

#[test]
fn a_directory_of_directories_is_registered_by_name_and_read_when_used() {
    let root = tempfile::tempdir().expect("tempdir");
    for number in 0..3 {
        write(root.path(), &format!("a{number}"), &adapter(number, 2));
    }
    fs::create_dir(root.path().join("no name")).expect("created");
    std::os::unix::fs::symlink(root.path().join("a0"), root.path().join("link")).expect("linked");
    let tiers = tiers(1 << 20);
    let scan = tiers.register_all(root.path()).expect("scanned");
    assert_eq!((scan.registered, scan.refused.len()), (3, 2));
    assert_eq!(tiers.counters().disk_loads, 0);
    assert_eq!(fetch(&tiers, "a1").expect("there").hash(), adapter(1, 2).hash());
    let status = tiers.status("a1").expect("registered");
    assert_eq!(
        (status.rank, status.tier, status.bytes),
        (Some(2), Tier::Host, Some(256))
    );
    assert_eq!(tiers.list(Some("a0"), 1)[0].name, "a1");
    assert!(matches!(fetch(&tiers, "a9"), Err(why) if why.contains("a9")));
}

#[test]
fn a_load_happens_once_for_all_who_ask_meanwhile() {
    let root = tempfile::tempdir().expect("tempdir");
    let tiers = tiers(1 << 20);
    let source = write(root.path(), "a", &adapter(1, 64));
    tiers.register("a", source, None).expect("registered");
    let (reply, answers) = mpsc::channel();
    let artifact = tiers.resolve("a").expect("there");
    let at_once = (0..16)
        .filter_map(|_| {
            let reply = reply.clone();
            tiers.fetch(
                &artifact,
                Box::new(move |result| reply.send(result).expect("the test waits")),
            )
        })
        .count();
    drop(reply);
    assert_eq!(answers.iter().count() + at_once, 16);
    let counters = tiers.counters();
    assert_eq!((counters.disk_loads, counters.host_hits), (1, at_once as u64));
}

#[test]
fn the_oldest_that_nobody_uses_or_pins_is_given_up() {
    let root = tempfile::tempdir().expect("tempdir");
    let tiers = tiers(3 * 256);
    for number in 0..5u16 {
        let name = format!("a{number}");
        let source = write(root.path(), &name, &adapter(number, 2));
        tiers.register(&name, source, None).expect("registered");
    }
    tiers.pin("a0", true).expect("registered");
    let used = fetch(&tiers, "a1").expect("there");
    for name in ["a0", "a2", "a3", "a4"] {
        drop(fetch(&tiers, name).expect("there"));
    }
    let tier = |name: &str| tiers.status(name).expect("registered").tier;
    assert_eq!(
        ["a0", "a1", "a2", "a3", "a4"].map(tier).map(|tier| tier == Tier::Host),
        [true, true, false, false, true]
    );
    assert_eq!(tiers.counters().host_bytes, 3 * 256);
    drop(used);
    tiers.on_device(adapter(4, 2).hash(), true);
    assert_eq!(tier("a4"), Tier::Device);
}

#[test]
fn a_replaced_name_stands_for_the_new_and_whoever_began_keeps_the_old() {
    let root = tempfile::tempdir().expect("tempdir");
    let tiers = tiers(0);
    let first = tiers
        .register("a", write(root.path(), "one", &adapter(1, 2)), Some(0))
        .expect("new");
    let begun = tiers.resolve("a").expect("there");
    let second = write(root.path(), "two", &adapter(2, 2));
    let wrong = tiers.register("a", second.clone(), Some(99));
    assert!(matches!(wrong, Err(RegisterError::Generation { found, .. }) if found == first.0));
    let next = tiers.register("a", second, Some(first.0)).expect("nobody was faster");
    assert!(next > first);
    assert_eq!(fetch(&tiers, "a").expect("there").hash(), adapter(2, 2).hash());
    let old = begun.read(None, &mut || ()).expect("its files are still there");
    assert_eq!(old.hash(), adapter(1, 2).hash());
    tiers.unregister("a", Some(next.0)).expect("there");
    assert!(matches!(tiers.resolve("a"), Err(ResolveError::Unknown(_))));
}

#[test]
fn files_that_change_under_a_registered_name_are_refused_and_not_served() {
    let root = tempfile::tempdir().expect("tempdir");
    let tiers = tiers(0);
    let source = write(root.path(), "a", &adapter(1, 2));
    tiers.register("a", source.clone(), None).expect("registered");
    write(root.path(), "a", &adapter(2, 4));
    assert!(fetch(&tiers, "a").expect_err("changed").contains("changed"));
    tiers.register("a", source, None).expect("registered again");
    assert_eq!(fetch(&tiers, "a").expect("there").hash(), adapter(2, 4).hash());
    tiers.trim();
    fs::remove_dir_all(root.path().join("a")).expect("removed");
    assert!(fetch(&tiers, "a").is_err(), "nothing is kept with a budget of 0");
    assert_eq!(tiers.counters().failed_loads, 2);
}

#[test]
fn a_name_with_a_hash_is_that_content_or_nothing() {
    let root = tempfile::tempdir().expect("tempdir");
    let tiers = tiers(1 << 20);
    let source = write(root.path(), "a", &adapter(1, 2));
    tiers.register("a", source, None).expect("registered");
    let (right, wrong) = (adapter(1, 2).hash(), adapter(2, 2).hash());
    assert!(
        fetch(&tiers, &format!("a@{wrong}"))
            .expect_err("other content")
            .contains("not")
    );
    assert_eq!(
        fetch(&tiers, &format!("a@{right}")).expect("that content").hash(),
        right
    );
    fetch(&tiers, "a").expect("read");
    assert!(matches!(
        tiers.resolve(&format!("a@{wrong}")),
        Err(ResolveError::Other { .. })
    ));
    assert!(matches!(tiers.resolve("a@0x12"), Err(ResolveError::Hash(_))));
}

#[test]
fn what_a_peer_sends_is_checked_against_the_hash() {
    struct Two;
    impl Peer for Two {
        fn fetch(&self, _: AdapterHash) -> Result<Vec<u8>, String> {
            Ok(adapter(2, 2).to_bytes())
        }
    }
    let tiers = Tiers::new(Budget::default(), Some(Arc::new(Two)));
    let (right, wrong) = (adapter(2, 2).hash(), adapter(1, 2).hash());
    assert_eq!(fetch(&tiers, &format!("x@{right}")).expect("sent").hash(), right);
    assert!(fetch(&tiers, &format!("x@{wrong}")).is_err());
    assert_eq!(tiers.counters().peer_loads, 1);
}

#[test]
fn nothing_outside_of_its_root_is_an_adapter() {
    let root = tempfile::tempdir().expect("tempdir");
    let allowed = root.path().join("allowed");
    write(&allowed, "a", &adapter(1, 2));
    write(root.path(), "secret", &adapter(1, 2));
    std::os::unix::fs::symlink(root.path().join("secret"), allowed.join("link")).expect("linked");
    assert!(Source::within(&allowed, Path::new("a")).is_ok());
    for dir in ["../secret", "link", ".", ""] {
        let outside = Source::within(&allowed, Path::new(dir));
        assert!(matches!(outside, Err(RegisterError::Outside { .. })), "{dir}");
    }
    let absolute = Source::within(&allowed, &root.path().join("secret"));
    assert!(matches!(absolute, Err(RegisterError::Outside { .. })));
}

#[test]
fn a_directory_that_is_no_adapter_is_refused_when_it_is_registered() {
    let root = tempfile::tempdir().expect("tempdir");
    let tiers = tiers(0);
    let dir = |path: &Path| Source::Dir(path.into());
    assert!(matches!(
        tiers.register("a", dir(root.path()), None),
        Err(RegisterError::Refused { .. })
    ));
    let source = write(root.path(), "a", &adapter(1, 2));
    for name in ["", "a b", "a/b", "a:b", "a@b", ".a", &"a".repeat(201)] {
        assert!(
            matches!(
                tiers.register(name, source.clone(), None),
                Err(RegisterError::Name { .. })
            ),
            "{name}"
        );
    }
}

#[test]
fn what_is_loaded_gently_is_the_same() {
    let root = tempfile::tempdir().expect("tempdir");
    // Large enough to be read in several parts, with rests between them.
    let large = wide(3, 128, 2048);
    write(root.path(), "a", &large);
    let tiers = tiers(1 << 30);
    tiers.register_all(root.path()).expect("scanned");
    tiers.yield_to_steps(true);
    assert_eq!(fetch(&tiers, "a"), Ok(Arc::new(large)));
}
