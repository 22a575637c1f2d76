//! The README, followed by a program: every command in it runs, every path in it exists.
//!
//! Commands run in the order of the README, on a development network of three nodes in place of machines: node 0 is the
//! reader's, node 1 the other person's. Placeholders in capitals take the values that earlier commands printed. Training
//! uses a shorter recipe, and `serve` a free port. Commands of cargo are listed with the place that runs them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tests::{
    cluster::Cluster,
    commands::{corpus, done, until},
    progress::say,
};

use super::PROGRAM;

const SOON: Duration = Duration::from_secs(60);

/// Enough steps for the checkpoint that the README reruns from, in seconds instead of a minute.
const SHORT_RECIPE: &str = "rank = 4\nalpha = 4.0\nepochs = 1\nbatch = 2\nlearning_rate = 5e-3\nvalidation = 0.05\n";

/// Commands that a test cannot run inside cargo, and what runs them.
const BY_OTHERS: [(&str, &str); 10] = [
    (
        "cargo run --release -- devnet",
        "the clients of `cargo xtask ci` run devnet",
    ),
    ("cargo test --workspace", "`cargo xtask ci`"),
    ("cargo install --path daemon", "installs what `cargo build` builds"),
    ("cargo xtask ci", "CI"),
    ("cargo xtask layers", "`cargo xtask ci`"),
    (
        "cargo xtask sim --seeds 1000",
        "`cargo xtask campaign`, and xtask's tests parse it",
    ),
    (
        "cargo xtask crash --rounds 10",
        "`cargo xtask campaign`, and xtask's tests parse it",
    ),
    ("cargo xtask campaign", "by hand, and xtask's tests parse it"),
    ("cargo xtask bench network", "by hand, and xtask's tests parse it"),
    ("cargo xtask contracts --check", "`cargo xtask ci`"),
];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn readme() -> String {
    fs::read_to_string(repository().join("README.md")).unwrap()
}

/// The commands of all `console` blocks, in order.
fn commands(readme: &str) -> Vec<&str> {
    readme.lines().filter_map(|line| line.strip_prefix("$ ")).collect()
}

#[test]
fn every_command_of_cargo_is_run_by_something() {
    let readme = readme();
    let of_cargo = |line: &&str| line.starts_with("cargo ");
    let listed: Vec<_> = BY_OTHERS.iter().map(|(line, _)| *line).collect();
    let found: Vec<_> = commands(&readme).into_iter().filter(of_cargo).collect();
    assert_eq!(found, listed);
}

#[test]
fn every_path_in_the_readme_exists() {
    let readme = readme();
    let quoted = readme.split('`').skip(1).step_by(2);
    // Paths below a home, and files that the tour writes.
    let elsewhere = ["chain/state", "report/report.html"];
    let is_path = |text: &&str| {
        text.contains('/')
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
    };
    let missing: Vec<_> = quoted
        .filter(is_path)
        .filter(|path| !elsewhere.contains(path) && !repository().join(path).exists())
        .collect();
    assert!(missing.is_empty(), "README.md names what is not there: {missing:?}");
}

/// The reader: a working folder, two homes, and what was printed so far.
struct Reader {
    dir: tempfile::TempDir,
    cluster: Cluster,
    printed: BTreeMap<&'static str, String>,
    /// Members act on the machine of node 1.
    is_member: bool,
}

