//! Passes network events on: consensus messages to the chain thread, transactions to their admission.

use net::{NetEvent, Topic};
use tokio::sync::{mpsc, watch};
use tracing::info;

use base::events::Events;
use consensus::node::Input;
use protocol::{NodeId, event::Event};

use crate::{
    actor::{Chain, Command, DIRECT_CHAIN, DIRECT_GOSSIP, DIRECT_TRANSACTIONS},
    ingress::Ingress,
};

/// Gossip id of a message that came directly. There is no verdict to give.
const NO_VERDICT: u64 = 0;

/// Passes events on until the network or the chain ends. While the chain thread's queue is full the network waits.
pub async fn dispatch(
    mut events: mpsc::Receiver<NetEvent>,
    chain: Chain,
    ingress: Ingress,
    facts: Events,
    addresses: watch::Sender<Vec<String>>,
) {
    while let Some(event) = events.recv().await {
        let command = match event {
            NetEvent::Connected(peer) => {
                facts.tell(Event::PeerConnected { peer });
                Command::Input(Input::Connected(peer))
            }
            NetEvent::Disconnected(peer) => {
                facts.tell(Event::PeerDisconnected { peer });
                Command::Input(Input::Disconnected(peer))
            }
            NetEvent::Gossip {
                id,
                topic: Topic::Transactions,
                from,
                bytes,
            } => {
                ingress.gossip(id, from, &bytes);
                continue;
            }
            NetEvent::Gossip {
                id,
                topic: Topic::Votes | Topic::Blocks,
                from,
                bytes,
            } => Command::Gossip(id, from, bytes),
            NetEvent::Message { from, bytes } if bytes.first() == Some(&DIRECT_TRANSACTIONS) => {
                ingress.direct(from, &bytes[1..]);
                continue;
            }
            NetEvent::Message { from, bytes } => Command::Input(direct_input(from, bytes)),
            NetEvent::Request { from, id, bytes } => Command::Request(id, from, bytes),
            NetEvent::Listening(address) => {
                info!(address, "listening for peers");
                addresses.send_modify(|known| known.push(address));
                continue;
            }
        };
        if chain.send(command).await.is_err() {
            return;
        }
    }
}

/// The input for a direct message, told apart by its first byte.
fn direct_input(from: NodeId, mut bytes: Vec<u8>) -> Input {
    match bytes.first() {
        Some(&DIRECT_GOSSIP) => {
            bytes.remove(0);
            let id = NO_VERDICT;
            Input::Gossip { id, from, bytes }
        }
        Some(&DIRECT_CHAIN) => {
            bytes.remove(0);
            Input::Direct { from, bytes }
        }
        // The machine finds it unreadable and penalises the sender.
        Some(_) | None => Input::Direct { from, bytes },
    }
}
