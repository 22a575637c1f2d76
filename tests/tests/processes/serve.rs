//! `openledger serve` as programs use it, with the real engine in its own process over a small model of the fixtures.
#![allow(clippy::unwrap_used, reason = "a test that panics names the line")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tests::progress::say;

use super::PROGRAM;

const SOON: Duration = Duration::from_secs(30);

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../compute/fixtures/llama-1")
}

/// A served model, in a home that is gone afterwards.
struct Serving {
    child: Child,
    url: String,
    token: String,
    told: Value,
    client: Client,
    _home: tempfile::TempDir,
}

impl Serving {
    fn start() -> Self {
        say(format_args!("openledger serve, with a model of the fixtures"));
        let home = tempfile::tempdir().unwrap();
        let mut child = Command::new(PROGRAM)
            .env_clear()
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--threads", "1", "--home"])
            .arg(home.path())
            .arg("--model")
            .arg(fixture())
            .arg("--adapters")
            .arg(fixture())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        let file = told["token_file"].as_str().unwrap();
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        Self {
            child,
            url: told["url"].as_str().unwrap().to_owned(),
            token: fs::read_to_string(file).unwrap().trim().to_owned(),
            told,
            client: base::http::plain(),
            _home: home,
        }
    }

    async fn post(&self, path: &str, body: &Value) -> Response {
        let request = self
            .client
            .post(format!("{}/{path}", self.url))
            .bearer_auth(&self.token);
        request.body(body.to_string()).send().await.unwrap()
    }

    async fn get(&self, path: &str) -> Response {
        let request = self.client.get(format!("{}/{path}", self.url)).bearer_auth(&self.token);
        request.send().await.unwrap()
    }

    async fn said(&self, body: &Value) -> String {
        let answer = self.post("completions", body).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        answer["choices"][0]["text"].as_str().unwrap().to_owned()
    }

    /// A figure of `/metrics`.
    async fn figure(&self, name: &str) -> u64 {
        let text = self.get("../metrics").await.text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.map_or(0, |value| value.parse().unwrap())
    }

