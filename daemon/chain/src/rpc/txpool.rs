//! `txpool_`: transactions that wait. *Pending* could go into the next block, *queued* waits for an earlier nonce.

use std::collections::BTreeMap;

use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, U64};
use alloy_rpc_types_eth::Transaction;
use consensus::mempool::Pooled;
use jsonrpsee::{core::async_trait, proc_macros::rpc};
use protocol::Account;
use serde::{Deserialize, Serialize};

use super::{Rpc, failure::Failure, ground::Whose, param::Hex, shape};

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

/// What waits, by sender and nonce, in words.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Inspected {
    pending: BTreeMap<Address, BTreeMap<String, String>>,
    queued: BTreeMap<Address, BTreeMap<String, String>>,
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

    /// All that wait, a line of text each.
    #[method(name = "inspect")]
    async fn inspect(&self) -> Result<Inspected, Failure>;

    /// Those of one sender.
    #[method(name = "contentFrom")]
    async fn content_from(&self, sender: Hex<Address>) -> Result<SenderContent, Failure>;
}

#[async_trait]
impl TxpoolServer for Rpc {
    async fn status(&self) -> Result<Status, Failure> {
        let (pending, queued) = self.ground.waiting_counts().await?;
        Ok(Status {
            pending: U64::from(pending),
            queued: U64::from(queued),
        })
    }

    async fn content(&self) -> Result<Content, Failure> {
        let waiting = self.waiting(Whose::Everyones).await?;
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

    async fn inspect(&self) -> Result<Inspected, Failure> {
        let waiting = self.waiting(Whose::Everyones).await?;
        let tell = move |_: &_| {
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
        self.work(tell).await
    }

    async fn content_from(&self, Hex(sender): Hex<Address>) -> Result<SenderContent, Failure> {
        let mut content = SenderContent::default();
        for (pooled, ready) in self.waiting(Whose::Of(Account(sender.0.0))).await? {
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

/// Whom it calls, what it sends, what it pays: as other clients write it.
fn in_words(pooled: &Pooled) -> String {
    let transaction = shape::waiting(pooled);
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
    /// Copies of what waits, with whether each could go into the next block.
    async fn waiting(&self, whose: Whose) -> Result<Vec<(Pooled, bool)>, Failure> {
        // A full mempool is copied in milliseconds, on the thread that votes: few at a time.
        let _turn = self.turns.acquire().await.expect("nobody closes the semaphore");
        self.ground.waiting(whose).await
    }
}
