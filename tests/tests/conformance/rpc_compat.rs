//! JSON-RPC against recorded conversations of another client, over the chain that they were recorded on.
//!
//! `OPENLEDGER_FIXTURES` names the folder that holds `rpc-compat`. Every `.io` file is a conversation: request lines `>> …`,
//! response lines `<< …`. A response must be equal as JSON, but for `error.message`; a file with a line `// speconly` only
//! fixes the shape.
#![allow(clippy::unwrap_used, reason = "a test that panics names the line")]

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use alloy_primitives::B256;
use base::home::Home;
use chain::{
    imported_chain::{self, ImportedChain},
    rpc,
};
use serde_json::Value;

fn fixtures() -> Option<PathBuf> {
    let Some(root) = std::env::var_os("OPENLEDGER_FIXTURES") else {
        eprintln!("not run: set OPENLEDGER_FIXTURES to a folder that holds rpc-compat");
        return None;
    };
    Some(PathBuf::from(root).join("rpc-compat"))
}

/// One question and what was answered.
struct Turn {
    ask: String,
    expect: Value,
}

struct Conversation {
    name: String,
    turns: Vec<Turn>,
    shape_only: bool,
}

fn read(path: &Path, name: String) -> Conversation {
    let text = fs::read_to_string(path).unwrap();
    let (mut turns, mut ask) = (Vec::new(), None);
    for line in text.lines() {
        if let Some(request) = line.strip_prefix(">> ") {
            ask = Some(request.to_owned());
        } else if let Some(response) = line.strip_prefix("<< ") {
            let ask = ask
                .take()
                .unwrap_or_else(|| panic!("{name}: a response without a request"));
            let expect = serde_json::from_str(response).unwrap();
            turns.push(Turn { ask, expect });
        }
    }
    assert!(!turns.is_empty(), "{name} has no conversation");
    Conversation {
        name,
        turns,
        shape_only: text
            .lines()
            .any(|line| line.starts_with("//") && line.contains("speconly")),
    }
}

/// All conversations, in the order of their names.
fn conversations(folder: &Path) -> Vec<Conversation> {
    let mut found = Vec::new();
    for method in fs::read_dir(folder).unwrap() {
        let method = method.unwrap().path();
        if !method.is_dir() {
            continue;
        }
        for file in fs::read_dir(&method).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "io") {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                found.push(read(&path, name));
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn without_message(mut response: Value) -> Value {
    if let Some(error) = response.get_mut("error").and_then(Value::as_object_mut) {
        error.remove("message");
    }
    response
}

/// Where two responses differ, one line each.
fn differences(at: &str, expect: &Value, found: &Value, into: &mut String) {
    match (expect, found) {
        (Value::Object(expect), Value::Object(found)) => {
            for (key, value) in expect {
                match found.get(key) {
                    Some(other) => differences(&format!("{at}.{key}"), value, other, into),
                    None => writeln!(into, "    {at}.{key}: missing, expected {}", short(value)).unwrap(),
                }
            }
            for (key, value) in found.iter().filter(|(key, _)| !expect.contains_key(*key)) {
                writeln!(into, "    {at}.{key}: not expected, found {}", short(value)).unwrap();
            }
        }
        (Value::Array(expect), Value::Array(found)) if expect.len() == found.len() => {
            for (index, (expect, found)) in expect.iter().zip(found).enumerate() {
                differences(&format!("{at}[{index}]"), expect, found, into);
            }
        }
        _ if expect == found => (),
        _ => writeln!(into, "    {at}: expected {}, found {}", short(expect), short(found)).unwrap(),
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(160) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Whether `found` could stand where `expect` stands: the same kind of thing, with the same fields.
fn same_shape(at: &str, expect: &Value, found: &Value, into: &mut String) {
    match (expect, found) {
        (Value::Object(expect), Value::Object(found)) => {
            for (key, value) in expect {
                match found.get(key) {
                    Some(other) => same_shape(&format!("{at}.{key}"), value, other, into),
                    None => writeln!(into, "    {at}.{key}: missing, expected one like {}", short(value)).unwrap(),
                }
            }
        }
        (Value::Array(expect), Value::Array(found)) => {
            if let (Some(first), false) = (expect.first(), found.is_empty()) {
                found
                    .iter()
                    .enumerate()
                    .for_each(|(index, found)| same_kind(&format!("{at}[{index}]"), first, found, into));
            }
        }
        _ => same_kind(at, expect, found, into),
    }
}

fn same_kind(at: &str, expect: &Value, found: &Value, into: &mut String) {
    let hex = |value: &Value| value.as_str().is_some_and(|text| text.starts_with("0x"));
    if std::mem::discriminant(expect) != std::mem::discriminant(found) || hex(expect) != hex(found) {
        writeln!(
            into,
            "    {at}: expected one like {}, found {}",
            short(expect),
            short(found)
        )
        .unwrap();
    }
}

async fn ask(client: &reqwest::Client, url: &str, request: &str) -> Value {
    let answer = client
        .post(url)
        .header("content-type", "application/json")
        .body(request.to_owned())
        .send()
        .await
        .unwrap();
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_recorded_answer_is_given_again() {
    let Some(folder) = fixtures() else { return };
    let dir = tempfile::tempdir().unwrap();
    let home = Home::new(dir.path());
    let mut chain = ImportedChain::create(&home, &folder.join("genesis.json")).unwrap();
    let imported = chain.import(&folder.join("chain.rlp"), |_| ()).unwrap();
    eprintln!("{} blocks, {} transactions", imported.blocks, imported.transactions);
    let head: Value = serde_json::from_slice(&fs::read(folder.join("headfcu.json")).unwrap()).unwrap();
    let head: B256 = serde_json::from_value(head["params"][0]["headBlockHash"].clone()).unwrap();
    assert_eq!(
        B256::from(chain.hash().0),
        head,
        "the chain ends where its recorder says"
    );

    let settings = rpc::Settings {
        listen: "127.0.0.1:0".parse().unwrap(),
        ..rpc::Settings::default()
    };
    let serving = imported_chain::serve(chain, settings).await.unwrap();
    let (client, url) = (base::http::plain(), format!("http://{}", serving.address));
    let all = conversations(&folder);
    let mut failed = Vec::new();
    for conversation in &all {
        let mut wrong = String::new();
        for turn in &conversation.turns {
            let found = ask(&client, &url, &turn.ask).await;
            let (expect, found) = (without_message(turn.expect.clone()), without_message(found));
            if conversation.shape_only {
                same_shape("$", &expect, &found, &mut wrong);
            } else {
                differences("$", &expect, &found, &mut wrong);
            }
        }
        if !wrong.is_empty() {
            let few: Vec<_> = wrong.lines().take(12).collect();
            failed.push(format!("  {}\n{}", conversation.name, few.join("\n")));
        }
    }
    serving.stop().await;
    eprintln!("{} of {} files pass", all.len() - failed.len(), all.len());
    assert!(failed.is_empty(), "{} files fail:\n{}", failed.len(), failed.join("\n"));
    assert!(!all.is_empty(), "there is no .io file in {}", folder.display());
}
