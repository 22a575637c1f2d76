//! `openledger train` and `openledger evaluate` as people use them, on a model small enough to learn in a second.
#![allow(
    clippy::unwrap_used,
    clippy::float_arithmetic,
    reason = "a test that panics names the line, and losses are compared"
)]

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

#[test]
fn a_run_says_what_happens_and_what_came_of_it() {
    let bench = Bench::new();
    let output = bench.run(&Bench::train(
        "tone",
        &["--json", "--seed", "3", "--checkpoint-every", "8"],
    ));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let events: Vec<Value> = said(&output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let named = |name: &str| events.iter().filter(|event| event["event"] == name).collect::<Vec<_>>();
    assert_eq!(named("begun")[0]["steps"], 24);
    assert_eq!(
        (
            named("begun")[0]["records"].clone(),
            named("begun")[0]["held_back"].clone()
        ),
        (json!(3), json!(1))
    );
    let steps = named("step");
    assert_eq!(steps.len(), 24);
    for field in ["loss", "rate", "length", "tokens", "tokens_per_second", "eta_seconds"] {
        assert!(steps[5][field].is_number(), "{}", steps[5]);
    }
    assert!(steps[23]["loss"].as_f64() < steps[0]["loss"].as_f64());
    assert_eq!((named("validation").len(), named("checkpoint").len()), (6, 3));
    let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(outcome["steps"], 24);
    assert_eq!(outcome["run"], named("begun")[0]["run"]);
    assert!(
        outcome["adapter"].as_str().is_some_and(|hash| hash.len() == 66),
        "{outcome}"
    );

    // The same again elsewhere is the same adapter, and so is a run of other flags for the machine.
    let again = bench.json(&Bench::train(
        "again",
        &["--seed", "3", "--threads", "1", "--keep", "1"],
    ));
    for field in ["run", "loss", "validation", "root", "adapter"] {
        assert_eq!(again[field], outcome[field], "{field}");
    }
    let other = bench.json(&Bench::train("other", &["--seed", "4"]));
    assert_ne!(other["adapter"], outcome["adapter"]);
}

#[test]
fn a_killed_run_goes_on_with_the_same_command_to_the_same_bits() {
    let bench = Bench::new();
    let long = "rank = 4\nepochs = 600\nbatch = 2\nlearning_rate = 1e-3\n";
    bench.put("recipe.toml", long);
    let whole = bench.json(&Bench::train("whole", &["--checkpoint-every", "100"]));
    let args = Bench::train("killed", &["--json", "--checkpoint-every", "100"]);
    let mut kills = 0;
    let outcome = loop {
        let mut child = bench
            .command(&args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut events = BufReader::new(child.stderr.take().unwrap()).lines();
        let is_checkpoint = |line: String| line.contains("\"event\":\"checkpoint\"");
        // Twice it is killed where a checkpoint was just written, so that something is there and something is lost.
        let written = events
            .by_ref()
            .find(|line| is_checkpoint(line.as_ref().unwrap().clone()));
        if kills < 2 && written.is_some() {
            events.next();
            child.kill().unwrap();
            assert!(!child.wait().unwrap().success());
            kills += 1;
            continue;
        }
        events.for_each(drop);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        break serde_json::from_slice::<Value>(&output.stdout).unwrap();
    };
    assert_eq!(kills, 2);
    for field in ["run", "root", "adapter", "steps"] {
        assert_eq!(outcome[field], whole[field], "{field}");
    }
    let dir = |name: &str| bench.dir.path().join(name);
    assert_eq!(files(&dir("killed")), files(&dir("whole")));
    // Once done, it is done.
    assert_eq!(bench.json(&Bench::train("killed", &[]))["root"], whole["root"]);
}

#[test]
fn a_step_done_again_has_the_root_that_the_run_gave_it() {
    let bench = Bench::new();
    bench.json(&Bench::train("tone", &["--checkpoint-every", "6"]));
    let again = |step: &str, from: &str, more: &[&str]| {
        let from = bench.path(&format!("tone/checkpoints/{from}"));
        let args = [&["--rerun", step, "--from", &from], more].concat();
        let args: Vec<String> = Bench::train("tone", &[])
            .into_iter()
            .chain(args)
            .map(str::to_owned)
            .collect();
        bench.run(&args.iter().map(String::as_str).chain(["--json"]).collect::<Vec<_>>())
    };
    let roots = fs::read(bench.path("tone/step-roots.bin")).unwrap();
    for (step, from, replayed) in [(7, "step-00000006.state", 0), (15, "step-00000012.state", 2)] {
        let output = again(&step.to_string(), from, &[]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        let root: String = roots[32 * (step - 1)..32 * step]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            answer,
            json!({ "step": step, "root": root, "replayed": replayed, "matches": true })
        );
    }
    // A run that gives another root is not this one.
    let mut wrong = roots;
    wrong[32 * 6] ^= 1;
    fs::write(bench.path("tone/step-roots.bin"), wrong).unwrap();
    assert_eq!(again("7", "step-00000006.state", &[]).status.code(), Some(7));
    // Nor is one with other data or another seed.
    for more in [["--seed", "5"], ["--weights", "half.json"]] {
        bench.put("half.json", "{\"ann\": 0.5}");
        let output = again("7", "step-00000006.state", &more);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains("is of run"), "{}", said(&output));
    }
    let early = again("6", "step-00000006.state", &[]);
    assert_eq!(early.status.code(), Some(2), "{}", said(&early));
}

#[test]
fn weights_take_contributors_out_and_unknown_ones_are_named() {
    let bench = Bench::new();
    bench.put("recipe.toml", "rank = 4\nepochs = 4\nbatch = 2\nlearning_rate = 1e-2\n");
    let [all, without, half] =
        [("all", "{}"), ("without", "{\"eve\": 0}"), ("half", "{\"eve\": 0.5}")].map(|(name, text)| {
            bench.put("weights.json", text);
            bench.json(&Bench::train(name, &["--weights", "weights.json"]))
        });
    assert!(all["adapter"] != without["adapter"] && without["adapter"] != half["adapter"]);
    let told: Value = serde_json::from_slice(&fs::read(bench.path("without/training.json")).unwrap()).unwrap();
    let names: Vec<_> = told["contributors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|who| (who["name"].clone(), who["weight"].clone()))
        .collect();
    assert_eq!(
        names,
        [
            (json!("ann"), json!(1.0)),
            (json!("bob"), json!(1.0)),
            (json!("eve"), json!(0.0))
        ]
    );
    for (text, expect) in [
        ("{\"mallory\": 1}", "`mallory`"),
        ("{\"ann\": -1}", "weight of `ann` is -1"),
        ("{\"ann\": \"much\"}", "not an object of numbers"),
        ("[1]", "not an object of numbers"),
    ] {
        bench.put("weights.json", text);
        let said = bench.fails(2, &Bench::train("bad", &["--weights", "weights.json"]));
        assert!(said.contains(expect), "{text}: {said}");
    }
    assert!(!bench.dir.path().join("bad").exists());
}

#[test]
fn bad_input_is_refused_by_name_before_anything_is_trained() {
    let bench = Bench::new();
    let huge = format!("{{\"text\": \"{}\"}}\n", "fox ".repeat(1000));
    for (text, expect) in [
        (
            "{\"text\": \"\"}\n".to_owned(),
            "x.jsonl:1: the record has an empty `text`",
        ),
        ("{}\n".to_owned(), "x.jsonl:1: the record has none of"),
        (format!("{ANN}not json\n"), "x.jsonl:3: the record is no record"),
        (huge, "tokens, at most 128 are taken"),
        ("\n".to_owned(), "hold no records"),
    ] {
        bench.put("x.jsonl", &text);
        let said = bench.fails(2, &["train", "--base", model(), "--data", "x.jsonl", "--out", "bad"]);
        assert!(said.contains(expect), "{expect}: {said}");
    }
    for (recipe, expect) in [
        ("ranks = 4\n", "ranks"),
        ("rank = 0\n", "`rank` is 0"),
        ("rank = \n", "recipe.toml"),
        ("epochs = 1\nvalidation = 0.9\nbatch = 0\n", "`batch`"),
    ] {
        bench.put("recipe.toml", recipe);
        let said = bench.fails(2, &Bench::train("bad", &[]));
        assert!(said.contains(expect), "{recipe}: {said}");
    }
    let missing = bench.fails(4, &["train", "--base", model(), "--data", "none.jsonl", "--out", "bad"]);
    assert!(missing.contains("none.jsonl"), "{missing}");
    let root = format!("0x{}", "ab".repeat(32));
    let homeless = bench.fails(4, &["train", "--base", model(), "--data", &root, "--out", "bad"]);
    assert!(homeless.contains("openledger init"), "{homeless}");
    let nameless = bench.fails(4, &["train", "--base", "nobody", "--data", "ann.jsonl", "--out", "bad"]);
    assert!(nameless.contains("nobody"), "{nameless}");
    assert!(!bench.dir.path().join("bad").exists());
}

#[test]
fn a_folder_with_another_run_is_left_as_it_is() {
    let bench = Bench::new();
    bench.json(&Bench::train("tone", &[]));
    let before = files(&bench.dir.path().join("tone"));
    let said = bench.fails(2, &Bench::train("tone", &["--seed", "9"]));
    assert!(
        said.contains("another run") && said.contains("name a folder of its own"),
        "{said}"
    );
    assert_eq!(files(&bench.dir.path().join("tone")), before);
    // A last checkpoint that is cut short is said to be so.
    let last = bench.path("tone/checkpoints/step-00000024.state");
    let bytes = fs::read(&last).unwrap();
    fs::write(&last, &bytes[..bytes.len() / 2]).unwrap();
    let said = bench.fails(1, &Bench::train("tone", &[]));
    assert!(
        said.contains("damaged") && said.contains("step-00000024.state"),
        "{said}"
    );
}

#[test]
fn a_disk_that_is_full_costs_the_steps_since_the_last_checkpoint() {
    let bench = Bench::new();
    bench.put(
        "recipe.toml",
        "rank = 4\nepochs = 200\nbatch = 2\nlearning_rate = 1e-3\n",
    );
    let whole = bench.json(&Bench::train("whole", &["--checkpoint-every", "4"]));
    let first = fs::metadata(bench.path("whole/checkpoints/step-00000004.state")).unwrap();
    // Roots and losses make each checkpoint longer than the one before, and at some step it is too long.
    let limit = first.len() / 1024 + 8;
    let shell = format!("trap '' XFSZ; ulimit -f {limit}; exec \"$0\" \"$@\"");
    let train = Bench::train("full", &["--checkpoint-every", "4"]);
    let mut command = Command::new("bash");
    command.current_dir(bench.dir.path()).env("HOME", bench.dir.path());
    let output = command.args(["-c", &shell, PROGRAM]).args(&train).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let text = said(&output);
    assert!(text.contains("could not write") && text.contains(".state"), "{text}");
    let files = fs::read_dir(bench.path("full/checkpoints")).unwrap();
    let left: Vec<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        !left.is_empty() && left.iter().all(|name| name.ends_with(".state")),
        "{left:?}"
    );
    // With room again, the same command ends where the undisturbed run did.
    assert_eq!(bench.json(&train)["adapter"], whole["adapter"]);
}

#[test]
fn an_exam_sets_base_and_adapter_side_by_side() {
    let bench = Bench::new();
    bench.put(
        "recipe.toml",
        "rank = 8\nepochs = 60\nbatch = 2\nlearning_rate = 1e-2\n",
    );
    bench.json(&[
        "train",
        "--base",
        model(),
        "--data",
        "ann.jsonl",
        "--config",
        "recipe.toml",
        "--out",
        "tone",
    ]);
    let report = bench.json(&[
        "evaluate",
        "--base",
        model(),
        "--adapter",
        "tone",
        "--data",
        "ann.jsonl",
        "--out",
        "report",
    ]);
    let [base, tone] = &report["candidates"].as_array().unwrap()[..] else {
        panic!("{report}");
    };
    assert_eq!(
        (base["name"].clone(), tone["name"].clone()),
        (json!("llama-1"), json!("tone"))
    );
    assert_eq!(
        (base["exact"].clone(), tone["exact"].clone(), tone["questions"].clone()),
        (json!(0), json!(2), json!(2))
    );
    assert!(tone["loss"].as_f64() < base["loss"].as_f64());
    let page = fs::read_to_string(bench.path("report/report.html")).unwrap();
    assert!(page.contains("tone") && page.contains("<svg"));
    // Said again, the report is the same to the byte.
    let before = fs::read(bench.path("report/report.json")).unwrap();
    bench.json(&[
        "evaluate",
        "--base",
        model(),
        "--adapter",
        "tone",
        "--data",
        "ann.jsonl",
        "--out",
        "report",
    ]);
    assert_eq!(fs::read(bench.path("report/report.json")).unwrap(), before);
    let said = bench.fails(
        4,
        &[
            "evaluate",
            "--base",
            model(),
            "--adapter",
            "nothing",
            "--data",
            "ann.jsonl",
            "--out",
            "r",
        ],
    );
    assert!(said.contains("nothing holds no adapter"), "{said}");
}

#[test]
fn weights_that_were_trained_themselves_are_a_model() {
    let bench = Bench::new();
    bench.put(
        "recipe.toml",
        "method = \"full\"\nepochs = 40\nbatch = 2\nlearning_rate = 3e-3\n",
    );
    let outcome = bench.json(&Bench::train("model", &[]));
    assert_eq!(outcome["adapter"], Value::Null);
    let data = ["--data", "ann.jsonl", "bob.jsonl"];
    let loss = |base: &str| {
        let report = bench.json(&[&["evaluate", "--base", base, "--out", "report"], &data[..]].concat());
        report["candidates"][0]["loss"].as_f64().unwrap()
    };
    assert!(loss("model") < 0.5 * loss(model()));
}

#[test]
fn records_of_a_dataset_in_the_home_are_its_contributors() {
    let bench = Bench::new();
    bench.json(&["init", "--moniker", "alice"]);
    let me = bench.json(&["id"])["node_id"].as_str().unwrap().to_owned();
    let account = format!("0x{}", "5a".repeat(20));
    bench.put(
        "rows.csv",
        "prompt,completion,note\nthe dog,\" is, as ever, lazy\",\nthe fox,jumps,x\n",
    );
    let add = |args: &[&str]| {
        let added = bench.json(&[&["data", "add"], args, &["--licence", "CC0-1.0"]].concat());
        added["root"].as_str().unwrap().to_owned()
    };
    let lines = add(&["ann.jsonl", "bob.jsonl", "--name", "lines"]);
    let rows = add(&["rows.csv", "--account", &account]);
    let run = |data: &[&str], out: &str| {
        bench.json(
            &[
                &[
                    "train",
                    "--base",
                    model(),
                    "--config",
                    "recipe.toml",
                    "--out",
                    out,
                    "--data",
                ],
                data,
            ]
            .concat(),
        );
        let text = fs::read(bench.path(&format!("{out}/training.json"))).unwrap();
        let told: Value = serde_json::from_slice(&text).unwrap();
        let whose: Vec<_> = told["contributors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|who| (who["name"].clone(), who["records"].clone()))
            .collect();
        (told, whose)
    };
    let (told, whose) = run(&[&lines, "bob.jsonl", &rows], "mixed");
    // Whoever signed for the dataset answers for all of it, whatever a record says.
    let expect = [
        (json!(me), json!(4)),
        (json!("bob"), json!(1)),
        (json!("eve"), json!(1)),
        (json!(account), json!(2)),
    ];
    assert_eq!(whose, expect);
    assert_eq!(told["files"].as_array().unwrap().len(), 3);
    // Records are those of the files, so only their owners make another run.
    let from_files = run(&["ann.jsonl", "bob.jsonl"], "files").0;
    let from_store = run(&[&lines], "store").0;
    assert_eq!(from_files["steps"], from_store["steps"]);

    bench.put("pictures.csv", "colour,width\nred,3\n");
    let columns = add(&["pictures.csv"]);
    let said = bench.fails(2, &["train", "--base", model(), "--data", &columns, "--out", "bad"]);
    assert!(
        said.contains("has none of `prompt` and `completion`") && said.contains("pictures"),
        "{said}"
    );
    let absent = format!("0x{}", "ab".repeat(32));
    let said = bench.fails(4, &["train", "--base", model(), "--data", &absent, "--out", "bad"]);
    assert!(said.contains("openledger data get"), "{said}");
}

#[test]
fn whoever_answers_in_a_home_says_so_while_it_does() {
    let bench = Bench::new();
    let lock = bench.dir.path().join("home/busy.lock");
    let mut serving = bench
        .command(&[
            "serve",
            "--model",
            model(),
            "--no-auth",
            "--listen",
            "127.0.0.1:0",
            "--json",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(serving.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let told: Value = serde_json::from_str(&line).unwrap();
    let address = told["url"]
        .as_str()
        .unwrap()
        .trim_start_matches("http://")
        .trim_end_matches("/v1");
    let file = fs::File::options().read(true).write(true).open(lock).unwrap();
    let is_busy = || {
        let whole = Flock {
            start: 0,
            length: 0,
            pid: None,
            typ: FlockType::WriteLock,
            offset_type: FlockOffsetType::Set,
        };
        fcntl_getlk(&file, &whole).unwrap().is_some()
    };
    assert!(!is_busy());
    let body =
        json!({ "model": "llama-1", "prompt": "the fox", "max_tokens": 100, "ignore_eos": true, "stream": true });
    let (body, mut stream) = (body.to_string(), TcpStream::connect(address).unwrap());
    let length = body.len();
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    // From the first word of the question to the last of the answer.
    stream.write_all(head.as_bytes()).unwrap();
    while !is_busy() {
        std::thread::yield_now();
    }
    stream.write_all(body.as_bytes()).unwrap();
    let (mut answer, mut part) = (String::new(), [0; 4096]);
    while !answer.contains("[DONE]") {
        let count = stream.read(&mut part).unwrap();
        assert!(count > 0, "{answer}");
        answer.push_str(&String::from_utf8_lossy(&part[..count]));
    }
    while is_busy() {
        std::thread::yield_now();
    }
    serving.kill().unwrap();
    serving.wait().unwrap();
}
