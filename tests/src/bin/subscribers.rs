//! A thousand WebSocket subscribers of one node get every head in order while another node is killed with kill -9 and
//! started again: `cargo xtask campaign subscribers`.

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use clap::Parser;
use tests::{
    campaign::{Subject, ended},
    cluster::{Cluster, Failure, number},
    load::Listener,
};

const NODES: usize = 4;
const WITHIN: Duration = Duration::from_secs(60);

/// Subscribe often while a node dies
#[derive(Parser)]
struct Args {
    /// Number of subscribers
    #[arg(long, default_value_t = 1_000)]
    subscribers: usize,
    /// Number of heads that each gets after the node is back
    #[arg(long, default_value_t = 10)]
    heads: u64,
    /// The first of the ports to use
    #[arg(long, default_value_t = 22_000)]
    base_port: u16,
    #[command(flatten)]
    subject: Subject,
}

/// For each head: when it reached the first subscriber, when the last so far, and how many it reached.
type Arrivals = Arc<Mutex<BTreeMap<u64, (Instant, Instant, usize)>>>;

#[tokio::main]
async fn main() -> ExitCode {
    ended(run(&Args::parse()).await)
}

async fn run(args: &Args) -> Result<String, Failure> {
    let binary = args.subject.program()?;
    let connections = (args.subscribers + 100).to_string();
    let limits = [("OPENLEDGER_RPC__MAX_CONNECTIONS", &connections[..])];
    let mut cluster = Cluster::new(binary, "subscribers", NODES, args.base_port, &limits)?;
    cluster.start_all()?;
    for node in 0..NODES {
        cluster.wait_for(node, 1, WITHIN).await?;
    }
    let arrivals = Arrivals::default();
    let mut tasks = Vec::new();
    for _ in 0..args.subscribers {
        let listener = Listener::heads(&cluster.members[0].rpc).await?;
        tasks.push(listener);
    }
    let first = cluster.height(0).await? + 1;
    let (stop, stopped) = tokio::sync::watch::channel(u64::MAX);
    let tasks: Vec<_> = tasks
        .into_iter()
        .map(|listener| tokio::spawn(listen(listener, arrivals.clone(), stopped.clone())))
        .collect();

    cluster.wait_for(0, first + 3, WITHIN).await?;
    let victim = NODES - 1;
    cluster.kill(victim);
    let killed_at = cluster.height(0).await?;
    cluster.wait_for(0, killed_at + 5, WITHIN).await?;
    cluster.start(victim)?;
    let back_at = cluster.height(0).await?;
    cluster.wait_for(victim, back_at, WITHIN).await?;
    let last = back_at + args.heads;
    stop.send(last).map_err(|_| "all subscribers have ended")?;
    cluster.wait_for(0, last, WITHIN).await?;
    for (at, task) in tasks.into_iter().enumerate() {
        let ended = tokio::time::timeout(WITHIN, task).await;
        let ended = ended.map_err(|_| format!("subscriber {at} did not get head {last}"))?;
        let begun = ended
            .map_err(|error| error.to_string())?
            .map_err(|why| format!("subscriber {at}: {why}"))?;
        if begun > first {
            return Err(format!("subscriber {at} began at {begun}, subscribed before {first}"));
        }
    }
    Ok(summary(&arrivals, args.subscribers, first, last, killed_at, back_at))
}

/// Receives heads, each one above the one before, up to the last that is wanted; returns the first.
async fn listen(
    mut listener: Listener,
    arrivals: Arrivals,
    stopped: tokio::sync::watch::Receiver<u64>,
) -> Result<u64, Failure> {
    let mut heads: Option<(u64, u64)> = None;
    loop {
        let head = number(&listener.hear().await?["params"]["result"]["number"])?;
        let now = Instant::now();
        let (first, before) = heads.unwrap_or((head, head.wrapping_sub(1)));
        if head != before.wrapping_add(1) {
            return Err(format!("head {head} after head {before}"));
        }
        heads = Some((first, head));
        {
            let mut arrivals = arrivals.lock().expect("no holder panics");
            let seen = arrivals.entry(head).or_insert((now, now, 0));
            (seen.1, seen.2) = (seen.1.max(now), seen.2 + 1);
        }
        if head >= *stopped.borrow() {
            return Ok(first);
        }
    }
}

fn summary(arrivals: &Arrivals, subscribers: usize, first: u64, last: u64, killed_at: u64, back_at: u64) -> String {
    let arrivals = arrivals.lock().expect("no holder panics");
    let mut spreads: Vec<_> = arrivals
        .range(first..=last)
        .map(|(_, (from, to, _))| *to - *from)
        .collect();
    spreads.sort_unstable();
    let at = |per_cent: usize| spreads[(spreads.len() * per_cent / 100).min(spreads.len() - 1)].as_millis();
    format!(
        "{subscribers} subscribers got heads {first} to {last}, all and in order; a node was killed at {killed_at} and \
         back at {back_at}\nfrom the first subscriber to the last: {} ms in the middle, {} ms at worst",
        at(50),
        at(100)
    )
}
