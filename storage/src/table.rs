//! An ordered key-value table for state and indexes. The only file that names sled.
//!
//! The table is a cache. Its user stores the height it was built to in the same batch, and rebuilds it from the block log if
//! [`Table::open`] fails or a state root differs. It is never the only copy of anything.
//!
//! # Why not trust sled with more
//!
//! sled 0.34, the last stable version, does not flush the disk's cache on Linux, has no repair, and leaks values above
//! 100 kB. As a cache behind one file, it can be replaced without touching its users.

use std::{
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

/// Longest value, in bytes. sled keeps longer ones in separate files, which it neither syncs nor frees.
pub const VALUE_BYTES_MAX: usize = 100_000;

/// Error of opening a table.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The files are damaged. Call [`move_aside`] and build the table again.
    #[error("the table in {} is damaged ({what}); it is rebuilt from the block log", dir.display())]
    Damaged {
        dir: PathBuf,
        /// The damage.
        what: String,
    },
    /// The operating system refused. Rebuilding would not help.
    #[error("could not open the table in {}", dir.display())]
    Io { dir: PathBuf, source: io::Error },
}

/// Error of reading or changing a table.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// A value above [`VALUE_BYTES_MAX`], which sled would leak.
    #[error("a value of {bytes} bytes; a table holds at most {VALUE_BYTES_MAX}, split it or keep it elsewhere")]
    TooLong { bytes: usize },
    #[error("the table failed: {0}")]
    Database(String),
    #[error("could not sync the table in {}", dir.display())]
    Sync { dir: PathBuf, source: io::Error },
}

impl From<sled::Error> for TableError {
    fn from(error: sled::Error) -> Self {
        Self::Database(error.to_string())
    }
}

/// A set of changes that are applied together or not at all.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    changes: sled::Batch,
    longest: usize,
}

impl Batch {
    /// Sets the value of a key.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.longest = self.longest.max(value.len());
        self.changes.insert(key, value);
    }

    /// Removes a key. A missing key is not an error.
    pub fn delete(&mut self, key: &[u8]) {
        self.changes.remove(key);
    }
}

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// An open table. Clones share it, and may be used from any thread.
///
/// ```
/// use storage::table::{Batch, Table};
///
/// let home = tempfile::tempdir().unwrap();
/// let table = Table::open(home.path(), 8 << 20).unwrap();
/// let mut batch = Batch::default();
/// batch.put(b"account/1", b"100");
/// batch.put(b"height", b"7");
/// table.apply(batch).unwrap();
/// table.checkpoint().unwrap();
/// assert_eq!(table.get(b"height").unwrap().as_deref(), Some(&b"7"[..]));
/// assert_eq!(table.scan_prefix(b"account/").count(), 1);
/// ```
#[derive(Clone, Debug)]
pub struct Table {
    rows: sled::Db,
    dir: PathBuf,
}

impl Table {
    /// Opens or creates the table in `dir`, with about `cache_bytes` of memory.
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io {
            dir: dir.to_owned(),
            source,
        };
        let damaged = |what: String| OpenError::Damaged {
            dir: dir.to_owned(),
            what,
        };
        let is_new = !dir.exists();
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_bytes)
            .flush_every_ms(Some(500));
        // sled panics on some kinds of damage. No state is shared with it at this point.
        let opened = catch_unwind(AssertUnwindSafe(|| config.open()))
            .map_err(|_| damaged("its files do not follow their own format".to_owned()))?;
        let rows = match opened {
            Ok(rows) => rows,
            // sled reports some damage as one of these I/O errors.
            Err(sled::Error::Io(error))
                if !matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
            {
                return Err(io(error));
            }
            Err(error) => return Err(damaged(error.to_string())),
        };
        if is_new && let Some(above) = dir.parent().filter(|above| !above.as_os_str().is_empty()) {
            fs::File::open(above).and_then(|above| above.sync_all()).map_err(io)?;
        }
        Ok(Self {
            rows,
            dir: dir.to_owned(),
        })
    }

    /// Returns the value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        Ok(self.rows.get(key)?.map(|value| value.to_vec()))
    }

    /// Returns the first row with `from <= key < below`.
    pub fn first_at_or_after(&self, from: &[u8], below: &[u8]) -> Result<Option<Row>, TableError> {
        if from >= below {
            return Ok(None);
        }
        self.rows.range(from..below).next().map(row).transpose()
    }

    /// Returns the rows whose keys start with `prefix`, in order.
    pub fn scan_prefix(&self, prefix: &[u8]) -> impl Iterator<Item = Result<Row, TableError>> + use<> {
        self.rows.scan_prefix(prefix).map(row)
    }

    /// Applies a batch atomically. It survives a killed process at once, a power failure only after
    /// [`Table::checkpoint`].
    pub fn apply(&self, batch: Batch) -> Result<(), TableError> {
        if batch.longest > VALUE_BYTES_MAX {
            return Err(TableError::TooLong { bytes: batch.longest });
        }
        Ok(self.rows.apply_batch(batch.changes)?)
    }

    /// Makes everything applied so far durable.
    pub fn checkpoint(&self) -> Result<(), TableError> {
        self.rows.flush()?;
        let sync = || -> io::Result<()> {
            for entry in fs::read_dir(&self.dir)? {
                let entry = entry?;
                // sled removes old snapshots in the background.
                match fs::File::open(entry.path()) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => (),
                    file => {
                        let file = file?;
                        if file.metadata()?.is_file() {
                            file.sync_data()?;
                        }
                    }
                }
            }
            fs::File::open(&self.dir)?.sync_all()
        };
        sync().map_err(|source| TableError::Sync {
            dir: self.dir.clone(),
            source,
        })
    }

    /// Returns the size on disk, in bytes.
    pub fn size_on_disk(&self) -> Result<u64, TableError> {
        Ok(self.rows.size_on_disk()?)
    }
}

