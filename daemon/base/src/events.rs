//! Events of this node: each is logged here, once, and broadcast to listeners.
//!
//! Web pages, metrics and tests listen; nothing waits for them. A slow listener loses the oldest events and is told how
//! many.

use protocol::event::Event;
use tokio::sync::broadcast;
use tracing::{debug, error, info, warn};

/// Events that a listener may lag behind before it loses some.
const BEHIND_MAX: usize = 1024;

/// The event log and its broadcast channel. Clones share the channel.
///
/// ```
/// use base::events::Events;
/// use protocol::event::Event;
///
/// let events = Events::default();
/// let mut listener = events.listen();
/// events.tell(Event::Collected { blobs: 3 });
/// assert_eq!(listener.try_recv(), Ok(Event::Collected { blobs: 3 }));
/// ```
#[derive(Clone, Debug)]
pub struct Events(broadcast::Sender<Event>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::channel(BEHIND_MAX).0)
    }
}

impl Events {
    /// Logs an event and broadcasts it.
    pub fn tell(&self, event: Event) {
        log(&event);
        // An error means that nobody listens.
        drop(self.0.send(event));
    }

    /// Receives the events from now on.
    pub fn listen(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }
}

fn log(event: &Event) {
    match event {
        Event::Committed { .. }
        | Event::Refused { .. }
        | Event::Equivocated { .. }
        | Event::EpochStarted { .. }
        | Event::CaughtUp { .. }
        | Event::StoppedSigning { .. } => log_chain(event),
        Event::PeerConnected { peer } => info!(peer = %format_args!("{peer:#}"), "a peer came"),
        Event::PeerDisconnected { peer } => info!(peer = %format_args!("{peer:#}"), "a peer left"),
        Event::DatasetAdded { root, records, bytes } => {
            info!(root = %format_args!("{root:#}"), records, bytes, "added a dataset");
        }
        Event::DatasetFetched { root, bytes } => info!(root = %format_args!("{root:#}"), bytes, "fetched a dataset"),
        Event::DatasetRemoved { root } => info!(root = %format_args!("{root:#}"), "removed a dataset"),
        Event::ProviderBlamed { peer, root } => {
            // Its ban was logged as a warning, with the byte offset.
            debug!(node = %format_args!("{peer:#}"), root = %format_args!("{root:#}"), "a provider sent false bytes");
        }
        Event::Collected { blobs } => info!(blobs, "blobs that nobody keeps were deleted"),
        Event::DatanetFounded { datanet } => info!(datanet = %format_args!("{datanet:#}"), "datanet founded"),
        Event::DatanetJoined { datanet } => info!(datanet = %format_args!("{datanet:#}"), "datanet joined"),
        Event::DealMade { .. }
        | Event::DealTaken { .. }
        | Event::CopyHeld { .. }
        | Event::HostOwed { .. }
        | Event::AuditMissed { .. }
        | Event::HostDropped { .. }
        | Event::DealEnded { .. }
        | Event::CopyDropped { .. } => log_pins(event),
        Event::TrainingStarted { run, step, steps } => {
            info!(run = %format_args!("{run:#}"), step, steps, "training started");
        }
        Event::TrainingFinished { run, root } => {
            info!(run = %format_args!("{run:#}"), root = %format_args!("{root:#}"), "training finished");
        }
        Event::EngineReady { base, adapters } => info!(adapters, base, "the engine takes requests"),
        Event::EngineDown { why } => warn!(why, "the engine ended and is started again"),
    }
}

fn log_chain(event: &Event) {
    match event {
        Event::Committed {
            height,
            block,
            transactions,
            round,
            took,
        } => debug!(%height, block = %format_args!("{block:#}"), transactions, round, ?took, "committed"),
        Event::Refused { height, why } => warn!(%height, why, "refused a block"),
        Event::Equivocated { validator, height } => {
            warn!(validator = %format_args!("{validator:#}"), %height, "a validator contradicted itself");
        }
        Event::EpochStarted {
            height,
            validators,
            voting,
        } => info!(%height, validators, voting, "an epoch began"),
        Event::CaughtUp { height, from } => info!(%height, from = %format_args!("{from:#}"), "caught up"),
        Event::StoppedSigning { why } => error!(why, "this node does not sign"),
        _ => unreachable!("only facts of the chain come here"),
    }
}

fn log_pins(event: &Event) {
    match event {
        Event::DealMade { deal, copies } => info!(deal = %format_args!("{deal:#}"), copies, "a deal was made"),
        Event::DealTaken { deal, owner, bytes } => {
            info!(deal = %format_args!("{deal:#}"), owner = %format_args!("{owner:#}"), bytes, "a deal was taken");
        }
        Event::CopyHeld { deal, host } => {
            info!(deal = %format_args!("{deal:#}"), host = %format_args!("{host:#}"), "a host holds everything");
        }
        Event::HostOwed {
            deal,
            host,
            epoch,
            amount,
        } => {
            let (deal, host) = (format_args!("{deal:#}"), format_args!("{host:#}"));
            info!(%deal, %host, epoch, %amount, "a host is owed for an epoch");
        }
        Event::AuditMissed { deal, host, misses } => {
            let (deal, host) = (format_args!("{deal:#}"), format_args!("{host:#}"));
            warn!(%deal, %host, misses, "a host missed an audit");
        }
        Event::HostDropped { deal, host, why } => {
            warn!(deal = %format_args!("{deal:#}"), host = %format_args!("{host:#}"), why, "a host lost the deal");
        }
        Event::DealEnded { deal } => info!(deal = %format_args!("{deal:#}"), "the deal is over"),
        Event::CopyDropped { deal, why } => {
            info!(deal = %format_args!("{deal:#}"), why, "a copy is kept no longer");
        }
        _ => unreachable!("only facts of deals come here"),
    }
}

#[cfg(test)]
mod tests {
    use protocol::NodeId;

    use super::*;

    #[test]
    fn a_fact_reaches_everybody_who_listens_and_nobody_is_needed() {
        let events = Events::default();
        let fact = Event::Collected { blobs: 3 };
        events.tell(fact.clone());
        let (mut one, mut other) = (events.listen(), events.clone().listen());
        events.tell(fact.clone());
        assert_eq!((one.try_recv(), other.try_recv()), (Ok(fact.clone()), Ok(fact)));
    }

    #[test]
    fn a_fact_is_an_object_with_its_name() {
        let peer = NodeId(protocol::crypto::SecretKey::from_seed([1; 32]).public());
        let text = serde_json::to_value(Event::PeerConnected { peer }).unwrap();
        assert_eq!(text["event"], "peer_connected");
    }
}
