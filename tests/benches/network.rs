//! What four real processes on this machine do: `cargo bench -p tests --bench network [-- PART]`, where PART is one of
//! `finality`, `throughput`, `catchup`, `idle`. Everything is durable (fdatasync on), submitted over JSON-RPC, and
//! measured from outside; the load runs on the same cores as the nodes. `OPENLEDGER_FIGURES=1` writes what it prints into
//! `tests/figures/chain.md`.

#![allow(clippy::float_arithmetic, clippy::cast_precision_loss, reason = "figures for people")]

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, Bytes, TxKind, U256, hex};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::SolCall;
use chain::genesis::{DEV_ACCOUNTS, DEV_CHAIN_ID};
use contracts::TestToken;
use serde_json::{Value, json};
use tests::{
    cluster::{Cluster, Failure, number, program},
    figures::Figures,
};

/// Accounts that pay at the same time.
const PAYERS: usize = 40;
/// Blocks as fast as they can be decided, with nothing in them.
const BACK_TO_BACK: [(&str, &str); 2] = [
    ("OPENLEDGER_CONSENSUS__HEARTBEAT", "1ms"),
    ("OPENLEDGER_CONSENSUS__MIN_BLOCK_INTERVAL", "0ms"),
];
/// Calls in one request.
const BATCH: usize = 50;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a bench is its printed figures")]
async fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let run = |part: &str| wanted.is_empty() || wanted.iter().any(|one| one == part);
    println!(
        "four validators on this machine, fdatasync on, {} cores",
        std::thread::available_parallelism().map_or(0, usize::from)
    );
    let mut figures = Figures::new("chain", "cargo xtask bench network");
    for part in ["idle", "finality", "throughput", "catchup"]
        .into_iter()
        .filter(|part| run(part))
    {
        let result = match part {
            "idle" => idle(&mut figures).await,
            "finality" => finality(&mut figures).await,
            "throughput" => throughput(&mut figures).await,
            _ => catch_up(&mut figures).await,
        };
        match result {
            Ok(lines) => println!("\n{part}\n{lines}"),
            Err(why) => println!("\n{part}: FAILED: {why}"),
        }
    }
    figures.write().expect("the folder of figures is there");
}

async fn up(
    name: &str,
    port: u16,
    nodes: usize,
    start: usize,
    environment: &[(&str, &str)],
) -> Result<Cluster, Failure> {
    let mut cluster = Cluster::new(program()?, name, nodes, port, environment)?;
    for node in 0..start {
        cluster.start(node)?;
    }
    for node in 0..start {
        cluster.wait_for(node, 1, Duration::from_secs(30)).await?;
    }
    Ok(cluster)
}

/// Memory and processor of a node that has nothing to do but its heartbeat of a second.
async fn idle(figures: &mut Figures) -> Result<String, Failure> {
    let cluster = up("idle", 23_000, 4, 4, &[]).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = usage(&cluster)?;
    let wait = Duration::from_secs(20);
    tokio::time::sleep(wait).await;
    let after = usage(&cluster)?;
    let (mut lines, mut all_busy) = (String::new(), Vec::new());
    for (node, (before, after)) in before.iter().zip(&after).enumerate() {
        let busy = (after.0 - before.0) / wait.as_secs_f64() * 100.0;
        lines += &format!("  node {node}: {:.1} MB resident, {busy:.2} % of a core\n", after.1);
        all_busy.push(busy);
    }
    let mut resident: Vec<f64> = after.iter().map(|(_, resident)| *resident).collect();
    resident.sort_by(f64::total_cmp);
    all_busy.sort_by(f64::total_cmp);
    let (what, middle) = ("idle node, heartbeat of a second", resident.len() / 2);
    figures.add(
        format!("{what}, resident"),
        format_args!("{:.0}", resident[middle]),
        "MB",
    );
    figures.add(
        format!("{what}, of a core"),
        format_args!("{:.1}", all_busy[middle]),
        "%",
    );
    Ok(lines)
}

/// Processor seconds and resident megabytes of every node.
fn usage(cluster: &Cluster) -> Result<Vec<(f64, f64)>, Failure> {
    (0..cluster.members.len())
        .map(|node| {
            let pid = cluster.pid(node).ok_or("it does not run")?;
            let read =
                |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).map_err(|error| error.to_string());
            let stat = read("stat")?;
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
            let status = read("status")?;
            let resident = status.lines().find_map(|line| {
                line.strip_prefix("VmRSS:")?
                    .split_whitespace()
                    .next()?
                    .parse::<f64>()
                    .ok()
            });
            Ok(((ticks(11) + ticks(12)) / 100.0, resident.unwrap_or(0.0) / 1024.0))
        })
        .collect()
}

