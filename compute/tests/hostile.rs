//! Mutated files: whatever they hold, they are read or refused, without a panic. `OPENLEDGER_MUTATIONS` sets the
//! number of mutations of each file; a failure prints the seed that repeats it.

#![allow(
    clippy::unwrap_used,
    clippy::float_arithmetic,
    clippy::cast_possible_truncation,
    reason = "a test computes, and stops where it cannot"
)]

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use compute::{
    lora::{Adapter, AdapterConfig, LoadError, inspect},
    model::{Chat, ChatInput, Config, Generation, Model, Tokenizer},
    tensors::Header,
};

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound.max(1) as u64).unwrap()
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/llama-1")
        .join(name)
}

/// Changes bytes, numbers or lengths of a file, mostly near its beginning, where headers are.
fn mutate(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    const PIECES: [&[u8]; 12] = [
        b"-1",
        b"0",
        b"18446744073709551615",
        b"1e308",
        b"null",
        b"[]",
        b"{}",
        b"\"\"",
        b"true",
        b"\xff",
        b"[[[[",
        b"NaN",
    ];
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(4) {
        let reach = if random.below(3) > 0 {
            bytes.len().min(3000)
        } else {
            bytes.len()
        };
        let at = random.below(reach);
        match random.below(6) {
            0 => bytes.truncate(at),
            1 => {
                bytes.splice(at..at, PIECES[random.below(PIECES.len())].iter().copied());
            }
            2 => {
                let end = bytes.len().min(at + 1 + random.below(8));
                bytes.splice(at..end, PIECES[random.below(PIECES.len())].iter().copied());
            }
            3 => {
                let end = bytes.len().min(at + random.below(40));
                let piece = bytes[at.min(end)..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
    bytes
}

fn never_panics(name: &str, bytes: &[u8], read: impl Fn(&[u8])) {
    let count = std::env::var("OPENLEDGER_MUTATIONS").map_or(400, |text| text.parse().unwrap());
    for seed in 0..count {
        let mutated = mutate(bytes, &mut Random(seed));
        let survived = catch_unwind(AssertUnwindSafe(|| read(&mutated)));
        assert!(survived.is_ok(), "{name}: mutation {seed} panicked");
    }
}

fn config() -> Config {
    Config::parse(&fs::read(fixture("config.json")).unwrap()).unwrap()
}

#[test]
fn mutated_headers_and_adapters_never_panic() {
    let adapter = Adapter::load(&fixture("adapter3")).unwrap();
    let bytes = adapter.to_bytes();
    never_panics("tensor header", &bytes, |bytes| {
        drop(Header::read(&mut &*bytes, bytes.len() as u64))
    });
    never_panics("canonical adapter", &bytes, |bytes| drop(Adapter::from_bytes(bytes)));
    for index in 0..8 {
        let text = fs::read(fixture(&format!("adapter{index}")).join("adapter_config.json")).unwrap();
        never_panics("adapter_config.json", &text, |text| drop(AdapterConfig::parse(text)));
    }
}

#[test]
fn mutated_model_files_never_panic() {
    let config = config();
    let read = |name: &str| fs::read(fixture(name)).unwrap();
    never_panics("config.json", &read("config.json"), |text| drop(Config::parse(text)));
    never_panics("generation_config.json", &read("generation_config.json"), |text| {
        drop(Generation::parse(text, &config));
    });
    never_panics("tokenizer.json", &read("tokenizer.json"), |text| {
        if let Ok(tokenizer) = Tokenizer::parse(text, &config) {
            let tokens = tokenizer.encode("a tok漢en", true).unwrap_or_default();
            tokenizer.decode(&tokens, false);
        }
    });
    let template = read("chat_template.jinja");
    never_panics("chat_template.jinja", &template, |text| {
        if let Ok(Some(chat)) = Chat::parse(Some(text), None) {
            let input = ChatInput {
                messages: vec![serde_json::from_str(r#"{"role":"user","content":"x"}"#).unwrap()],
                ..ChatInput::default()
            };
            drop(chat.render(&input));
        }
    });
    never_panics("tokenizer_config.json", &read("tokenizer_config.json"), |text| {
        drop(Chat::parse(None, Some(text)))
    });
}

#[test]
fn a_model_whose_files_were_mutated_is_read_or_refused() {
    let home = tempfile::tempdir().unwrap();
    let (config, weights) = (
        fs::read(fixture("config.json")).unwrap(),
        fs::read(fixture("model.safetensors")).unwrap(),
    );
    never_panics("model.safetensors", &weights, |bytes| {
        fs::write(home.path().join("config.json"), &config).unwrap();
        fs::write(home.path().join("model.safetensors"), bytes).unwrap();
        if let Ok(model) = Model::read(home.path()) {
            drop(model.on_cpu(Default::default()));
        }
    });
}

/// Copies an adapter with a changed configuration.
fn with(home: &Path, field: &str, value: serde_json::Value) -> LoadError {
    let from = fixture("adapter0");
    let mut config: serde_json::Value =
        serde_json::from_slice(&fs::read(from.join("adapter_config.json")).unwrap()).unwrap();
    config[field] = value;
    fs::write(home.join("adapter_config.json"), config.to_string()).unwrap();
    fs::copy(
        from.join("adapter_model.safetensors"),
        home.join("adapter_model.safetensors"),
    )
    .unwrap();
    let inspected = inspect(home).err();
    let loaded = Adapter::load(home).expect_err(field);
    assert_eq!(
        inspected.expect("inspection refuses what loading refuses").to_string(),
        loaded.to_string()
    );
    loaded
}

#[test]
fn an_unsupported_adapter_option_is_refused_by_its_name() {
    let home = tempfile::tempdir().unwrap();
    for (field, value) in [
        ("use_dora", true.into()),
        ("lora_bias", true.into()),
        ("bias", "all".into()),
        ("modules_to_save", serde_json::json!(["lm_head"])),
        ("fan_in_fan_out", true.into()),
        ("layer_replication", serde_json::json!([[0, 1]])),
        ("trainable_token_indices", serde_json::json!([1])),
        ("target_parameters", serde_json::json!(["x"])),
        ("init_lora_weights", "pissa".into()),
        ("init_lora_weights", "olora".into()),
        ("loftq_config", serde_json::json!({"bits": 4})),
        ("alora_invocation_tokens", serde_json::json!([1, 2])),
        ("use_qalora", true.into()),
        ("something_new", 1.into()),
        ("peft_type", "LOHA".into()),
        ("task_type", "SEQ_CLS".into()),
        ("r", 0.into()),
        ("r", 100_000.into()),
        ("lora_alpha", "much".into()),
        ("target_modules", serde_json::json!(["lm_head"])),
        ("rank_pattern", serde_json::json!({"(": 1})),
        ("layers_to_transform", serde_json::json!("all")),
    ] {
        let error = with(home.path(), field, value).to_string();
        assert!(
            error.starts_with(&format!("adapter_config.json: `{field}` ")),
            "{field}: {error}"
        );
    }
    let error = with(home.path(), "r", 5.into()).to_string();
    assert!(error.contains("has 4 rows where the configured rank is 5"), "{error}");
    let error = with(home.path(), "target_modules", serde_json::json!(["q_proj"])).to_string();
    assert!(error.contains("is not among `target_modules`"), "{error}");
}

#[test]
fn an_adapter_has_one_hash_as_a_folder_and_as_bytes() {
    let home = tempfile::tempdir().unwrap();
    for index in 0..8 {
        let adapter = Adapter::load(&fixture(&format!("adapter{index}"))).unwrap();
        let bytes = adapter.to_bytes();
        assert_eq!(adapter.hash().0.0, *blake3::hash(&bytes).as_bytes());
        assert_eq!(Adapter::from_bytes(&bytes).unwrap(), adapter);
        let dir = home.path().join(index.to_string());
        adapter.write(&dir, "somebody/base").unwrap();
        assert_eq!(Adapter::load(&dir).unwrap(), adapter);
        let summary = inspect(&dir).unwrap();
        assert_eq!(
            (summary.rank, summary.bytes, summary.sites),
            (adapter.rank(), adapter.bytes(), adapter.sites().len())
        );
        assert_eq!(summary.base_model.as_deref(), Some("somebody/base"));
    }
}
