//! JSON-RPC under load, beside anvil in the same run: `cargo bench -p tests --bench rpc [-- CONNECTIONS]`.
//!
//! One node and one anvil, one after the other, each with the same 10,000 blocks and 1,000 token transfers in them. The
//! node keeps everything on disk, anvil in memory. The load runs on the same cores as the servers, so figures compare
//! with each other and not with those of other machines. anvil is the one that `cargo xtask clients` installed, or the
//! program that `OPENLEDGER_ANVIL` names; without it the node stands alone. `OPENLEDGER_PROGRAM` names another node than
//! this checkout's, built for speed. `OPENLEDGER_FIGURES=1` writes what it prints into `tests/figures/chain.md`.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
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
    load::{Connection, load, request},
};

const BLOCKS: u64 = 10_000;
const TRANSFERS: u64 = 1_000;
const PORT: u16 = 24_500;
const TIME: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(180);

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a bench is its printed figures")]
async fn main() {
    let connections = std::env::args().find_map(|text| text.parse().ok()).unwrap_or(32);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "{connections} connections, {BLOCKS} blocks, {TRANSFERS} transfers, {cores} cores with the load on them\n"
    );
    println!("{:10} {:34} {:>10} {:>11} {:>11}", "", "", "requests/s", "p50", "p99");
    let mut figures = Figures::new("chain", "cargo xtask bench rpc");
    for (name, result) in [
        ("openledger", ours(connections, &mut figures).await),
        ("anvil", theirs(connections, &mut figures).await),
    ] {
        match result {
            Ok(lines) => println!("{lines}"),
            Err(why) => println!("{name}: {why}\n"),
        }
    }
    figures.write().expect("the folder of figures is there");
}

/// A process that ends with this value.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

async fn ours(connections: usize, figures: &mut Figures) -> Result<String, Failure> {
    let named = std::env::var_os("OPENLEDGER_PROGRAM").map(PathBuf::from);
    let binary = named.map_or_else(program, Ok)?;
    // Blocks as fast as they go while the chain is made, then one in a second as always.
    let fast = [("OPENLEDGER_CONSENSUS__HEARTBEAT", "1ms")];
    let mut cluster = Cluster::new(binary.clone(), "rpc", 1, PORT, &fast)?;
    cluster.start(0)?;
    cluster.wait_for(0, 1, PATIENCE).await?;
    let url = cluster.members[0].rpc.clone();
    let token = pay(&url).await?;
    cluster.wait_for(0, BLOCKS, PATIENCE).await?;
    cluster.terminate(0)?;
    let _node = Command::new(&binary)
        .args(["daemon", "--home"])
        .arg(&cluster.members[0].home)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map(Process)
        .map_err(|error| error.to_string())?;
    cluster.wait_for(0, BLOCKS, PATIENCE).await?;
    measure("openledger", &url, token, connections, figures).await
}