/// From beginning a height to its block being final and durable: blocks back to back, empty and with 200 transfers.
async fn finality(figures: &mut Figures) -> Result<String, Failure> {
    let cluster = up("finality", 23_100, 4, 4, &BACK_TO_BACK).await?;
    tokio::time::sleep(Duration::from_secs(12)).await;
    let mut lines = line("empty block", "an empty block", &cluster, figures).await?;
    drop(cluster);

    // One payer's transfers arrive with the first of them missing, so that all become ready at once when it comes.
    let cluster = up("finality", 23_200, 4, 4, &[]).await?;
    let mut payers = Payers::fund(&cluster, 1).await?;
    let blocks = cluster.metric(0, "openledger_chain_blocks_total").await?;
    let mut full = 0;
    for _ in 0..60 {
        let raws: Vec<_> = (0..200).map(|_| payers.transfer()).collect();
        let from = cluster.height(0).await?;
        send(&cluster, 0, &raws[1..]).await?;
        tokio::time::sleep(Duration::from_millis(150)).await;
        send(&cluster, 0, &raws[..1]).await?;
        payers.wait(&cluster, Duration::from_secs(20)).await?;
        for height in from + 1..=cluster.height(0).await? {
            let count = cluster
                .call(
                    0,
                    "eth_getBlockTransactionCountByNumber",
                    json!([format!("{height:#x}")]),
                )
                .await?;
            full += u64::from(number(&count)? == 200);
        }
    }
    let others = cluster.metric(0, "openledger_chain_blocks_total").await? - blocks - full as f64;
    lines += &line(
        &format!("{full} blocks of 200 transfers among {others} empty ones"),
        "a block of 200 transfers",
        &cluster,
        figures,
    )
    .await?;
    Ok(lines)
}

async fn line(what: &str, block: &str, cluster: &Cluster, figures: &mut Figures) -> Result<String, Failure> {
    let (mut lines, mut measured) = (String::new(), [const { Vec::new() }; 3]);
    for node in 0..cluster.members.len() {
        let quantile = async |q: &str| {
            let name = format!("openledger_consensus_height_seconds{{quantile=\"{q}\"}}");
            cluster.metric(node, &name).await.map(|seconds| seconds * 1e3)
        };
        let (p50, p99) = (quantile("0.5").await?, quantile("0.99").await?);
        let (sync, blocks) = (
            cluster.metric(node, "openledger_chain_sync_seconds_total").await?,
            cluster.metric(node, "openledger_chain_blocks_total").await?,
        );
        lines += &format!(
            "  {what}, node {node}: p50 {p50:.1} ms, p99 {p99:.1} ms; of that syncing the disk {:.1} ms per block; {blocks} blocks\n",
            sync / blocks * 1e3
        );
        let one = [p50, p99, sync / blocks * 1e3];
        measured.iter_mut().zip(one).for_each(|(all, one)| all.push(one));
    }
    let [p50, p99, sync] = measured;
    figures.add_range(&format!("finality of {block}, p50"), &p50, 1, "ms");
    figures.add_range(&format!("finality of {block}, p99"), &p99, 1, "ms");
    figures.add_range(&format!("waiting for the disk in {block}"), &sync, 1, "ms");
    Ok(lines)
}

/// Transfers and ERC-20 transfers that are final per second, as many as are taken in.
async fn throughput(figures: &mut Figures) -> Result<String, Failure> {
    let cluster = up(
        "throughput",
        23_300,
        4,
        4,
        &[("OPENLEDGER_MEMPOOL__MAX_PER_SENDER", "4096")],
    )
    .await?;
    let mut payers = Payers::fund(&cluster, PAYERS).await?;
    let mut lines = sustained(&cluster, &mut payers, "transfers", figures, Payers::transfer).await?;
    let token = payers.deploy(&cluster).await?;
    lines += &sustained(&cluster, &mut payers, "ERC-20 transfers", figures, |payers| {
        payers.token_transfer(token)
    })
    .await?;
    Ok(lines)
}