impl Reader {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(repository().join("compute"), dir.path().join("compute")).unwrap();
        fs::write(dir.path().join("proofs.jsonl"), corpus(10_000, "proof")).unwrap();
        fs::write(dir.path().join("short.toml"), SHORT_RECIPE).unwrap();
        let mut cluster = Cluster::new(PROGRAM.into(), "readme", 3, 24_800, &[]).unwrap();
        cluster.start_all().unwrap();
        for node in 0..3 {
            cluster.wait_for(node, 2, SOON).await.unwrap();
        }
        Self {
            dir,
            cluster,
            printed: BTreeMap::new(),
            is_member: false,
        }
    }

    fn home(&self, node: usize) -> PathBuf {
        self.cluster.members[node].home.clone()
    }

    /// Runs a command in the working folder, and returns the object it printed.
    fn run(&mut self, line: &str) -> Value {
        let line = line.replace("compute/models/pico/recipe.toml", "short.toml").replace(
            "compute/world/sample/?-*",
            "compute/world/sample/1-guild compute/world/sample/2-traveller",
        );
        let words: Vec<String> = line.split(' ').map(|word| self.value(word)).collect();
        // Trained, initialised and installed in the reader's own home; everything else on a running node.
        let own = ["train", "evaluate", "init"].contains(&words[1].as_str());
        let home = match (own, self.is_member) {
            (true, _) => self.dir.path().join("home"),
            (false, is_member) => self.home(usize::from(is_member)),
        };
        say(format_args!("{}", words.join(" ")));
        let output = Command::new(PROGRAM)
            .args(&words[1..])
            .arg("--json")
            .arg("--home")
            .arg(home)
            .current_dir(self.dir.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{line}\n{}\n{said}",
            String::from_utf8_lossy(&output.stdout)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn value(&self, word: &str) -> String {
        self.printed.get(word).cloned().unwrap_or_else(|| word.to_owned())
    }

    /// What another person has to do before `line`, and who runs it.
    fn prepare(&mut self, line: &str) {
        self.is_member = line.contains("datanet join") || line.contains(" --out ") && line.contains("data get");
        let node_id = |home: PathBuf| done(&home, &["id"]).unwrap()["node_id"].as_str().unwrap().to_owned();
        if line.contains("datanet grant") {
            self.printed.insert("NODE", node_id(self.home(1)));
            self.printed.insert("OWNER", node_id(self.home(0)));
        }
        if line.contains("data ls --peers") {
            let others = done(&self.home(0), &["peers", "list"]).unwrap();
            assert!(
                others["peers"].as_array().is_some_and(|peers| !peers.is_empty()),
                "{others}"
            );
        }
        if line.contains("data get ROOT --out") {
            let root = self.printed["ROOT"].clone();
            until(&self.home(1), &["data", "ls", "--peers"], |known| {
                known.to_string().contains(&root)
            })
            .unwrap();
        }
    }

    /// Remembers what later commands name.
    fn note(&mut self, line: &str, printed: &Value) {
        let text = |key: &str| printed[key].as_str().unwrap().to_owned();
        if line.contains("data add") {
            self.printed.insert("ROOT", text("root"));
        }
        if line.contains("datanet create") {
            self.printed.insert("ID", text("id"));
        }
    }

    /// Starts `serve`, sends the request of `curl`, and returns the answer.
    async fn ask(&self, serve: &str, curl: &str) -> Value {
        let mut child = Command::new(PROGRAM)
            .args(serve.split(' ').skip(1))
            .args(["--json", "--listen", "127.0.0.1:0", "--home"])
            .arg(self.dir.path().join("home"))
            .current_dir(self.dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        let token = fs::read_to_string(told["token_file"].as_str().unwrap()).unwrap();
        let path = curl
            .split(' ')
            .find_map(|word| word.strip_prefix("http://127.0.0.1:8000/v1"))
            .unwrap();
        let body = curl.split_once("-d '").unwrap().1.trim_end_matches('\'');
        let request = base::http::plain().post(format!("{}{path}", told["url"].as_str().unwrap()));
        let response = request
            .bearer_auth(token.trim())
            .body(body.to_owned())
            .send()
            .await
            .unwrap();
        let status = response.status();
        let answer: Value = response.json().await.unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(status.is_success(), "{answer}");
        answer
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_readme_works_in_its_order() {
    let readme = readme();
    let mut reader = Reader::new().await;
    let mut serve = None;
    for line in commands(&readme).into_iter().filter(|line| !line.starts_with("cargo ")) {
        if line.starts_with("curl ") {
            let answer = reader.ask(serve.expect("`serve` comes first"), line).await;
            assert!(answer["choices"][0]["message"]["content"].is_string(), "{answer}");
        } else if line.starts_with("openledger serve ") {
            // It runs until it is interrupted, so it is started with the request to it.
            serve = Some(line);
        } else if line != "openledger daemon" {
            // Every node of the network is one that `openledger daemon` runs.
            reader.prepare(line);
            let printed = reader.run(line);
            reader.note(line, &printed);
        }
    }
}
