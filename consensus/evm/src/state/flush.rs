//! The batch of one flush: nodes as the last block left them, undo rows for older heights, and deletions of what
//! fell out of the history window.
//!
//! The batch is computed from memory and the lists in the database; the store applies it.

use std::collections::BTreeMap;

use alloy_primitives::Bytes;

use super::{
    Kv, KvError, Row,
    history::{Block, History, Unflushed},
    layout::{APPLIED_KEY, Applied, CHUNK_LEN, code_key, decode_list, encode_lists, list_key, root_key, undo_key},
};

/// Heights that one flush prunes at most, beyond the heights it adds. Bounds the batch after the window was made
/// smaller.
const PRUNED_PER_FLUSH_MAX: u64 = 512;

/// The batch of the next flush, and what the database will contain then; `None` if there is nothing to write.
pub(super) fn plan<K: Kv>(history: &History<K>, window: Option<u64>) -> Result<Option<(Applied, Vec<Row>)>, KvError> {
    let unflushed = history.unflushed();
    let Some((&height, &Block { hash, root })) = unflushed.blocks.last_key_value() else {
        return Ok(None);
    };
    let wanted = window.map_or(0, |window| height.saturating_sub(window));
    let oldest = wanted.clamp(
        unflushed.oldest,
        unflushed.oldest + unflushed.blocks.len() as u64 + PRUNED_PER_FLUSH_MAX,
    );
    let applied = Applied {
        height,
        hash,
        root,
        oldest,
    };

    let mut batch = vec![(APPLIED_KEY.to_vec(), Some(applied.encode()))];
    batch.extend(unflushed.rows.iter().map(|(key, row)| (key.clone(), row.clone())));
    for (hash, code) in &unflushed.codes {
        // A full last chunk is followed by an empty one, so that the end is always recognised.
        let code = code.original_bytes();
        let chunks = code.len() / CHUNK_LEN + 1;
        let chunk = |n: usize| code[n * CHUNK_LEN..code.len().min((n + 1) * CHUNK_LEN)].to_vec();
        batch.extend(
            (0_u32..)
                .zip(0..chunks)
                .map(|(n, at)| (code_key(hash, n), Some(chunk(at)))),
        );
    }
    plan_nodes(&unflushed, oldest, &mut batch);
    plan_pruning(&history.kv, &unflushed, oldest, &mut batch)?;
    Ok(Some((applied, batch)))
}

/// Adds the nodes as the last block left them, the undo rows of heights above `oldest`, and the roots from `oldest`
/// on.
fn plan_nodes(unflushed: &Unflushed, oldest: u64, batch: &mut Vec<Row>) {
    let mut touched: BTreeMap<u64, Vec<&[u8]>> = BTreeMap::new();
    let row = |node: &Option<Bytes>| node.as_ref().map(|rlp| rlp.to_vec());
    for (key, versions) in &unflushed.versions {
        let last = versions.last().expect("a node with versions has one");
        batch.push((key.clone(), row(&last.new)));
        for version in versions.iter().filter(|version| version.height > oldest) {
            batch.push((
                undo_key(key, version.height),
                Some(row(&version.old).unwrap_or_default()),
            ));
            touched.entry(version.height).or_default().push(key);
        }
    }
    for (height, keys) in touched {
        let lists = encode_lists(keys.into_iter());
        batch.extend(
            (0_u32..)
                .zip(lists)
                .map(|(chunk, list)| (list_key(height, chunk), Some(list))),
        );
    }
    for (height, block) in unflushed.blocks.range(oldest..) {
        batch.push((root_key(*height), Some(block.root.to_vec())));
    }
}

/// Deletes undo rows that only heights below `oldest` need, and the roots of those heights.
fn plan_pruning<K: Kv>(kv: &K, unflushed: &Unflushed, oldest: u64, batch: &mut Vec<Row>) -> Result<(), KvError> {
    let Some(applied) = unflushed.applied else {
        return Ok(());
    };
    for height in applied.oldest..oldest.min(applied.height + 1) {
        batch.push((root_key(height), None));
    }
    for height in applied.oldest + 1..=oldest.min(applied.height) {
        for chunk in 0_u32.. {
            let key = list_key(height, chunk);
            let Some(list) = kv.get(&key)? else { break };
            batch.extend(
                decode_list(&list)
                    .into_iter()
                    .map(|node| (undo_key(node, height), None)),
            );
            batch.push((key, None));
        }
    }
    Ok(())
}
