//! The program as people and scripts run it: verbs that need no running node, their exit codes and their JSON.
#![allow(clippy::unwrap_used, reason = "a test that panics names the line")]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

use super::PROGRAM;

/// A home of its own, in a folder that is gone afterwards.
struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn made() -> Self {
        let home = Self::new();
        home.ok(&["init", "--moniker", "alice"]);
        home
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(PROGRAM);
        // The environment of whoever runs the tests says nothing.
        command.env_clear().env("HOME", self.dir.path());
        command.arg("--home").arg(self.path()).args(args);
        command.output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let (out, err) = texts(&output);
        assert_eq!(output.status.code(), Some(0), "{args:?}\n{out}\n{err}");
        out
    }

    fn json(&self, args: &[&str]) -> Value {
        let out = self.ok(&[args, &["--json"]].concat());
        assert_eq!(out.lines().count(), 1, "{args:?}: {out}");
        serde_json::from_str(&out).unwrap()
    }

    /// What it says when it ends with this code.
    fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.run(args);
        let (out, err) = texts(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}\n{out}\n{err}");
        err
    }

    fn password(&self) -> String {
        let file = self.dir.path().join("password");
        fs::write(&file, "correct horse\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        file.display().to_string()
    }
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn fixture() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/statetest.json").to_owned()
}

#[test]
fn init_makes_a_home_once_and_changes_nothing_the_second_time() {
    let home = Home::new();
    let made = home.json(&["init", "--moniker", "alice"]);
    assert_eq!(made["chain_id"], 1337);
    assert_eq!(
        made["created"],
        serde_json::json!(["config.toml", "keys/node.key", "keys/validator.key", "genesis.json"])
    );
    for (file, expect) in [("keys", 0o700), ("keys/node.key", 0o600), ("keys/validator.key", 0o600)] {
        assert_eq!(mode(&home.path().join(file)), expect, "{file}");
    }
    let again = home.json(&["init"]);
    assert_eq!(again["created"], serde_json::json!([]));
    assert_eq!(
        (&again["genesis"], &again["node_id"]),
        (&made["genesis"], &made["node_id"])
    );
    let id = home.json(&["id"]);
    assert_eq!(
        (&id["node_id"], &id["validator"]),
        (&made["node_id"], &made["validator"])
    );
}

#[test]
fn a_home_of_another_chain_or_network_is_refused() {
    let (home, other) = (Home::made(), Home::made());
    let genesis = other.path().join("genesis.json").display().to_string();
    let before = fs::read(home.path().join("genesis.json")).unwrap();
    assert!(
        home.fails(1, &["init", "--genesis", &genesis])
            .contains("belongs to the chain with genesis")
    );
    assert!(
        home.fails(1, &["init", "--network", "test", "--genesis", &genesis])
            .contains("is on network dev")
    );
    assert_eq!(fs::read(home.path().join("genesis.json")).unwrap(), before);
}

#[test]
fn a_follower_joins_a_chain_by_its_genesis_and_does_not_vote() {
    let (first, follower) = (Home::made(), Home::new());
    let genesis = first.path().join("genesis.json").display().to_string();
    let made = follower.json(&["init", "--network", "dev", "--genesis", &genesis]);
    assert_eq!(made["genesis"], first.json(&["chain", "status"])["genesis"]);
    assert_eq!(made["validator"], Value::Null);
    let validators = follower.json(&["chain", "validators"]);
    assert_eq!(validators["validators"][0]["ours"], false);
    assert_eq!(first.json(&["chain", "validators"])["validators"][0]["ours"], true);
}

#[test]
fn no_public_network_is_launched_and_init_says_so() {
    let home = Home::new();
    for network in ["test", "main"] {
        let why = home.fails(2, &["init", "--network", network]);
        assert!(
            why.contains(&format!("the public {network} network is not launched yet")),
            "{why}"
        );
    }
    assert!(!home.path().exists());
    assert_eq!(home.run(&["init", "--network", "mian"]).status.code(), Some(2));
}

#[test]
fn verbs_that_need_a_running_node_say_how_to_start_it() {
    let home = Home::made();
    for args in [["status"].as_slice(), &["wallet", "balance", "dev0"]] {
        let why = home.fails(3, args);
        assert!(
            why.contains("no node is running") && why.contains("openledger daemon"),
            "{why}"
        );
    }
    let output = home.run(&["status", "--json"]);
    let error: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &error["error"]["exit"]), (Some(3), &3.into()));
    assert_eq!(home.json(&["peers", "list"])["connected"], Value::Null);
}

#[test]
fn configuration_is_shown_with_its_origins_and_changed_one_key_at_a_time() {
    let home = Home::made();
    assert_eq!(
        home.json(&["config", "set", "rpc.listen", "127.0.0.1:9999"])["value"],
        "\"127.0.0.1:9999\""
    );
    let shown = home.ok(&["config", "show", "--origin"]);
    let line = |key: &str| shown.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    assert!(line("rpc.listen").contains("127.0.0.1:9999") && line("rpc.listen").ends_with("config.toml"));
    assert!(line("node.moniker").contains("alice"));
    assert!(line("rpc.max_batch").ends_with("# default"));
    let why = home.fails(1, &["config", "set", "rpc.lisen", "x"]);
    assert!(why.contains("did you mean `rpc.listen`?"), "{why}");
    home.ok(&["config", "check"]);
    assert!(home.ok(&["config", "example"]).contains("[mempool]"));
    home.json(&["peers", "add", "/ip4/10.0.0.7/tcp/4001"]);
    assert_eq!(home.json(&["peers", "list"])["bootstrap"][0], "/ip4/10.0.0.7/tcp/4001");
    fs::write(home.path().join("config.toml"), "[rpc\n").unwrap();
    assert!(home.fails(1, &["config", "check"]).contains("is not valid TOML"));
}