async fn theirs(connections: usize, figures: &mut Figures) -> Result<String, Failure> {
    let here = std::env::current_exe().map_err(|error| error.to_string())?;
    let installed = "clients/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil";
    let beside = here
        .ancestors()
        .map(|folder| folder.join(installed))
        .find(|program| program.is_file());
    let program = std::env::var_os("OPENLEDGER_ANVIL").map(PathBuf::from).or(beside);
    let program = program.ok_or("not installed here; `cargo xtask clients` does it")?;
    let port = PORT + 90;
    let _anvil = Command::new(program)
        .args([
            "--silent",
            "--port",
            &port.to_string(),
            "--chain-id",
            &DEV_CHAIN_ID.to_string(),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map(Process)
        .map_err(|error| error.to_string())?;
    let url = format!("http://127.0.0.1:{port}");
    let begun = Instant::now();
    while Connection::open(&url).await.is_err() {
        if begun.elapsed() > PATIENCE {
            return Err("it did not start".to_owned());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let token = pay(&url).await?;
    let mut connection = Connection::open(&url).await?;
    let mined = number(&connection.call("eth_blockNumber", json!([])).await?)?;
    let left = format!("{:#x}", BLOCKS.saturating_sub(mined));
    connection.call("anvil_mine", json!([left])).await?;
    measure("anvil", &url, token, connections, figures).await
}

/// Deploys a token and moves it about.
async fn pay(url: &str) -> Result<Address, Failure> {
    let signer: PrivateKeySigner = DEV_ACCOUNTS[0].1.parse().map_err(|_| "the development key is a key")?;
    let mut connection = Connection::open(url).await?;
    let token = signer.address().create(0);
    let call = TestToken::transferCall {
        to: DEV_ACCOUNTS[1].0,
        value: U256::from(1),
    };
    let input = Bytes::from(call.abi_encode());
    for nonce in 0..=TRANSFERS {
        let raw = match nonce {
            0 => sign(&signer, nonce, TxKind::Create, TestToken::BYTECODE.clone(), 3_000_000),
            _ => sign(&signer, nonce, TxKind::Call(token), input.clone(), 100_000),
        };
        connection.call("eth_sendRawTransaction", json!([raw])).await?;
        // A mempool keeps so many of one account.
        if nonce % 10 == 0 {
            reaches(&mut connection, signer.address(), nonce + 1).await?;
        }
    }
    reaches(&mut connection, signer.address(), TRANSFERS + 1).await?;
    Ok(token)
}

async fn reaches(connection: &mut Connection, account: Address, nonce: u64) -> Result<(), Failure> {
    let begun = Instant::now();
    while number(
        &connection
            .call("eth_getTransactionCount", json!([account, "latest"]))
            .await?,
    )? < nonce
    {
        if begun.elapsed() > PATIENCE {
            return Err(format!("{account} did not reach nonce {nonce}"));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

async fn measure(
    name: &str,
    url: &str,
    token: Address,
    connections: usize,
    rows: &mut Figures,
) -> Result<String, Failure> {
    let mut connection = Connection::open(url).await?;
    let tip = number(&connection.call("eth_blockNumber", json!([])).await?)?;
    let [payer, payee] = [DEV_ACCOUNTS[0].0, DEV_ACCOUNTS[1].0];
    let balance = TestToken::balanceOfCall { account: payee }.abi_encode();
    let call = json!([{ "to": token, "data": hex::encode_prefixed(balance) }, "latest"]);
    let held = connection.call("eth_call", call.clone()).await?;
    if held != json!(format!("{:#066x}", U256::from(TRANSFERS))) {
        return Err(format!("the payee holds {held}"));
    }
    let first = tip.saturating_sub(BLOCKS - 1);
    let range = |address: Address| json!([{ "address": address, "fromBlock": format!("{first:#x}"), "toBlock": format!("{tip:#x}") }]);
    let mut lines = String::new();
    for (what, method, params) in [
        ("eth_blockNumber", "eth_blockNumber", json!([])),
        ("eth_getBalance", "eth_getBalance", json!([payer, "latest"])),
        ("eth_call (balanceOf)", "eth_call", call),
        (
            "eth_getLogs, 10,000 blocks, none",
            "eth_getLogs",
            range(Address::repeat_byte(0xee)),
        ),
        ("eth_getLogs, 10,000 blocks, all", "eth_getLogs", range(token)),
    ] {
        let found: Value = connection.call(method, params.clone()).await?;
        let figures = load(url, &request(method, &params), connections, TIME).await?;
        rows.add(format!("{what}, {name}"), figures.per_s, "requests/s");
        for (quantile, took) in [("p50", figures.p50), ("p99", figures.p99)] {
            rows.add(format!("{what}, {name}, {quantile}"), took.as_micros(), "µs");
        }
        let logs = found
            .as_array()
            .map_or(String::new(), |logs| format!("  ({} logs)", logs.len()));
        lines += &format!(
            "{name:10} {what:34} {:>10} {:>8} µs {:>8} µs{logs}\n",
            figures.per_s,
            figures.p50.as_micros(),
            figures.p99.as_micros()
        );
    }
    Ok(lines)
}

fn sign(signer: &PrivateKeySigner, nonce: u64, to: TxKind, input: Bytes, gas_limit: u64) -> String {
    let transaction = TxEip1559 {
        chain_id: DEV_CHAIN_ID,
        nonce,
        gas_limit,
        max_fee_per_gas: 100_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to,
        input,
        ..Default::default()
    };
    let hash = transaction.signature_hash();
    let signature = signer.sign_hash_sync(&hash).expect("a local key always signs");
    hex::encode_prefixed(TxEnvelope::from(transaction.into_signed(signature)).encoded_2718())
}
