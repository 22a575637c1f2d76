//! What JSON-RPC stands on: a running node, or a chain that was imported and is only served.

use consensus::mempool::Pooled;
use jsonrpsee::core::async_trait;
use net::NetHandle;
use protocol::{Account, Height, TxHash};
use tokio::sync::{broadcast, watch};

use super::failure::Failure;
use crate::{
    actor::{Chain, Head},
    ingress::Ingress,
    state::LoggedBlocks,
};

/// Whose transactions are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// All that wait.
    Everyones,
    /// Those that this account sent.
    Of(Account),
}

/// The chain below JSON-RPC, and the transactions that wait for it.
#[async_trait]
pub trait Ground: Send + Sync {
    /// The last block shown, as it changes.
    fn heads(&self) -> watch::Receiver<Head>;

    /// Where blocks are kept.
    fn log(&self) -> LoggedBlocks;

    /// How many peers are connected.
    fn peers(&self) -> usize;

    /// The highest block that is known of.
    async fn best_known(&self) -> Result<Height, Failure>;

    /// Takes a signed transaction.
    async fn submit(&self, raw: &[u8]) -> Result<TxHash, Failure>;

    /// The names of transactions as they are taken in.
    fn accepted(&self) -> broadcast::Receiver<TxHash>;

    /// A transaction that waits.
    async fn pooled(&self, hash: TxHash) -> Result<Option<Pooled>, Failure>;

    /// The nonce a wallet should use next for an account that has anything waiting.
    async fn next_nonce(&self, account: Account) -> Result<Option<u64>, Failure>;

    /// How many could go into the next block, and how many could not.
    async fn waiting_counts(&self) -> Result<(usize, usize), Failure>;

    /// Copies of what waits, with whether each could go into the next block.
    async fn waiting(&self, whose: Whose) -> Result<Vec<(Pooled, bool)>, Failure>;
}

/// A chain that runs in this node, with its way in for transactions.
#[derive(Clone)]
pub struct Running {
    pub chain: Chain,
    pub ingress: Ingress,
    pub net: NetHandle,
}

#[async_trait]
impl Ground for Running {
    fn heads(&self) -> watch::Receiver<Head> {
        self.chain.head.clone()
    }

    fn log(&self) -> LoggedBlocks {
        self.chain.log.clone()
    }

    fn peers(&self) -> usize {
        self.net.peers().len()
    }

    async fn best_known(&self) -> Result<Height, Failure> {
        Ok(self.chain.look(|node| node.best_known()).await?)
    }

    async fn submit(&self, raw: &[u8]) -> Result<TxHash, Failure> {
        Ok(self.ingress.submit(raw).await?)
    }

    fn accepted(&self) -> broadcast::Receiver<TxHash> {
        self.ingress.accepted()
    }

    async fn pooled(&self, hash: TxHash) -> Result<Option<Pooled>, Failure> {
        Ok(self.chain.look(move |node| node.pool.get(&hash).cloned()).await?)
    }

    async fn next_nonce(&self, account: Account) -> Result<Option<u64>, Failure> {
        Ok(self.chain.look(move |node| node.pool.next_nonce(&account)).await?)
    }

    async fn waiting_counts(&self) -> Result<(usize, usize), Failure> {
        let count = |node: &consensus::node::Node<_>| {
            let ready = node.pool.iter().filter(|(_, ready)| *ready).count();
            (ready, node.pool.len() - ready)
        };
        Ok(self.chain.look(count).await?)
    }

    async fn waiting(&self, whose: Whose) -> Result<Vec<(Pooled, bool)>, Failure> {
        let copy = move |node: &consensus::node::Node<_>| whose.copy(&node.pool);
        Ok(self.chain.look(copy).await?)
    }
}

impl Whose {
    /// Copies of theirs out of a pool.
    pub fn copy(self, pool: &consensus::mempool::Mempool) -> Vec<(Pooled, bool)> {
        let wanted = |one: &Pooled| match self {
            Self::Everyones => true,
            Self::Of(account) => one.sender == account,
        };
        let theirs = pool.iter().filter(|(one, _)| wanted(one));
        theirs.map(|(one, ready)| (one.clone(), ready)).collect()
    }
}