/// Renames the directory of a closed table, so that a new table can take its place. Returns the new path.
pub fn move_aside(dir: &Path) -> io::Result<PathBuf> {
    let aside = (1u32..)
        .map(|n| dir.with_extension(format!("damaged-{n}")))
        .find(|aside| !aside.exists())
        .expect("there are fewer than four thousand million of them");
    fs::rename(dir, &aside)?;
    Ok(aside)
}

fn row(row: sled::Result<(sled::IVec, sled::IVec)>) -> Result<Row, TableError> {
    let (key, value) = row?;
    Ok((key.to_vec(), value.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CACHE: u64 = 8 << 20;

    fn put(table: &Table, rows: &[(&str, &str)]) {
        let mut batch = Batch::default();
        rows.iter()
            .for_each(|(key, value)| batch.put(key.as_bytes(), value.as_bytes()));
        table.apply(batch).expect("applied");
    }

    #[test]
    fn rows_are_ordered_and_survive_a_restart() {
        let home = tempfile::tempdir().expect("a place for files");
        let table = Table::open(home.path(), CACHE).expect("opens");
        put(&table, &[("b/2", "two"), ("a", "zero"), ("b/1", "one"), ("c", "three")]);
        table.checkpoint().expect("synced");
        drop(table);
        let table = Table::open(home.path(), CACHE).expect("opens again");
        let text = |rows: Vec<Row>| {
            rows.into_iter()
                .map(|(k, _)| String::from_utf8(k).expect("text"))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            text(table.scan_prefix(b"b/").collect::<Result<_, _>>().expect("read")),
            ["b/1", "b/2"]
        );
        let first = |from: &str, below: &str| {
            table
                .first_at_or_after(from.as_bytes(), below.as_bytes())
                .expect("read")
        };
        assert_eq!(first("b/1x", "c").expect("there").1, b"two");
        assert_eq!(first("b/3", "c"), None);
        assert_eq!(first("c", "b"), None);
        let mut batch = Batch::default();
        batch.delete(b"a");
        table.apply(batch).expect("applied");
        assert_eq!(table.get(b"a").expect("read"), None);
    }

    #[test]
    fn a_value_that_would_leak_is_refused_with_its_whole_batch() {
        let home = tempfile::tempdir().expect("a place for files");
        let table = Table::open(home.path(), CACHE).expect("opens");
        let mut batch = Batch::default();
        batch.put(b"small", b"1");
        batch.put(b"large", &vec![0; VALUE_BYTES_MAX + 1]);
        assert!(
            table
                .apply(batch)
                .expect_err("too long")
                .to_string()
                .contains("100001 bytes")
        );
        assert_eq!(table.get(b"small").expect("read"), None);
    }

    #[test]
    fn a_damaged_table_is_reported_and_can_be_moved_aside() {
        let home = tempfile::tempdir().expect("a place for files");
        let dir = home.path().join("state");
        drop(Table::open(&dir, CACHE).expect("opens"));
        fs::write(dir.join("conf"), b"not a configuration").expect("written");
        let error = Table::open(&dir, CACHE).expect_err("damaged");
        assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
        let aside = move_aside(&dir).expect("moved");
        assert!(aside.ends_with("state.damaged-1") && aside.exists());
        Table::open(&dir, CACHE).expect("a new one");
    }

    #[test]
    fn an_unusable_directory_is_an_io_error_and_not_damage() {
        let home = tempfile::tempdir().expect("a place for files");
        let file = home.path().join("a file");
        fs::write(&file, b"").expect("written");
        let error = Table::open(&file.join("state"), CACHE).expect_err("not a directory");
        assert!(matches!(error, OpenError::Io { .. }), "{error:?}");
    }
}
