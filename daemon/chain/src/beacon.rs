//! The random beacon that selects the chunks of storage audits. An audit epoch is a number of blocks, and its
//! beacon follows from the hash of its first block.
//!
//! # Limits
//!
//! A proposer chooses its block among those it could propose, so the proposer of an epoch's first block can try
//! several and keep the beacon it likes best: it draws a few times instead of once. A host that is that proposer
//! can thereby dodge chunks that it lost now and then. It cannot know a beacon before its epoch, and a host that
//! lost one chunk in a hundred is still found within a few epochs. Certificates would add no randomness, because
//! nodes keep different certificates for the same block.

use std::collections::BTreeMap;

use protocol::{Height, crypto::digest, proof::Beacon};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::actor::Head;

/// Epochs whose beacons are kept. An auditor may lag this far behind.
const REMEMBERED: usize = 8;

/// The latest beacons by epoch, as they are published.
pub type Beacons = watch::Receiver<BTreeMap<u64, Beacon>>;

/// Follows the chain. The beacon of each epoch of `blocks` blocks is published once its first block is final.
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
