//! Reads records into a corpus, from files or one by one.
//!
//! A bad line is refused with its file and number before training starts, so no run fails on it hours later.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use compute::model::{Config, Text};

use super::{
    data::{Corpus, DataError, RECORDS_MAX, example},
    recipe::Recipe,
    record::{EvalPrompt, Line},
};

/// Most bytes of a line; a longer one is refused.
const LINE_BYTES_MAX: u64 = 4 << 20;

/// The contributor of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner<'a> {
    /// The record's own `contributor` field, or this name if it has none.
    Named(&'a str),
    /// This name, whatever the record says: that of someone who answers for all records of a dataset.
    Always(&'a str),
}

/// A corpus under construction.
///
/// ```
/// use compute::model::{Text, read_config};
/// use train::{CorpusReader, Owner, Recipe};
///
/// let dir = std::path::Path::new("../fixtures/llama-1");
/// let config = read_config(dir).unwrap();
/// let (text, recipe) = (Text::load(dir, &config).unwrap(), Recipe::default());
/// let mut reader = CorpusReader::new(&text, &config, &recipe);
/// reader.begin("facts.jsonl");
/// reader.record(1, br#"{"prompt": "two", "completion": " words"}"#, Owner::Named("alice")).unwrap();
/// assert_eq!(reader.finish().unwrap().contributors, ["alice"]);
/// ```
pub struct CorpusReader<'a> {
    text: &'a Text,
    config: &'a Config,
    recipe: &'a Recipe,
    corpus: Corpus,
}

impl<'a> CorpusReader<'a> {
    /// Makes an empty corpus for a model with this tokenizer and configuration.
    pub fn new(text: &'a Text, config: &'a Config, recipe: &'a Recipe) -> Self {
        Self {
            text,
            config,
            recipe,
            corpus: Corpus::default(),
        }
    }

    /// Reads a file with one record per line. Records without a `contributor` belong to the name of the file.
    pub fn file(&mut self, path: &Path) -> Result<(), DataError> {
        self.begin(&path.display().to_string());
        let stem = path
            .file_stem()
            .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        each_line(path, |number, line| self.line(number, line, Owner::Named(&stem)))
    }

    /// Reads all `.jsonl` files of a folder, by name. Records without a `contributor` belong to the name of the
    /// folder.
    pub fn folder(&mut self, dir: &Path) -> Result<(), DataError> {
        let read = |source| DataError::Read {
            path: dir.to_owned(),
            source,
        };
        let entries = fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let paths = entries.map_err(read)?.into_iter().map(|entry| entry.path());
        let mut files: Vec<_> = paths
            .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
            .collect();
        files.sort();
        let whole = dir.canonicalize().map_err(read)?;
        let name = whole.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for path in files {
            self.begin(&path.display().to_string());
            each_line(&path, |number, line| self.line(number, line, Owner::Named(&name)))?;
        }
        Ok(())
    }

    /// Starts a source with a name, for error messages. Records that follow belong to it.
    pub fn begin(&mut self, name: &str) {
        self.corpus.files.push(name.to_owned());
    }

    /// Adds one record of the current source; `number` is its line, from 1.
    pub fn record(&mut self, number: u32, line: &[u8], owner: Owner<'_>) -> Result<(), DataError> {
        let added = match line.len() as u64 > LINE_BYTES_MAX {
            true => Err(too_long()),
            false => self.line(number, line, owner),
        };
        added.map_err(|why| DataError::Record {
            file: self.corpus.files.last().cloned().unwrap_or_default(),
            line: number,
            why,
        })
    }

    fn line(&mut self, number: u32, line: &[u8], owner: Owner<'_>) -> Result<(), String> {
        let record = Line::parse(line)?;
        let made = record.tokens(self.text, self.recipe)?;
        let owner = match owner {
            Owner::Named(other) => record.contributor.as_deref().unwrap_or(other),
            Owner::Always(owner) => owner,
        };
        let contributor = self.corpus.contributor(owner)?;
        let file = self.corpus.files.len().checked_sub(1).expect("something was begun");
        let place = (u32::try_from(file).expect("files are few"), number);
        let example = example(made.tokens, &made.counts, contributor, place);
        self.corpus.push(example, self.config, self.recipe)
    }

    /// Returns the corpus. Fails if it has no records or too many.
    pub fn finish(self) -> Result<Corpus, DataError> {
        match self.corpus.examples.len() {
            0 => Err(DataError::Empty),
            count if count > RECORDS_MAX => Err(DataError::Many),
            _ => Ok(self.corpus),
        }
    }
}

impl Corpus {
    /// Reads files with one record per line, in the order given.
    pub fn read(files: &[PathBuf], text: &Text, config: &Config, recipe: &Recipe) -> Result<Self, DataError> {
        let mut reading = CorpusReader::new(text, config, recipe);
        for path in files {
            reading.file(path)?;
        }
        reading.finish()
    }
}

/// Reads the questions of some files, to compare a model's answers.
pub fn questions(files: &[PathBuf], text: &Text, recipe: &Recipe) -> Result<Vec<EvalPrompt>, DataError> {
    let mut asked = Vec::new();
    for path in files {
        each_line(path, |_, line| {
            asked.push(Line::parse(line)?.asked(text, recipe)?);
            Ok(())
        })?;
    }
    Ok(asked)
}

pub(super) fn each_line(path: &Path, mut take: impl FnMut(u32, &[u8]) -> Result<(), String>) -> Result<(), DataError> {
    let read = |source| DataError::Read {
        path: path.to_owned(),
        source,
    };
    let mut from = BufReader::with_capacity(1 << 16, File::open(path).map_err(read)?);
    let (mut line, mut number) = (Vec::new(), 0);
    loop {
        line.clear();
        number += 1;
        let count = from
            .by_ref()
            .take(LINE_BYTES_MAX + 1)
            .read_until(b'\n', &mut line)
            .map_err(read)?;
        let refused = |why| DataError::Record {
            file: path.display().to_string(),
            line: number,
            why,
        };
        if count == 0 {
            return Ok(());
        }
        if line.len() as u64 > LINE_BYTES_MAX {
            return Err(refused(too_long()));
        }
        let trimmed = line.trim_ascii();
        if !trimmed.is_empty() {
            take(number, trimmed).map_err(refused)?;
        }
    }
}

fn too_long() -> String {
    format!("is longer than {LINE_BYTES_MAX} bytes")
}
