//! Keeping, collecting and reading blobs.

use std::fs;

use futures::TryStreamExt as _;
use iroh_blobs::protocol::{ChunkRanges, ChunkRangesExt as _};
use storage::blob::{BlobStore, CollectError, Content, ExportError, Format, Mode, ReadError, Reason, Repair, Status};

use super::{add, content, how, name, open};

/// Writes some bytes of a blob as a download does.
pub(super) async fn download(from: &BlobStore, to: &BlobStore, hash: protocol::BlobHash, ranges: ChunkRanges) {
    let hash = iroh_blobs::Hash::from_bytes(hash.0);
    let encoded = from
        .api()
        .export_bao(hash, ranges.clone())
        .bao_to_vec()
        .await
        .expect("encoded");
    to.api()
        .import_bao_bytes(hash, ranges, encoded)
        .await
        .expect("imported");
}

#[tokio::test]
async fn a_blob_is_collected_when_its_last_reason_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    for id in 0..8 {
        let hash = add(&store, content(id)).await;
        store.pin(Content::blob(hash), Reason::Deal([1; 32])).await.unwrap();
        store.unpin(hash, Reason::User).await.unwrap();
        assert!(store.collect().await.unwrap().deleted.is_empty(), "a deal keeps it");
        store.unpin(hash, Reason::Deal([1; 32])).await.unwrap();
        assert!(store.collect().await.unwrap().deleted.contains(&hash));
        assert_eq!(store.status(hash).await, Status::Absent);
    }
    assert_eq!(store.stats().await.collected_blobs, 8);
    store.shutdown().await;
}

#[tokio::test]
async fn a_sequence_keeps_its_children_and_a_damaged_one_stops_the_collection() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let mut list = Vec::new();
    for id in 0..600 {
        // Long enough for the list itself to have a file.
        let hash = if id < 8 {
            add(&store, content(id)).await
        } else {
            name(&content(id))
        };
        list.extend_from_slice(&hash.0);
        store.unpin(hash, Reason::User).await.unwrap();
    }
    let root = store
        .add_bytes(list.into(), Format::Sequence, Reason::User)
        .await
        .unwrap()
        .content;
    assert_eq!(store.collect().await.unwrap().live, 9);
    let file = dir
        .path()
        .join("data")
        .join(format!("{}.data", iroh_blobs::Hash::from_bytes(root.hash.0).to_hex()));
    let mut bytes = fs::read(&file).unwrap();
    bytes[7] ^= 1;
    fs::write(&file, bytes).unwrap();
    let error = store.collect().await.expect_err("nobody knows what the children are");
    assert!(
        matches!(error, CollectError::Root { hash, .. } if hash == root.hash),
        "{error}"
    );
    assert!(matches!(store.status(name(&content(3))).await, Status::Complete { .. }));
    assert_eq!(store.stats().await.collect_errors, 1);
    store.shutdown().await;
}

#[tokio::test]
async fn a_download_keeps_its_bytes_while_it_is_held_and_across_a_crash_once_pinned() {
    let (from, to, after) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    );
    let (from, store) = (open(from.path()).await, open(to.path()).await);
    let hash = add(&from, content(7)).await;
    let half = ChunkRanges::bytes(0..131_072u64);
    let hold = store.hold(Content::blob(hash), 300_001).await.unwrap();
    download(&from, &store, hash, half).await;
    assert!(store.collect().await.unwrap().deleted.is_empty(), "it is held");
    assert_eq!(store.status(hash).await, Status::Partial { bytes: 131_072 });
    let read = store.read(hash, 100..70_000).await.unwrap();
    assert_eq!(read, content(7).slice(100..70_000));
    assert!(matches!(
        store.read(hash, 0..200_000).await,
        Err(ReadError::Incomplete { .. })
    ));
    store.pin(Content::blob(hash), Reason::User).await.unwrap();
    store.settle(Content::blob(hash)).await.expect_err("half of it");
    store.api().sync_db().await.unwrap();
    super::interleaved::copy(to.path(), after.path());
    let crashed = open(after.path()).await;
    assert!(crashed.collect().await.unwrap().deleted.is_empty(), "it is pinned");
    assert_eq!(crashed.status(hash).await, Status::Partial { bytes: 131_072 });
    download(&from, &crashed, hash, ChunkRanges::bytes(131_072u64..)).await;
    assert_eq!(crashed.settle(Content::blob(hash)).await.unwrap(), 300_001);
    assert_eq!(crashed.read(hash, 0..300_001).await.unwrap(), content(7));
    drop(hold);
    store.unpin(hash, Reason::User).await.unwrap();
    assert!(
        store.collect().await.unwrap().deleted.contains(&hash),
        "nobody wants it"
    );
}

