//! Refusals: each names the thing and the fix, and leaves nothing behind.

use std::{fs, io, os::unix::fs::PermissionsExt as _};

use storage::blob::{AddError, BlobStore, Format, Mode, Reason, Repair, Settings, SpaceLimits, Status};

use super::{add, content, how, name, open, settings};

#[tokio::test]
async fn a_changed_referenced_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store")).await;
    let file = dir.path().join("shard");
    fs::write(&file, content(7)).unwrap();
    let hash = store
        .add_path(&file, how(Mode::Reference), |_| ())
        .await
        .unwrap()
        .content
        .hash;

    // Touched, not changed: still served, and not hashed again the next time.
    fs::write(&file, content(7)).unwrap();
    assert_eq!(store.read(hash, 0..300_001).await.unwrap(), content(7));

    let mut bytes = content(7).to_vec();
    bytes[250_000] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let error = store.read(hash, 0..10).await.expect_err("changed").to_string();
    assert!(
        error.contains("shard was changed after it was added by reference"),
        "{error}"
    );
    let checked = store.fsck(Repair::Nothing, |_, _| ()).await.unwrap();
    assert!(checked.damaged.contains_key(&hash));

    fs::remove_file(&file).unwrap();
    let error = store.unchanged(hash).await.expect_err("gone").to_string();
    assert!(error.contains("shard cannot be read"), "{error}");

    // The fix.
    let copy = dir.path().join("copy");
    fs::write(&copy, content(7)).unwrap();
    store.add_path(&copy, how(Mode::Copy), |_| ()).await.unwrap();
    assert_eq!(store.read(hash, 0..300_001).await.unwrap(), content(7));
    store.shutdown().await;
}

#[tokio::test]
async fn an_import_beyond_the_quota_names_the_need_and_damages_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let hash = add(&store, content(6)).await;
    let used = store.stats().await.bytes;
    store.shutdown().await;
    let space = SpaceLimits {
        quota: Some(used + 100_000),
        floor: 0,
    };
    let store = BlobStore::open(dir.path(), Settings { space, ..settings() })
        .await
        .unwrap();
    let error = store
        .add_bytes(content(7), Format::Blob, Reason::User)
        .await
        .expect_err("too large");
    assert!(
        matches!(&error, AddError::Full { source, .. } if source.to_string().contains("301236 bytes are needed")),
        "{error:?}"
    );
    let pieces = futures::stream::iter((0..9).map(|_| Ok(content(6))));
    store
        .add_stream(pieces, Format::Blob, Reason::User, |_| ())
        .await
        .expect_err("too large, as it turns out");
    let broken = futures::stream::iter([Ok(content(1)), Err(io::Error::other("gone"))]);
    let error = store
        .add_stream(broken, Format::Blob, Reason::User, |_| ())
        .await
        .expect_err("broken");
    assert!(error.to_string().contains("broke off after 1000 bytes"), "{error}");
    assert_eq!(fs::read_dir(dir.path().join("incoming")).unwrap().count(), 0);
    assert_eq!(store.stats().await.reserved_bytes, 0);
    assert_eq!(store.read(hash, 0..200_000).await.unwrap(), content(6));
    store.shutdown().await;
    let space = SpaceLimits {
        quota: None,
        floor: u64::MAX / 2,
    };
    let store = BlobStore::open(dir.path(), Settings { space, ..settings() })
        .await
        .unwrap();
    let error = store
        .add_bytes(content(0), Format::Blob, Reason::User)
        .await
        .expect_err("the floor");
    assert!(
        matches!(&error, AddError::Full { source, .. } if source.to_string().contains("are to stay free")),
        "{error:?}"
    );
    store.shutdown().await;
}

#[tokio::test]
async fn a_waiting_process_opens_the_store_when_it_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).await;
    let waits = Settings {
        open_patience_ms: 60_000,
        ..settings()
    };
    let next = BlobStore::open(dir.path(), waits);
    let closes = async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        first.shutdown().await;
    };
    let (next, ()) = tokio::join!(next, closes);
    next.expect("opens after the first").shutdown().await;
}

#[tokio::test]
async fn opening_waits_for_a_database_that_is_still_open_after_its_lock_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).await;
    // A process that ends without a shutdown releases the lock before the database closes.
    let database = first.api().clone();
    drop(first);
    let waits = Settings {
        open_patience_ms: 60_000,
        ..settings()
    };
    let next = BlobStore::open(dir.path(), waits);
    let closes = async {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        database.shutdown().await.expect("the database closes");
    };
    let (next, ()) = tokio::join!(next, closes);
    next.expect("opens after the database is closed").shutdown().await;
}

#[tokio::test]
async fn a_store_opens_once_at_a_time_and_a_hundred_times_in_a_row() {
    let dir = tempfile::tempdir().unwrap();
    let threads = || fs::read_dir("/proc/self/task").unwrap().count();
    for n in 0..100 {
        let store = open(dir.path()).await;
        if n == 0 {
            add(&store, content(7)).await;
            let error = BlobStore::open(dir.path(), settings())
                .await
                .expect_err("open already")
                .to_string();
            assert!(error.contains("in use by process"), "{error}");
        }
        assert_eq!(
            store.status(name(&content(7))).await,
            Status::Complete { bytes: 300_001 }
        );
        store.shutdown().await;
    }
    // The crate ends its threads in the background.
    for _ in 0..1_000 {
        if threads() < 60 {
            return;
        }
        tokio::task::yield_now().await;
        std::thread::yield_now();
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{} threads are left of 100 stores", threads());
}

#[tokio::test]
async fn an_unwritable_directory_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let sealed = dir.path().join("sealed");
    fs::create_dir(&sealed).unwrap();
    fs::set_permissions(&sealed, fs::Permissions::from_mode(0o500)).unwrap();
    // Root may write anywhere; a file in the way stops root too.
    let place = if fs::write(sealed.join("probe"), b"").is_ok() {
        sealed.join("probe")
    } else {
        sealed
    };
    let error = BlobStore::open(&place, settings())
        .await
        .expect_err("not a place")
        .to_string();
    assert!(
        error.contains(&place.display().to_string()) && error.contains("may write to"),
        "{error}"
    );
}

#[tokio::test]
async fn a_path_that_is_no_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store")).await;
    for path in [dir.path().to_owned(), dir.path().join("missing")] {
        let error = store
            .add_path(&path, how(Mode::Copy), |_| ())
            .await
            .expect_err("no file");
        assert!(
            matches!(&error, AddError::Read { path: named, .. } if *named == path),
            "{error:?}"
        );
    }
    store.shutdown().await;
}
