//! Commands as people type them, in the home of a node, and what they print.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    cluster::{Failure, program},
    progress::say,
};

/// How long a state may take to come about.
const SOON: Duration = Duration::from_secs(60);

/// Runs a command in a node's home: how it ended, and the object it printed.
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
    Ok((output.status.code(), value))
}

/// Runs a command that has to succeed.
pub fn done(home: &Path, arguments: &[&str]) -> Result<Value, Failure> {
    match command(home, arguments)? {
        (Some(0), value) => Ok(value),
        (code, value) => Err(format!("{arguments:?} ended with {code:?}: {value}")),
    }
}

/// Repeats a command until it prints what is wanted.
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

/// JSON lines that are no two alike, about `bytes` long, each with `mark` in it.
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
