//! Conversion between node ids and libp2p peer ids. Both stand for the same ed25519 public key.

use libp2p::{
    PeerId,
    identity::{Keypair, PublicKey, ed25519},
};
use protocol::NodeId;

/// Returns the key pair of a seed.
pub(crate) fn keypair(mut seed: [u8; 32]) -> Keypair {
    Keypair::ed25519_from_bytes(&mut seed).expect("any 32 bytes are an ed25519 seed")
}

/// Returns the peer id of a node, or `None` if the bytes are not a curve point.
pub(crate) fn peer_id(node: NodeId) -> Option<PeerId> {
    let key = ed25519::PublicKey::try_from_bytes(&node.0).ok()?;
    Some(PublicKey::from(key).to_peer_id())
}

/// Returns the node id of a peer, or `None` unless its key is ed25519 and embedded in the peer id.
pub(crate) fn node_id(peer: &PeerId) -> Option<NodeId> {
    // A peer id that is the identity multihash (0x00) of 36 bytes contains the key itself, in protobuf.
    let bytes = peer.to_bytes();
    let encoded = bytes.strip_prefix(&[0x00, 36])?;
    let key = PublicKey::try_decode_protobuf(encoded).ok()?.try_into_ed25519().ok()?;
    Some(NodeId(key.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_id_and_peer_id_convert_to_each_other() {
        let key = keypair([7; 32]);
        let peer = key.public().to_peer_id();
        let node = node_id(&peer).expect("an ed25519 key");
        assert_eq!(node.0, key.try_into_ed25519().expect("ed25519").public().to_bytes());
        assert_eq!(peer_id(node), Some(peer));
    }
}
