//! Benchmark of data transfer on this machine: `cargo bench -p net --bench data`. Each side is a process of its own.
//!
//! `OPENLEDGER_BENCH_MIB` sets the size (256) and `OPENLEDGER_BENCH_ROUNDS` the number of rounds (3); `-- one`, `-- swarm`
//! and `-- first` run one part only. The raw stream reads a file, sends it over one iroh stream as it comes, and writes a
//! file: the work of a verified fetch without the hashes. To measure other tools on the same file, start one role by hand:
//! `data serve DIR FILE [BYTES_PER_S]` prints what `data fetch DIR NODE ADDRESS HASH` needs.
#![allow(
    clippy::print_stdout,
    clippy::float_arithmetic,
    reason = "a bench prints its figures"
)]

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    num::NonZeroU64,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use iroh::{Endpoint, EndpointAddr, RelayMode, endpoint::presets};
use iroh_blobs::{
    Hash,
    api::blobs::{AddPathOptions, ImportMode},
    store::{fs::FsStore, mem::MemStore},
};
use net::data::{Admission, Alpn, BlobRequest, DataConfig, DataPlane, FetchEvent, Share, Wanted};
use protocol::{BlobHash, NodeId};

const RAW: &[u8] = b"openledger/bench/raw";

struct Everybody;

impl Admission for Everybody {
    fn may_connect(&self, _: NodeId) -> bool {
        true
    }

    fn may_fetch(&self, _: NodeId, _: BlobRequest) -> bool {
        true
    }
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Runtime::new().expect("starts");
    match words.as_slice() {
        ["serve", dir, file, rest @ ..] => runtime.block_on(serve(dir.as_ref(), file.as_ref(), rest.first())),
        ["fetch", dir, rest @ ..] => runtime.block_on(fetch(dir.as_ref(), rest)),
        ["raw-serve", file] => runtime.block_on(raw_serve(file.as_ref())),
        ["raw-fetch", out, node, address] => runtime.block_on(raw_fetch(out.as_ref(), node, address)),
        parts => {
            let does = |part| parts.is_empty() || parts.contains(&part);
            let mut bench = Bench::new();
            if does("one") {
                bench.one();
            }
            if does("swarm") {
                bench.swarm();
            }
            if does("first") {
                runtime.block_on(first_byte());
            }
        }
    }
}

/// CPU seconds used by this process.
fn cpu_s() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<_> = text.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |n: usize| fields.get(n).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn say(line: &str) {
    println!("{line}");
    std::io::stdout().flush().expect("stdout");
}

/// Waits for a line on stdin, then prints the CPU time used.
async fn until_told() {
    let _ = tokio::task::spawn_blocking(|| std::io::stdin().lock().lines().next()).await;
    say(&format!("cpu {}", cpu_s()));
}

async fn serve(dir: &Path, file: &Path, per_s: Option<&&str>) {
    let store = FsStore::load(dir).await.expect("a store");
    let options = AddPathOptions {
        path: std::path::absolute(file).expect("a path"),
        mode: ImportMode::TryReference,
        format: iroh_blobs::BlobFormat::Raw,
    };
    let tag = store.add_path_with_opts(options).await.expect("added");
    let mut seed = [0; 32];
    seed[..4].copy_from_slice(&std::process::id().to_le_bytes());
    let mut config = DataConfig::new(seed);
    config.upload_per_s = per_s.and_then(|text| text.parse().ok()).and_then(NonZeroU64::new);
    let plane = DataPlane::start(config).await.expect("starts");
    plane.serve(
        Alpn::public(),
        Share {
            store: (*store).clone(),
            admission: Arc::new(Everybody),
        },
    );
    let port = plane.addresses().ports().v4.expect("IPv4");
    let hash = BlobHash(*tag.hash.as_bytes());
    say(&format!("{} 127.0.0.1:{port} {hash} cpu {}", plane.id(), cpu_s()));
    until_told().await;
    plane.shutdown().await;
    store.shutdown().await.expect("closed");
}

/// Arguments: node and address of each provider, then the hash.
async fn fetch(dir: &Path, rest: &[&str]) {
    let store = FsStore::load(dir).await.expect("a store");
    let mut seed = [1; 32];
    seed[..4].copy_from_slice(&std::process::id().to_le_bytes());
    let plane = DataPlane::start(DataConfig::new(seed)).await.expect("starts");
    let (hash, providers) = rest.split_last().expect("a hash");
    let mut nodes = Vec::new();
    for pair in providers.chunks(2) {
        let node: NodeId = pair[0].parse().expect("a node");
        plane.addresses().insert(node, pair[1].parse().expect("an address"));
        nodes.push(node);
    }
    let (cpu, start) = (cpu_s(), Instant::now());
    let mut wanted = Wanted::blob(hash.parse().expect("a hash"), nodes);
    wanted.bytes_max = u64::MAX;
    plane.fetch(&store, wanted).done().await.expect("fetched");
    say(&format!("{} {}", start.elapsed().as_secs_f64(), cpu_s() - cpu));
    plane.shutdown().await;
    store.shutdown().await.expect("closed");
}

