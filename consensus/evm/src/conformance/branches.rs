//! Imported blocks with their states, in memory, several branches side by side.

use std::{collections::BTreeMap, sync::Arc};

use alloy_consensus::{Block, Header, TxEnvelope};
use alloy_genesis::GenesisAccount;
use alloy_primitives::{Address, B256, U256};
use alloy_rlp::Decodable;
use revm::database::BundleState;

use crate::{
    alloc,
    chain::ChainSpec,
    import,
    state::{MemKv, Options, StateStore, WorldState},
};

/// An imported block and the state after it.
struct Node {
    header: Header,
    state: WorldState,
    ancestors: Arc<BTreeMap<u64, B256>>,
    total_difficulty: U256,
}

/// All imported blocks, and the head.
pub(super) struct Branches {
    nodes: BTreeMap<B256, Node>,
    head: B256,
}

/// The state that holds exactly these accounts.
pub(super) fn state_of(accounts: &BTreeMap<Address, GenesisAccount>) -> Result<WorldState, String> {
    let store = StateStore::open(MemKv::default(), Options::default()).map_err(|error| error.to_string())?;
    store
        .tip()
        .apply(&alloc::creation(accounts))
        .map_err(|error| error.to_string())
}

impl Branches {
    /// A chain that consists of its genesis.
    pub(super) fn new(header: Header, accounts: &BTreeMap<Address, GenesisAccount>) -> Result<Self, String> {
        let state = state_of(accounts)?;
        if state.root() != header.state_root {
            return Err(format!(
                "genesis root is {}, expected {}",
                state.root(),
                header.state_root
            ));
        }
        let head = header.hash_slow();
        let ancestors = Arc::new(BTreeMap::from([(header.number, head)]));
        let total_difficulty = header.difficulty;
        Ok(Self {
            nodes: BTreeMap::from([(
                head,
                Node {
                    header,
                    state,
                    ancestors,
                    total_difficulty,
                },
            )]),
            head,
        })
    }

    /// Executes a block on its parent. It becomes the head if its branch has more total difficulty, or after the
    /// merge.
    pub(super) fn import(&mut self, spec: &ChainSpec, rlp: &mut &[u8]) -> Result<B256, String> {
        let block = Block::<TxEnvelope>::decode(rlp).map_err(|error| format!("does not decode: {error}"))?;
        let parent = self
            .nodes
            .get(&block.header.parent_hash)
            .ok_or("its parent is unknown")?;
        let apply = |changes: &BundleState| parent.state.apply(changes).map_err(|error| error.to_string());
        let db = parent.state.db(parent.ancestors.clone());
        let executed = import::execute_block(spec, db, &parent.header, &block, &mut |changes| {
            Ok(apply(changes)?.root())
        })
        .map_err(|error| error.to_string())?;
        let state = apply(&executed.changes)?;
        if state.root() != block.header.state_root {
            return Err(format!(
                "state root is {}, its header claims {}",
                state.root(),
                block.header.state_root
            ));
        }
        let hash = block.header.hash_slow();
        let mut ancestors = BTreeMap::clone(&parent.ancestors);
        ancestors.insert(block.header.number, hash);
        let total_difficulty = parent.total_difficulty + block.header.difficulty;
        let node = Node {
            header: block.header,
            state,
            ancestors: Arc::new(ancestors),
            total_difficulty,
        };
        if node.header.difficulty.is_zero() || total_difficulty > self.head_node().total_difficulty {
            self.head = hash;
        }
        self.nodes.insert(hash, node);
        Ok(hash)
    }

    /// The hash of the head.
    pub(super) fn head(&self) -> B256 {
        self.head
    }

    /// The state root after the head.
    pub(super) fn head_root(&self) -> B256 {
        self.head_node().state.root()
    }

    fn head_node(&self) -> &Node {
        self.nodes.get(&self.head).expect("the head was imported")
    }
}
