//! `eth_subscribe`: new heads, logs and accepted transactions over WebSocket.
//!
//! Heads and logs miss nothing: a slow client gets them late. Of accepted transactions a slow client misses some.

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
use crate::rpc::{Rpc, Snapshot, convert, failure::Failure};

/// Subscriptions of `eth_`.
#[rpc(server, namespace = "eth")]
pub(crate) trait EthSubscribe {
    /// Sends events of this kind from now on.
    #[subscription(name = "subscribe" => "subscription", unsubscribe = "unsubscribe", item = Value)]
    async fn subscribe(&self, kind: SubscriptionKind, params: Option<Value>) -> SubscriptionResult;
}

/// The subject of a subscription.
#[derive(Debug, PartialEq)]
enum Topic {
    Heads,
    Logs(Box<Filter>),
    Hashes,
    Transactions,
}

fn read(kind: SubscriptionKind, params: Option<Value>) -> Result<Topic, Failure> {
    let params = Params::from_json_value(params.unwrap_or_default());
    let params = params.map_err(|why| Failure::params(format!("invalid subscription parameters: {why}")))?;
    match (kind, params) {
        (SubscriptionKind::NewHeads, _) => Ok(Topic::Heads),
        (SubscriptionKind::Logs, Params::None) => Ok(Topic::Logs(Box::default())),
        (SubscriptionKind::Logs, Params::Logs(mut filter)) => {
            // A subscription is for new blocks, whatever range the filter has.
            filter.block_option = FilterBlockOption::default();
            Ok(Topic::Logs(filter))
        }
        (SubscriptionKind::NewPendingTransactions, Params::Bool(true)) => Ok(Topic::Transactions),
        (SubscriptionKind::NewPendingTransactions, Params::None | Params::Bool(false)) => Ok(Topic::Hashes),
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
        let topic = match read(kind, params) {
            Ok(topic) => topic,
            Err(why) => {
                pending.reject(why).await;
                return Ok(());
            }
        };
        let sink = pending.accept().await?;
        let sending = async {
            match topic {
                Topic::Heads => {
                    self.send_blocks(&sink, |snapshot, height| {
                        let header = snapshot.view.header(height)?;
                        Ok(header.map(convert::header).into_iter().collect())
                    })
                    .await
                }
                Topic::Logs(filter) => {
                    self.send_blocks(&sink, move |snapshot, height| matching(snapshot, &filter, height))
                        .await
                }
                Topic::Hashes => self.send_pending(&sink, false).await,
                Topic::Transactions => self.send_pending(&sink, true).await,
            }
        };
        tokio::select! {
            () = sending => (),
            () = sink.closed() => (),
            () = self.stop.cancelled() => (),
        }
        Ok(())
    }
}

impl Rpc {
    /// Sends the items of every block from the next one on, until the client is gone.
    async fn send_blocks<T: Serialize + Send + 'static>(
        &self,
        sink: &SubscriptionSink,
        of: impl Fn(&Snapshot, u64) -> Result<Vec<T>, Failure> + Clone + Send + 'static,
    ) {
        let mut heads = self.backend.heads();
        let mut sent = heads.borrow_and_update().height.0;
        while heads.changed().await.is_ok() {
            let height = heads.borrow_and_update().height.0;
            while sent < height {
                let (of, next) = (of.clone(), sent + 1);
                let items = match self.read(move |snapshot| of(snapshot, next)).await {
                    Ok(items) => items,
                    Err(why) => {
                        debug!(%why, "a subscription ended");
                        return;
                    }
                };
                for item in items {
                    if !send(sink, &item).await {
                        return;
                    }
                }
                sent = next;
            }
        }
    }

    /// Sends accepted transactions until the client is gone.
    async fn send_pending(&self, sink: &SubscriptionSink, full: bool) {
        let mut accepted = self.backend.accepted();
        loop {
            let hash = match accepted.recv().await {
                Ok(hash) => hash,
                // The client is slow and misses some.
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            };
            let open = if full {
                match self.backend.pooled(hash).await {
                    Ok(Some(pooled)) => send(sink, &convert::pending_transaction(&pooled)).await,
                    // The transaction was included meanwhile.
                    Ok(None) => true,
                    Err(_) => return,
                }
            } else {
                send(sink, &hash).await
            };
            if !open {
                return;
            }
        }
    }
}

/// Sends one item, waiting for a slow client. Returns false if the client is gone.
async fn send(sink: &SubscriptionSink, item: &impl Serialize) -> bool {
    let message = SubscriptionMessage::new(sink.method_name(), sink.subscription_id(), item);
    let message = message.expect("an item has text keys only");
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
        tests::{requests, test_node::TestNode},
    };

    fn check(kind: &str, params: Option<Value>) -> Result<Topic, Failure> {
        read(serde_json::from_value(json!(kind)).unwrap(), params)
    }

    #[test]
    fn subscription_parameters_are_parsed() {
        assert_eq!(check("newHeads", None), Ok(Topic::Heads));
        assert_eq!(check("newPendingTransactions", None), Ok(Topic::Hashes));
        assert_eq!(
            check("newPendingTransactions", Some(json!(true))),
            Ok(Topic::Transactions)
        );
        let filter = json!({"address": "0x0101010101010101010101010101010101010101", "fromBlock": "0x1"});
        let Ok(Topic::Logs(filter)) = check("logs", Some(filter)) else {
            panic!("logs")
        };
        assert_eq!(
            (filter.address.len(), filter.block_option),
            (1, FilterBlockOption::default())
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_subscriber_gets_every_head_and_accepted_transactions() {
        let dir = tempfile::tempdir().unwrap();
        let node = TestNode::start(dir.path()).await;
        let rpc = Rpc::new(
            &Settings::default(),
            Arc::new(node.running.clone()),
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
        let raw = requests::payment(1, 0, alloy_primitives::Address::ZERO, 1);
        let hash = node.ask("eth_sendRawTransaction", json!([raw])).await.unwrap();
        assert_eq!(waiting.next::<Value>().await.unwrap().unwrap().0, hash);
        let mut last = None;
        for _ in 0..3 {
            let (head, _) = heads.next::<Value>().await.unwrap().unwrap();
            let number = u64::from_str_radix(&head["number"].as_str().unwrap()[2..], 16).unwrap();
            assert!(last.is_none_or(|last| number == last + 1), "{last:?} then {number}");
            last = Some(number);
        }
        node.end().await;
    }

    #[test]
    fn an_unsupported_subscription_is_refused_by_name() {
        assert!(
            check("syncing", None)
                .unwrap_err()
                .to_string()
                .contains("no syncing subscription")
        );
        assert!(check("logs", Some(json!(true))).is_err());
    }
}
