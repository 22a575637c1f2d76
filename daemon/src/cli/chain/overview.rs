//! `openledger chain status`: the height, hash and epoch of the chain, from the running node or from the block log.

use alloy_primitives::B256;
use clap::Args;
use protocol::BlockHash;
use serde::Serialize;

use super::archive::Archive;
use crate::cli::{Globals, exit::Exit, globals::wait, output};

/// Print the height, hash and epoch of the chain
#[derive(Debug, Args)]
#[command(after_help = "Example: openledger chain status\n\n\
                  JSON: {running, chain_id, genesis, height, best_known_height, hash, state_root, timestamp_s, epoch_length}")]
pub(crate) struct Overview {}

#[derive(Serialize)]
struct Shown {
    running: bool,
    chain_id: u64,
    genesis: BlockHash,
    height: u64,
    best_known_height: u64,
    hash: BlockHash,
    state_root: String,
    timestamp_s: u64,
    epoch_length: u64,
}

impl Overview {
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let shown = shown(globals)?;
        globals.show(&shown, || text(&shown));
        Ok(Exit::Done)
    }
}

fn shown(globals: &Globals) -> anyhow::Result<Shown> {
    let genesis = globals.genesis()?;
    let epoch_length = genesis.params.epoch_length;
    if let Some(running) = globals.maybe_running() {
        let status = wait(running.status())?;
        return Ok(Shown {
            running: true,
            chain_id: status.chain_id,
            genesis: status.genesis,
            height: status.height,
            best_known_height: status.best_known_height,
            hash: status.head_hash,
            state_root: status.state_root,
            timestamp_s: status.head_timestamp_s,
            epoch_length,
        });
    }
    let archive = Archive::open(&globals.home())?;
    let last = archive.tip().map(|tip| archive.entry(tip)).transpose()?.flatten();
    let (header, hash) = match last {
        Some((entry, block)) => (block.header, entry.certificate.block),
        None => (genesis.header.clone(), genesis.hash),
    };
    let state_root: B256 = header.state_root;
    Ok(Shown {
        running: false,
        chain_id: genesis.spec.chain_id,
        genesis: genesis.hash,
        height: header.number,
        best_known_height: header.number,
        hash,
        state_root: state_root.to_string(),
        timestamp_s: header.timestamp,
        epoch_length,
    })
}

fn text(shown: &Shown) -> String {
    let node = match (shown.running, shown.best_known_height - shown.height) {
        (false, _) => "stopped; read from its block log".to_owned(),
        (true, 0) => "running, up to date".to_owned(),
        (true, behind) => format!("running, {behind} blocks behind"),
    };
    let into = shown.height % shown.epoch_length;
    output::columns(&[
        ("Node", node),
        ("Chain id", shown.chain_id.to_string()),
        ("Genesis", shown.genesis.to_string()),
        ("Height", shown.height.to_string()),
        ("Hash", shown.hash.to_string()),
        ("State root", shown.state_root.clone()),
        (
            "Epoch",
            format!(
                "{}, {into} of {} blocks in",
                shown.height / shown.epoch_length,
                shown.epoch_length
            ),
        ),
    ])
}
