//! Which chunks are asked for follows from the chain: an epoch begins every so many blocks, with the name of the block it
//! begins with.
//!
//! The name of a block is what its proposer chose among the blocks it could have proposed, so whoever proposes the first
//! block of an epoch can try several and take the one it likes: it draws a few times instead of once. That lets a host
//! that is also that proposer dodge chunks it lost now and then; it does not let it know a draw before the epoch begins,
//! and a host that lost one chunk in a hundred is still found within a few epochs. Certificates would add nothing: nodes
//! keep different ones for the same block.

use std::collections::BTreeMap;

use protocol::{Height, crypto::digest, proof::Beacon};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::actor::Head;

/// Epochs that are remembered: an auditor may be that far behind.
const REMEMBERED: usize = 8;

/// The latest beacons by epoch.
pub type Beacons = watch::Receiver<BTreeMap<u64, Beacon>>;

/// Follows the chain: each epoch of `blocks` blocks has a beacon as soon as its first block is final.
pub fn follow(
    mut heads: watch::Receiver<Head>,
    blocks: u32,
    stop: CancellationToken,
) -> (Beacons, tokio::task::JoinHandle<()>) {
    let (sender, beacons) = watch::channel(BTreeMap::new());
    let blocks = u64::from(blocks.max(1));
    let task = tokio::spawn(async move {
        loop {
            let head = heads.borrow_and_update().clone();
            let epoch = head.height.0 / blocks;
            let known = sender.borrow().contains_key(&epoch);
            if epoch > 0
                && !known
                && let Some(beacon) = beacon(&head, epoch, blocks)
            {
                sender.send_modify(|known| {
                    known.insert(epoch, beacon);
                    while known.len() > REMEMBERED {
                        known.pop_first();
                    }
                });
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = heads.changed() => if changed.is_err() { return },
            }
        }
    });
    (beacons, task)
}

fn beacon(head: &Head, epoch: u64, blocks: u64) -> Option<Beacon> {
    let first = Height(epoch * blocks);
    let name = match first == head.height {
        true => head.hash,
        false => head.view.block_hash(first.0).ok()??,
    };
    let value = digest(
        "openledger/beacon/1",
        &[&epoch.to_be_bytes(), &blocks.to_be_bytes(), &name.0],
    );
    Some(Beacon { epoch, value })
}
