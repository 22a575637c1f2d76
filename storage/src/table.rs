//! An ordered table of bytes that survives restarts: state and indexes.
//!
//! The only file that names sled. sled 0.34 does not flush the disk's cache on Linux, has no repair and leaks values
//! above 100 kB, so this is a cache: whoever uses it keeps the height it was built to inside the same batch, and rebuilds
//! it from the block log when [`Table::open`] fails or a root differs. Never the only copy of anything.

use std::{
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

/// The longest value. sled keeps longer ones in files of their own, which it neither syncs nor frees.
pub const VALUE_BYTES_MAX: usize = 100_000;

/// Why a table could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// What is there does not read back. [`move_aside`] it and build the table again.
    #[error("the table in {} is damaged ({what}); it is rebuilt from the block log", dir.display())]
    Damaged {
        /// Where it lies.
        dir: PathBuf,
        /// What was found.
        what: String,
    },
    /// The operating system refused: rebuilding would not help.
    #[error("could not open the table in {}", dir.display())]
    Io {
        /// Where it lies.
        dir: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// Why a table could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// A value that sled would leak.
    #[error("a value of {bytes} bytes; a table holds at most {VALUE_BYTES_MAX}, split it or keep it elsewhere")]
    TooLong {
        /// Its size.
        bytes: usize,
    },
    /// The database failed.
    #[error("the table failed: {0}")]
    Database(String),
    /// The operating system refused.
    #[error("could not sync the table in {}", dir.display())]
    Sync {
        /// Where it lies.
        dir: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl From<sled::Error> for TableError {
    fn from(error: sled::Error) -> Self {
        Self::Database(error.to_string())
    }
}

/// Changes that happen together or not at all.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    changes: sled::Batch,
    longest: usize,
}

impl Batch {
    /// Sets a key.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.longest = self.longest.max(value.len());
        self.changes.insert(key, value);
    }

    /// Removes a key, if it is there.
    pub fn delete(&mut self, key: &[u8]) {
        self.changes.remove(key);
    }
}

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// An open table. Clones share it; any thread may use any clone.
#[derive(Clone, Debug)]
pub struct Table {
    rows: sled::Db,
    dir: PathBuf,
}

impl Table {
    /// Opens or creates the table in `dir` with at most about `cache_bytes` of memory.
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
        // sled answers some damage with a panic. No state is shared with it at this point.
        let opened = catch_unwind(AssertUnwindSafe(|| config.open()))
            .map_err(|_| damaged("its files do not follow their own format".to_owned()))?;
        let rows = match opened {
            Ok(rows) => rows,
            // sled reports damage also as these kinds.
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

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        Ok(self.rows.get(key)?.map(|value| value.to_vec()))
    }

    /// The first row with `from <= key < below`.
    pub fn first_at_or_after(&self, from: &[u8], below: &[u8]) -> Result<Option<Row>, TableError> {
        if from >= below {
            return Ok(None);
        }
        self.rows.range(from..below).next().map(row).transpose()
    }

    /// The rows whose keys begin with `prefix`, in order.
    pub fn scan_prefix(&self, prefix: &[u8]) -> impl Iterator<Item = Result<Row, TableError>> + use<> {
        self.rows.scan_prefix(prefix).map(row)
    }

    /// Makes the changes, atomically. They survive a kill; a power cut only after [`Table::checkpoint`].
    pub fn apply(&self, batch: Batch) -> Result<(), TableError> {
        if batch.longest > VALUE_BYTES_MAX {
            return Err(TableError::TooLong { bytes: batch.longest });
        }
        Ok(self.rows.apply_batch(batch.changes)?)
    }

    /// Returns when everything applied so far would survive a power cut.
    pub fn checkpoint(&self) -> Result<(), TableError> {
        self.rows.flush()?;
        let sync = || -> io::Result<()> {
            for entry in fs::read_dir(&self.dir)? {
                let entry = entry?;
                // sled removes its old snapshots in the background.
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

    /// What it takes on disk, in bytes.
    pub fn size_on_disk(&self) -> Result<u64, TableError> {
        Ok(self.rows.size_on_disk()?)
    }
}

/// Renames the directory of a table that is not open, so that a new one can take its place. Says where it went.
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
    fn rows_come_in_order_and_survive_a_restart() {
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
    fn a_damaged_table_says_so_and_a_new_one_takes_its_place() {
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
    fn a_place_that_may_not_be_written_is_not_called_damage() {
        let home = tempfile::tempdir().expect("a place for files");
        let file = home.path().join("a file");
        fs::write(&file, b"").expect("written");
        let error = Table::open(&file.join("state"), CACHE).expect_err("not a directory");
        assert!(matches!(error, OpenError::Io { .. }), "{error:?}");
    }
}
