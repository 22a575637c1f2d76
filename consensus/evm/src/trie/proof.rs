//! Merkle proofs as `eth_getProof` returns them (EIP-1186): the nodes from the root towards a key.
//!
//! The same list proves presence and absence. Verification is the receiver's; see [`crate::light`].

use alloy_primitives::Bytes;

use super::{NodeError, Trie, node::Node, path_of};

impl Trie {
    /// The RLP of the nodes on the path to `key`, without nodes that are part of their parents. Empty for the empty
    /// trie.
    pub fn prove(&self, key: &[u8]) -> Result<Vec<Bytes>, NodeError> {
        let path = path_of(key)?;
        let (mut proof, mut depth) = (Vec::new(), 0);
        let mut next = self.root.as_ref();
        while let Some(link) = next {
            let node = link.load(&path.slice(..depth), &self.source)?;
            if depth == 0 || link.hash().is_some() {
                proof.push(node.encode().into());
            }
            let rest = path.slice(depth..);
            next = match node {
                Node::Leaf { .. } => None,
                Node::Extension { key, child } => {
                    depth += key.len();
                    rest.starts_with(key).then_some(child)
                }
                Node::Branch(branch) => {
                    depth += 1;
                    rest.first()
                        .and_then(|nibble| branch.children[usize::from(nibble)].as_ref())
                }
            };
        }
        Ok(proof)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use alloy_trie::{Nibbles, proof::verify_proof};
    use proptest::prelude::*;

    use super::super::tests::{any_pairs, trie_of};

    proptest! {
        #[test]
        fn proofs_of_presence_and_absence_verify(pairs in any_pairs(), absent in any::<[u8; 32]>()) {
            let pairs: BTreeMap<[u8; 32], Vec<u8>> = pairs.into_iter().collect();
            let trie = trie_of(&pairs);
            for key in pairs.keys().chain([&absent]) {
                let proof = trie.prove(key).unwrap();
                let value = pairs.get(key).cloned();
                prop_assert!(verify_proof(trie.root(), Nibbles::unpack(key), value, &proof).is_ok());
                prop_assert!(verify_proof(trie.root(), Nibbles::unpack(key), Some(vec![0xff; 40]), &proof).is_err());
            }
        }
    }

    #[test]
    fn the_empty_trie_proves_absence_with_nothing() {
        let trie = trie_of(&BTreeMap::new());
        assert!(trie.prove(&[7; 32]).unwrap().is_empty());
        assert!(verify_proof(trie.root(), Nibbles::unpack([7; 32]), None, &[]).is_ok());
    }
}