async fn sustained(
    cluster: &Cluster,
    payers: &mut Payers,
    what: &str,
    figures: &mut Figures,
    next: impl Fn(&mut Payers) -> String,
) -> Result<String, Failure> {
    const TOTAL: usize = 24_000;
    // Signed beforehand: the wallets' work is not the chain's.
    let mut raws: VecDeque<String> = (0..TOTAL).map(|_| next(payers)).collect();
    let (begun, from) = (Instant::now(), cluster.height(0).await?);
    while !raws.is_empty() {
        let ahead = cluster.metric(0, "openledger_mempool_transactions").await?;
        if ahead > 6_000.0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        // All of one round to one node: nonces come in order.
        let round: Vec<_> = raws.drain(..raws.len().min(PAYERS * BATCH)).collect();
        let mut sending = Vec::new();
        for node in 0..cluster.members.len() {
            let mine: Vec<_> = round
                .iter()
                .enumerate()
                .filter(|(at, _)| at % PAYERS % 4 == node)
                .map(|(_, raw)| raw.clone())
                .collect();
            sending.push(async move { send(cluster, node, &mine).await });
        }
        for sent in futures::future::join_all(sending).await {
            sent?;
        }
    }
    payers.wait(cluster, Duration::from_secs(120)).await?;
    let (took, blocks) = (begun.elapsed().as_secs_f64(), cluster.height(0).await? - from);
    let (rate, size) = (TOTAL as f64 / took, TOTAL as f64 / blocks as f64);
    figures.add(
        format!("{what}, sustained, final on all four"),
        format_args!("{rate:.0}"),
        "per s",
    );
    figures.add(
        format!("{what} in a block under that load"),
        format_args!("{size:.0}"),
        "",
    );
    Ok(format!(
        "  {what}: {rate:.0}/s over {took:.1} s, {blocks} blocks of {size:.0}\n"
    ))
}

