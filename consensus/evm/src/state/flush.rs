//! What one flush writes: the nodes as the last block left them, what it takes to go back, and deletions of what fell out
//! of the window.
//!
//! The plan is made from memory and the lists of the database; applying it is the store's.

use std::collections::BTreeMap;

use alloy_primitives::Bytes;

use super::{
    Kv, KvError, Row,
    history::{Block, History, Recent},
    layout::{APPLIED_KEY, Applied, CHUNK_LEN, code_key, decode_list, encode_lists, list_key, root_key, undo_key},
};

/// How many heights one flush prunes beyond those it adds: a bound for its batch after the window was made smaller.
const PRUNED_PER_FLUSH_MAX: u64 = 512;

/// The batch of the next flush and what the database will hold then; `None` if there is nothing to write.
pub(super) fn plan<K: Kv>(history: &History<K>, window: Option<u64>) -> Result<Option<(Applied, Vec<Row>)>, KvError> {
    let recent = history.recent();
    let Some((&height, &Block { hash, root })) = recent.blocks.last_key_value() else {
        return Ok(None);
    };
    let wanted = window.map_or(0, |window| height.saturating_sub(window));
    let oldest = wanted.clamp(
        recent.oldest,
        recent.oldest + recent.blocks.len() as u64 + PRUNED_PER_FLUSH_MAX,
    );
    let applied = Applied {
        height,
        hash,
        root,
        oldest,
    };

    let mut batch = vec![(APPLIED_KEY.to_vec(), Some(applied.encode()))];
    batch.extend(recent.rows.iter().map(|(key, row)| (key.clone(), row.clone())));
    for (hash, code) in &recent.codes {
        // A full last chunk is followed by an empty one, so that the end is always seen.
        let code = code.original_bytes();
        let chunks = code.len() / CHUNK_LEN + 1;
        let chunk = |n: usize| code[n * CHUNK_LEN..code.len().min((n + 1) * CHUNK_LEN)].to_vec();
        batch.extend(
            (0_u32..)
                .zip(0..chunks)
                .map(|(n, at)| (code_key(hash, n), Some(chunk(at)))),
        );
    }
    plan_nodes(&recent, oldest, &mut batch);
    plan_pruning(&history.kv, &recent, oldest, &mut batch)?;
    Ok(Some((applied, batch)))
}

/// Nodes as the last block left them; what each block replaced, for heights above `oldest`; roots from `oldest` on.
fn plan_nodes(recent: &Recent, oldest: u64, batch: &mut Vec<Row>) {
    let mut touched: BTreeMap<u64, Vec<&[u8]>> = BTreeMap::new();
    let row = |node: &Option<Bytes>| node.as_ref().map(|rlp| rlp.to_vec());
    for (key, versions) in &recent.versions {
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
    for (height, block) in recent.blocks.range(oldest..) {
        batch.push((root_key(*height), Some(block.root.to_vec())));
    }
}

/// Deletes the undo rows that only heights below `oldest` need, and the roots of those.
fn plan_pruning<K: Kv>(kv: &K, recent: &Recent, oldest: u64, batch: &mut Vec<Row>) -> Result<(), KvError> {
    let Some(applied) = recent.applied else { return Ok(()) };
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
