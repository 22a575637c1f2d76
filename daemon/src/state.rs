//! The state database of the executor on the tables of storage: the one place where the two meet.

use evm::state::{Kv, KvError, Pair, Row};
use storage::table::{Batch, Table};

/// A table as the executor sees it.
#[derive(Clone, Debug)]
pub struct StateTable(pub Table);

fn failed(what: &'static str) -> impl Fn(storage::table::TableError) -> KvError {
    move |source| KvError { what, source: Box::new(source) }
}

impl Kv for StateTable {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.0.get(key).map_err(failed("read"))
    }

    fn first_at_or_after(&self, from: &[u8], below: &[u8]) -> Result<Option<Pair>, KvError> {
        self.0.first_at_or_after(from, below).map_err(failed("read"))
    }

    fn apply(&self, rows: Vec<Row>) -> Result<(), KvError> {
        let mut batch = Batch::default();
        for (key, value) in &rows {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            }
        }
        self.0.apply(batch).map_err(failed("write"))
    }
}
