//! Answers while a run learns beside them, both in processes of their own and in one home: how long an answer takes alone,
//! beside a run at its default share, and beside one that gives no way.
//!
//! ```text
//! cargo bench -p daemon --bench beside [-- ANSWERS]
//! ```

#![allow(
    clippy::print_stdout,
    clippy::float_arithmetic,
    clippy::unwrap_used,
    reason = "a bench prints what it measured, and stops where it cannot"
)]

use std::{
    env,
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../compute/models/pico");
const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../compute/world/sample");

/// Tokens of an answer.
const TOKENS: usize = 64;

fn program(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_openledger"));
    command.arg("--home").arg(home);
    command
}

/// The engine, and where it listens.
fn serve(home: &Path) -> (Child, String) {
    let args = [
        "serve",
        "--model",
        MODEL,
        "--no-auth",
        "--listen",
        "127.0.0.1:0",
        "--json",
    ];
    let mut child = program(home)
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let told: serde_json::Value = serde_json::from_str(&line).unwrap();
    let url = told["url"].as_str().unwrap();
    let address = url.trim_start_matches("http://").trim_end_matches("/v1").to_owned();
    (child, address)
}

/// Milliseconds of one answer.
fn ask(address: &str, number: usize) -> f64 {
    let body = serde_json::json!({
        "model": "pico", "prompt": format!("In the year {number} the old men"), "max_tokens": TOKENS, "ignore_eos": true,
    });
    let body = body.to_string();
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST /v1/completions HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    1000.0 * begun.elapsed().as_secs_f64()
}

/// A run that has begun its steps, with its own log.
fn train(home: &Path, share_beside: &str) -> Child {
    let recipe = home.join("long.toml");
    fs::write(&recipe, "rank = 16\nepochs = 1000\nbatch = 32\nlearning_rate = 1e-3\n").unwrap();
    let out = home.join(format!("run-{share_beside}"));
    let log = home.join("train.log");
    let folders = fs::read_dir(SAMPLE)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir());
    let mut command = program(home);
    command.args(["train", "--base", MODEL, "--json", "--share-beside", share_beside]);
    command
        .arg("--config")
        .arg(recipe)
        .arg("--out")
        .arg(out)
        .arg("--data")
        .args(folders);
    let child = command
        .stdout(Stdio::null())
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    while !fs::read_to_string(&log).unwrap().contains("\"step\":2,") {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    child
}

fn steps(home: &Path) -> usize {
    fs::read_to_string(home.join("train.log"))
        .unwrap()
        .matches("\"event\":\"step\"")
        .count()
}

fn measure(what: &str, address: &str, answers: usize, alone: Option<f64>) -> f64 {
    let mut times: Vec<f64> = (0..answers).map(|number| ask(address, number)).collect();
    times.sort_by(f64::total_cmp);
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
    let beside = alone.map_or_else(String::new, |alone| format!(", {:.2} × alone", at(99) / alone));
    println!(
        "{what}: p50 {:.1} ms, p99 {:.1} ms of {answers} answers of {TOKENS} tokens{beside}",
        at(50),
        at(99)
    );
    at(99)
}

fn main() {
    let answers = env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(200);
    let home = tempfile::tempdir().unwrap();
    let (mut engine, address) = serve(home.path());
    (0..20).for_each(|number| _ = ask(&address, number));
    let alone = measure("alone", &address, answers, None);
    for (what, share) in [
        ("beside a run at the default share", "5"),
        ("beside one that gives no way", "100"),
    ] {
        let mut run = train(home.path(), share);
        let (before, begun) = (steps(home.path()), Instant::now());
        measure(what, &address, answers, Some(alone));
        let (done, seconds) = (steps(home.path()) - before, begun.elapsed().as_secs_f64());
        println!("    meanwhile {done} steps in {seconds:.1} s");
        run.kill().unwrap();
        run.wait().unwrap();
    }
    measure("alone again", &address, answers, Some(alone));
    engine.kill().unwrap();
    engine.wait().unwrap();
}
