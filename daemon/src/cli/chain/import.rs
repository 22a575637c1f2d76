//! `openledger chain import --genesis FILE BLOCKS`: executes the blocks of an Ethereum chain into a home of its own.
//!
//! `BLOCKS` is a sequence of RLP blocks of any fork. Execution must reproduce the roots in each header. The first block
//! that does not match stops the import; the blocks before it are kept. Blocks that were imported before are skipped, so
//! an import can be repeated.

use std::{path::PathBuf, time::Instant};

use clap::Args;
use serde::Serialize;

use crate::cli::{Globals, exit::Exit};
use chain::imported_chain::{Imported, ImportedChain};

/// Execute the blocks of an Ethereum chain into --home
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger chain import --genesis genesis.json chain.rlp --home /tmp/foreign\n\n\
                        JSON: {height, hash, blocks, known, transactions, gasUsed, ms}"
)]
pub(crate) struct Import {
    /// Genesis file of the chain, in the format of Ethereum clients
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// File with a sequence of RLP blocks
    #[arg(value_name = "BLOCKS")]
    blocks: PathBuf,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    height: u64,
    hash: String,
    #[serde(flatten)]
    imported: Imported,
    ms: u64,
}

impl Import {
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let start = Instant::now();
        let mut chain = ImportedChain::create(&globals.home(), &self.genesis)?;
        let imported = chain.import(&self.blocks, |_| ())?;
        let ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let shown = Shown {
            height: chain.height().0,
            hash: format!("0x{}", hex::encode(chain.hash().0)),
            imported,
            ms,
        };
        globals.show(&shown, || text(&shown));
        Ok(Exit::Done)
    }
}

fn text(shown: &Shown) -> String {
    let Imported {
        blocks,
        known,
        transactions,
        gas_used,
    } = shown.imported;
    let per_s = |count: u64| count.saturating_mul(1000) / shown.ms.max(1);
    format!(
        "{blocks} blocks with {transactions} transactions executed in {} ms ({} blocks/s, {} Mgas/s), {known} were known\nhead is block {}, {}",
        shown.ms,
        per_s(blocks),
        per_s(gas_used) / 1_000_000,
        shown.height,
        shown.hash,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_speed_is_shown_in_blocks_and_gas() {
        let shown = Shown {
            height: 54,
            hash: "0xab".into(),
            imported: Imported {
                blocks: 54,
                known: 3,
                transactions: 249,
                gas_used: 30_000_000,
            },
            ms: 500,
        };
        let expect = "54 blocks with 249 transactions executed in 500 ms (108 blocks/s, 60 Mgas/s), 3 were known\nhead is block 54, 0xab";
        assert_eq!(text(&shown), expect);
    }
}
