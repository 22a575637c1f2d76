//! Compiles the Solidity sources, or checks that the committed artefacts match them.
//!
//! The compiler is a pinned `solc` from npm, which is WebAssembly and so gives the same bytes on every machine. Building
//! the workspace does not need it, because the artefacts are committed.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

const SOLC_VERSION: &str = "0.8.37";
const CONTRACTS: [&str; 2] = ["StakeHub", "TestToken"];

/// Recompiles every contract and writes its artefact. With `check`, fails instead if an artefact would change.
///
/// Without node or npm it prints a message and succeeds, unless `require` is set.
pub(crate) fn run(check: bool, require: bool) -> Result<()> {
    if let Some(missing) = ["node", "npm"].into_iter().find(|program| !is_installed(program)) {
        let message = format!("contracts: `{missing}` is not installed, so the bytecode was not recompiled");
        ensure!(
            !require,
            "{message}; install Node.js 20 or newer, or leave out --require"
        );
        eprintln!("{message}");
        return Ok(());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = compile(&install(&root)?, &root.join("consensus/contracts/sol"))?;
    let mut stale = Vec::new();
    for name in CONTRACTS {
        let path = root.join("consensus/contracts/artifacts").join(format!("{name}.json"));
        let fresh = artefact(name, &output)?;
        if check && fs::read_to_string(&path).unwrap_or_default() != fresh {
            stale.push(name);
        } else if !check {
            fs::write(&path, fresh).with_context(|| format!("could not write {}", path.display()))?;
        }
    }
    if !stale.is_empty() {
        bail!(
            "artefacts differ from their sources: {}; run `cargo xtask contracts` and commit",
            stale.join(", ")
        );
    }
    eprintln!(
        "contracts: {} {} with solc {SOLC_VERSION}",
        CONTRACTS.len(),
        if check { "agree" } else { "written" }
    );
    Ok(())
}

fn is_installed(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

/// Installs the pinned compiler below the target folder, unless it is there, and returns its path.
fn install(root: &Path) -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let prefix = target.join(format!("solc-{SOLC_VERSION}"));
    let program = prefix.join("node_modules/solc/solc.js");
    if program.exists() {
        return Ok(program);
    }
    fs::create_dir_all(&prefix).with_context(|| format!("could not create {}", prefix.display()))?;
    let status = Command::new("npm")
        .args([
            "install",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--silent",
            "--prefix",
        ])
        .arg(&prefix)
        .arg(format!("solc@{SOLC_VERSION}"))
        .stdout(Stdio::null())
        .status()
        .context("could not start npm")?;
    ensure!(
        status.success(),
        "npm could not install solc {SOLC_VERSION}; is the package registry reachable?"
    );
    Ok(program)
}

/// Compiles all sources in one run, with settings that make the output reproducible.
fn compile(program: &Path, sources: &Path) -> Result<Value> {
    let mut input = json!({
        "language": "Solidity",
        "sources": {},
        "settings": {
            "optimizer": { "enabled": true, "runs": 200 },
            "evmVersion": "osaka",
            "metadata": { "bytecodeHash": "none", "appendCBOR": false },
            "outputSelection": { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] } },
        },
    });
    for name in CONTRACTS {
        let path = sources.join(format!("{name}.sol"));
        let source = fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
        input["sources"][format!("{name}.sol")] = json!({ "content": source });
    }
    let mut child = Command::new("node")
        .arg(program)
        .arg("--standard-json")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("could not start node")?;
    child
        .stdin
        .take()
        .context("the compiler has no stdin")?
        .write_all(input.to_string().as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "the compiler exited with {}", output.status);
    let text = String::from_utf8(output.stdout).context("the compiler's output is not UTF-8")?;
    // The program may print a banner first.
    let start = text.find('{').context("the compiler's output is not JSON")?;
    let output: Value = serde_json::from_str(&text[start..]).context("the compiler's output is not JSON")?;
    let complaints: Vec<&str> = output["errors"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|e| e["formattedMessage"].as_str())
        .collect();
    ensure!(
        complaints.is_empty(),
        "the compiler complains:\n{}",
        complaints.join("\n")
    );
    Ok(output)
}

/// Formats the artefact of a contract as `sol!` and other tools read it.
fn artefact(name: &str, output: &Value) -> Result<String> {
    let contract = &output["contracts"][format!("{name}.sol")][name];
    let code = |field: &str| {
        let object = contract["evm"][field]["object"]
            .as_str()
            .with_context(|| format!("{name} has no {field}"))?;
        Ok::<_, anyhow::Error>(format!("0x{object}"))
    };
    let artefact = json!({
        "contractName": name,
        "compiler": format!("solc {SOLC_VERSION}, optimizer 200 runs, osaka, no metadata"),
        "abi": contract["abi"],
        "bytecode": code("bytecode")?,
        "deployedBytecode": code("deployedBytecode")?,
    });
    Ok(serde_json::to_string_pretty(&artefact)? + "\n")
}
