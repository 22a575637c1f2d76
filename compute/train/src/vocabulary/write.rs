//! Writes a vocabulary as Hugging Face does: `tokenizer.json`, and `tokenizer_config.json` with a chat template.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{BEGIN, END, PAD, SPECIAL, Vocabulary, VocabularyError, special};

/// Chat template: the user's turn is a question and the assistant's its answer, as training formats pairs by default.
const CHAT_TEMPLATE: &str = "{{- bos_token }}\
    {%- for message in messages %}\
    {%- if message['role'] == 'assistant' %}{{- ' ' + (message['content'] | trim) + eos_token }}\
    {%- else %}\
    {%- if not loop.first %}{{- '\\n' }}{%- endif %}\
    {%- if message['role'] == 'user' %}{{- 'Question: ' + (message['content'] | trim) + '\\nAnswer:' }}\
    {%- else %}{{- message['content'] | trim }}{%- endif %}\
    {%- endif %}\
    {%- endfor %}";

/// `tokenizer.json` without tokens and merges. A text and not an object, so that the order of its fields is fixed
/// here.
const TOKENIZER: &str = r#"{
  "version": "1.0",
  "truncation": null,
  "padding": null,
  "added_tokens": [
ADDED
  ],
  "normalizer": null,
  "pre_tokenizer": {
    "type": "Sequence",
    "pretokenizers": [
      {"type": "Digits", "individual_digits": true},
      {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}
    ]
  },
  "post_processor": {
    "type": "TemplateProcessing",
    "single": [
      {"SpecialToken": {"id": "<|begin|>", "type_id": 0}},
      {"Sequence": {"id": "A", "type_id": 0}}
    ],
    "pair": [
      {"SpecialToken": {"id": "<|begin|>", "type_id": 0}},
      {"Sequence": {"id": "A", "type_id": 0}},
      {"Sequence": {"id": "B", "type_id": 1}}
    ],
    "special_tokens": {
      "<|begin|>": {"id": "<|begin|>", "ids": [0], "tokens": ["<|begin|>"]}
    }
  },
  "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
  "model": {
    "type": "BPE",
    "dropout": null,
    "unk_token": null,
    "continuing_subword_prefix": null,
    "end_of_word_suffix": null,
    "fuse_unk": false,
    "byte_fallback": false,
    "ignore_merges": false,
    "vocab": {
VOCAB
    },
    "merges": [
MERGES
    ]
  }
}
"#;

#[derive(Serialize)]
struct Config {
    tokenizer_class: &'static str,
    bos_token: &'static str,
    eos_token: &'static str,
    pad_token: &'static str,
    clean_up_tokenization_spaces: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_max_length: Option<usize>,
    chat_template: &'static str,
}

impl Vocabulary {
    /// The text of `tokenizer.json`.
    pub fn tokenizer_json(&self) -> Vec<u8> {
        let quoted = |token: &str| serde_json::to_string(token).expect("a text can be quoted");
        let name = |token: u32| quoted(&self.tokens[token as usize]);
        let added = |(number, token): (u32, &str)| {
            let flags = r#""single_word": false, "lstrip": false, "rstrip": false, "normalized": false"#;
            format!(
                r#"    {{"id": {number}, "content": {}, {flags}, "special": true}}"#,
                quoted(token)
            )
        };
        let added: Vec<String> = (0..).zip(SPECIAL).map(added).collect();
        let numbered = self.tokens.iter().enumerate();
        let vocab: Vec<String> = numbered
            .map(|(number, token)| format!("      {}: {number}", quoted(token)))
            .collect();
        let merges = self
            .merges
            .iter()
            .map(|[a, b]| format!("      [{}, {}]", name(*a), name(*b)));
        let merges: Vec<String> = merges.collect();
        assert_eq!(special(BEGIN), Some(0), "the template around a text names it by number");
        let mut text = String::new();
        for line in TOKENIZER.lines() {
            match line {
                "ADDED" => text.push_str(&added.join(",\n")),
                "VOCAB" => text.push_str(&vocab.join(",\n")),
                "MERGES" => text.push_str(&merges.join(",\n")),
                _ => text.push_str(line),
            }
            text.push('\n');
        }
        text.into_bytes()
    }

    /// Returns the text of `tokenizer_config.json`, for a model with that context.
    pub fn config_json(&self, context_tokens_max: Option<usize>) -> Vec<u8> {
        let written = Config {
            tokenizer_class: "PreTrainedTokenizerFast",
            bos_token: BEGIN,
            eos_token: END,
            pad_token: PAD,
            clean_up_tokenization_spaces: false,
            model_max_length: context_tokens_max,
            chat_template: CHAT_TEMPLATE,
        };
        serde_json::to_vec_pretty(&written).expect("names and numbers")
    }

    /// Writes a `tokenizer.json` under any name, and `tokenizer_config.json` beside it.
    pub fn write(&self, file: &Path, context_tokens_max: Option<usize>) -> Result<PathBuf, VocabularyError> {
        let put = |path: &Path, bytes: &[u8]| {
            fs::write(path, bytes).map_err(|source| VocabularyError::Write {
                path: path.to_owned(),
                source,
            })
        };
        let beside = file.with_file_name("tokenizer_config.json");
        put(file, &self.tokenizer_json())?;
        put(&beside, &self.config_json(context_tokens_max))?;
        Ok(beside)
    }
}
