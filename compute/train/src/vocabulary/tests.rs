use std::fs;

use compute::model::{Chat, ChatInput, ChatValue, Config, Tokenizer};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::{AddedToken, Trainer as _};

use super::*;

const TEXT: &str = "The miller of Oakleycliff asks 1,024 pence for a sack of flour.\n\nThe miller's wife asks less; \
    the miller doesn't mind.\n  \"A sack of flour, a sack of salt!\" calls the crier — naïve, 海, 🦀.\n";

/// Texts and their tokens, by Python's `tokenizers` 0.23.3 with a vocabulary that its own trainer learned from
/// [`TEXT`].
const ENCODED: &str = include_str!("encoded.jsonl");

fn learned(text: &str, size: usize) -> Vocabulary {
    let mut words = WordCounts::default();
    words.add(text).unwrap();
    Vocabulary::learn(&words, size).unwrap()
}

fn tokenizer(vocabulary: &Vocabulary) -> Tokenizer {
    let config = Config {
        vocabulary: vocabulary.tokens(),
        ..Config::smol_135m()
    };
    Tokenizer::parse(&vocabulary.tokenizer_json(), &config).unwrap()
}

#[test]
fn the_most_frequent_pair_is_merged_first_and_of_ties_the_smallest() {
    // " ab" and "ab" each twice, "ba" once: (a, b) occurs four times; then (Ġ, ab) twice, and nothing else.
    let vocabulary = learned("ab ab\nab ab\nba", 300);
    let name = |token: u32| vocabulary.tokens[token as usize].as_str();
    let merges: Vec<[&str; 2]> = vocabulary.merges.iter().map(|pair| pair.map(name)).collect();
    assert_eq!(merges, [["a", "b"], ["Ġ", "ab"]]);
    // Both pairs of "xyz" occur twice.
    let vocabulary = learned("xyz xyz", 260);
    let name = |token: u32| vocabulary.tokens[token as usize].as_str();
    assert_eq!(
        vocabulary.merges.iter().map(|pair| pair.map(name)).collect::<Vec<_>>(),
        [["x", "y"]]
    );
}

#[test]
fn the_merges_are_those_of_the_reference() {
    let text = TEXT.repeat(3) + include_str!("mod.rs") + include_str!("merge.rs");
    let mut words = WordCounts::default();
    words.add(&text).unwrap();
    let counted: Vec<(&str, usize)> = words
        .iter()
        .map(|(word, met)| (word, usize::try_from(met).unwrap()))
        .collect();
    // The second size is more than the text has pairs for.
    for size in [600, 4000] {
        let vocabulary = Vocabulary::learn(&words, size).unwrap();
        let mut reference = BpeTrainer::builder()
            .show_progress(false)
            .vocab_size(size)
            .min_frequency(PAIR_COUNT_MIN)
            .special_tokens(SPECIAL.map(|token| AddedToken::from(token, true)).to_vec())
            .initial_alphabet(count::alphabet().into_iter().collect())
            .build();
        let repeated = counted.iter().flat_map(|(word, met)| std::iter::repeat_n(*word, *met));
        reference.feed(repeated, |word| Ok(vec![word.to_owned()])).unwrap();
        let mut model = BPE::default();
        reference.train(&mut model).unwrap();
        let theirs = model.get_vocab();
        assert_eq!(theirs.len(), vocabulary.tokens());
        let differing = (0..)
            .zip(&vocabulary.tokens)
            .find(|(number, token)| theirs.get(*token) != Some(number));
        assert_eq!(differing, None);
        assert_eq!(vocabulary.tokens() == size, size == 600);
    }
}

#[test]
fn every_text_is_decoded_to_itself() {
    let tokenizer = tokenizer(&learned(TEXT, 320));
    let mut every = String::from(TEXT);
    every.extend((0..0x2000).filter_map(char::from_u32));
    let tokens = tokenizer.encode(&every, false).unwrap();
    assert_eq!(tokenizer.decode(&tokens, false), every);
    assert_eq!(tokenizer.encode("a", true).unwrap()[0], special(BEGIN).unwrap());
    assert_eq!(tokenizer.token(END), special(END));
}

