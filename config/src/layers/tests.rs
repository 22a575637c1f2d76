//! Which layer wins, and what is said of a value that does not fit.

use super::*;
use crate::{History, Size, Wait};

fn load(file: &str, preset: Option<&str>, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Loaded, LoadError> {
    let home = tempfile::tempdir().expect("a place for files");
    if !file.is_empty() {
        fs::write(home.path().join(FILE), file).expect("written");
    }
    let own = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect::<Vec<_>>()
    };
    Config::load(home.path(), preset, own(env), own(flags))
}

fn complaint(file: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
    load(file, None, env, flags).expect_err("a mistake").to_string()
}

#[test]
fn every_preset_loads_on_an_empty_home() {
    for network in networks() {
        let loaded = load("", Some(network.name), &[], &[]).expect(network.name);
        assert_eq!(loaded.config.node.network, network.name);
    }
}

#[test]
fn flag_beats_environment_beats_file_beats_preset_beats_default() {
    let file = "[consensus]\nheartbeat = \"2s\"\n";
    let env = ("OPENLEDGER_CONSENSUS__HEARTBEAT", "3s");
    let flag = ("consensus.heartbeat", "4s");
    let seen = |loaded: Result<Loaded, LoadError>| {
        let loaded = loaded.expect("valid");
        let origin = loaded
            .origin("consensus.heartbeat")
            .map(ToString::to_string)
            .unwrap_or_default();
        (loaded.config.consensus.heartbeat, origin)
    };
    assert_eq!(
        seen(load("", None, &[], &[])),
        (Wait::millis(1000), "preset dev".to_owned())
    );
    assert_eq!(
        seen(load("", Some("main"), &[], &[])),
        (Wait::millis(5000), "preset main".to_owned())
    );
    let (value, origin) = seen(load(file, Some("main"), &[], &[]));
    assert!(
        value == Wait::millis(2000) && origin.ends_with("config.toml"),
        "{origin}"
    );
    let expect = (
        Wait::millis(3000),
        "environment variable OPENLEDGER_CONSENSUS__HEARTBEAT".to_owned(),
    );
    assert_eq!(seen(load(file, None, &[env], &[])), expect);
    let expect = (Wait::millis(4000), "flag consensus.heartbeat".to_owned());
    assert_eq!(seen(load(file, None, &[env], &[flag])), expect);
}

#[test]
fn the_network_in_the_file_chooses_the_preset_and_the_command_may_overrule_it() {
    let file = "[node]\nnetwork = \"main\"\n";
    let heartbeat = |preset| load(file, preset, &[], &[]).expect("valid").config.consensus.heartbeat;
    assert_eq!(
        (heartbeat(None), heartbeat(Some("dev"))),
        (Wait::millis(5000), Wait::millis(1000))
    );
    let error = complaint("[node]\nnetwork = \"mian\"\n", &[], &[]);
    assert!(
        error.contains("there is no network `mian`") && error.ends_with("one of: dev, test, main"),
        "{error}"
    );
}

#[test]
fn text_becomes_the_type_of_its_key() {
    let env = [
        (
            "OPENLEDGER_NETWORK__BOOTSTRAP",
            "/ip4/10.0.0.1/tcp/1, /ip4/10.0.0.2/tcp/1",
        ),
        ("OPENLEDGER_STORAGE__HISTORY_BLOCKS", "archive"),
        ("OPENLEDGER_STORAGE__CACHE", "1 GiB"),
        ("OPENLEDGER_NETWORK__MAX_PEERS", "12"),
        ("OPENLEDGER_HOME", "/not/a/key"),
        ("PATH", "/bin"),
    ];
    let config = load("", None, &env, &[]).expect("valid").config;
    assert_eq!(config.network.bootstrap, ["/ip4/10.0.0.1/tcp/1", "/ip4/10.0.0.2/tcp/1"]);
    assert_eq!(
        (config.storage.history_blocks, config.storage.cache),
        (History::Archive, Size::mib(1024))
    );
    assert_eq!(config.network.max_peers, 12);
}

#[test]
fn a_key_unlike_any_other_gets_no_suggestion() {
    for key in ["foo.bar", "x.y", "network.colour"] {
        let error = complaint("", &[], &[(key, "1")]);
        assert!(error.ends_with("`openledger config show` lists all keys"), "{error}");
    }
}

#[test]
fn an_unknown_key_is_an_error_that_names_the_nearest() {
    for (key, nearest) in [
        ("network.max_peer", "network.max_peers"),
        ("mempool.cache", "storage.cache"),
        ("rpc.lisen", "rpc.listen"),
    ] {
        let error = complaint("", &[], &[(key, "1")]);
        assert!(error.contains(&format!("there is no key `{key}`")), "{error}");
        assert!(error.ends_with(&format!("did you mean `{nearest}`?")), "{error}");
    }
    let error = complaint("[weather]\nsunny = true\n", &[], &[]);
    assert!(
        error.contains("`weather.sunny`") && error.contains("config show"),
        "{error}"
    );
    assert!(complaint("moniker = \"x\"\n", &[], &[]).contains("did you mean `node.moniker`?"));
    assert!(complaint("", &[("OPENLEDGER_LOG__LEVLE", "info")], &[]).contains("OPENLEDGER_LOG__LEVLE"));
}

#[test]
fn a_value_that_does_not_fit_names_key_value_origin_and_fix() {
    let error = complaint("[storage]\ncache = \"lots\"\n", &[], &[]);
    for part in [
        "storage.cache = \"lots\"",
        "config.toml",
        "is not a size",
        "such as \"256 MiB\"",
    ] {
        assert!(error.contains(part), "{part} in {error}");
    }
    let error = complaint("", &[], &[("rpc.listen", "8545")]);
    assert!(
        error.contains("rpc.listen = \"8545\" (flag rpc.listen)") && error.contains("127.0.0.1:8545"),
        "{error}"
    );
    assert!(complaint("", &[], &[("network.max_peers", "many")]).contains("such as 64"));
    assert!(complaint("", &[], &[("network.max_peers", "-1")]).contains("network.max_peers = -1"));
    assert!(complaint("", &[], &[("storage.history_blocks", "0")]).contains("nor \"archive\""));
    assert!(complaint("", &[], &[("log.format", "xml")]).contains("text"));
    assert!(complaint("", &[], &[("consensus.heartbeat", "0s")]).contains("must be more than zero"));
    assert!(complaint("network = 5\n", &[], &[]).contains("there is no key `network`"));
    assert!(complaint("[network\n", &[], &[]).contains("is not valid TOML"));
}
