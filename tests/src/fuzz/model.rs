//! The targets of the engine: files of models and adapters from strangers, and what its two processes say to each other.

use std::path::Path;

use compute::{
    lora::{Adapter, AdapterConfig, Projection, Site},
    model::{Chat, ChatInput, Config, Generation, Tokenizer},
    tensors::Header,
};
use serve::{
    engine::{Event, Prompt, Request},
    process::{Admin, FromEngine, Reply, ToEngine, read_frame, write_frame},
    schedule::{Finish, Usage},
};

/// A file of the smallest model that is kept with the engine.
fn file(name: &str) -> Vec<u8> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compute/fixtures/llama-1");
    std::fs::read(fixtures.join(name)).expect("a fixture")
}

fn config() -> Config {
    Config::parse(&file("config.json")).expect("a configuration")
}

/// What a header says of a file fills the file.
pub(super) fn tensor_header(bytes: &[u8]) {
    let length = bytes.len() as u64;
    if let Ok(header) = Header::read(&mut &*bytes, length) {
        for (name, entry) in &header.entries {
            let size = entry.shape.iter().product::<usize>() * entry.dtype.bytes();
            assert_eq!(entry.bytes.len(), size, "{name} is larger or smaller than it says");
            assert!(entry.bytes.end <= bytes.len(), "{name} ends behind the file");
        }
    }
}

pub(super) fn tensor_headers() -> Vec<Vec<u8>> {
    vec![file("adapter3/adapter_model.safetensors"), file("model.safetensors")]
}

/// An adapter that is read is the one that is written.
pub(super) fn adapter(bytes: &[u8]) {
    if let Ok(adapter) = Adapter::from_bytes(bytes) {
        let written = adapter.to_bytes();
        assert_eq!(adapter.hash().0.0, *blake3::hash(&written).as_bytes());
        assert_eq!(Adapter::from_bytes(&written).expect("as written"), adapter);
    }
}

pub(super) fn adapters() -> Vec<Vec<u8>> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compute/fixtures/llama-1");
    let read = |index: usize| Adapter::load(&fixtures.join(format!("adapter{index}"))).expect("a fixture");
    [0, 3].map(|index| read(index).to_bytes()).to_vec()
}

pub(super) fn adapter_config(bytes: &[u8]) {
    if let Ok(config) = AdapterConfig::parse(bytes) {
        for layer in [0, 1] {
            for projection in Projection::ALL {
                let site = Site { layer, projection };
                assert!(config.scale(site).is_finite() && config.rank(site) > 0);
                config.targets(site);
            }
        }
    }
}

pub(super) fn adapter_configs() -> Vec<Vec<u8>> {
    (0..8)
        .map(|index| file(&format!("adapter{index}/adapter_config.json")))
        .collect()
}

pub(super) fn model_config(bytes: &[u8]) {
    if let Ok(config) = Config::parse(bytes) {
        assert!(config.hidden > 0 && config.layers > 0 && config.heads.is_multiple_of(config.kv_heads));
    }
}

pub(super) fn model_configs() -> Vec<Vec<u8>> {
    vec![file("config.json")]
}

pub(super) fn generation_config(bytes: &[u8]) {
    drop(Generation::parse(bytes, &config()));
}

pub(super) fn generation_configs() -> Vec<Vec<u8>> {
    vec![file("generation_config.json")]
}

/// A tokenizer gives tokens that its model has.
pub(super) fn tokenizer(bytes: &[u8]) {
    let config = config();
    if let Ok(tokenizer) = Tokenizer::parse(bytes, &config) {
        let tokens = tokenizer.encode("a tok漢en <s> \u{0}", true).unwrap_or_default();
        assert!(tokens.iter().all(|token| (*token as usize) < config.vocabulary));
        tokenizer.decode(&tokens, false);
    }
}

pub(super) fn tokenizers() -> Vec<Vec<u8>> {
    vec![file("tokenizer.json")]
}

pub(super) fn chat_template(bytes: &[u8]) {
    drop(Chat::parse(None, Some(bytes)));
    if let Ok(Some(chat)) = Chat::parse(Some(bytes), None) {
        let message = serde_json::from_str(r#"{"role":"user","content":"x"}"#).expect("a message");
        let input = ChatInput {
            messages: vec![message],
            ..ChatInput::default()
        };
        drop(chat.render(&input));
    }
}

pub(super) fn chat_templates() -> Vec<Vec<u8>> {
    vec![file("chat_template.jinja"), file("tokenizer_config.json")]
}

/// What parent and child say to each other has one encoding. The first byte chooses who speaks.
pub(super) fn engine_frames(bytes: &[u8]) {
    let Some((side, mut frames)) = bytes.split_first() else {
        return;
    };
    let mut again = Vec::new();
    let mut end = frames.len();
    loop {
        let before = frames.len();
        let read = match side % 2 {
            0 => read_frame::<ToEngine>(&mut frames).map(|call| write_frame(&mut again, &call)),
            _ => read_frame::<FromEngine>(&mut frames).map(|say| write_frame(&mut again, &say)),
        };
        match read {
            Ok(written) => written.expect("no longer than what was read"),
            Err(_) => {
                end -= before;
                break;
            }
        }
    }
    assert_eq!(again, bytes[1..1 + end], "two encodings of one frame");
}

pub(super) fn engine_samples() -> Vec<Vec<u8>> {
    let request = Request {
        adapters: vec![("poet".to_owned(), 0.5)],
        stop: vec!["end".to_owned()],
        ..Request::new(Prompt::Text("a prompt".to_owned()))
    };
    let register = Admin::Register {
        name: "poet".to_owned(),
        dir: "poet".to_owned(),
        expected: Some(7),
    };
    let done = Event::Done {
        finish: Finish::Stop,
        text: "said".to_owned(),
        usage: Usage::default(),
        adapters: Vec::new(),
    };
    let mut calls = vec![0];
    for call in [
        ToEngine::Submit(1, Box::new(request)),
        ToEngine::Admin(2, register),
        ToEngine::Cancel(1),
    ] {
        write_frame(&mut calls, &call).expect("into memory");
    }
    let mut said = vec![1];
    for say in [
        FromEngine::Event(1, done),
        FromEngine::Reply(2, Ok(Reply::Registered(3))),
        FromEngine::CannotStart("no".to_owned()),
    ] {
        write_frame(&mut said, &say).expect("into memory");
    }
    vec![calls, said]
}
