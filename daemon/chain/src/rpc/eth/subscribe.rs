//! `eth_subscribe`: new heads, logs and waiting transactions, as they come, over WebSocket.
//!
//! Heads and logs miss nothing: a reader that is slow gets later what it would have got at once. Of waiting transactions
//! a slow reader misses some.

use alloy_rpc_types_eth::pubsub::{Params, SubscriptionKind};
use alloy_rpc_types_eth::{Filter, FilterBlockOption};
use jsonrpsee::{
    PendingSubscriptionSink, SubscriptionMessage, SubscriptionSink,
    core::{SubscriptionResult, async_trait},
    proc_macros::rpc,
};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;
use tracing::debug;

use super::logs::matching;
use crate::rpc::{Rpc, Shown, failure::Failure, shape};

/// Subscriptions of `eth_`.
#[rpc(server, namespace = "eth")]
pub(crate) trait EthSubscribe {
    /// Tells the caller what happens from now on.
    #[subscription(name = "subscribe" => "subscription", unsubscribe = "unsubscribe", item = Value)]
    async fn subscribe(&self, kind: SubscriptionKind, params: Option<Value>) -> SubscriptionResult;
}

/// What a subscriber wants.
#[derive(Debug, PartialEq)]
enum Wanted {
    Heads,
    Logs(Box<Filter>),
    Hashes,
    Transactions,
}

fn read(kind: SubscriptionKind, params: Option<Value>) -> Result<Wanted, Failure> {
    let params = Params::from_json_value(params.unwrap_or_default());
    let params = params.map_err(|why| Failure::params(format!("invalid subscription parameters: {why}")))?;
    match (kind, params) {
        (SubscriptionKind::NewHeads, _) => Ok(Wanted::Heads),
        (SubscriptionKind::Logs, Params::None) => Ok(Wanted::Logs(Box::default())),
        (SubscriptionKind::Logs, Params::Logs(mut filter)) => {
            // A subscription is about what comes, whatever range is named.
            filter.block_option = FilterBlockOption::default();
            Ok(Wanted::Logs(filter))
        }
        (SubscriptionKind::NewPendingTransactions, Params::Bool(true)) => Ok(Wanted::Transactions),
        (SubscriptionKind::NewPendingTransactions, Params::None | Params::Bool(false)) => Ok(Wanted::Hashes),
        (SubscriptionKind::Logs | SubscriptionKind::NewPendingTransactions, _) => Err(Failure::params(format!(
            "these parameters do not belong to the subscription {kind}"
        ))),
        (SubscriptionKind::Syncing | SubscriptionKind::TransactionReceipts, _) => Err(Failure::params(format!(
            "no {kind} subscription in eth namespace; there are newHeads, logs and newPendingTransactions"
        ))),
    }
}

#[async_trait]
impl EthSubscribeServer for Rpc {
    async fn subscribe(
        &self,
        pending: PendingSubscriptionSink,
        kind: SubscriptionKind,
        params: Option<Value>,
    ) -> SubscriptionResult {
        let wanted = match read(kind, params) {
            Ok(wanted) => wanted,
            Err(why) => {
                pending.reject(why).await;
                return Ok(());
            }
        };
        let sink = pending.accept().await?;
        let told = async {
            match wanted {
                Wanted::Heads => {
                    self.tell_blocks(&sink, |shown, height| {
                        let header = shown.view.header(height)?;
                        Ok(header.map(shape::header).into_iter().collect())
                    })
                    .await
                }
                Wanted::Logs(filter) => {
                    self.tell_blocks(&sink, move |shown, height| matching(shown, &filter, height))
                        .await
                }
                Wanted::Hashes => self.tell_waiting(&sink, false).await,
                Wanted::Transactions => self.tell_waiting(&sink, true).await,
            }
        };
        tokio::select! {
            () = told => (),
            () = sink.closed() => (),
            () = self.stop.cancelled() => (),
        }
        Ok(())
    }
}

