//! A node of the trie and its encoding: leaf, extension or branch, in RLP with hex-prefix keys (Yellow Paper,
//! appendix D).
//!
//! Decoding is strict. What a correct trie never contains (an empty value, a branch with one entry, a key beyond 32
//! bytes) is an error and never a panic. The hash of a node is checked where it is loaded.

use alloy_primitives::{B256, Bytes};
use alloy_rlp::{EMPTY_STRING_CODE, Encodable, Header};
use alloy_trie::{Nibbles, nodes::RlpNode};

use super::link::Link;

/// Nibbles of the longest path: a key of 32 bytes.
pub(super) const PATH_MAX: usize = 64;

/// A node of the trie.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// The rest of one key, and its value.
    Leaf { key: Nibbles, value: Bytes },
    /// Nibbles that all keys below share. The child is a branch.
    Extension { key: Nibbles, child: Link },
    /// A fork with at least two entries. Boxed, so that leaves stay small.
    Branch(Box<Branch>),
}

/// A child per nibble, and the value of the key that ends here (never set in a trie of hashed keys).
#[derive(Clone, Debug, Default)]
pub(super) struct Branch {
    pub(super) children: [Option<Link>; 16],
    pub(super) value: Option<Bytes>,
}

/// Reason that bytes are not a node of a correct trie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not RLP, or not canonical RLP.
    #[error("not canonical rlp: {0}")]
    Rlp(alloy_rlp::Error),
    #[error("a node has 2 or 17 items, this one has {0}")]
    Items(usize),
    /// The flag nibble of a key is not 0 to 3, or its padding is not zero.
    #[error("the hex-prefix flag of the key is invalid")]
    Prefix,
    #[error("the path is longer than {PATH_MAX} nibbles")]
    TooDeep,
    /// A child is neither a hash nor an inline node below 32 bytes.
    #[error("a child is neither a hash nor an inline node")]
    Child,
    /// A leaf without a value, an extension without a key or a branch, or a branch with fewer than two entries.
    #[error("the node is not minimal")]
    NotMinimal,
}

impl Node {
    /// Decodes a node whose path has `depth` nibbles. The value of a leaf shares the memory of `rlp`.
    pub(super) fn decode(rlp: &Bytes, depth: usize) -> Result<Self, DecodeError> {
        let mut rest = rlp.as_ref();
        let payload = Header::decode_bytes(&mut rest, true).map_err(DecodeError::Rlp)?;
        if !rest.is_empty() {
            return Err(DecodeError::Rlp(alloy_rlp::Error::UnexpectedLength));
        }
        let mut items = [Item::default(); 17];
        let mut count = 0;
        let mut rest = payload;
        while !rest.is_empty() {
            let item = Item::next(&mut rest).map_err(DecodeError::Rlp)?;
            *items.get_mut(count).ok_or(DecodeError::Items(count + 1))? = item;
            count += 1;
        }
        match count {
            2 => Self::decode_short(rlp, &items[0], &items[1], depth),
            17 => Self::decode_branch(rlp, &items, depth),
            other => Err(DecodeError::Items(other)),
        }
    }

    fn decode_short(rlp: &Bytes, path: &Item<'_>, target: &Item<'_>, depth: usize) -> Result<Self, DecodeError> {
        let (key, is_leaf) = decode_prefix(path)?;
        if depth + key.len() > PATH_MAX {
            return Err(DecodeError::TooDeep);
        }
        if is_leaf {
            let value = target.string(rlp)?.ok_or(DecodeError::NotMinimal)?;
            return Ok(Self::Leaf { key, value });
        }
        let child = decode_child(rlp, target, depth + key.len())?.ok_or(DecodeError::NotMinimal)?;
        let forks = child.node().is_none_or(|node| matches!(node, Self::Branch(_)));
        if key.is_empty() || !forks {
            return Err(DecodeError::NotMinimal);
        }
        Ok(Self::Extension { key, child })
    }

