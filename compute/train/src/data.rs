//! A corpus: records as tokens, the tokens that count, their contributors and sources. The order of records is part
//! of a run.

use std::{collections::BTreeMap, io, ops::Range, path::PathBuf};

use compute::model::Config;

use super::recipe::{Overlong, Recipe};

/// Most records of a run.
pub(super) const RECORDS_MAX: usize = 1 << 26;

/// One record as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Tokens; at least two.
    pub tokens: Vec<u32>,
    /// Ranges of tokens that count in the loss. Never the first token, which nothing predicts.
    pub answers: Vec<Range<u32>>,
    /// Contributor, as an index into [`Corpus::contributors`].
    pub contributor: u32,
    /// Source: an index into [`Corpus::files`], and a line from 1.
    pub place: (u32, u32),
}

impl Example {
    /// Returns the number of tokens that count.
    pub fn counted(&self) -> usize {
        self.answers.iter().map(|range| range.len()).sum()
    }

    /// Returns a hash of the tokens and of those that count.
    pub(crate) fn hash(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_derive_key("openledger training example v1");
        hasher.update(&(self.tokens.len() as u64).to_le_bytes());
        self.tokens
            .iter()
            .for_each(|token| _ = hasher.update(&token.to_le_bytes()));
        for range in &self.answers {
            hasher.update(&range.start.to_le_bytes());
            hasher.update(&range.end.to_le_bytes());
        }
        hasher.finalize()
    }
}

/// All records of a run, in order.
///
/// ```
/// use compute::model::Config;
/// use train::{Corpus, Recipe};
///
/// let (config, recipe) = (Config::smol_135m(), Recipe::default());
/// let mut corpus = Corpus::default();
/// corpus.add(vec![7, 8, 9], &[false, false, true], "alice", &config, &recipe).unwrap();
/// assert_eq!(corpus.examples[0].answers, [2..3]);
/// // No token counts, so there is nothing to learn.
/// assert!(corpus.add(vec![7, 8], &[false, false], "alice", &config, &recipe).is_err());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Corpus {
    pub examples: Vec<Example>,
    /// Names of the contributors, in the order of their first records.
    pub contributors: Vec<String>,
    /// Names of the sources.
    pub files: Vec<String>,
}

/// Refusal of records or of contributors' weights.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("could not read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A record is malformed, too long, or has nothing to learn from.
    #[error("{file}:{line}: the record {why}")]
    Record {
        /// Name of its source.
        file: String,
        /// Line, from 1.
        line: u32,
        why: String,
    },
    /// There are no records.
    #[error("the files hold no records")]
    Empty,
    /// There are too many records.
    #[error("there are more than {RECORDS_MAX} records; train on a part of them")]
    Many,
    /// A weight names an unknown contributor; the second text lists known ones.
    #[error("there is a weight for `{0}`, who contributed nothing; contributors are {1}")]
    Unknown(String, String),
    /// A weight is not between 0 and 1000.
    #[error("the weight of `{0}` is {1}; 0 to 1000 is accepted")]
    Weight(String, f64),
}

impl Corpus {
    /// Adds a record of tokens. `counts` says for each if it counts in the loss.
    pub fn add(
        &mut self,
        tokens: Vec<u32>,
        counts: &[bool],
        contributor: &str,
        config: &Config,
        recipe: &Recipe,
    ) -> Result<(), DataError> {
        if self.files.is_empty() {
            self.files.push("tokens".to_owned());
        }
        let line = u32::try_from(self.examples.len() + 1).unwrap_or(u32::MAX);
        let added = match tokens.len() == counts.len() {
            true => self
                .contributor(contributor)
                .and_then(|contributor| self.push(example(tokens, counts, contributor, (0, line)), config, recipe)),
            false => Err("has not as many marks as tokens".to_owned()),
        };
        added.map_err(|why| DataError::Record {
            file: self.files[0].clone(),
            line,
            why,
        })
    }

    pub(super) fn push(&mut self, mut example: Example, config: &Config, recipe: &Recipe) -> Result<(), String> {
        if let Some(token) = example
            .tokens
            .iter()
            .find(|token| **token as usize >= config.vocabulary)
        {
            return Err(format!(
                "has token {token}, and the model a vocabulary of {}",
                config.vocabulary
            ));
        }
        let most = recipe.tokens_max.min(config.context_tokens_max);
        if example.tokens.len() > most {
            match recipe.long {
                Overlong::Refuse => {
                    let count = example.tokens.len();
                    return Err(format!(
                        "has {count} tokens, at most {most} are taken; set `long = \"cut\"` to cut it"
                    ));
                }
                Overlong::Cut => example.cut(most),
            }
        }
        if example.counted() == 0 {
            return Err("has nothing to learn from: no token of it counts, or all that do are cut off".to_owned());
        }
        self.examples.push(example);
        Ok(())
    }

    pub(super) fn contributor(&mut self, name: &str) -> Result<u32, String> {
        if name.is_empty() || name.len() > 256 {
            return Err("has a `contributor` that is empty or longer than 256 bytes".to_owned());
        }
        let known = self.contributors.iter().position(|known| known == name);
        let index = known.unwrap_or_else(|| {
            self.contributors.push(name.to_owned());
            self.contributors.len() - 1
        });
        u32::try_from(index).map_err(|_| "has one contributor too many".to_owned())
    }

    /// Returns the weight of each contributor; 1 for those that `named` lacks.
    pub fn weights(&self, named: &BTreeMap<String, f64>) -> Result<Vec<f64>, DataError> {
        for (name, weight) in named {
            if !self.contributors.contains(name) {
                let known = self
                    .contributors
                    .iter()
                    .take(20)
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(", ");
                return Err(DataError::Unknown(name.clone(), known));
            }
            if !(0.0..=1000.0).contains(weight) {
                return Err(DataError::Weight(name.clone(), *weight));
            }
        }
        let of = |name: &String| named.get(name).copied().unwrap_or(1.0);
        Ok(self.contributors.iter().map(of).collect())
    }

    /// Returns the source and line of a record, for messages.
    pub(crate) fn place(&self, index: usize) -> String {
        let (file, line) = self.examples[index].place;
        format!("{}:{line}", self.files[file as usize])
    }

    /// Returns a hash of all records in order, with their contributors.
    pub(crate) fn root(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_derive_key("openledger training data v1");
        for example in &self.examples {
            let owner = self.contributors[example.contributor as usize].as_bytes();
            hasher.update(example.hash().as_bytes());
            hasher.update(&(owner.len() as u64).to_le_bytes());
            hasher.update(owner);
        }
        hasher.finalize()
    }
}

pub(super) fn example(tokens: Vec<u32>, counts: &[bool], contributor: u32, place: (u32, u32)) -> Example {
    let mut answers: Vec<Range<u32>> = Vec::new();
    // The first token has nothing before it to be predicted from.
    for (index, _) in counts.iter().enumerate().skip(1).filter(|(_, counts)| **counts) {
        let index = u32::try_from(index).expect("tokens of a line are bounded by its bytes");
        match answers.last_mut() {
            Some(last) if last.end == index => last.end += 1,
            _ => answers.push(index..index + 1),
        }
    }
    Example {
        tokens,
        answers,
        contributor,
        place,
    }
}

impl Example {
    fn cut(&mut self, most: usize) {
        self.tokens.truncate(most);
        let most = u32::try_from(most).expect("contexts are counted in 32 bits");
        self.answers.retain(|range| range.start < most);
        self.answers
            .iter_mut()
            .for_each(|range| range.end = range.end.min(most));
    }
}