impl Rpc {
    /// Tells what `of` finds in every block from the next one on, until nobody listens.
    async fn tell_blocks<T: Serialize + Send + 'static>(
        &self,
        sink: &SubscriptionSink,
        of: impl Fn(&Shown, u64) -> Result<Vec<T>, Failure> + Clone + Send + 'static,
    ) {
        let mut heads = self.ground.heads();
        let mut told = heads.borrow_and_update().height.0;
        while heads.changed().await.is_ok() {
            let height = heads.borrow_and_update().height.0;
            while told < height {
                let (of, next) = (of.clone(), told + 1);
                let items = match self.read(move |shown| of(shown, next)).await {
                    Ok(items) => items,
                    Err(why) => {
                        debug!(%why, "a subscription ended");
                        return;
                    }
                };
                for item in items {
                    if !tell(sink, &item).await {
                        return;
                    }
                }
                told = next;
            }
        }
    }

    /// Tells the transactions that are taken in, until nobody listens.
    async fn tell_waiting(&self, sink: &SubscriptionSink, full: bool) {
        let mut accepted = self.ground.accepted();
        loop {
            let hash = match accepted.recv().await {
                Ok(hash) => hash,
                // The reader is slow and misses some.
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            };
            let going = if full {
                match self.ground.pooled(hash).await {
                    Ok(Some(pooled)) => tell(sink, &shape::waiting(&pooled)).await,
                    // It was included meanwhile.
                    Ok(None) => true,
                    Err(_) => return,
                }
            } else {
                tell(sink, &hash).await
            };
            if !going {
                return;
            }
        }
    }
}

/// Sends one item, waiting for a slow reader; false if nobody listens any more.
async fn tell(sink: &SubscriptionSink, item: &impl Serialize) -> bool {
    let message = SubscriptionMessage::new(sink.method_name(), sink.subscription_id(), item);
    let message = message.expect("what is sent has only keys that are text");
    sink.send(message).await.is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::rpc::{
        Settings,
        tests::{asking, lone::Lone},
    };

    fn check(kind: &str, params: Option<Value>) -> Result<Wanted, Failure> {
        read(serde_json::from_value(json!(kind)).unwrap(), params)
    }

    #[test]
    fn a_subscription_says_what_it_wants() {
        assert_eq!(check("newHeads", None), Ok(Wanted::Heads));
        assert_eq!(check("newPendingTransactions", None), Ok(Wanted::Hashes));
        assert_eq!(
            check("newPendingTransactions", Some(json!(true))),
            Ok(Wanted::Transactions)
        );
        let filter = json!({"address": "0x0101010101010101010101010101010101010101", "fromBlock": "0x1"});
        let Ok(Wanted::Logs(filter)) = check("logs", Some(filter)) else {
            panic!("logs")
        };
        assert_eq!(
            (filter.address.len(), filter.block_option),
            (1, FilterBlockOption::default())
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_subscriber_hears_every_head_and_what_waits() {
        let dir = tempfile::tempdir().unwrap();
        let lone = Lone::start(dir.path()).await;
        let rpc = Rpc::new(
            &Settings::default(),
            Arc::new(lone.running.clone()),
            &CancellationToken::new(),
        );
        let methods = rpc.methods();
        let mut heads = methods
            .subscribe_unbounded("eth_subscribe", ["newHeads"])
            .await
            .unwrap();
        let mut waiting = methods
            .subscribe_unbounded("eth_subscribe", ["newPendingTransactions"])
            .await
            .unwrap();
        let raw = asking::payment(1, 0, alloy_primitives::Address::ZERO, 1);
        let hash = lone.ask("eth_sendRawTransaction", json!([raw])).await.unwrap();
        assert_eq!(waiting.next::<Value>().await.unwrap().unwrap().0, hash);
        let mut last = None;
        for _ in 0..3 {
            let (head, _) = heads.next::<Value>().await.unwrap().unwrap();
            let number = u64::from_str_radix(&head["number"].as_str().unwrap()[2..], 16).unwrap();
            assert!(last.is_none_or(|last| number == last + 1), "{last:?} then {number}");
            last = Some(number);
        }
        lone.end().await;
    }

    #[test]
    fn what_is_not_offered_is_refused_by_name() {
        assert!(
            check("syncing", None)
                .unwrap_err()
                .to_string()
                .contains("no syncing subscription")
        );
        assert!(check("logs", Some(json!(true))).is_err());
    }
}
