//! Kills real nodes with kill -9 while they are paid with, many times, and checks that nothing acknowledged was lost and
//! nobody signed twice: `cargo xtask crash --rounds 100`.
//!
//! Every tenth round kills all nodes at once; every seventh robs the victim of its state database as well.

use std::{
    process::ExitCode,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use alloy_primitives::hex;
use clap::Parser;
use serde_json::json;
use tests::{
    campaign::{Subject, ended},
    cluster::{Cluster, Failure},
    dice::Dice,
    wallet::Wallet,
};
use tokio::sync::RwLock;

const NODES: usize = 4;
const BACK_WITHIN: Duration = Duration::from_secs(5);

/// Kill nodes under load
#[derive(Parser)]
struct Args {
    /// Number of kills
    #[arg(long, default_value_t = 100)]
    rounds: u64,
    /// Seed of the random choice of nodes and times
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The first of the ports to use
    #[arg(long, default_value_t = 21_000)]
    base_port: u16,
    #[command(flatten)]
    subject: Subject,
}

#[tokio::main]
async fn main() -> ExitCode {
    ended(run(&Args::parse()).await)
}

async fn run(args: &Args) -> Result<String, Failure> {
    let binary = args.subject.program()?;
    let cluster = Cluster::new(binary, "crash", NODES, args.base_port, &[])?;
    let cluster = Arc::new(RwLock::new(cluster));
    cluster.write().await.start_all()?;
    for node in 0..NODES {
        cluster.read().await.wait_for(node, 1, Duration::from_secs(30)).await?;
    }
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let paying = tokio::spawn(pay(cluster.clone(), acknowledged.clone(), args.seed));

    let mut dice = Dice::new(args.seed, "crash");
    let mut slowest = Duration::ZERO;
    for round in 1..=args.rounds {
        tokio::time::sleep(Duration::from_millis(dice.between(0, 700))).await;
        slowest = slowest.max(kill_and_return(&cluster, &mut dice, round).await?);
    }
    paying.abort();
    check(&cluster, &acknowledged, args, slowest).await
}

/// One round: kills, waits, restarts; returns how long until the last victim was at the tip of the others again.
async fn kill_and_return(cluster: &RwLock<Cluster>, dice: &mut Dice, round: u64) -> Result<Duration, Failure> {
    let all: Vec<usize> = (0..NODES).collect();
    let victims = if round.is_multiple_of(10) {
        all.clone()
    } else {
        vec![dice.pick(&all)]
    };
    {
        let mut cluster = cluster.write().await;
        victims.iter().for_each(|node| cluster.kill(*node));
        if round.is_multiple_of(7) {
            cluster.remove_state(victims[0])?;
        }
    }
    tokio::time::sleep(Duration::from_millis(dice.between(0, 1_500))).await;
    let begun = Instant::now();
    {
        let mut cluster = cluster.write().await;
        victims.iter().try_for_each(|node| cluster.start(*node))?;
    }
    let cluster = cluster.read().await;
    let mut goal = 0;
    for node in all.iter().filter(|node| !victims.contains(node)) {
        goal = goal.max(cluster.height(*node).await?);
    }
    for node in victims {
        cluster.wait_for(node, goal.max(1), Duration::from_secs(30)).await?;
    }
    let took = begun.elapsed();
    if took > BACK_WITHIN {
        return Err(format!(
            "round {round}: back at the tip after {took:?}, allowed are {BACK_WITHIN:?}"
        ));
    }
    Ok(took)
}

/// Sends transfers for ever. A transfer is acknowledged once a node has accepted it.
async fn pay(cluster: Arc<RwLock<Cluster>>, acknowledged: Arc<Mutex<Vec<String>>>, seed: u64) {
    let mut wallet = Wallet::new(seed);
    let mut dice = Dice::new(seed, "pay");
    loop {
        let raw = hex::encode_prefixed(wallet.transfer());
        // The node may be dead: the same transfer is sent until one accepts it. "Known" counts as accepted too.
        loop {
            let node = usize::try_from(dice.between(0, NODES as u64 - 1)).expect("a node's number");
            let answer = cluster
                .read()
                .await
                .call(node, "eth_sendRawTransaction", json!([raw]))
                .await;
            match answer {
                Ok(hash) => {
                    let hash = hash.as_str().expect("a hash is text").to_owned();
                    acknowledged.lock().expect("no holder panics").push(hash);
                    break;
                }
                Err(why) if why.contains("known") || why.contains("nonce too low") => break,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Checks that every acknowledged transfer is final on every node, that all nodes agree, and that no validator signed
/// twice.
async fn check(
    cluster_lock: &RwLock<Cluster>,
    acknowledged: &Mutex<Vec<String>>,
    args: &Args,
    slowest: Duration,
) -> Result<String, Failure> {
    let hashes = acknowledged.lock().expect("no holder panics").clone();
    let cluster = cluster_lock.read().await;
    let until = Instant::now() + Duration::from_secs(60);
    let mut height = 0;
    for node in 0..NODES {
        for chunk in hashes.chunks(100) {
            loop {
                let params: Vec<_> = chunk.iter().map(|hash| json!([hash])).collect();
                let receipts = cluster.batch(node, "eth_getTransactionReceipt", &params).await?;
                if receipts.iter().all(|receipt| receipt["result"].is_object()) {
                    break;
                }
                if Instant::now() > until {
                    let lost = receipts
                        .iter()
                        .zip(chunk)
                        .find(|(receipt, _)| !receipt["result"].is_object());
                    return Err(format!(
                        "node {node} lost acknowledged transfer {:?}",
                        lost.map(|(_, hash)| hash)
                    ));
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        height = height.max(cluster.height(node).await?);
    }
    for at in 1..=height {
        let mut seen = None;
        for node in 0..NODES {
            cluster.wait_for(node, height, Duration::from_secs(10)).await?;
            let block = cluster.block(node, at).await?;
            if seen.get_or_insert_with(|| block.clone()) != &block {
                return Err(format!("the nodes disagree about block {at}"));
            }
        }
    }
    drop(cluster);
    let mut cluster = cluster_lock.write().await;
    for node in 0..NODES {
        cluster.kill(node);
        cluster.check_no_double_sign(node)?;
    }
    Ok(format!(
        "{} rounds, {} acknowledged transfers all final on {NODES} nodes, {height} equal blocks, no double sign; slowest return {} ms",
        args.rounds,
        hashes.len(),
        slowest.as_millis(),
    ))
}
