//! Connects the executor with storage: its database is a sled table, and its blocks are in the block log.

use std::sync::Arc;

use evm::state::{Kv, KvError, Pair, Row};
use evm::view::BlockSource;
use protocol::{
    Height, codec,
    message::chain::{BODY_MAX, Entry},
};
use storage::{
    BlockLog,
    table::{Batch, Table},
};

/// A sled table as the executor's database. It is a cache of the block log.
#[derive(Clone, Debug)]
pub struct StateTable(pub Table);

fn failed(what: &'static str) -> impl Fn(storage::table::TableError) -> KvError {
    move |source| KvError {
        what,
        source: Box::new(source),
    }
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

/// The block log as a source of blocks for readers.
#[derive(Clone)]
pub struct LoggedBlocks(pub Arc<BlockLog>);

impl LoggedBlocks {
    /// The entry at this height, if it is there and can be read. Damage is reported where the log is opened.
    pub fn entry(&self, height: Height) -> Option<Entry> {
        let bytes = self.0.read(height).ok()??;
        codec::decode(&bytes, BODY_MAX).ok()
    }
}

impl BlockSource for LoggedBlocks {
    fn block(&self, height: u64) -> Option<Vec<u8>> {
        self.entry(Height(height)).map(|entry| entry.block)
    }
}
