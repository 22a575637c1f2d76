//! Commands as people type them, in the home of a node, and the JSON they print, compared with what their help says.

use std::{
    collections::BTreeMap,
    path::Path,
    process::Command,
    sync::OnceLock,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    cluster::{Failure, program},
    progress::say,
};

/// Longest wait for a command to print what is wanted.
const SOON: Duration = Duration::from_secs(60);

/// Runs a command in a node's home. Returns its exit code and the object it printed.
pub fn command(home: &Path, arguments: &[&str]) -> Result<(Option<i32>, Value), Failure> {
    say(format_args!("openledger {}", arguments.join(" ")));
    run(home, arguments)
}

fn run(home: &Path, arguments: &[&str]) -> Result<(Option<i32>, Value), Failure> {
    let mut run = Command::new(program()?);
    let output = run.arg("--home").arg(home).arg("--json").args(arguments).output();
    let output = output.map_err(|error| format!("could not run the program: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    if output.status.success() {
        check_documented(arguments, &value)?;
    }
    Ok((output.status.code(), value))
}

/// Fails if a command prints a key that `openledger help json` does not list for it.
fn check_documented(arguments: &[&str], value: &Value) -> Result<(), Failure> {
    let verbs = documented()?;
    let path = |words: usize| {
        arguments
            .get(..words)
            .map(|words| format!("openledger {}", words.join(" ")))
    };
    let Some((verb, prints)) = [2, 1].into_iter().find_map(|words| verbs.get_key_value(&path(words)?)) else {
        return Ok(());
    };
    // Documents that others define, and answers that are those of another verb.
    if ["manifest", "what `", "genesis file"]
        .iter()
        .any(|other| prints.contains(other))
    {
        return Ok(());
    }
    let words: Vec<_> = prints.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let unknown = keys(value).into_iter().find(|key| !words.contains(&key.as_str()));
    match unknown {
        Some(key) => Err(format!(
            "`{verb}` prints the key `{key}`, which its help does not list: {prints}"
        )),
        None => Ok(()),
    }
}

/// The keys of an object, those of objects and lists in it included. `prices` is a map whose keys are data.
fn keys(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(keys).collect(),
        Value::Object(fields) => {
            let inner = fields.iter().filter(|(key, _)| *key != "prices");
            fields
                .keys()
                .cloned()
                .chain(inner.flat_map(|(_, value)| keys(value)))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// The output of `openledger json`: for each command, the description of its JSON.
fn documented() -> Result<&'static BTreeMap<String, String>, Failure> {
    static VERBS: OnceLock<Result<BTreeMap<String, String>, Failure>> = OnceLock::new();
    let listed = || {
        let output = Command::new(program()?).args(["json", "--json"]).output();
        let output = output.map_err(|error| format!("could not run the program: {error}"))?;
        let list: Value = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let verbs = list["verbs"].as_array().ok_or("`openledger json` lists no verbs")?;
        Ok(verbs
            .iter()
            .map(|verb| (text(&verb["verb"]), text(&verb["prints"])))
            .collect())
    };
    VERBS.get_or_init(listed).as_ref().map_err(Clone::clone)
}

/// Runs a command that has to succeed.
pub fn done(home: &Path, arguments: &[&str]) -> Result<Value, Failure> {
    match command(home, arguments)? {
        (Some(0), value) => Ok(value),
        (code, value) => Err(format!("{arguments:?} ended with {code:?}: {value}")),
    }
}

/// Repeats a command until what it prints passes `wanted`.
pub fn until(home: &Path, arguments: &[&str], wanted: impl Fn(&Value) -> bool) -> Result<Value, Failure> {
    let begun = Instant::now();
    say(format_args!(
        "openledger {}, until it says what is wanted",
        arguments.join(" ")
    ));
    loop {
        let (_, value) = run(home, arguments)?;
        if wanted(&value) {
            return Ok(value);
        }
        if begun.elapsed() > SOON {
            return Err(format!("{arguments:?} still prints {value}"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// About `bytes` bytes of JSON lines, all different, each with `mark` in it.
pub fn corpus(bytes: usize, mark: &str) -> String {
    let mut text = String::with_capacity(bytes + 200);
    let mut number = 0u64;
    while text.len() < bytes {
        let noise = blake3::hash(&number.to_be_bytes()).to_hex();
        text += &format!("{{\"id\":{number},\"text\":\"{mark} {noise}{noise}\"}}\n");
        number += 1;
    }
    text
}
