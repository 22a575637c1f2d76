//! `openledger chain import --genesis FILE BLOCKS`: a foreign Ethereum chain, executed into a home of its own.
//!
//! `BLOCKS` holds RLP blocks, one after the other, of any fork. Each must leave the roots that its header claims; the first
//! that does not ends the import, and what came before stays. Blocks that are there already are skipped, so an import can
//! be repeated. Prints how much was executed and how fast; `--json` prints `{"height", "hash", "blocks", "known",
//! "transactions", "gasUsed", "ms"}`.

use std::{path::PathBuf, time::Instant};

use clap::Args;
use serde::Serialize;

use crate::cli::{Place, exit::Exit};
use chain::imported_chain::{Imported, ImportedChain};

/// Execute a foreign chain's blocks into --home
#[derive(Debug, Args)]
#[command(after_help = "Example: openledger chain import --genesis genesis.json chain.rlp --home /tmp/foreign")]
pub(crate) struct Import {
    /// The chain's genesis file, of the shape that Ethereum's clients take
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// A file of RLP blocks, one after the other
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
    pub(crate) fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let start = Instant::now();
        let mut chain = ImportedChain::create(&place.home(), &self.genesis)?;
        let imported = chain.import(&self.blocks, |_| ())?;
        let ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let shown = Shown {
            height: chain.height().0,
            hash: format!("0x{}", hex::encode(chain.hash().0)),
            imported,
            ms,
        };
        place.show(&shown, || text(&shown));
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
        "{blocks} blocks with {transactions} transactions executed in {} ms ({} blocks/s, {} Mgas/s), {known} were there\nhead is block {}, {}",
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
    fn the_speed_is_told_in_blocks_and_gas() {
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
        let expect = "54 blocks with 249 transactions executed in 500 ms (108 blocks/s, 60 Mgas/s), 3 were there\nhead is block 54, 0xab";
        assert_eq!(text(&shown), expect);
    }
}
