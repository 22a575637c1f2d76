//! Work with models in a running node: it serves a model and trains, and its chain goes on.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};
use tests::{
    cluster::Cluster,
    commands::{command, done},
};

use super::PROGRAM;

const SOON: Duration = Duration::from_secs(60);
const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../compute/fixtures/llama-1");

async fn lone(name: &str, port: u16) -> Cluster {
    let mut cluster = Cluster::new(PROGRAM.into(), name, 1, port, &[]).unwrap();
    cluster.start_all().unwrap();
    cluster.wait_for(0, 1, SOON).await.unwrap();
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_serves_a_model_until_it_is_told_to_stop() {
    let cluster = lone("jobs-serve", 24_900).await;
    let home = cluster.members[0].home.clone();
    assert_eq!(done(&home, &["serve", "--stop"]).unwrap()["stopped"], Value::Null);
    let start = [
        "serve",
        "--in-node",
        "--model",
        MODEL,
        "--listen",
        "127.0.0.1:0",
        "--threads",
        "1",
    ];
    let served = done(&home, &start).unwrap();
    let url = served["url"].as_str().unwrap();
    let token = fs::read_to_string(served["token_file"].as_str().unwrap()).unwrap();
    let ask = |token: String| {
        let body = json!({ "model": served["model"], "prompt": "the", "max_tokens": 2 }).to_string();
        let request = base::http::plain()
            .post(format!("{url}/completions"))
            .bearer_auth(token);
        request.body(body).send()
    };
    assert_eq!(ask("wrong".to_owned()).await.unwrap().status().as_u16(), 401);
    let answer = ask(token.trim().to_owned()).await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(answer["usage"]["completion_tokens"], 2);

    // One model at a time, and the chain does not stand still for it.
    let (code, said) = command(&home, &start).unwrap();
    let message = said["error"]["message"].as_str().unwrap();
    assert!(code == Some(2) && message.contains("serve --stop"), "{said}");
    let height = cluster.height(0).await.unwrap();
    cluster.wait_for(0, height + 1, SOON).await.unwrap();

    let stopped = done(&home, &["serve", "--stop"]).unwrap();
    assert_eq!(stopped["stopped"]["hash"], served["hash"]);
    assert!(ask(token).await.is_err(), "nobody listens any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_in_a_node_has_the_bits_of_one_on_the_command_line() {
    let cluster = lone("jobs-train", 24_950).await;
    let home = cluster.members[0].home.clone();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    fs::write(
        path("facts.jsonl"),
        "{\"text\": \"quick brown fox\"}\n{\"text\": \"lazy dog\"}\n",
    )
    .unwrap();
    fs::write(path("recipe.toml"), "rank = 2\nepochs = 3\n").unwrap();
    let line = [
        "train",
        "--base",
        MODEL,
        "--data",
        &path("facts.jsonl"),
        "--config",
        &path("recipe.toml"),
        "--out",
        &path("line"),
    ];
    let by_line = done(&home, &line).unwrap();
    let lines = ask_train(&home, &path("facts.jsonl"), &path("node")).await;
    let ended = lines.last().unwrap();
    assert_eq!(ended["line"], "done", "{ended}");
    for same in ["run", "root", "adapter", "steps"] {
        assert_eq!(ended["result"][same], by_line[same], "{same}");
    }
    let events: Vec<_> = lines.iter().filter_map(|line| line["part"]["event"].as_str()).collect();
    assert!(events.contains(&"begun") && events.contains(&"step"), "{events:?}");
}

/// What the node answers over its socket, line by line.
async fn ask_train(home: &Path, data: &str, out: &str) -> Vec<Value> {
    let listening: Value = serde_json::from_slice(&fs::read(home.join("node.json")).unwrap()).unwrap();
    let client = base::http::client()
        .unix_socket(Path::new(listening["socket"].as_str().unwrap()))
        .build()
        .unwrap();
    let ask = json!({
        "base": MODEL, "data": [data], "recipe": { "rank": 2, "epochs": 3 }, "weights": {}, "out": out,
        "device": "cpu", "threads": 1, "keep_bytes": 1 << 30, "checkpoint_every": 50, "checkpoints_max": null,
        "share": 100, "share_beside": 5,
    });
    let request = client
        .post("http://node/v1/job/train")
        .header("content-type", "application/json");
    let answer = request
        .body(ask.to_string())
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    answer.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
