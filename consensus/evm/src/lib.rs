//! x
pub mod state;
pub mod trie;
