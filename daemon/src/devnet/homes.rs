//! The home folders of a development network. They are created once and reused if they exist.

use std::path::Path;

use evm::genesis::Timing;
use protocol::{ValidatorKey, crypto::SecretKey};

use super::{DevnetError, Member, member_home};
use base::{entropy, home::Home, key};
use chain::genesis::development;

const EPOCH_LENGTH: u64 = 100;
/// Ports per node: JSON-RPC, peers, health and metrics.
const PORTS: u16 = 3;

/// Creates the homes of `nodes` nodes in `dir`, or reuses those that exist.
pub fn prepare(dir: &Path, nodes: usize, base_port: u16) -> Result<Vec<Member>, DevnetError> {
    let failed = |node, dir: &Path| {
        let dir = dir.to_owned();
        move |source| DevnetError::Home { node, dir, source }
    };
    let homes: Vec<_> = (0..nodes).map(|node| member_home(dir, node)).collect();
    let mut validators = Vec::new();
    for (node, home) in homes.iter().enumerate() {
        validators.push(make_keys(home).map_err(failed(node, home.root()))?);
    }
    let keys: Vec<_> = validators.iter().map(SecretKey::validator).collect();
    let mut members = Vec::new();
    for (node, home) in homes.iter().enumerate() {
        let ports = Ports::new(base_port, node);
        write_files(home, &keys, node, nodes, base_port).map_err(failed(node, home.root()))?;
        members.push(Member {
            node,
            home: home.root().to_owned(),
            rpc: format!("http://127.0.0.1:{}", ports.rpc),
            api: format!("http://127.0.0.1:{}", ports.api),
            log: home.root().join("node.log"),
        });
    }
    Ok(members)
}

struct Ports {
    peers: u16,
    rpc: u16,
    api: u16,
}

impl Ports {
    fn new(base: u16, node: usize) -> Self {
        let first = base.saturating_add(PORTS.saturating_mul(u16::try_from(node).unwrap_or(u16::MAX)));
        Self {
            rpc: first,
            peers: first.saturating_add(1),
            api: first.saturating_add(2),
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn make_keys(home: &Home) -> Result<SecretKey, Failure> {
    std::fs::create_dir_all(home.root())?;
    if !home.node_key().exists() {
        key::write(&home.node_key(), &SecretKey::from_seed(entropy::bytes()))?;
    }
    Ok(key::read_or_create(&home.validator_key())?)
}

/// Writes the files that depend on the other nodes: the genesis with all validators, and the configuration with this
/// network's ports. Refuses a home whose genesis belongs to another network.
fn write_files(home: &Home, keys: &[ValidatorKey], node: usize, nodes: usize, base_port: u16) -> Result<(), Failure> {
    let timing = Timing {
        heartbeat_ms: 1_000,
        // A single payment after a pause gets a block at once; under load blocks get larger, not more frequent.
        interval_min_ms: 100,
        propose_ms: 500,
        prevote_ms: 250,
        precommit_ms: 250,
        ..Timing::default()
    };
    let genesis = serde_json::to_vec_pretty(&development(keys, EPOCH_LENGTH, timing))?;
    match std::fs::read(home.genesis()) {
        Ok(found) if found != genesis => {
            return Err("the genesis in this folder belongs to another network; choose another --dir, or the --nodes of the first run".into());
        }
        Ok(_) => (),
        Err(_) => std::fs::write(home.genesis(), &genesis)?,
    }
    let ports = Ports::new(base_port, node);
    let peers = (0..nodes)
        .filter(|other| *other != node)
        .map(|other| format!("\"/ip4/127.0.0.1/tcp/{}\"", Ports::new(base_port, other).peers));
    let config = format!(
        "# One node of a development network. `openledger config example` shows every key.\n\
         [node]\nnetwork = \"dev\"\nmoniker = \"node-{node}\"\n\n\
         [network]\nlisten = [\"/ip4/127.0.0.1/tcp/{}\"]\nbootstrap = [{}]\n\n\
         [rpc]\nlisten = \"127.0.0.1:{}\"\n\n[api]\nlisten = \"127.0.0.1:{}\"\n\n\
         [data]\nlisten = \"127.0.0.1:0\"\n",
        ports.peers,
        peers.collect::<Vec<_>>().join(", "),
        ports.rpc,
        ports.api,
    );
    std::fs::write(home.config(), config)?;
    Ok(())
}
