//! Announcements among many real processes on this machine: `cargo xtask bench gossip`.
//!
//! One validator and the rest followers of its chain, each with a full node inside, connected to three or fewer that were
//! there before. Each adds small datasets by its own command; how long each announcement took to each other node is what
//! the nodes say, by clocks of one machine. `GOSSIP_NODES` (24) and `GOSSIP_ROUNDS` (4) say how many.

#![allow(clippy::float_arithmetic, clippy::cast_precision_loss, reason = "figures for people")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use serde_json::Value;
use tests::{
    cluster::{Cluster, Failure, program},
    figures::Figures,
};

const UP_WITHIN: Duration = Duration::from_secs(120);
const HEARD_WITHIN: Duration = Duration::from_secs(30);
/// How long an idle node is watched.
const IDLE: Duration = Duration::from_secs(20);
/// What was dropped, anywhere.
const DROPS: [&str; 7] = [
    "openledger_net_gossip_dropped_total",
    "openledger_net_gossip_unsent_total",
    "openledger_net_gossip_oversize_total",
    "openledger_net_gossip_rejected_total",
    "openledger_net_announcements_rejected_total",
    "openledger_net_announcements_limited_total",
    "openledger_net_slow_peers_total",
];

fn size(name: &str, or: usize) -> usize {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(or)
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a bench is its printed figures")]
async fn main() {
    let mut figures = Figures::new("data-plane", "cargo xtask bench gossip");
    match measure(size("GOSSIP_NODES", 24), size("GOSSIP_ROUNDS", 4), &mut figures).await {
        Ok(lines) => println!("{lines}"),
        Err(why) => println!("FAILED: {why}"),
    }
    figures.write().expect("the folder of figures is there");
}

async fn measure(nodes: usize, rounds: usize, figures: &mut Figures) -> Result<String, Failure> {
    let program = program()?;
    let mut cluster = Cluster::followed(program.clone(), "gossip", nodes, 24_000, &[])?;
    let begun = Instant::now();
    cluster.start_all()?;
    for node in 0..nodes {
        cluster.wait_for(node, 1, UP_WITHIN).await?;
    }
    let up = begun.elapsed();
    let bench = Bench { program, cluster };
    // The mesh is whole when one announcement reaches everybody.
    let first = bench.add(0, "first")?;
    bench.heard(&[(0, first)])?;

    let before = bench.usage()?;
    tokio::time::sleep(IDLE).await;
    let after = bench.usage()?;
    let mut lines = format!(
        "{nodes} processes ({} build), 1 validator, {} followers, {} cores; all up after {:.1} s\n",
        if cfg!(debug_assertions) { "debug" } else { "release" },
        nodes - 1,
        std::thread::available_parallelism().map_or(0, usize::from),
        up.as_secs_f64()
    );
    let mut resident: Vec<f64> = after.iter().map(|(_, resident)| *resident).collect();
    resident.sort_by(f64::total_cmp);
    let busy: f64 = before
        .iter()
        .zip(&after)
        .map(|(before, after)| after.0 - before.0)
        .sum();
    lines += &format!(
        "idle: {:.1} MB resident per daemon (least {:.1}, most {:.1}), {:.2} % of a core each\n",
        resident[resident.len() / 2],
        resident[0],
        resident[resident.len() - 1],
        busy / IDLE.as_secs_f64() * 100.0 / nodes as f64
    );
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    let busy = busy / IDLE.as_secs_f64() * 100.0 / nodes as f64;
    let what = format!("idle among {nodes} daemons, {build} build");
    let middle = resident[resident.len() / 2];
    figures.add(format!("{what}, resident"), format_args!("{middle:.0}"), "MB");
    figures.add(format!("{what}, of a core"), format_args!("{busy:.1}"), "%");
    let announcements = format!("announcements among {nodes} daemons, {build} build");
    for (what, heard) in [
        ("one after another", bench.paced(rounds)?),
        ("all at once", bench.at_once()?),
    ] {
        lines += &heard.line(what);
        heard.add_to(figures, &format!("{announcements}, {what}"));
    }
    lines += &bench.drops().await?;
    Ok(lines)
}

struct Bench {
    program: PathBuf,
    cluster: Cluster,
}

/// A dataset, and the node that added it.
type Added = (usize, String);

impl Bench {
    fn run(&self, node: usize, arguments: &[&str]) -> Result<Value, Failure> {
        answer(self.command(node, arguments).output())
    }

    fn command(&self, node: usize, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("--home")
            .arg(&self.cluster.members[node].home)
            .arg("--json")
            .args(arguments);
        command
    }

    fn file(&self, node: usize, name: &str) -> Result<PathBuf, Failure> {
        let path = self.cluster.members[node].home.join(format!("{name}.jsonl"));
        let text = format!("{{\"node\":{node},\"text\":\"{name}\"}}\n");
        std::fs::write(&path, text).map_err(|error| error.to_string())?;
        Ok(path)
    }

    fn add(&self, node: usize, name: &str) -> Result<String, Failure> {
        let path = self.file(node, name)?;
        root(&self.run(node, &adding(&path))?)
    }

    /// One node after another adds a dataset.
    fn paced(&self, rounds: usize) -> Result<Heard, Failure> {
        let mut added = Vec::new();
        for round in 0..rounds {
            for node in 0..self.cluster.members.len() {
                added.push((node, self.add(node, &format!("paced-{round}"))?));
            }
        }
        self.heard(&added)
    }

    /// All nodes add a dataset at the same moment.
    fn at_once(&self) -> Result<Heard, Failure> {
        let nodes = 0..self.cluster.members.len();
        let mut running = Vec::new();
        for node in nodes {
            let path = self.file(node, "at-once")?;
            let mut command = self.command(node, &adding(&path));
            let command = command
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::null());
            running.push((node, command.spawn().map_err(|error| error.to_string())?));
        }
        let mut added = Vec::new();
        for (node, child) in running {
            added.push((node, root(&answer(child.wait_with_output())?)?));
        }
        self.heard(&added)
    }

    /// Waits until everybody has heard of everything, or for no longer than that takes at worst.
    fn heard(&self, added: &[Added]) -> Result<Heard, Failure> {
        let names: Vec<String> = (0..self.cluster.members.len())
            .map(|node| Ok(text(&self.run(node, &["id"])?, "node_id")))
            .collect::<Result<_, Failure>>()?;
        let wanted = added.len() * (self.cluster.members.len() - 1);
        let begun = Instant::now();
        loop {
            let mut took = Vec::new();
            for node in 0..self.cluster.members.len() {
                let known = self.known(node)?;
                for (from, root) in added.iter().filter(|(from, _)| *from != node) {
                    took.extend(known.get(&(root.clone(), names[*from].clone())).copied());
                }
            }
            if took.len() == wanted || begun.elapsed() > HEARD_WITHIN {
                took.sort_unstable();
                return Ok(Heard { wanted, took });
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// For each dataset and node that announced it, how long that took to here, in microseconds.
    fn known(&self, node: usize) -> Result<BTreeMap<(String, String), u64>, Failure> {
        let said = self.run(node, &["data", "ls", "--peers"])?;
        let mut known = BTreeMap::new();
        for dataset in said.as_array().into_iter().flatten() {
            for heard in dataset["heard"].as_array().into_iter().flatten() {
                let at = |key: &str| heard[key].as_u64().unwrap_or_default();
                let key = (text(dataset, "root"), text(heard, "from"));
                known.insert(key, at("heard_us").saturating_sub(at("issued_us")));
            }
        }
        Ok(known)
    }

    /// Processor seconds and resident megabytes of every node.
    fn usage(&self) -> Result<Vec<(f64, f64)>, Failure> {
        let nodes = 0..self.cluster.members.len();
        nodes
            .map(|node| usage(self.cluster.pid(node).ok_or("it does not run")?))
            .collect()
    }

    async fn drops(&self) -> Result<String, Failure> {
        let mut line = "all nodes together:".to_owned();
        for name in DROPS {
            let mut sum = 0.0;
            for node in 0..self.cluster.members.len() {
                sum += self.cluster.metric(node, name).await?;
            }
            let short = name.trim_start_matches("openledger_net_").trim_end_matches("_total");
            line += &format!(" {short} {sum:.0},");
        }
        Ok(line.trim_end_matches(',').to_owned())
    }
}

/// How announcements arrived.
struct Heard {
    wanted: usize,
    /// Microseconds, in order.
    took: Vec<u64>,
}

impl Heard {
    /// The milliseconds within which so many of a thousand came.
    fn at(&self, share: usize) -> f64 {
        let index = (self.took.len() * share / 1000).min(self.took.len().saturating_sub(1));
        self.took.get(index).map_or(0.0, |us| *us as f64 / 1000.0)
    }

    fn add_to(&self, figures: &mut Figures, what: &str) {
        figures.add(format!("{what}, delivered of {}", self.wanted), self.took.len(), "");
        for (quantile, ms) in [("p50", self.at(500)), ("p99", self.at(990))] {
            figures.add(format!("{what}, {quantile}"), format_args!("{ms:.1}"), "ms");
        }
    }

    fn line(&self, what: &str) -> String {
        format!(
            "{what}: {} of {} deliveries ({:.2} %), p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms\n",
            self.took.len(),
            self.wanted,
            self.took.len() as f64 * 100.0 / self.wanted.max(1) as f64,
            self.at(500),
            self.at(990),
            self.at(1000)
        )
    }
}

fn adding(path: &Path) -> [&str; 5] {
    let path = path.to_str().expect("names made here are text");
    ["data", "add", path, "--licence", "CC0-1.0"]
}

fn root(added: &Value) -> Result<String, Failure> {
    match added["root"].as_str() {
        Some(root) => Ok(root.to_owned()),
        None => Err(format!("nothing was added: {added}")),
    }
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

fn answer(output: std::io::Result<Output>) -> Result<Value, Failure> {
    let output = output.map_err(|error| error.to_string())?;
    serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {output:?}"))
}

fn usage(pid: u32) -> Result<(f64, f64), Failure> {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).map_err(|error| error.to_string());
    let stat = read("stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    let status = read("status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    Ok(((ticks(11) + ticks(12)) / 100.0, resident.unwrap_or(0.0) / 1024.0))
}