    fn decode_branch(rlp: &Bytes, items: &[Item<'_>; 17], depth: usize) -> Result<Self, DecodeError> {
        let mut branch = Branch {
            value: items[16].string(rlp)?,
            ..Branch::default()
        };
        for (child, item) in branch.children.iter_mut().zip(items) {
            *child = decode_child(rlp, item, depth + 1)?;
        }
        if branch.entries() < 2 {
            return Err(DecodeError::NotMinimal);
        }
        Ok(Self::Branch(Box::new(branch)))
    }

    /// The RLP of this node. Computes references of changed children.
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Leaf { key, value } => encode_short(key, true, value.length(), |out| value.encode(out)),
            Self::Extension { key, child } => {
                let reference = child.reference();
                encode_short(key, false, reference.len(), |out| out.extend_from_slice(reference))
            }
            Self::Branch(branch) => branch.encode(),
        }
    }
}

impl Branch {
    /// The number of children, plus one for a value.
    pub(super) fn entries(&self) -> usize {
        self.children.iter().flatten().count() + usize::from(self.value.is_some())
    }

    fn encode(&self) -> Vec<u8> {
        let children = self
            .children
            .each_ref()
            .map(|child| child.as_ref().map(Link::reference));
        let value = self.value.as_ref().map_or(&[][..], |value| value);
        let payload_length = children
            .iter()
            .map(|child| child.map_or(1, |child| child.len()))
            .sum::<usize>();
        let header = Header {
            list: true,
            payload_length: payload_length + value.length(),
        };
        let mut out = Vec::with_capacity(header.length_with_payload());
        header.encode(&mut out);
        for child in children {
            match child {
                Some(reference) => out.extend_from_slice(reference),
                None => out.push(EMPTY_STRING_CODE),
            }
        }
        value.encode(&mut out);
        out
    }
}

/// An RLP item: its payload and its complete encoding.
#[derive(Clone, Copy, Default)]
struct Item<'a> {
    list: bool,
    payload: &'a [u8],
    whole: &'a [u8],
}

impl<'a> Item<'a> {
    fn next(rest: &mut &'a [u8]) -> Result<Self, alloy_rlp::Error> {
        let start = *rest;
        let header = Header::decode(rest)?;
        let (payload, after) = rest
            .split_at_checked(header.payload_length)
            .ok_or(alloy_rlp::Error::InputTooShort)?;
        *rest = after;
        Ok(Self {
            list: header.list,
            payload,
            whole: &start[..start.len() - after.len()],
        })
    }

    /// The item as a string that shares the memory of `rlp`; `None` for the empty string.
    fn string(&self, rlp: &Bytes) -> Result<Option<Bytes>, DecodeError> {
        if self.list {
            return Err(DecodeError::Rlp(alloy_rlp::Error::UnexpectedList));
        }
        Ok((!self.payload.is_empty()).then(|| rlp.slice_ref(self.payload)))
    }
}

fn decode_child(rlp: &Bytes, item: &Item<'_>, depth: usize) -> Result<Option<Link>, DecodeError> {
    if !item.list && item.payload.is_empty() {
        return Ok(None);
    }
    if depth > PATH_MAX {
        return Err(DecodeError::TooDeep);
    }
    if !item.list {
        let hash = B256::try_from(item.payload).map_err(|_| DecodeError::Child)?;
        return Ok(Some(Link::to(hash)));
    }
    // A node of 32 bytes or more is referred to by hash. The limit also bounds the recursion.
    if item.whole.len() >= 32 {
        return Err(DecodeError::Child);
    }
    let node = Node::decode(&rlp.slice_ref(item.whole), depth)?;
    Ok(Some(Link::inline(RlpNode::from_rlp(item.whole), node)))
}

fn decode_prefix(item: &Item<'_>) -> Result<(Nibbles, bool), DecodeError> {
    let (&first, rest) = item.payload.split_first().ok_or(DecodeError::Prefix)?;
    let (flag, low) = (first >> 4, first & 0x0f);
    let odd = flag & 1 == 1;
    if item.list || flag > 3 || (!odd && low != 0) {
        return Err(DecodeError::Prefix);
    }
    if rest.len() * 2 + usize::from(odd) > PATH_MAX {
        return Err(DecodeError::TooDeep);
    }
    let mut key = Nibbles::new();
    if odd {
        key.push(low);
    }
    key.extend(&Nibbles::unpack(rest));
    Ok((key, flag & 2 == 2))
}