#[tokio::test]
async fn bytes_are_unchanged_by_every_way_in_and_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store")).await;
    for id in 0..8 {
        let (bytes, file) = (content(id), dir.path().join(format!("in-{id}")));
        fs::write(&file, &bytes).unwrap();
        for mode in [Mode::Reference, Mode::Copy] {
            let added = store.add_path(&file, how(mode), |_| ()).await.unwrap();
            assert_eq!((added.content.hash, added.bytes), (name(&bytes), bytes.len() as u64));
            let all: Vec<bytes::Bytes> = store
                .stream(added.content.hash)
                .await
                .unwrap()
                .try_collect()
                .await
                .unwrap();
            assert_eq!(all.concat(), bytes);
            let out = dir.path().join(format!("out-{id}-{mode:?}"));
            store.export(added.content.hash, &out, |_| ()).await.unwrap();
            assert_eq!(fs::read(&out).unwrap(), bytes);
            let again = store.export(added.content.hash, &out, |_| ()).await;
            assert!(matches!(again, Err(ExportError::Exists { .. })));
        }
        let pieces = bytes
            .chunks(7_000)
            .map(|piece| Ok(bytes::Bytes::copy_from_slice(piece)));
        let pieces = futures::stream::iter(pieces.collect::<Vec<_>>());
        let added = store
            .add_stream(pieces, Format::Blob, Reason::User, |_| ())
            .await
            .unwrap();
        assert_eq!(added.content.hash, name(&bytes));
    }
    let checked = store.fsck(Repair::Nothing, |_, _| ()).await.unwrap();
    assert_eq!(
        (
            checked.sound,
            checked.damaged.len(),
            checked.missing.len(),
            checked.orphans.len()
        ),
        (8, 0, 0, 0)
    );
    store.shutdown().await;
}

#[tokio::test]
async fn fsck_finds_and_repairs_damaged_missing_and_orphaned_blobs() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let (good, bad) = (add(&store, content(6)).await, add(&store, content(7)).await);
    store
        .pin(Content::blob(name(b"never seen")), Reason::User)
        .await
        .unwrap();
    let data = dir.path().join("data");
    let file = data.join(format!("{}.data", iroh_blobs::Hash::from_bytes(bad.0).to_hex()));
    let mut bytes = fs::read(&file).unwrap();
    bytes[200_000] ^= 1;
    fs::write(&file, bytes).unwrap();
    fs::write(data.join("left over"), b"x").unwrap();
    let checked = store.fsck(Repair::Damaged, |_, _| ()).await.unwrap();
    assert_eq!(checked.damaged.keys().copied().collect::<Vec<_>>(), [bad]);
    assert_eq!((checked.sound, checked.missing.len(), checked.orphans.len()), (1, 1, 1));
    assert_eq!(store.status(bad).await, Status::Absent);
    assert!(store.reasons(bad).is_some(), "it is still wanted");
    add(&store, content(7)).await;
    let checked = store.fsck(Repair::Nothing, |_, _| ()).await.unwrap();
    assert_eq!((checked.sound, checked.damaged.len(), checked.orphans.len()), (2, 0, 0));
    assert_eq!(store.read(good, 0..10).await.unwrap(), content(6).slice(0..10));
    store.shutdown().await;
}