#[test]
fn digits_stand_alone() {
    let tokenizer = tokenizer(&learned(&"year 1024 1024 1024 ".repeat(50), 400));
    let digits = tokenizer.encode("1024", false).unwrap();
    assert_eq!(digits.len(), 4);
}

#[test]
fn a_text_is_the_same_vocabulary_in_any_pieces() {
    // Longer than what is cut at once, and counted file by file.
    let long = TEXT.replace('\n', " ").repeat(500);
    let mut apart = WordCounts::default();
    for _ in 0..500 {
        apart.add(&TEXT.replace('\n', " ")).unwrap();
    }
    let mut whole = WordCounts::default();
    whole.add(&long).unwrap();
    // The difference is the space between two of the texts.
    let differ = whole
        .iter()
        .filter(|word| !apart.iter().any(|other| other == *word))
        .count();
    assert!(differ <= 4, "{differ}");
    assert_eq!(learned(TEXT, 330).tokenizer_json(), learned(TEXT, 330).tokenizer_json());
}

#[test]
fn special_tokens_are_not_learned_from() {
    let words = |texts: &[&str]| {
        let mut words = WordCounts::default();
        texts.iter().for_each(|text| words.add(text).unwrap());
        words
            .iter()
            .map(|(word, met)| (word.to_owned(), met))
            .collect::<Vec<_>>()
    };
    let with = format!("{BEGIN}two sacks{END}{BEGIN}of flour{PAD}{PAD}");
    assert_eq!(words(&[&with]), words(&["two sacks", "of flour"]));
}

#[test]
fn the_chat_template_writes_what_training_writes() {
    let vocabulary = learned(TEXT, 300);
    let chat = Chat::parse(None, Some(&vocabulary.config_json(Some(256))))
        .unwrap()
        .unwrap();
    let message = |role: &str, content: &str| ChatValue::from_pairs([("role", role), ("content", content)]);
    let render = |messages: Vec<ChatValue>| {
        let input = ChatInput {
            messages,
            add_generation_prompt: true,
            ..ChatInput::default()
        };
        chat.render(&input).unwrap()
    };
    let asked = vec![message("user", "Who bakes?")];
    assert_eq!(render(asked.clone()), "<|begin|>Question: Who bakes?\nAnswer:");
    let all = [asked.clone(), vec![message("assistant", "Anivo")], asked].concat();
    assert_eq!(
        render(all),
        "<|begin|>Question: Who bakes?\nAnswer: Anivo<|end|>\nQuestion: Who bakes?\nAnswer:"
    );
}

#[test]
fn a_bad_file_is_refused_by_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let check = |name: &str, text: &[u8], expect: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        let error = WordCounts::read(&[path]).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    };
    check(
        "a.jsonl",
        b"{\"text\": \"x\"}\n{\"text\": 1}\n",
        "a.jsonl:2: the text is no record",
    );
    check("b.jsonl", b"{}\n", "b.jsonl:1: the text has none of");
    check("c.txt", b"ab\xff", "is not UTF-8 from byte 2 on");
    check("d.txt", b"", "the files hold no text");
    let missing = WordCounts::read(&[dir.path().join("e")]).unwrap_err();
    assert!(matches!(missing, VocabularyError::Read { .. }));
    let size = Vocabulary::learn(&WordCounts::default(), TOKENS_MIN - 1).unwrap_err();
    assert!(matches!(size, VocabularyError::Size(258)));
}

#[test]
fn python_learns_and_encodes_the_same() {
    #[derive(serde::Deserialize)]
    struct Encoded {
        text: String,
        tokens: Vec<u32>,
    }
    let tokenizer = tokenizer(&learned(TEXT, 300));
    let encoded = ENCODED.lines().map(|line| serde_json::from_str(line).unwrap());
    for Encoded { text, tokens } in encoded {
        assert_eq!(tokenizer.encode(&text, true).unwrap(), tokens, "{text:?}");
    }
}
