//! The chain and mempool behind JSON-RPC: those of a running node, or those of an imported chain.

use consensus::mempool::PooledTransaction;
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

/// The senders whose transactions are requested from the mempool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SenderFilter {
    Any,
    Only(Account),
}

/// The chain and the mempool that the methods read.
#[async_trait]
pub trait Backend: Send + Sync {
    /// The last published head, as it changes.
    fn heads(&self) -> watch::Receiver<Head>;

    /// The source of blocks and certificates.
    fn log(&self) -> LoggedBlocks;

    /// Number of connected peers.
    fn peers(&self) -> usize;

    /// The highest block that a peer claims, or the head.
    async fn best_known(&self) -> Result<Height, Failure>;

    /// Submits a signed transaction.
    async fn submit(&self, raw: &[u8]) -> Result<TxHash, Failure>;

    /// Hashes of transactions as they are accepted.
    fn accepted(&self) -> broadcast::Receiver<TxHash>;

    /// A transaction in the mempool.
    async fn pooled(&self, hash: TxHash) -> Result<Option<PooledTransaction>, Failure>;

    /// The nonce that a wallet should use next; `None` if the account has no transaction in the mempool.
    async fn next_nonce(&self, account: Account) -> Result<Option<u64>, Failure>;

    /// Number of transactions that the next block could include, and of the others.
    async fn pool_counts(&self) -> Result<(usize, usize), Failure>;

    /// Copies of transactions in the mempool, each with true if the next block could include it.
    async fn pooled_of(&self, senders: SenderFilter) -> Result<Vec<(PooledTransaction, bool)>, Failure>;
}

/// The backend of a running node. Mempool reads run on the chain thread, so they are kept short.
#[derive(Clone)]
pub struct NodeBackend {
    pub chain: Chain,
    pub ingress: Ingress,
    pub net: NetHandle,
}

#[async_trait]
impl Backend for NodeBackend {
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
        Ok(self.chain.query(|node| node.best_known()).await?)
    }

    async fn submit(&self, raw: &[u8]) -> Result<TxHash, Failure> {
        Ok(self.ingress.submit(raw).await?)
    }

    fn accepted(&self) -> broadcast::Receiver<TxHash> {
        self.ingress.accepted()
    }

    async fn pooled(&self, hash: TxHash) -> Result<Option<PooledTransaction>, Failure> {
        Ok(self.chain.query(move |node| node.pool.get(&hash).cloned()).await?)
    }

    async fn next_nonce(&self, account: Account) -> Result<Option<u64>, Failure> {
        Ok(self.chain.query(move |node| node.pool.next_nonce(&account)).await?)
    }

    async fn pool_counts(&self) -> Result<(usize, usize), Failure> {
        let count = |node: &consensus::node::Node<_>| {
            let ready = node.pool.iter().filter(|(_, ready)| *ready).count();
            (ready, node.pool.len() - ready)
        };
        Ok(self.chain.query(count).await?)
    }

    async fn pooled_of(&self, senders: SenderFilter) -> Result<Vec<(PooledTransaction, bool)>, Failure> {
        let copy = move |node: &consensus::node::Node<_>| senders.matching(&node.pool);
        Ok(self.chain.query(copy).await?)
    }
}

impl SenderFilter {
    /// Copies of the transactions in `pool` that match, each with true if the next block could include it.
    pub fn matching(self, pool: &consensus::mempool::Mempool) -> Vec<(PooledTransaction, bool)> {
        let wanted = |pooled: &PooledTransaction| match self {
            Self::Any => true,
            Self::Only(account) => pooled.sender == account,
        };
        let matching = pool.iter().filter(|(pooled, _)| wanted(pooled));
        matching.map(|(pooled, ready)| (pooled.clone(), ready)).collect()
    }
}
