//! Opens a ledger: at genesis in an empty database, else at the block whose state was flushed last.

use std::{collections::BTreeMap, sync::Arc};

use alloy_consensus::Header;
use alloy_rlp::Decodable;
use consensus::execution::{Epoch, Staker};
use protocol::BlockHash;
use revm::database::BundleState;

use super::{
    head::{ANCESTORS_MAX, Head},
    rows,
};
use crate::{
    genesis::{ChainGenesis, GenesisValidator},
    state::{self, BlockId, Kv, Row, StateReader, StateStore},
};

/// Reason that a ledger cannot be opened. Except for another chain's data, moving the state database aside repairs
/// it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    State(#[from] state::OpenError),
    #[error(transparent)]
    Row(#[from] rows::RowError),
    /// The database belongs to another chain.
    #[error("this data belongs to the chain with genesis {found}, not {wanted}; give the node another home")]
    OtherChain {
        /// The genesis it was written for.
        found: BlockHash,
        /// The genesis of this node.
        wanted: BlockHash,
    },
    /// The state of genesis could not be written.
    #[error("could not write the state of genesis: {0}")]
    Genesis(String),
}

/// Writes genesis into an empty database.
pub(super) fn start<K: Kv>(store: &mut StateStore<K>, genesis: &ChainGenesis) -> Result<(Head, Epoch), OpenError> {
    let founders: Vec<Staker> = sorted(&genesis.params.validators);
    let epoch = Epoch {
        voting: founders.clone(),
        previous: founders,
    };
    let epoch_row = (rows::EPOCH.to_vec(), Some(rows::encode_epoch(&epoch)));
    let head = write_genesis(store, &genesis.header, &genesis.accounts, vec![epoch_row])?;
    Ok((head, epoch))
}

/// Writes block 0 of any chain into an empty database, together with the caller's rows.
pub(crate) fn write_genesis<K: Kv>(
    store: &mut StateStore<K>,
    header: &Header,
    accounts: &BundleState,
    own: Vec<Row>,
) -> Result<Head, OpenError> {
    let wrong = |why: String| OpenError::Genesis(why);
    let state = store.tip().apply(accounts).map_err(|error| wrong(error.to_string()))?;
    assert_eq!(
        state.root(),
        header.state_root,
        "the trie and the oracle agree on genesis"
    );
    let hash = header.hash_slow();
    let mut written = rows::of_block(header, hash, &[], &[]);
    written.push((rows::GENESIS.to_vec(), Some(hash.to_vec())));
    written.extend(own);
    store
        .commit(&state, BlockId { height: 0, hash }, written)
        .map_err(|error| wrong(error.to_string()))?;
    store.flush().map_err(|error| wrong(error.to_string()))?;
    Ok(Head {
        header: Arc::new(header.clone()),
        hash,
        ancestors: Arc::new(BTreeMap::from([(0, hash)])),
    })
}

/// Reads head and epoch of a database that has a chain.
pub(super) fn resume<K: Kv>(
    store: &StateStore<K>,
    genesis: &ChainGenesis,
    height: u64,
) -> Result<(Head, Epoch), OpenError> {
    let head = find_head(store, genesis.hash, height)?;
    let epoch = rows::decode_epoch(&row(&store.reader(), rows::EPOCH, "the epoch")?)?;
    Ok((head, epoch))
}

/// Reads the head that the database of any chain has.
pub(crate) fn find_head<K: Kv>(store: &StateStore<K>, wanted: BlockHash, height: u64) -> Result<Head, OpenError> {
    let reader = store.reader();
    let found = row(&reader, rows::GENESIS, "genesis")?;
    if found != wanted.0 {
        let found = found
            .try_into()
            .map_err(|_| rows::RowError::Damaged("genesis".into()))?;
        return Err(OpenError::OtherChain {
            found: BlockHash(found),
            wanted,
        });
    }
    let header = Header::decode(&mut &row(&reader, rows::TIP, "the tip")?[..])
        .map_err(|_| rows::RowError::Damaged("the tip".into()))?;
    let first = (height + 1).saturating_sub(ANCESTORS_MAX as u64);
    let mut ancestors = BTreeMap::new();
    for number in first..=height {
        let hash = rows::hash_at(&reader, number)?;
        ancestors.insert(
            number,
            hash.ok_or_else(|| rows::RowError::Damaged(format!("block {number}")))?,
        );
    }
    let hash = header.hash_slow();
    if header.number != height || ancestors.get(&height) != Some(&hash) {
        return Err(rows::RowError::Damaged("the tip".into()).into());
    }
    Ok(Head {
        header: Arc::new(header),
        hash,
        ancestors: Arc::new(ancestors),
    })
}

fn row<K: Kv>(reader: &StateReader<K>, key: &[u8], what: &str) -> Result<Vec<u8>, rows::RowError> {
    reader
        .row(key)
        .map_err(rows::RowError::Database)?
        .ok_or_else(|| rows::RowError::Damaged(what.into()))
}

fn sorted(validators: &[GenesisValidator]) -> Vec<Staker> {
    let mut stakers: Vec<Staker> = validators
        .iter()
        .map(|validator| Staker {
            key: validator.key,
            account: validator.account,
            stake: validator.stake,
        })
        .collect();
    stakers.sort_by(|a, b| b.stake.cmp(&a.stake).then(a.key.cmp(&b.key)));
    stakers
}