fn encode_short(key: &Nibbles, is_leaf: bool, target_length: usize, target: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut prefix = [0_u8; 1 + PATH_MAX / 2];
    let odd = key.len() % 2 == 1;
    prefix[0] = if is_leaf { 0x20 } else { 0 };
    if odd {
        prefix[0] |= 0x10 | key.get_unchecked(0);
    }
    let rest = key.slice(usize::from(odd)..);
    rest.pack_to(&mut prefix[1..=rest.len() / 2]);
    let prefix = &prefix[..=rest.len() / 2];

    let header = Header {
        list: true,
        payload_length: prefix.length() + target_length,
    };
    let mut out = Vec::with_capacity(header.length_with_payload());
    header.encode(&mut out);
    prefix.encode(&mut out);
    target(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(bytes: &[u8]) -> Result<Node, DecodeError> {
        Node::decode(&Bytes::copy_from_slice(bytes), 0)
    }

    #[test]
    fn a_leaf_survives_its_encoding() {
        for nibbles in [&[][..], &[7], &[1, 2], &[15, 0, 3]] {
            let leaf = Node::Leaf {
                key: Nibbles::from_nibbles(nibbles),
                value: Bytes::from_static(b"v"),
            };
            let Ok(Node::Leaf { key, value }) = decode(&leaf.encode()) else {
                panic!("not a leaf")
            };
            assert_eq!((key, value), (Nibbles::from_nibbles(nibbles), Bytes::from_static(b"v")));
        }
    }

    #[test]
    fn nodes_that_no_correct_trie_contains_are_refused() {
        let check = |bytes: &[u8], expect: DecodeError| assert_eq!(decode(bytes).err(), Some(expect));
        check(&[0xc2, 0x20, 0x80], DecodeError::NotMinimal); // A leaf without value.
        check(&[0xc2, 0x40, 0x01], DecodeError::Prefix); // Flag 4.
        check(&[0xc2, 0x21, 0x01], DecodeError::Prefix); // Padding that is not zero.
        check(&[0xc1, 0x20], DecodeError::Items(1));
        check(&[0xc2, 0x16, 0x01], DecodeError::Child); // An extension to a byte.
        check(
            &[0xc2, 0x20, 0x01, 0x00],
            DecodeError::Rlp(alloy_rlp::Error::UnexpectedLength),
        );
        let mut lonely = vec![0xd1];
        lonely.extend([0x80; 17]);
        check(&lonely, DecodeError::NotMinimal);
    }

    #[test]
    fn a_key_cannot_reach_below_the_deepest_path() {
        let leaf = Node::Leaf {
            key: Nibbles::from_nibbles([1, 2]),
            value: Bytes::from_static(b"v"),
        };
        let rlp = Bytes::from(leaf.encode());
        assert!(Node::decode(&rlp, PATH_MAX - 2).is_ok());
        assert_eq!(Node::decode(&rlp, PATH_MAX - 1).err(), Some(DecodeError::TooDeep));
    }

    proptest! {
        #[test]
        fn bytes_of_any_kind_decode_or_fail_but_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = decode(&bytes);
        }

        /// Random bytes are rarely lists, so these are lists: what decodes must encode to the same bytes.
        #[test]
        fn a_decoded_node_encodes_to_the_same_bytes(items in proptest::collection::vec(any::<Option<u8>>(), 2..18), wide in any::<bool>()) {
            let mut payload = Vec::new();
            for item in &items {
                match item {
                    Some(byte) if wide => payload.extend([&[0xa0][..], &[*byte; 32]].concat()),
                    Some(byte) => byte.encode(&mut payload),
                    None => payload.push(EMPTY_STRING_CODE),
                }
            }
            let mut bytes = Vec::new();
            Header { list: true, payload_length: payload.len() }.encode(&mut bytes);
            bytes.extend(payload);
            if let Ok(node) = decode(&bytes) {
                prop_assert_eq!(node.encode(), bytes);
            }
        }
    }
}
