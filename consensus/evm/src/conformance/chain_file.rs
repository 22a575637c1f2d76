//! Imports a genesis file and a file of blocks, as Ethereum's clients do.

use alloy_genesis::Genesis;
use alloy_primitives::B256;

use super::branches::Branches;
use crate::{chain::ChainSpec, collision::bare_storage, genesis};

/// Imports every block of `rlp` on `genesis_json`. Returns the number of blocks and the hash of the last.
pub fn import(genesis_json: &[u8], mut rlp: &[u8]) -> Result<(u64, B256), String> {
    let genesis: Genesis = serde_json::from_slice(genesis_json).map_err(|error| format!("not a genesis: {error}"))?;
    let mut spec = ChainSpec::from_config(&genesis.config);
    spec.bare_storage = bare_storage(&genesis.alloc);
    let header = genesis::header(&spec, &genesis, genesis::state_root(&genesis.alloc));
    let mut chain = Branches::new(header, &genesis.alloc)?;
    let mut blocks = 0;
    while !rlp.is_empty() {
        blocks += 1;
        chain
            .import(&spec, &mut rlp)
            .map_err(|why| format!("block {blocks}: {why}"))?;
    }
    Ok((blocks, chain.head()))
}