async fn raw_endpoint() -> Endpoint {
    let builder = Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .alpns(vec![RAW.to_vec()]);
    builder
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")
        .expect("an address")
        .bind()
        .await
        .expect("binds")
}

async fn raw_serve(file: &Path) {
    let endpoint = raw_endpoint().await;
    say(&format!(
        "{} {} - cpu {}",
        NodeId(*endpoint.id().as_bytes()),
        endpoint.bound_sockets()[0],
        cpu_s()
    ));
    let connection = endpoint.accept().await.expect("a call").await.expect("a connection");
    let (mut send, _) = connection.accept_bi().await.expect("a stream");
    let mut source = tokio::fs::File::open(file).await.expect("the file");
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = tokio::io::AsyncReadExt::read(&mut source, &mut buffer)
            .await
            .expect("read");
        if read == 0 {
            break;
        }
        send.write_all(&buffer[..read]).await.expect("sent");
    }
    send.finish().expect("open");
    until_told().await;
}

async fn raw_fetch(out: &Path, node: &str, address: &str) {
    let endpoint = raw_endpoint().await;
    let node: NodeId = node.parse().expect("a node");
    let address: SocketAddr = address.parse().expect("an address");
    let (cpu, start) = (cpu_s(), Instant::now());
    let to = EndpointAddr::new(iroh::PublicKey::from_bytes(&node.0).expect("a key")).with_ip_addr(address);
    let connection = endpoint.connect(to, RAW).await.expect("answers");
    let (mut send, mut recv) = connection.open_bi().await.expect("a stream");
    send.write_all(b"go").await.expect("sent");
    let mut sink = tokio::fs::File::create(out).await.expect("a file");
    let mut buffer = vec![0; 1 << 20];
    while let Some(read) = recv.read(&mut buffer).await.expect("read") {
        tokio::io::AsyncWriteExt::write_all(&mut sink, &buffer[..read])
            .await
            .expect("written");
    }
    tokio::io::AsyncWriteExt::flush(&mut sink).await.expect("written");
    say(&format!("{} {}", start.elapsed().as_secs_f64(), cpu_s() - cpu));
}

/// One role in a process of its own.
struct Side {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Side {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, lines }
    }

    fn line(&mut self) -> Vec<String> {
        let line = self.lines.next().expect("it says something").expect("text");
        line.split(' ').map(str::to_owned).collect()
    }

    /// Ends the process; returns its CPU time.
    fn end(mut self) -> f64 {
        drop(self.child.stdin.take());
        let cpu = self.line()[1].parse().expect("a number");
        self.child.wait().expect("ends");
        cpu
    }
}

/// One transfer: seconds, and CPU seconds of the senders and of the receiver.
struct Took {
    s: f64,
    give_s: f64,
    take_s: f64,
}

struct Bench {
    dir: tempfile::TempDir,
    file: PathBuf,
    mib: f64,
    rounds: usize,
    round: u32,
}

/// A number from the environment.
fn number(name: &str, default: u32) -> u32 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

impl Bench {
    fn new() -> Self {
        let mib = number("OPENLEDGER_BENCH_MIB", 256);
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("file");
        let mut bytes = vec![0; (mib as usize) << 20];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        std::fs::write(&file, bytes).expect("written");
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        println!(
            "{mib} MiB, {} cores, load {}, encrypted, disk to disk",
            std::thread::available_parallelism().map_or(0, usize::from),
            load.split(' ').next().unwrap_or("unknown")
        );
        Self {
            dir,
            file,
            mib: f64::from(mib),
            rounds: number("OPENLEDGER_BENCH_ROUNDS", 3) as usize,
            round: 0,
        }
    }

