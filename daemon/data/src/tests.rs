//! What is shared, in a home without a network.

use std::{fs, path::PathBuf};

use net::data::BlobRequest;
use protocol::{BlobHash, NodeId};
use storage::blob::{Content, Format, Reason};
use tempfile::TempDir;

use super::*;
use base::operator::{
    datanet::{CreateRequest, DatanetVerb, GrantRequest},
    dataset::{AddRequest, AddResponse},
};

const DOMAIN: Domain = Domain {
    chain_id: 7,
    genesis: [7; 32],
};

struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn home(&self) -> Home {
        Home::new(self.dir.path().join("home"))
    }

    async fn open(&self) -> Data {
        let (config, key) = (config::Config::default(), SecretKey::from_seed([1; 32]));
        Data::offline(&self.home(), &config, key, Some(DOMAIN)).await.unwrap()
    }

    fn ask(&self, name: &str, records: &[String]) -> AddRequest {
        let path: PathBuf = self.dir.path().join(format!("{name}.jsonl"));
        let lines = records.iter().map(|text| format!("{{\"t\":\"{text}\"}}\n"));
        fs::write(&path, lines.collect::<String>()).unwrap();
        AddRequest {
            paths: vec![path],
            name: name.to_owned(),
            licence: "CC-BY-4.0".to_owned(),
            datanet: None,
            account: None,
            previous: None,
            by_reference: false,
            skip_unusable: false,
            text: "document".to_owned(),
            shard_bytes: None,
            record_bytes_max: None,
        }
    }
}

fn terms(name: &str, permissioned: bool) -> CreateRequest {
    CreateRequest {
        name: name.into(),
        licence: "CC-BY-4.0".into(),
        permissioned,
        contribution: "curated".into(),
        curators: Vec::new(),
        account: None,
    }
}

async fn add(data: &Data, ask: AddRequest) -> AddResponse {
    data.library.add(ask, |_| ()).await.unwrap()
}

/// Prose that is like no other of another number.
fn prose(of: u64) -> String {
    let word = |n: u64| format!("w{}", (n * 7919 + of * 104_729) % 5003);
    (0..120).map(word).collect::<Vec<_>>().join(" ")
}

/// The same with two words changed, in capitals.
fn noised(of: u64) -> String {
    let text = prose(of);
    let words: Vec<&str> = text.split(' ').collect();
    let changed = |(at, word): (usize, &&str)| match at {
        20 | 90 => "OTHER".to_owned(),
        _ => word.to_uppercase(),
    };
    words.iter().enumerate().map(changed).collect::<Vec<_>>().join("  ")
}

#[tokio::test]
async fn a_copy_of_what_is_here_is_found_when_it_is_added_and_after_a_restart() {
    let bench = Bench::new();
    let data = bench.open().await;
    let first = add(&data, bench.ask("first", &[prose(1), prose(2)])).await;
    assert_eq!((first.duplicates, first.compared_with.datasets), (0, 0));
    let copied = [prose(3), noised(2), prose(3), "short".to_owned()];
    let second = add(&data, bench.ask("second", &copied)).await;
    assert_eq!((second.duplicates, second.duplicates_within), (2, 1), "{second:?}");
    assert_eq!(second.repeats.len(), 1);
    let of = &second.repeats[0];
    assert_eq!((of.root, of.records, of.same), (first.root, 1, 0));
    assert_eq!(of.examples[0].record, 1);
    data.stop().await;
    drop(data);

    // The index is there after a restart, and made again if it is gone.
    for lost in [false, true] {
        if lost {
            fs::remove_dir_all(bench.home().sketches()).unwrap();
        }
        let data = bench.open().await;
        let name = format!("third-{lost}");
        let third = add(&data, bench.ask(&name, &[prose(1), prose(9), "SHORT".to_owned()])).await;
        let roots: Vec<_> = third.repeats.iter().map(|of| (of.root, of.records)).collect();
        assert!(
            roots.contains(&(first.root, 1)) && roots.contains(&(second.root, 1)),
            "lost: {lost}: {third:?}"
        );
        data.library.remove(third.root).await.unwrap();
        data.stop().await;
    }

    // What was let go is no longer compared with.
    let data = bench.open().await;
    data.library.remove(first.root).await.unwrap();
    data.library.remove(second.root).await.unwrap();
    let fourth = add(&data, bench.ask("fourth", &[prose(1), noised(2)])).await;
    assert_eq!((fourth.duplicates, fourth.compared_with.datasets), (0, 0), "{fourth:?}");
    assert_eq!(fs::read_dir(bench.home().sketches()).unwrap().count(), 1);
    data.stop().await;
}

