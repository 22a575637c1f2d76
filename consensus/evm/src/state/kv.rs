//! The database that the state needs: ordered keys, point reads, the next key in a range, and an atomic batch.
//!
//! Durability is not required. The block log is the truth, and a database that lost its last writes is behind, not
//! wrong.

use std::{
    collections::BTreeMap,
    error::Error,
    fmt,
    sync::{PoisonError, RwLock},
};

/// A write: a key, and its new value or `None` to delete it.
pub type Row = (Vec<u8>, Option<Vec<u8>>);

/// A stored row: its key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// An ordered map from bytes to bytes, shared between threads. Values have at most 64 KiB.
pub trait Kv: fmt::Debug + Send + Sync + 'static {
    /// The value of a key; `None` if there is none.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError>;

    /// The first row with a key in `from..below`.
    fn first_at_or_after(&self, from: &[u8], below: &[u8]) -> Result<Option<Pair>, KvError>;

    /// Writes all rows or none. No key may occur twice.
    fn apply(&self, batch: Vec<Row>) -> Result<(), KvError>;
}

/// A failure of the database. It is this node's, never a block's or a peer's.
#[derive(Debug, thiserror::Error)]
#[error("could not {what} the state database")]
pub struct KvError {
    /// `read` or `write`.
    pub what: &'static str,
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

/// A database in memory, for tests and the simulator.
#[derive(Debug, Default)]
pub struct MemKv(RwLock<BTreeMap<Vec<u8>, Vec<u8>>>);

impl MemKv {
    /// All rows, in the order of their keys.
    pub fn rows(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl From<BTreeMap<Vec<u8>, Vec<u8>>> for MemKv {
    fn from(rows: BTreeMap<Vec<u8>, Vec<u8>>) -> Self {
        Self(RwLock::new(rows))
    }
}

impl Kv for MemKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    fn first_at_or_after(&self, from: &[u8], below: &[u8]) -> Result<Option<Pair>, KvError> {
        if from >= below {
            return Ok(None);
        }
        let rows = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let first = rows
            .range::<[u8], _>((std::ops::Bound::Included(from), std::ops::Bound::Excluded(below)))
            .next();
        Ok(first.map(|(key, value)| (key.clone(), value.clone())))
    }

    fn apply(&self, batch: Vec<Row>) -> Result<(), KvError> {
        let mut rows = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in batch {
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
        Ok(())
    }
}

impl<K: Kv> Kv for std::sync::Arc<K> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        (**self).get(key)
    }

    fn first_at_or_after(&self, from: &[u8], below: &[u8]) -> Result<Option<Pair>, KvError> {
        (**self).first_at_or_after(from, below)
    }

    fn apply(&self, batch: Vec<Row>) -> Result<(), KvError> {
        (**self).apply(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_includes_its_start_and_not_its_end() {
        let kv = MemKv::default();
        kv.apply(vec![(vec![1], Some(vec![10])), (vec![3], Some(vec![30]))])
            .unwrap();
        let check = |from: u8, below: u8, expect: Option<u8>| {
            let first = kv.first_at_or_after(&[from], &[below]).unwrap();
            assert_eq!(first.map(|(key, _)| key[0]), expect);
        };
        check(1, 3, Some(1));
        check(2, 3, None);
        check(2, 4, Some(3));
        check(4, 2, None);
        kv.apply(vec![(vec![3], None)]).unwrap();
        check(2, 4, None);
    }
}