#[test]
fn an_account_is_made_listed_and_taken_to_another_home() {
    let (home, password) = (Home::made(), Home::new());
    let password = password.password();
    let flag = ["--password-file", password.as_str()];
    let made = home.json(&[["wallet", "new"], flag].concat());
    let (account, file) = (made["account"].as_str().unwrap(), made["file"].as_str().unwrap());
    assert_eq!(mode(Path::new(file)), 0o600);
    assert_eq!(home.json(&["wallet", "list"])["accounts"][0]["account"], account);
    let other = Home::made();
    let taken = other.json(&[["wallet", "import"].as_slice(), &[file], &flag].concat());
    assert_eq!(taken["account"], account);
    let key = other.json(&[["wallet", "export", account, "--reveal"].as_slice(), &flag].concat());
    assert_eq!(key["private_key"].as_str().unwrap().len(), 66);
    assert!(
        other
            .fails(1, &[["wallet", "import", file].as_slice(), &flag].concat())
            .contains("is not overwritten")
    );
    assert!(home.fails(2, &["wallet", "new"]).contains("--password-file"));
    fs::set_permissions(&password, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(home.fails(5, &[["wallet", "new"], flag].concat()).contains("chmod 600"));
}

#[test]
fn ethereums_tests_end_with_the_count_alone_on_the_last_line() {
    let home = Home::new();
    let out = home.ok(&["chain", "statetest", &fixture()]);
    assert!(out.lines().last().unwrap().ends_with(" passed, 0 failed"), "{out}");
    let report = home.json(&["chain", "statetest", &fixture()]);
    assert!(report["passed"].as_u64().unwrap() > 0, "{report}");

    let wrong = home.dir.path().join("wrong.json");
    let text = fs::read_to_string(fixture()).unwrap();
    // Another root than the one that comes out.
    fs::write(&wrong, text.replace("0x1f0b5746", "0x1f0b5747")).unwrap();
    let output = home.run(&["chain", "statetest", &wrong.display().to_string()]);
    let (out, _) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{out}");
    assert!(
        !out.lines().last().unwrap().ends_with(" 0 failed") && out.contains("failed "),
        "{out}"
    );
    home.fails(4, &["chain", "statetest", "/no/such/folder"]);
}

#[test]
fn a_stopped_node_still_answers_from_its_files() {
    let home = Home::made();
    let status = home.json(&["chain", "status"]);
    assert_eq!((&status["running"], &status["height"]), (&false.into(), &0.into()));
    let block = home.json(&["chain", "block", "0"]);
    assert_eq!(
        (&block["hash"], &block["certificate"]),
        (&status["genesis"], &Value::Null)
    );
    assert!(home.fails(4, &["chain", "block", "7"]).contains("no such block"));
    let nothing = format!("0x{}", "00".repeat(32));
    home.fails(4, &["chain", "tx", &nothing]);
    assert_eq!(home.json(&["chain", "evidence"])["evidence"], serde_json::json!([]));
    assert_eq!(home.json(&["chain", "repair"])["journal"]["state"], "fine");
}

#[test]
fn doctor_finds_nothing_on_a_new_home_but_what_is_wrong_with_a_key() {
    let home = Home::made();
    for key in ["rpc.listen", "api.listen"] {
        home.ok(&["config", "set", key, "127.0.0.1:0"]);
    }
    home.ok(&["config", "set", "network.listen", "/ip4/127.0.0.1/tcp/0"]);
    home.ok(&["config", "set", "storage.min_free_space", "1 MiB"]);
    assert_eq!(home.json(&["doctor"])["ok"], true);
    fs::set_permissions(home.path().join("keys/node.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let output = home.run(&["doctor"]);
    let (out, _) = texts(&output);
    assert_eq!(output.status.code(), Some(1));
    let line = out.lines().find(|line| line.starts_with('✗')).unwrap();
    assert!(line.contains("node key") && line.contains("0644"), "{out}");
    assert_eq!(Home::new().run(&["doctor"]).status.code(), Some(1));
}

#[test]
fn the_program_explains_itself() {
    let home = Home::new();
    assert_eq!(home.json(&["version"])["name"], "openledger");
    assert!(home.ok(&["completions", "bash"]).contains("openledger"));
    assert!(home.ok(&["man"]).starts_with(".ie"));
    let dir = home.dir.path().join("man");
    home.ok(&["man", "--dir", &dir.display().to_string()]);
    assert!(fs::read_dir(dir).unwrap().count() > 20);
    assert!(home.ok(&["--help"]).contains("Exit codes"));
    for args in [
        ["no-such-verb"].as_slice(),
        &["chain", "block", "twelve"],
        &["wallet", "send", "--from", "dev0"],
    ] {
        home.fails(2, args);
    }
    assert_eq!(home.json(&["wallet", "dev"])["accounts"].as_array().unwrap().len(), 10);
}
