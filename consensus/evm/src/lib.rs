//! x
pub mod trie;