    fn run(&mut self, serve: &str, rates: &[&str]) -> Took {
        self.round += 1;
        let path = |name: &str| {
            self.dir
                .path()
                .join(format!("{}-{name}", self.round))
                .display()
                .to_string()
        };
        let file = self.file.display().to_string();
        let mut sides = Vec::new();
        let (mut told, mut hash, mut before) = (Vec::new(), String::new(), 0.0);
        for (n, rate) in rates.iter().enumerate() {
            let mut side = match serve {
                "serve" => Side::start(&["serve", &path(&format!("serve-{n}")), &file, rate]),
                _ => Side::start(&["raw-serve", &file]),
            };
            let line = side.line();
            told.extend([line[0].clone(), line[1].clone()]);
            hash.clone_from(&line[2]);
            before += line[4].parse::<f64>().expect("a number");
            sides.push(side);
        }
        let role = if serve == "serve" { "fetch" } else { "raw-fetch" };
        let target = path("fetch");
        let mut words = vec![role, &target];
        words.extend(told.iter().map(String::as_str));
        if serve == "serve" {
            words.push(&hash);
        }
        let mut fetch = Side::start(&words);
        let line = fetch.line();
        fetch.child.wait().expect("ends");
        let after: f64 = sides.into_iter().map(Side::end).sum();
        // Keep the disk from filling up, and writes from reaching into the next round.
        let _ = (std::fs::remove_dir_all(&target), std::fs::remove_file(&target));
        let number = |n: usize| line[n].parse::<f64>().expect("a number");
        Took {
            s: number(0),
            give_s: after - before,
            take_s: number(1),
        }
    }

    /// Prints one line: the median of `took`, its range, and the CPU time of that run. Returns the rate.
    fn show(&self, what: &str, mut took: Vec<Took>) -> f64 {
        took.sort_by(|one, other| one.s.total_cmp(&other.s));
        let rate = |took: &Took| self.mib / took.s;
        let (middle, gib) = (&took[took.len() / 2], self.mib / 1024.0);
        println!(
            "{what:<42} {:>7.1} MiB/s ({:.0} to {:.0})   {:>5.2} CPU s/GiB: {:.2} to give, {:.2} to take",
            rate(middle),
            rate(&took[took.len() - 1]),
            rate(&took[0]),
            (middle.give_s + middle.take_s) / gib,
            middle.give_s / gib,
            middle.take_s / gib,
        );
        rate(middle)
    }

    fn measure(&mut self, what: &str, rates: &[&str]) -> f64 {
        let took = (0..self.rounds).map(|_| self.run("serve", rates)).collect();
        self.show(what, took)
    }

    /// Alternates both, after one uncounted run of each, so that other load affects both.
    fn one(&mut self) {
        let (mut raw, mut ours) = (Vec::new(), Vec::new());
        for round in 0..=self.rounds {
            let took = (self.run("raw-serve", &["0"]), self.run("serve", &["0"]));
            if round > 0 {
                raw.push(took.0);
                ours.push(took.1);
            }
        }
        let raw = self.show("raw stream", raw);
        let ours = self.show("verified fetch, one provider", ours);
        println!("{:<42} {:>7.0} %", "  of the raw stream", ours * 100.0 / raw);
    }

    fn swarm(&mut self) {
        let capped = "20971520";
        let one = self.measure("one provider at 20 MiB/s", &[capped]);
        let two = self.measure("two providers at 20 MiB/s", &[capped; 2]);
        let three = self.measure("three providers at 20 MiB/s", &[capped; 3]);
        println!("{:<42} {:>7.2} x", "  three over one", three / one);
        let stalled = self.measure("two, and one that gives next to nothing", &[capped, capped, "1"]);
        println!("{:<42} {:>7.1} %", "  cost of the third", 100.0 - stalled * 100.0 / two);
    }
}

/// From the request to the first verified byte, with and without an open connection.
async fn first_byte() {
    let node = DataPlane::start(DataConfig::new([1; 32])).await.expect("starts");
    let store = MemStore::new();
    let tag = store.add_bytes(vec![7; 1 << 20]).await.expect("added");
    node.serve(
        Alpn::public(),
        Share {
            store: (*store).clone(),
            admission: Arc::new(Everybody),
        },
    );
    let address = SocketAddr::from(([127, 0, 0, 1], node.addresses().ports().v4.expect("IPv4")));
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    for n in 0..100u8 {
        let me = DataPlane::start(DataConfig::new([n.wrapping_add(100); 32]))
            .await
            .expect("starts");
        me.addresses().insert(node.id(), address);
        cold.push(to_first_byte(&me, node.id(), tag.hash).await);
        warm.push(to_first_byte(&me, node.id(), tag.hash).await);
        me.shutdown().await;
    }
    for (what, mut took) in [("first verified byte, cold", cold), ("first verified byte, warm", warm)] {
        took.sort();
        println!("{what:<44} p50 {:>6.2} ms   p99 {:>6.2} ms", ms(took[50]), ms(took[98]));
    }
}

async fn to_first_byte(me: &DataPlane, node: NodeId, hash: Hash) -> Duration {
    let store = MemStore::new();
    let start = Instant::now();
    let mut fetch = me.fetch(&store, Wanted::blob(BlobHash(*hash.as_bytes()), vec![node]));
    while !matches!(fetch.next().await.expect("it goes on"), FetchEvent::FirstBytes { .. }) {}
    let took = start.elapsed();
    fetch.done().await.expect("fetched");
    took
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
