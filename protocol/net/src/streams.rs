//! One long-lived libp2p stream in each direction between connected peers, for direct messages.
//!
//! A stream that stays open needs no negotiation per message and preserves order. This module opens and accepts the streams;
//! `direct.rs` reads and writes them.
//!
//! # Why not `libp2p-stream`
//!
//! It drops incoming streams when two arrive at once, and keeps a little state of every past connection.

use std::{
    collections::VecDeque,
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    core::{Endpoint, transport::PortUse, upgrade::ReadyUpgrade},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
        NotifyHandler, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        handler::{ConnectionEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};

/// A change of a stream.
#[derive(Debug)]
pub(crate) enum Event {
    /// A peer opened a stream to us.
    Inbound(PeerId, Stream),
    /// The requested stream is open.
    Outbound(PeerId, Stream),
    /// The requested stream could not be opened.
    Failed(PeerId),
}

pub(crate) struct Behaviour {
    protocol: StreamProtocol,
    todo: VecDeque<ToSwarm<Event, Open>>,
}

/// A request to a connection handler to open a stream.
#[derive(Debug)]
pub(crate) struct Open;

impl Behaviour {
    pub(crate) fn new(protocol: StreamProtocol) -> Self {
        Self {
            protocol,
            todo: VecDeque::new(),
        }
    }

    /// Opens a stream to a connected peer.
    pub(crate) fn open(&mut self, peer_id: PeerId) {
        self.todo.push_back(ToSwarm::NotifyHandler {
            peer_id,
            handler: NotifyHandler::Any,
            event: Open,
        });
    }

    fn handler(&self) -> Handler {
        Handler {
            protocol: self.protocol.clone(),
            todo: VecDeque::new(),
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler())
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, peer: PeerId, _: ConnectionId, opened: THandlerOutEvent<Self>) {
        self.todo.push_back(ToSwarm::GenerateEvent(match opened {
            Opened::Inbound(stream) => Event::Inbound(peer, stream),
            Opened::Outbound(stream) => Event::Outbound(peer, stream),
            Opened::Failed => Event::Failed(peer),
        }));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.todo.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// The outcome reported by one connection.
#[derive(Debug)]
pub(crate) enum Opened {
    Inbound(Stream),
    Outbound(Stream),
    Failed,
}

pub(crate) struct Handler {
    protocol: StreamProtocol,
    todo: VecDeque<ConnectionHandlerEvent<ReadyUpgrade<StreamProtocol>, (), Opened>>,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Open;
    type ToBehaviour = Opened;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(self.protocol.clone()), ())
    }

    fn connection_keep_alive(&self) -> bool {
        // Peers stay connected while idle.
        true
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        self.todo.pop_front().map_or(Poll::Pending, Poll::Ready)
    }

    fn on_behaviour_event(&mut self, Open: Open) {
        let protocol = SubstreamProtocol::new(ReadyUpgrade::new(self.protocol.clone()), ());
        self.todo
            .push_back(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol>) {
        let opened = match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => {
                Opened::Inbound(protocol)
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, .. }) => {
                Opened::Outbound(protocol)
            }
            ConnectionEvent::DialUpgradeError(_) => Opened::Failed,
            _ => return,
        };
        self.todo.push_back(ConnectionHandlerEvent::NotifyBehaviour(opened));
    }
}
