//! Between a node's name and the transport's: both are the ed25519 public key.

use libp2p::{
    PeerId,
    identity::{Keypair, PublicKey, ed25519},
};
use protocol::NodeId;

/// The key pair of a seed.
pub(crate) fn keypair(mut seed: [u8; 32]) -> Keypair {
    Keypair::ed25519_from_bytes(&mut seed).expect("any 32 bytes are an ed25519 seed")
}

/// The transport's name for a node; `None` if the bytes are no point of the curve.
pub(crate) fn peer_id(node: NodeId) -> Option<PeerId> {
    let key = ed25519::PublicKey::try_from_bytes(&node.0).ok()?;
    Some(PublicKey::from(key).to_peer_id())
}

/// The node behind a transport's name; `None` unless its key is ed25519, which lies open in the name.
pub(crate) fn node_id(peer: &PeerId) -> Option<NodeId> {
    // A name that is the identity multihash (0x00) of 36 bytes holds the key itself in protobuf.
    let bytes = peer.to_bytes();
    let encoded = bytes.strip_prefix(&[0x00, 36])?;
    let key = PublicKey::try_decode_protobuf(encoded).ok()?.try_into_ed25519().ok()?;
    Some(NodeId(key.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_and_its_peer_name_each_other() {
        let key = keypair([7; 32]);
        let peer = key.public().to_peer_id();
        let node = node_id(&peer).expect("an ed25519 key");
        assert_eq!(node.0, key.try_into_ed25519().expect("ed25519").public().to_bytes());
        assert_eq!(peer_id(node), Some(peer));
    }
}