    async fn until(&self, name: &str, holds: impl Fn(u64) -> bool) {
        let begun = Instant::now();
        while !holds(self.figure(name).await) {
            assert!(begun.elapsed() < SOON, "{name} never came to it");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The engine's process: the only child of the program.
    fn engine(&self) -> String {
        let id = self.child.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let all: Vec<_> = fs::read_dir(format!("/proc/{id}/task"))
            .unwrap()
            .filter_map(|task| fs::read_to_string(task.unwrap().path().join("children")).ok())
            .chain([children])
            .flat_map(|text| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        all.into_iter().next().expect("the engine runs")
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn long(stream: bool) -> Value {
    json!({ "model": "llama-1", "prompt": "one two", "max_tokens": 100, "temperature": 0, "ignore_eos": true,
            "stream": stream })
}

async fn error(answer: Response, status: u16) -> Value {
    let found = answer.status();
    let text = answer.text().await.unwrap();
    assert_eq!(found, status, "{text}");
    let object: Value = serde_json::from_str(&text).unwrap();
    assert!(!object["error"]["message"].as_str().unwrap().is_empty(), "{text}");
    object["error"].clone()
}

#[tokio::test]
async fn answers_are_the_same_whole_and_in_pieces_and_refusals_name_the_field() {
    let serving = Serving::start();
    assert_eq!(
        (serving.told["model"].as_str(), serving.told["adapters"].as_u64()),
        (Some("llama-1"), Some(8))
    );
    let whole = serving.said(&long(false)).await;
    let stream = serving.post("completions", &long(true)).await.text().await.unwrap();
    let mut events: Vec<&str> = stream.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(events.pop(), Some("[DONE]"));
    let pieces: Vec<Value> = events
        .iter()
        .map(|event| serde_json::from_str(event).unwrap())
        .collect();
    let text: String = pieces
        .iter()
        .filter_map(|piece| piece["choices"][0]["text"].as_str())
        .collect();
    assert_eq!(text, whole);
    assert_eq!(pieces.last().unwrap()["choices"][0]["finish_reason"], "length");

    for (change, param) in [
        (json!({ "temperature": 9 }), "temperature"),
        (json!({ "prompt": [999_999] }), "prompt"),
        (json!({ "prompt": vec![5; 500] }), "prompt"),
        (json!({ "stop": "x".repeat(5000) }), "stop"),
        (json!({ "min_tokens": 101 }), "min_tokens"),
        (
            json!({ "adapters": [{ "name": "adapter0", "weight": 1e9 }] }),
            "adapters",
        ),
    ] {
        let mut body = long(false);
        body.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        assert_eq!(
            error(serving.post("completions", &body).await, 400).await["param"],
            param,
            "{change}"
        );
    }
    let unknown = json!({ "model": "nobody", "prompt": "x" });
    let unknown = error(serving.post("completions", &unknown).await, 404).await;
    assert_eq!(
        (&unknown["param"], &unknown["code"]),
        (&json!("model"), &json!("model_not_found"))
    );
    let message = unknown["message"].as_str().unwrap();
    assert!(
        message.ends_with("`GET /v1/models` lists the models of this server, such as `llama-1`, `adapter0`, `adapter1`, `adapter2`, `adapter3`"),
        "{message}"
    );
    let refused = error(serving.get("completions").await, 405).await;
    assert_eq!(refused["message"], "`/v1/completions` does not accept GET; use POST");
    error(serving.get("models?limit=many").await, 400).await;
    let huge = json!({ "model": "llama-1", "prompt": "x".repeat(9 << 20) });
    error(serving.post("completions", &huge).await, 413).await;

    let url = format!("{}/models", serving.url);
    let bare = serving.client.get(&url).send().await.unwrap();
    assert_eq!(error(bare, 401).await["type"], "authentication_error");
    let page = serving
        .client
        .get(&url)
        .bearer_auth(&serving.token)
        .header("origin", "http://evil.example");
    error(page.send().await.unwrap(), 403).await;
    let named = serving
        .client
        .get(&url)
        .bearer_auth(&serving.token)
        .header("host", "evil.example");
    error(named.send().await.unwrap(), 403).await;
    let health = serving
        .client
        .get(url.replace("/v1/models", "/health"))
        .send()
        .await
        .unwrap();
    assert_eq!(health.status(), StatusCode::OK);
}

#[tokio::test]
async fn whoever_goes_away_half_way_is_not_answered_further() {
    let serving = Serving::start();
    let body = json!({ "model": "llama-1", "prompt": "one", "max_tokens": 120, "n": 64, "ignore_eos": true,
                       "stream": true });
    let mut streaming = serving.post("completions", &body).await;
    streaming.chunk().await.unwrap();
    drop(streaming);
    serving
        .until("openledger_engine_requests_cancelled_total", |count| count > 0)
        .await;
    serving
        .until("openledger_engine_requests_running", |count| count == 0)
        .await;
    let mut whole = body.clone();
    whole["stream"] = json!(false);
    let before = serving.figure("openledger_engine_requests_cancelled_total").await;
    let going = serving
        .client
        .post(format!("{}/completions", serving.url))
        .bearer_auth(&serving.token);
    let going = going
        .body(whole.to_string())
        .timeout(Duration::from_millis(30))
        .send()
        .await;
    assert!(going.is_err(), "64 answers take longer");
    serving
        .until("openledger_engine_requests_cancelled_total", |count| count > before)
        .await;
}

#[tokio::test]
async fn an_engine_that_is_killed_costs_what_it_answered_and_nothing_else() {
    let serving = Serving::start();
    let load = json!({ "lora_name": "fresh", "lora_path": "adapter2" });
    assert_eq!(serving.post("load_lora_adapter", &load).await.status(), StatusCode::OK);
    let unload = json!({ "lora_name": "adapter7" });
    assert_eq!(
        serving.post("unload_lora_adapter", &unload).await.status(),
        StatusCode::OK
    );
    let fresh = json!({ "model": "fresh", "prompt": "one two", "max_tokens": 9, "temperature": 0 });
    let before = serving.said(&fresh).await;

    let mut body = long(true);
    body["n"] = json!(64);
    let mut streaming = serving.post("completions", &body).await;
    streaming.chunk().await.unwrap();
    let killed = Command::new("kill").args(["-9", &serving.engine()]).status().unwrap();
    assert!(killed.success());
    let begun = Instant::now();
    let mut rest = Vec::new();
    while let Some(bytes) = streaming.chunk().await.unwrap() {
        rest.extend_from_slice(&bytes);
    }
    let rest = String::from_utf8(rest).unwrap();
    let told = rest
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .rev()
        .nth(1)
        .unwrap();
    let told: Value = serde_json::from_str(told).unwrap();
    assert_eq!(told["error"]["code"], "engine_failed", "{told}");
    let why = told["error"]["message"].as_str().unwrap();
    assert!(why.contains("signal 9"), "{why}");

    // What is asked meanwhile is told to come again, and the next is served as before.
    loop {
        let answer = serving.post("completions", &fresh).await;
        match answer.status() {
            StatusCode::OK => break,
            StatusCode::SERVICE_UNAVAILABLE => assert!(answer.headers().contains_key("retry-after")),
            other => panic!("{other}"),
        }
        assert!(begun.elapsed() < SOON, "it never came back");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(serving.said(&fresh).await, before);
    let gone = json!({ "model": "adapter7", "prompt": "x" });
    error(serving.post("completions", &gone).await, 404).await;
    assert_eq!(serving.figure("openledger_engine_restarts_total").await, 1);
}

#[test]
fn a_model_is_kept_by_its_content_and_its_logits_are_those_of_the_reference() {
    let home = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command
            .env_clear()
            .arg("--home")
            .arg(home.path())
            .arg("--json")
            .args(args);
        let out = command.output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        let value = serde_json::from_str::<Value>(text.lines().next().unwrap_or("null")).unwrap();
        (out.status.code(), value)
    };
    let dir = fixture().to_str().unwrap().to_owned();
    let (code, added) = run(&["model", "add", &dir]);
    assert_eq!((code, added["label"].as_str()), (Some(0), Some("llama-1")));
    assert_eq!(
        run(&["model", "add", &dir]).1,
        added,
        "the same content is the same model"
    );
    assert_eq!(run(&["model", "ls"]).1, json!([added]));
    assert_eq!(run(&["model", "show", &added["hash"].as_str().unwrap()[..10]]).1, added);

    let requests = home.path().join("requests.json");
    let adapter = fixture().join("adapter0");
    fs::write(
        &requests,
        json!([{ "tokens": [1, 5, 6], "adapter": null }, { "tokens": [7], "adapter": adapter }]).to_string(),
    )
    .unwrap();
    let (code, logits) = run(&["model", "logits", &dir, "--requests", requests.to_str().unwrap()]);
    let rows = |index: usize| logits[index]["logits"].as_array().unwrap();
    assert_eq!((code, rows(0).len(), rows(1).len()), (Some(0), 3, 1));
    assert!(rows(0).iter().all(|row| row.as_array().unwrap().len() == 320));
    fs::write(&requests, json!([{ "tokens": [999_999] }]).to_string()).unwrap();
    let (code, refused) = run(&["model", "logits", &dir, "--requests", requests.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{refused}");
    assert!(
        refused["error"]["message"].as_str().unwrap().contains("token 999999"),
        "{refused}"
    );

    assert_eq!(run(&["model", "rm", "llama-1"]).0, Some(0));
    assert_eq!(run(&["model", "show", "llama-1"]).0, Some(4));
}