/// A node that is new at height 2,000 and comes to the tip.
async fn catch_up(figures: &mut Figures) -> Result<String, Failure> {
    const HEIGHT: u64 = 2_000;
    let mut cluster = up("catchup", 23_400, 4, 4, &BACK_TO_BACK).await?;
    cluster.wait_for(3, HEIGHT, Duration::from_secs(300)).await?;
    // The fourth becomes a new node: no blocks, no journal, and no vote, for a validator that forgot must not vote.
    cluster.kill(3);
    let home = cluster.members[3].home.clone();
    std::fs::remove_dir_all(home.join("chain")).map_err(|error| error.to_string())?;
    std::fs::remove_file(home.join("keys/validator.key")).map_err(|error| error.to_string())?;
    let begun = Instant::now();
    cluster.start(3)?;
    let mut started = None;
    loop {
        if let Ok(height) = cluster.height(3).await {
            let started = *started.get_or_insert_with(Instant::now);
            if height >= HEIGHT {
                let (all, syncing) = (begun.elapsed().as_secs_f64(), started.elapsed().as_secs_f64());
                let rate = height as f64 / all;
                figures.add(
                    "blocks that a new node catches up with, while the others go on",
                    height,
                    "blocks",
                );
                figures.add("catching up, from process start", format_args!("{all:.2}"), "s");
                figures.add("catching up", format_args!("{rate:.0}"), "blocks/s");
                return Ok(format!(
                    "  {height} blocks in {syncing:.2} s after it answers ({all:.2} s after its process starts): {rate:.0} blocks/s over all, while the others go on\n"
                ));
            }
        }
        if begun.elapsed() > Duration::from_secs(120) {
            return Err(format!("at {:?} after two minutes", cluster.height(3).await));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Accounts with OPEN, and the nonces they have used.
struct Payers {
    accounts: Vec<(PrivateKeySigner, u64)>,
    next: usize,
}

impl Payers {
    /// New accounts, each paid by a development account, ready to pay.
    async fn fund(cluster: &Cluster, count: usize) -> Result<Self, Failure> {
        let signer = |number: usize| {
            let mut bytes = [0x5a; 32];
            bytes[31] = u8::try_from(number).expect("few payers");
            PrivateKeySigner::from_slice(&bytes).expect("a number below the order")
        };
        let accounts: Vec<_> = (0..count).map(|number| (signer(number), 0)).collect();
        let bank: PrivateKeySigner = DEV_ACCOUNTS[0].1.parse().map_err(|_| "the development key is a key")?;
        let answer = cluster
            .call(0, "eth_getTransactionCount", json!([bank.address(), "latest"]))
            .await?;
        let first = number(&answer)?;
        let raws: Vec<_> = accounts
            .iter()
            .zip(first..)
            .map(|((account, _), nonce)| {
                let value = U256::from(1_000) * U256::from(10).pow(U256::from(18));
                sign(
                    &bank,
                    nonce,
                    TxKind::Call(account.address()),
                    value,
                    Bytes::new(),
                    21_000,
                )
            })
            .collect();
        send(cluster, 0, &raws).await?;
        let payers = Self { accounts, next: 0 };
        let nonce = first + count as u64;
        reaches(cluster, 0, bank.address(), nonce, Duration::from_secs(30)).await?;
        for node in 1..cluster.members.len() {
            reaches(cluster, node, bank.address(), nonce, Duration::from_secs(30)).await?;
        }
        Ok(payers)
    }

    fn turn(&mut self) -> (PrivateKeySigner, u64, Address) {
        let count = self.accounts.len();
        let to = self.accounts[(self.next + 1) % count].0.address();
        let (signer, nonce) = &mut self.accounts[self.next % count];
        self.next += 1;
        *nonce += 1;
        (signer.clone(), *nonce - 1, to)
    }

    fn transfer(&mut self) -> String {
        let (signer, nonce, to) = self.turn();
        sign(&signer, nonce, TxKind::Call(to), U256::from(1), Bytes::new(), 21_000)
    }

    fn token_transfer(&mut self, token: Address) -> String {
        let (signer, nonce, to) = self.turn();
        let call = TestToken::transferCall {
            to,
            value: U256::from(1),
        };
        sign(
            &signer,
            nonce,
            TxKind::Call(token),
            U256::ZERO,
            call.abi_encode().into(),
            80_000,
        )
    }

    /// Deploys a token and gives every payer some of it.
    async fn deploy(&mut self, cluster: &Cluster) -> Result<Address, Failure> {
        let (bank, nonce) = self.accounts[0].clone();
        let token = bank.address().create(nonce);
        let code = TestToken::BYTECODE.clone();
        let mut raws = vec![sign(&bank, nonce, TxKind::Create, U256::ZERO, code, 3_000_000)];
        for (at, (account, _)) in self.accounts.iter().enumerate() {
            let call = TestToken::transferCall {
                to: account.address(),
                value: U256::from(1_000_000),
            };
            raws.push(sign(
                &bank,
                nonce + 1 + at as u64,
                TxKind::Call(token),
                U256::ZERO,
                call.abi_encode().into(),
                100_000,
            ));
        }
        self.accounts[0].1 += raws.len() as u64;
        send(cluster, 0, &raws).await?;
        self.wait(cluster, Duration::from_secs(30)).await?;
        let code = cluster.call(0, "eth_getCode", json!([token, "latest"])).await?;
        if code.as_str().is_none_or(|code| code.len() < 10) {
            return Err("the token was not deployed".to_owned());
        }
        Ok(token)
    }

    /// Waits until everything sent is final on every node.
    async fn wait(&self, cluster: &Cluster, within: Duration) -> Result<(), Failure> {
        for node in 0..cluster.members.len() {
            for (signer, nonce) in &self.accounts {
                reaches(cluster, node, signer.address(), *nonce, within).await?;
            }
        }
        Ok(())
    }
}

async fn reaches(
    cluster: &Cluster,
    node: usize,
    account: Address,
    nonce: u64,
    within: Duration,
) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        let now = number(
            &cluster
                .call(node, "eth_getTransactionCount", json!([account, "latest"]))
                .await?,
        )?;
        if now >= nonce {
            return Ok(());
        }
        if begun.elapsed() > within {
            return Err(format!(
                "node {node}: {account} is at nonce {now}, not {nonce}, after {within:?}"
            ));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn send(cluster: &Cluster, node: usize, raws: &[String]) -> Result<(), Failure> {
    for chunk in raws.chunks(BATCH) {
        let params: Vec<Value> = chunk.iter().map(|raw| json!([raw])).collect();
        let answers = cluster.batch(node, "eth_sendRawTransaction", &params).await?;
        if let Some(refused) = answers.iter().find(|answer| answer["error"].is_object()) {
            return Err(format!("node {node} refused a transfer: {}", refused["error"]));
        }
    }
    Ok(())
}

fn sign(signer: &PrivateKeySigner, nonce: u64, to: TxKind, value: U256, input: Bytes, gas_limit: u64) -> String {
    let transaction = TxEip1559 {
        chain_id: DEV_CHAIN_ID,
        nonce,
        gas_limit,
        max_fee_per_gas: 100_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to,
        value,
        input,
        ..Default::default()
    };
    let signature = signer
        .sign_hash_sync(&transaction.signature_hash())
        .expect("a local key always signs");
    hex::encode_prefixed(TxEnvelope::from(transaction.into_signed(signature)).encoded_2718())
}
