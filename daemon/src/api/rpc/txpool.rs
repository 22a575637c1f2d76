//! `txpool_`: transactions that wait. *Pending* could go into the next block, *queued* waits for an earlier nonce.

use std::collections::BTreeMap;

use alloy_primitives::{Address, U64};
use alloy_rpc_types_eth::Transaction;
use consensus::mempool::Pooled;
use jsonrpsee::{core::async_trait, proc_macros::rpc};
use serde::{Deserialize, Serialize};

use super::{Rpc, failure::Failure, shape};

/// How many wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Status {
    pending: U64,
    queued: U64,
}

/// By nonce, in decimal: that is how other clients write it here.
type ByNonce = BTreeMap<String, Transaction>;

/// What waits, by sender.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Content {
    pending: BTreeMap<Address, ByNonce>,
    queued: BTreeMap<Address, ByNonce>,
}

/// What waits of one sender.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct SenderContent {
    pending: ByNonce,
    queued: ByNonce,
}

/// Methods under `txpool_`.
#[rpc(server, namespace = "txpool")]
pub(crate) trait Txpool {
    /// How many wait.
    #[method(name = "status")]
    async fn status(&self) -> Result<Status, Failure>;

    /// All that wait.
    #[method(name = "content")]
    async fn content(&self) -> Result<Content, Failure>;

    /// Those of one sender.
    #[method(name = "contentFrom")]
    async fn content_from(&self, sender: Address) -> Result<SenderContent, Failure>;
}

#[async_trait]
impl TxpoolServer for Rpc {
    async fn status(&self) -> Result<Status, Failure> {
        let count = |node: &consensus::node::Node<_>| {
            let pending = node.pool.iter().filter(|(_, ready)| *ready).count();
            (pending, node.pool.len() - pending)
        };
        let (pending, queued) = self.parts.chain.look(count).await?;
        Ok(Status {
            pending: U64::from(pending),
            queued: U64::from(queued),
        })
    }

    async fn content(&self) -> Result<Content, Failure> {
        let waiting = self.waiting(|_| true).await?;
        let shape = move |_: &_| {
            let mut content = Content::default();
            for (pooled, ready) in waiting {
                let side = if ready {
                    &mut content.pending
                } else {
                    &mut content.queued
                };
                let sender = side.entry(Address::from(pooled.sender.0)).or_default();
                sender.insert(pooled.nonce.to_string(), shape::waiting(&pooled));
            }
            Ok(content)
        };
        self.work(shape).await
    }

    async fn content_from(&self, sender: Address) -> Result<SenderContent, Failure> {
        let mut content = SenderContent::default();
        for (pooled, ready) in self.waiting(move |pooled| pooled.sender.0 == sender.0).await? {
            let side = if ready {
                &mut content.pending
            } else {
                &mut content.queued
            };
            side.insert(pooled.nonce.to_string(), shape::waiting(&pooled));
        }
        Ok(content)
    }
}

impl Rpc {
    /// Copies of what waits, with whether each could go into the next block.
    async fn waiting(&self, wanted: impl Fn(&Pooled) -> bool + Send + 'static) -> Result<Vec<(Pooled, bool)>, Failure> {
        let copy = move |node: &consensus::node::Node<_>| {
            let wanted = node.pool.iter().filter(|(pooled, _)| wanted(pooled));
            wanted.map(|(pooled, ready)| (pooled.clone(), ready)).collect()
        };
        // A full mempool is copied in milliseconds, on the thread that votes: few at a time.
        let _turn = self.turns.acquire().await.expect("nobody closes the semaphore");
        Ok(self.parts.chain.look(copy).await?)
    }
}
