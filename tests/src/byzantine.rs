//! Hosts that break the rules: each does its own worst with a real key.

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

/// What a host does with what its machine tells it to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// All of it.
    Honest,
    /// Says the opposite of every vote to half of the others.
    Equivocator,
    /// Votes nothing and proposes nothing, but listens.
    Silent,
    /// Proposes blocks whose state root is wrong.
    Forger,
    /// Proposes, but keeps the block to itself.
    Withholder,
    /// Sends bytes that almost mean something.
    Babbler,
}

impl Behaviour {
    /// All that are not honest.
    pub const LIARS: [Self; 5] = [
        Self::Equivocator,
        Self::Silent,
        Self::Forger,
        Self::Withholder,
        Self::Babbler,
    ];

    /// What leaves the host in place of `effect`, each with the half of the others that gets it: `None` is everyone.
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
    // Somebody else's vote, passed on in a certificate, is not ours to turn around.
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