#[tokio::test]
async fn a_version_does_not_repeat_those_that_it_follows() {
    let bench = Bench::new();
    let data = bench.open().await;
    let one = add(&data, bench.ask("one", &[prose(1)])).await;
    let follow = |previous, name: &str, records: &[String]| AddRequest {
        previous: Some(previous),
        ..bench.ask(name, records)
    };
    let two = add(&data, follow(one.root, "two", &[prose(1), prose(2)])).await;
    let three = add(&data, follow(two.root, "three", &[prose(1), prose(2), prose(3)])).await;
    assert_eq!((two.duplicates, three.duplicates), (0, 0));
    let other = add(&data, bench.ask("other", &[prose(3)])).await;
    assert_eq!(other.repeats[0].root, three.root);
    data.stop().await;
}

#[tokio::test]
async fn a_damaged_index_is_made_again_and_half_of_one_is_cleared() {
    let bench = Bench::new();
    let data = bench.open().await;
    let first = add(&data, bench.ask("first", &[prose(1)])).await;
    let file = bench.home().sketches().join(&first.root.to_string()[2..]);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, &bytes).unwrap();
    fs::write(bench.home().sketches().join("00.part"), "half").unwrap();
    // Damage behind the card is found while it is read: nothing it says counts, and the next time it is whole again.
    add(&data, bench.ask("second", &[prose(7)])).await;
    let third = add(&data, bench.ask("third", &[prose(1)])).await;
    assert_eq!(third.repeats[0].root, first.root);
    assert!(!bench.home().sketches().join("00.part").exists());
    data.stop().await;
}

#[tokio::test]
async fn in_a_datanet_the_earliest_published_is_the_original_and_what_is_not_here_is_named() {
    let bench = Bench::new();
    let data = bench.open().await;
    let older = add(&data, bench.ask("older", &[prose(1)])).await;
    let published = add(&data, bench.ask("published", &[noised(1), prose(2)])).await;
    let datanets = data.datanets.clone();
    let local = datanets.create_owned(terms("maths", false)).await.unwrap();
    let elsewhere = BlobHash([9; 32]);
    let publish = DatanetVerb::Publish {
        roots: vec![published.root, elsewhere],
    };
    datanets.act(local.id, publish, None).await.unwrap();

    let for_datanet = AddRequest {
        datanet: Some(local.id),
        ..bench.ask("new", &[prose(1)])
    };
    let new = add(&data, for_datanet).await;
    assert_eq!(new.repeats.len(), 1, "{new:?}");
    assert_eq!(
        new.repeats[0].root, published.root,
        "not {:#}, which was here before",
        older.root
    );
    assert_eq!(new.compared_with.not_compared, [elsewhere]);
    // Outside of that datanet the one that was here first is.
    let other = add(&data, bench.ask("other", &[prose(1)])).await;
    assert_eq!(other.repeats[0].root, older.root);
    data.stop().await;
}

