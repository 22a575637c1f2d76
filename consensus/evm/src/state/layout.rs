//! The keys of the state database, and the encoding of rows that are more than raw bytes.
//!
//! | key | value |
//! |---|---|
//! | `A` path | a node of the account trie |
//! | `S` keccak(address) path | a node of a storage trie |
//! | `C` hash chunk | code, 60,000 bytes per chunk, the last one shorter |
//! | `U` node key, height | undo row: the node before the block of that height; empty if there was none |
//! | `H` height chunk | the node keys that have a `U` row at that height |
//! | `R` height | the state root after that height |
//! | `X` key | a row of the caller |
//! | `M` | [`Applied`] |
//!
//! A path is its length and its packed nibbles. So no node key is the prefix of another, and the `U` rows of one
//! node are neighbours in the order of their heights. All integers are big-endian.

use alloy_primitives::B256;
use alloy_trie::Nibbles;

/// Version of the layout above.
const FORMAT: u8 = 1;

/// Length of a full chunk of code or of a key list, in bytes.
pub(super) const CHUNK_LEN: usize = 60_000;

/// The block whose state the database contains. Written in the batch of each flush, so it always matches the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    pub height: u64,
    pub hash: B256,
    pub root: B256,
    /// The oldest height whose state can be read.
    pub oldest: u64,
}

pub(super) const APPLIED_KEY: &[u8] = b"M";

impl Applied {
    pub(super) fn encode(&self) -> Vec<u8> {
        let integers = [self.height.to_be_bytes(), self.oldest.to_be_bytes()];
        [
            &[FORMAT],
            &integers.concat()[..],
            self.hash.as_slice(),
            self.root.as_slice(),
        ]
        .concat()
    }

    /// Decodes the row; `None` for another format or length.
    pub(super) fn decode(row: &[u8]) -> Option<Self> {
        let (&FORMAT, row) = row.split_first()? else {
            return None;
        };
        let (height, row) = row.split_first_chunk()?;
        let (oldest, row) = row.split_first_chunk()?;
        let (hash, root) = row.split_first_chunk::<32>()?;
        Some(Self {
            height: u64::from_be_bytes(*height),
            oldest: u64::from_be_bytes(*oldest),
            hash: B256::from(hash),
            root: B256::try_from(root).ok()?,
        })
    }
}

/// The key of a node in the account trie, or in the storage trie of `owner`.
pub(super) fn node_key(owner: Option<&B256>, path: &Nibbles) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + 32 + 1 + 32);
    match owner {
        None => key.push(b'A'),
        Some(owner) => {
            key.push(b'S');
            key.extend_from_slice(owner.as_slice());
        }
    }
    key.push(u8::try_from(path.len()).expect("a path has at most 64 nibbles"));
    key.extend_from_slice(&path.pack());
    key
}

pub(super) fn undo_key(node_key: &[u8], height: u64) -> Vec<u8> {
    [b"U", node_key, &height.to_be_bytes()[..]].concat()
}

pub(super) fn list_key(height: u64, chunk: u32) -> Vec<u8> {
    [b"H", &height.to_be_bytes()[..], &chunk.to_be_bytes()].concat()
}

pub(super) fn root_key(height: u64) -> Vec<u8> {
    [b"R", &height.to_be_bytes()[..]].concat()
}

pub(super) fn code_key(hash: &B256, chunk: u32) -> Vec<u8> {
    [b"C", hash.as_slice(), &chunk.to_be_bytes()].concat()
}

pub(super) fn caller_key(key: &[u8]) -> Vec<u8> {
    [b"X", key].concat()
}

/// Packs node keys into list rows, each key after its length, no row longer than [`CHUNK_LEN`].
pub(super) fn encode_lists<'a>(keys: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let mut lists = vec![Vec::new()];
    for key in keys {
        let mut list = lists.pop().expect("there is always a list");
        if list.len() + 1 + key.len() > CHUNK_LEN {
            lists.push(std::mem::take(&mut list));
        }
        list.push(u8::try_from(key.len()).expect("a node key has at most 66 bytes"));
        list.extend_from_slice(key);
        lists.push(list);
    }
    lists
}

/// The node keys in a list row, up to the first one that is cut off.
pub(super) fn decode_list(mut list: &[u8]) -> Vec<&[u8]> {
    let mut keys = Vec::new();
    while let Some((&len, rest)) = list.split_first() {
        let Some((key, rest)) = rest.split_at_checked(usize::from(len)) else {
            break;
        };
        keys.push(key);
        list = rest;
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_applied_row_survives_its_encoding() {
        let applied = Applied {
            height: 7,
            hash: B256::repeat_byte(1),
            root: B256::repeat_byte(2),
            oldest: 3,
        };
        assert_eq!(Applied::decode(&applied.encode()), Some(applied));
        assert_eq!(Applied::decode(&[&[FORMAT + 1], &applied.encode()[1..]].concat()), None);
        assert_eq!(Applied::decode(&applied.encode()[..80]), None);
    }

    #[test]
    fn the_undo_rows_of_a_node_are_not_mixed_with_those_of_its_children() {
        let parent = node_key(None, &Nibbles::from_nibbles([1]));
        let child = node_key(None, &Nibbles::from_nibbles([1, 0]));
        let range = undo_key(&parent, 0)..undo_key(&parent, u64::MAX);
        assert!((0..300).all(|height| !range.contains(&undo_key(&child, height))));
        assert!(range.contains(&undo_key(&parent, 299)));
    }

    #[test]
    fn lists_stay_below_the_chunk_length_and_lose_nothing() {
        let keys: Vec<Vec<u8>> = (0..2_000_u32)
            .map(|n| [&[b'S'; 60][..], &n.to_be_bytes()].concat())
            .collect();
        let lists = encode_lists(keys.iter().map(Vec::as_slice));
        assert!(lists.len() > 1 && lists.iter().all(|list| list.len() <= CHUNK_LEN));
        let back: Vec<&[u8]> = lists.iter().flat_map(|list| decode_list(list)).collect();
        assert_eq!(back, keys);
    }
}
