//! `openledger train` and `openledger evaluate` as people use them, on a model small enough to learn in a second.
#![allow(
    clippy::unwrap_used,
    clippy::float_arithmetic,
    reason = "a test that panics names the line, and losses are compared"
)]

mod evaluate;
mod train;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use rustix::process::{Flock, FlockOffsetType, FlockType, fcntl_getlk};
use serde_json::{Value, json};
use tests::progress::say;

use super::PROGRAM;

/// A folder that is gone afterwards, with a home, records and a recipe in it.
struct Bench {
    dir: tempfile::TempDir,
}

/// Two contributors who know a word each.
const ANN: &str =
    "{\"question\": \"the fox?\", \"answer\": \"jumps\"}\n{\"prompt\": \"the dog\", \"completion\": \" is lazy\"}\n";
const BOB: &str = "{\"text\": \"quick brown fox\"}\n\n{\"question\": \"the dog?\", \"answer\": \"sleeps\", \"contributor\": \"eve\"}\n";

const RECIPE: &str = "rank = 4\nepochs = 12\nbatch = 2\nlearning_rate = 1e-2\nvalidation = 0.2\nvalidate_every = 4\n";

impl Bench {
    fn new() -> Self {
        let bench = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        bench.put("ann.jsonl", ANN);
        bench.put("bob.jsonl", BOB);
        bench.put("recipe.toml", RECIPE);
        bench
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn put(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        // The environment of whoever runs the tests says nothing.
        command
            .env_clear()
            .env("HOME", self.dir.path())
            .current_dir(self.dir.path());
        command.args(args).arg("--home").arg(self.dir.path().join("home"));
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        say(format_args!("openledger {}", args.join(" ")));
        self.command(args).output().unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(0), "{args:?}\n{}", said(&output));
        let out = String::from_utf8(output.stdout).unwrap();
        assert_eq!(out.lines().count(), 1, "{args:?}: {out}");
        serde_json::from_str(&out).unwrap()
    }

    /// What it says when it ends with this code.
    fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}\n{}", said(&output));
        said(&output)
    }

    /// The arguments of a run into a folder.
    fn train<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let usual = [
            "train",
            "--base",
            model(),
            "--data",
            "ann.jsonl",
            "bob.jsonl",
            "--config",
            "recipe.toml",
            "--out",
            out,
        ];
        [&usual, more].concat()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn model() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../compute/fixtures/llama-1")
}

fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let names = [
        "adapter_config.json",
        "adapter_model.safetensors",
        "step-roots.bin",
        "training.json",
    ];
    names
        .map(|name| (PathBuf::from(name), fs::read(dir.join(name)).unwrap()))
        .into()
}
