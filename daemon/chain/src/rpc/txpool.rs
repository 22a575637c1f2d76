//! `txpool_`: transactions in the mempool. *Pending* ones could go into the next block; *queued* ones wait for an
//! earlier nonce.

use std::collections::BTreeMap;

use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, U64};
use alloy_rpc_types_eth::Transaction;
use consensus::mempool::PooledTransaction;
use jsonrpsee::{core::async_trait, proc_macros::rpc};
use protocol::Account;
use serde::{Deserialize, Serialize};

use super::{Rpc, backend::SenderFilter, convert, failure::Failure, param::Hex};

/// Number of transactions in the mempool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Status {
    pending: U64,
    queued: U64,
}

/// Transactions by nonce in decimal, as other clients write them here.
type ByNonce = BTreeMap<String, Transaction>;

/// All transactions by sender.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Content {
    pending: BTreeMap<Address, ByNonce>,
    queued: BTreeMap<Address, ByNonce>,
}

/// All transactions by sender and nonce, as a line of text each.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Inspected {
    pending: BTreeMap<Address, BTreeMap<String, String>>,
    queued: BTreeMap<Address, BTreeMap<String, String>>,
}

/// Transactions of one sender.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct SenderContent {
    pending: ByNonce,
    queued: ByNonce,
}

/// Methods of `txpool_`.
#[rpc(server, namespace = "txpool")]
pub(crate) trait Txpool {
    /// Number of transactions.
    #[method(name = "status")]
    async fn status(&self) -> Result<Status, Failure>;

    /// All transactions.
    #[method(name = "content")]
    async fn content(&self) -> Result<Content, Failure>;

    /// All transactions as a line of text each.
    #[method(name = "inspect")]
    async fn inspect(&self) -> Result<Inspected, Failure>;

    /// Transactions of one sender.
    #[method(name = "contentFrom")]
    async fn content_from(&self, sender: Hex<Address>) -> Result<SenderContent, Failure>;
}

#[async_trait]
impl TxpoolServer for Rpc {
    async fn status(&self) -> Result<Status, Failure> {
        let (pending, queued) = self.backend.pool_counts().await?;
        Ok(Status {
            pending: U64::from(pending),
            queued: U64::from(queued),
        })
    }

    async fn content(&self) -> Result<Content, Failure> {
        let waiting = self.pooled_of(SenderFilter::Any).await?;
        let shape = move |_: &_| {
            let mut content = Content::default();
            for (pooled, ready) in waiting {
                let side = if ready {
                    &mut content.pending
                } else {
                    &mut content.queued
                };
                let sender = side.entry(Address::from(pooled.sender.0)).or_default();
                sender.insert(pooled.nonce.to_string(), convert::pending_transaction(&pooled));
            }
            Ok(content)
        };
        self.work(shape).await
    }

    async fn inspect(&self) -> Result<Inspected, Failure> {
        let waiting = self.pooled_of(SenderFilter::Any).await?;
        let list = move |_: &_| {
            let mut inspected = Inspected::default();
            for (pooled, ready) in waiting {
                let side = if ready {
                    &mut inspected.pending
                } else {
                    &mut inspected.queued
                };
                let sender = side.entry(Address::from(pooled.sender.0)).or_default();
                sender.insert(pooled.nonce.to_string(), in_words(&pooled));
            }
            Ok(inspected)
        };
        self.work(list).await
    }

    async fn content_from(&self, Hex(sender): Hex<Address>) -> Result<SenderContent, Failure> {
        let mut content = SenderContent::default();
        for (pooled, ready) in self.pooled_of(SenderFilter::Only(Account(sender.0.0))).await? {
            let side = if ready {
                &mut content.pending
            } else {
                &mut content.queued
            };
            side.insert(pooled.nonce.to_string(), convert::pending_transaction(&pooled));
        }
        Ok(content)
    }
}

/// Target, value, gas and price, in the form of other clients.
fn in_words(pooled: &PooledTransaction) -> String {
    let transaction = convert::pending_transaction(pooled);
    let target = match transaction.to() {
        Some(to) => to.to_string(),
        None => "contract creation".into(),
    };
    let (value, gas, price) = (
        transaction.value(),
        transaction.gas_limit(),
        transaction.max_fee_per_gas(),
    );
    format!("{target}: {value} wei + {gas} gas × {price} wei")
}

impl Rpc {
    /// Copies of transactions in the mempool, each with true if the next block could include it.
    async fn pooled_of(&self, senders: SenderFilter) -> Result<Vec<(PooledTransaction, bool)>, Failure> {
        // A full mempool takes milliseconds to copy, on the thread that votes, so few are copied at a time.
        let _permit = self
            .heavy_permits
            .acquire()
            .await
            .expect("the semaphore is never closed");
        self.backend.pooled_of(senders).await
    }
}
