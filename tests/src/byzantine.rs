//! Byzantine hosts: each breaks the protocol in one way, with a real validator key.

use consensus::node::Effect;
use protocol::{
    codec,
    crypto::{Domain, SecretKey, Signed},
    message::{
        chain::{Direct, GOSSIP_MAX, Gossip},
        vote::Vote,
    },
};

use crate::dice::Dice;

/// The way in which a host follows, or breaks, the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    Honest,
    /// Sends the opposite of every vote to half of the other hosts.
    Equivocator,
    /// Neither votes nor proposes, but receives.
    Silent,
    /// Proposes blocks with a wrong state root.
    Forger,
    /// Proposes blocks without sending their bodies.
    Withholder,
    /// Sends each message a second time with some bytes changed.
    Babbler,
}

impl Behaviour {
    /// All behaviours but `Honest`.
    pub const LIARS: [Self; 5] = [
        Self::Equivocator,
        Self::Silent,
        Self::Forger,
        Self::Withholder,
        Self::Babbler,
    ];

    /// Replaces an effect with what the host really sends. Each comes with the half of the other hosts that gets it;
    /// `None` means all of them.
    pub fn twist(
        self,
        effect: Effect,
        key: &SecretKey,
        domain: &Domain,
        dice: &mut Dice,
    ) -> Vec<(Effect, Option<usize>)> {
        match (self, effect) {
            (Self::Silent, Effect::Gossip(_) | Effect::SendAll(_)) => Vec::new(),
            (Self::Equivocator, Effect::Gossip(bytes)) => {
                let opposite = opposite(&bytes, key, domain).map(|bytes| (Effect::Gossip(bytes), Some(0)));
                [(Effect::Gossip(bytes), None)].into_iter().chain(opposite).collect()
            }
            (Self::Withholder, Effect::SendAll(bytes)) => match codec::decode(&bytes, usize::MAX) {
                Ok(Direct::Body(_)) => Vec::new(),
                Ok(Direct::Status { .. }) | Err(_) => vec![(Effect::SendAll(bytes), None)],
            },
            (Self::Withholder, Effect::Reply(..)) => Vec::new(),
            (Self::Babbler, Effect::Gossip(bytes)) => {
                vec![
                    (Effect::Gossip(spoil(bytes.clone(), dice)), None),
                    (Effect::Gossip(bytes), None),
                ]
            }
            (Self::Babbler, Effect::SendAll(bytes)) => {
                vec![
                    (Effect::SendAll(spoil(bytes.clone(), dice)), None),
                    (Effect::SendAll(bytes), None),
                ]
            }
            (_, effect) => vec![(effect, None)],
        }
    }
}

fn opposite(bytes: &[u8], key: &SecretKey, domain: &Domain) -> Option<Vec<u8>> {
    let Ok(Gossip::Vote(Signed { message, .. })) = codec::decode(bytes, GOSSIP_MAX) else {
        return None;
    };
    // Only its own votes: it cannot sign the opposite of another validator's.
    if message.validator != key.validator() {
        return None;
    }
    let block = match message.block {
        Some(_) => None,
        None => Some(protocol::BlockHash([0xee; 32])),
    };
    Some(codec::encode(&Gossip::Vote(Signed::new(
        Vote { block, ..message },
        key,
        domain,
    ))))
}

fn spoil(mut bytes: Vec<u8>, dice: &mut Dice) -> Vec<u8> {
    let at = usize::try_from(dice.draw() % bytes.len().max(1) as u64).expect("an index fits");
    match dice.between(0, 2) {
        0 => bytes.truncate(at),
        1 => bytes.extend_from_slice(&dice.draw().to_be_bytes()),
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << dice.between(0, 7);
            }
        }
    }
    bytes
}
