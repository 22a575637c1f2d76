use std::{fs, path::PathBuf};

use super::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn config() -> Config {
    Config::parse(&fs::read(fixture("llama-1").join("config.json")).unwrap()).unwrap()
}

#[test]
fn texts_and_chats_are_those_of_transformers() {
    let dir = fixture("llama-1");
    let text = Text::load(&dir, &config()).unwrap();
    let expected: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.join("tokenizer_expected.json")).unwrap()).unwrap();
    for pair in expected["texts"].as_array().unwrap() {
        let tokens: Vec<u32> = serde_json::from_value(pair[1].clone()).unwrap();
        let written = pair[0].as_str().unwrap();
        assert_eq!(text.tokenizer.encode(written, false).unwrap(), tokens);
        assert_eq!(text.tokenizer.decode(&tokens, false), written);
        let mut stream = TextStream::new(false);
        let mut streamed: String = tokens
            .iter()
            .map(|token| stream.push(&text.tokenizer, *token))
            .collect();
        streamed += &stream.finish(&text.tokenizer);
        assert_eq!(streamed, written);
    }
    for pair in expected["chats"].as_array().unwrap() {
        let input = ChatInput {
            messages: serde_json::from_value(pair[0].clone()).unwrap(),
            add_generation_prompt: true,
            ..ChatInput::default()
        };
        assert_eq!(
            text.chat.as_ref().unwrap().render(&input).unwrap(),
            pair[1].as_str().unwrap()
        );
    }
}

#[test]
fn a_stream_never_returns_part_of_a_character() {
    let text = Text::load(&fixture("llama-1"), &config()).unwrap();
    let tokens = text.tokenizer.encode("漢字", false).unwrap();
    let mut stream = TextStream::new(true);
    let pieces: Vec<String> = tokens
        .iter()
        .map(|token| stream.push(&text.tokenizer, *token))
        .collect();
    assert!(pieces.iter().all(|piece| !piece.contains('\u{fffd}')));
    assert_eq!(pieces.concat(), "漢字");
}

fn chat(template: &str) -> Chat {
    Chat::parse(Some(template.as_bytes()), None).unwrap().unwrap()
}

#[test]
fn templates_have_the_functions_that_transformers_provides() {
    let render = |template: &str| {
        let input = ChatInput {
            messages: vec![serde_json::from_str(r#"{"role": "user", "content": "a<b"}"#).unwrap()],
            unix_seconds: 0,
            ..ChatInput::default()
        };
        chat(template).render(&input)
    };
    assert_eq!(render("{{ strftime_now('%d %b %Y') }}").unwrap(), "01 Jan 1970");
    assert_eq!(
        render("{{ messages[0] | tojson }}").unwrap(),
        r#"{"role": "user", "content": "a<b"}"#
    );
    assert_eq!(
        render("{{ ' x.y '.strip().split('.')[0].upper() }}{% if 'a' in 'abc' and messages is iterable %}!{% endif %}")
            .unwrap(),
        "X!"
    );
    let namespace =
        "{% set ns = namespace(n=0) %}{% for m in messages[::-1] %}{% set ns.n = loop.index0 %}{% endfor %}{{ ns.n }}";
    assert_eq!(render(namespace).unwrap(), "0");
    let refused = render("{{ raise_exception('roles must alternate') }}").unwrap_err();
    assert_eq!(refused.to_string(), "the chat template refused: roles must alternate");
    let endless = "{% for i in range(90000) %}{% for j in range(90000) %}{{ j }}{% endfor %}{% endfor %}";
    assert!(matches!(
        render(endless),
        Err(RenderError::Failed(_) | RenderError::Long)
    ));
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let small = Config {
        vocabulary: 100,
        ..config()
    };
    let error = Tokenizer::load(&fixture("llama-1"), &small).err().unwrap();
    assert_eq!(
        error.to_string(),
        "tokenizer.json has token 319, and the model a vocabulary of 100: it belongs to another model"
    );
}

#[test]
fn generation_defaults_are_read_and_absurd_ones_refused() {
    let read = Generation::load(&fixture("llama-1"), &config()).unwrap();
    assert_eq!(
        (read.temperature, read.top_k, read.top_p),
        (Some(0.7), Some(20), Some(0.9))
    );
    assert_eq!(read.end_tokens, [2]);
    let error = Generation::parse(br#"{"top_p": 7}"#, &config()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "generation_config.json: `top_p` is 7; between 0 and 1 is accepted"
    );
}

#[test]
fn a_stored_model_is_found_by_its_content_and_goes_when_removed() {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(&home.path().join("models")).unwrap();
    let stored = store.add(&fixture("llama-1")).unwrap();
    assert_eq!(
        store.add(&fixture("llama-1")).unwrap(),
        stored,
        "the same content is the same model"
    );
    assert_eq!(store.list().unwrap(), std::slice::from_ref(&stored));
    assert_eq!(store.get(&stored.hash.to_string()[..12]).unwrap(), stored);
    assert_eq!(store.get("llama-1").unwrap(), stored);
    let (model, _) = store.model(&stored).unwrap();
    assert_eq!(model.config(), &config());
    store.remove(&stored).unwrap();
    assert!(matches!(store.get("llama-1"), Err(StoreError::Unknown(_))));
    assert_eq!(fs::read_dir(home.path().join("models")).unwrap().count(), 0);
}

#[test]
fn unfinished_directories_are_removed_unless_locked() {
    let home = tempfile::tempdir().unwrap();
    let [left, filled] = ["1-0", "2-0"].map(|name| home.path().join(format!(".unfinished-{name}")));
    for dir in [&left, &filled] {
        fs::create_dir(dir).unwrap();
    }
    let lock = fs::File::open(&filled).unwrap();
    lock.lock().unwrap();
    Store::open(home.path()).unwrap();
    assert!(!left.exists() && filled.exists());
    drop(lock);
    Store::open(home.path()).unwrap();
    assert!(!filled.exists());
}

#[test]
fn a_refused_model_leaves_nothing_in_the_store() {
    let home = tempfile::tempdir().unwrap();
    let (store, dir) = (
        Store::open(&home.path().join("models")).unwrap(),
        home.path().join("model"),
    );
    let copy = |name: &str| fs::copy(fixture("llama-1").join(name), dir.join(name)).unwrap();
    fs::create_dir(&dir).unwrap();
    for name in ["config.json", "tokenizer.json"] {
        copy(name);
    }
    let refused = |why: &str| {
        let error = protocol::error_chain(&store.add(&dir).unwrap_err());
        assert!(error.contains(why), "{error}");
        assert_eq!(fs::read_dir(home.path().join("models")).unwrap().count(), 0);
    };
    refused("could not read");
    std::os::unix::fs::symlink(
        fixture("llama-1").join("model.safetensors"),
        dir.join("model.safetensors"),
    )
    .unwrap();
    refused("is a symbolic link");
    fs::remove_file(dir.join("model.safetensors")).unwrap();
    copy("model.safetensors");
    let mut bytes = fs::read(dir.join("model.safetensors")).unwrap();
    let length = bytes.len();
    bytes[length - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(dir.join("model.safetensors"), bytes).unwrap();
    refused("holds a number that is infinite or none");
}
