//! Runs of `openledger train`: events, resuming to the same bits, reruns, weights, refusals, a full disk.

use super::*;

#[test]
fn a_run_prints_its_events_and_its_outcome() {
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
fn the_same_command_resumes_a_killed_run_to_the_same_bits() {
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
fn a_repeated_step_has_the_root_of_the_run() {
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
fn weights_leave_contributors_out_and_an_unknown_contributor_is_an_error() {
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
fn bad_input_is_refused_by_name_before_training_starts() {
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
fn a_folder_with_another_run_is_not_changed() {
    let bench = Bench::new();
    bench.json(&Bench::train("tone", &[]));
    let before = files(&bench.dir.path().join("tone"));
    let said = bench.fails(2, &Bench::train("tone", &["--seed", "9"]));
    assert!(
        said.contains("another run") && said.contains("choose another folder with --out"),
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
fn a_full_disk_loses_only_the_steps_since_the_last_checkpoint() {
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