#[tokio::test]
async fn figures_and_checks_cover_the_stores_of_permissioned_datanets() {
    let bench = Bench::new();
    let data = bench.open().await;
    let datanets = data.datanets.clone();
    let local = datanets.create_owned(terms("private", true)).await.unwrap();
    let sealed = AddRequest {
        datanet: Some(local.id),
        ..bench.ask("sealed", &[prose(1)])
    };
    let sealed = add(&data, sealed).await;
    let stat = data.library.stat().await;
    let stores: Vec<_> = stat
        .stores
        .iter()
        .map(|store| (store.datanet, store.blobs > 0))
        .collect();
    assert_eq!(stores, [(None, false), (Some(local.id), true)]);
    assert!(stat.blobs > 0 && stat.pinned == 1, "{stat:?}");
    let checked = data.library.fsck(false, |_| ()).await.unwrap();
    assert_eq!(checked.sound, stat.blobs);

    // A sealed blob that is kept and gone is missed.
    let store = local.store.clone().unwrap();
    let gone = Content::sequence(BlobHash([8; 32]));
    store.pin(gone, Reason::User).await.unwrap();
    let error = data
        .library
        .fsck(false, |_| ())
        .await
        .expect_err("something is missing");
    assert!(
        matches!(error, LibraryError::Unsound { damaged: 0, missing: 1 }),
        "{error}"
    );

    // A copy of what is sealed is found too, wherever it is added.
    let open = add(&data, bench.ask("open", &[prose(1)])).await;
    assert_eq!(open.repeats[0].root, sealed.root);
    data.stop().await;
}

#[tokio::test]
async fn a_permissioned_store_gives_members_what_is_published_and_nobody_anything_else() {
    let bench = Bench::new();
    let data = bench.open().await;
    let datanets = data.datanets.clone();
    let local = datanets.create_owned(terms("private", true)).await.unwrap();
    let sealed = |name: &str, of| AddRequest {
        datanet: Some(local.id),
        ..bench.ask(name, &[prose(of)])
    };
    let published = add(&data, sealed("published", 1)).await.root;
    let kept_back = add(&data, sealed("kept-back", 2)).await.root;
    let store = local.store.clone().unwrap();
    let (inside, outside) = (
        store.children(published).await.unwrap(),
        store.children(kept_back).await.unwrap(),
    );
    // Somebody's own sequence, of a blob that members may have and of one that nobody may.
    let own = [inside[0].0, outside[0].0].concat();
    let own = store
        .add_bytes(own.into(), Format::Sequence, Reason::User)
        .await
        .unwrap();

    let key = |of: u8| SecretKey::from_seed([of; 32]);
    let (member, former, stranger) = (key(2), key(3), key(4));
    let name = |key: &SecretKey| NodeId(key.public());
    for subject in [&member, &former] {
        let grant = DatanetVerb::Grant(GrantRequest {
            node: name(subject),
            role: "reader".into(),
            key: None,
            days: 1,
        });
        let member_key = protocol::seal::MemberSecret::of_node(subject).public();
        datanets.act(local.id, grant, Some(member_key)).await.unwrap();
    }
    let roots = vec![published];
    datanets
        .act(local.id, DatanetVerb::Publish { roots }, None)
        .await
        .unwrap();
    let node = name(&former);
    datanets
        .act(local.id, DatanetVerb::Revoke { node }, None)
        .await
        .unwrap();
    let now = data.peer.now();
    local.refresh(now).await;

    for (who, caller) in [("member", &member), ("former member", &former), ("stranger", &stranger)] {
        for (what, ask, may) in [
            ("the published sequence", BlobRequest::Sequence(published), true),
            ("its root as a blob", BlobRequest::Blob(published), true),
            ("a blob of it", BlobRequest::Blob(inside[0]), true),
            ("a blob of it as a sequence", BlobRequest::Sequence(inside[0]), false),
            ("a sequence that was kept back", BlobRequest::Sequence(kept_back), false),
            ("a blob that was kept back", BlobRequest::Blob(outside[0]), false),
            (
                "a sequence of one's own",
                BlobRequest::Sequence(own.content.hash),
                false,
            ),
        ] {
            let serves = local.serves(name(caller), ask, now);
            assert_eq!(serves, may && who == "member", "{who}, {what}");
        }
    }
    // None of it is in what everybody may have.
    for hash in inside.iter().chain(&outside).chain([&published, &kept_back]) {
        assert!(!data.public.serves(*hash));
    }
    data.stop().await;
}
