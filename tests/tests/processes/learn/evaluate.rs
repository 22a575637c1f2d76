//! `openledger evaluate`, models from scratch, records of datasets, and giving way to `serve`.

use super::*;

#[test]
fn an_evaluation_compares_base_and_adapter() {
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
    assert!(
        said.contains("the adapter in nothing") && said.contains("adapter_config.json"),
        "{said}"
    );
}

#[test]
fn weights_trained_from_scratch_are_a_model() {
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
fn records_of_a_dataset_in_the_home_belong_to_its_contributors() {
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
fn a_serving_process_holds_the_lock_that_makes_training_slow_down() {
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
