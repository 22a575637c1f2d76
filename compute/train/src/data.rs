//! Examples: tokens, what counts of them, whose they are, and where they stood. Their order is part of a run.

use std::{collections::BTreeMap, io, ops::Range, path::PathBuf};

use compute::model::Config;

use super::recipe::{Overlong, Recipe};

/// Records of a run.
pub(super) const RECORDS_MAX: usize = 1 << 26;

/// One record as the model sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Its tokens, at least two.
    pub tokens: Vec<u32>,
    /// Tokens that are to be foretold from those before them: never the first.
    pub answers: Vec<Range<u32>>,
    /// Whose it is: an index into [`Corpus::contributors`].
    pub contributor: u32,
    /// Where it stood: an index into [`Corpus::files`], and a line from 1.
    pub place: (u32, u32),
}

impl Example {
    /// How many tokens count.
    pub fn counted(&self) -> usize {
        self.answers.iter().map(|range| range.len()).sum()
    }

    /// Its name: a hash of its tokens and what counts of them.
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

/// Everything that is trained on, in order.
#[derive(Clone, Debug, Default)]
pub struct Corpus {
    /// The records.
    pub examples: Vec<Example>,
    /// Whose they are.
    pub contributors: Vec<String>,
    /// The files, as they were named.
    pub files: Vec<String>,
}

/// Data that cannot be trained on.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file could not be read.
    #[error("could not read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A record cannot be used.
    #[error("{file}:{line}: the record {why}")]
    Record {
        /// Its file.
        file: String,
        /// Its line, from 1.
        line: u32,
        /// What is wrong.
        why: String,
    },
    /// There is nothing.
    #[error("the files hold no records")]
    Empty,
    /// Too many.
    #[error("there are more than {RECORDS_MAX} records; train on a part of them")]
    Many,
    /// A weight for nobody.
    #[error("there is a weight for `{0}`, who contributed nothing; contributors are {1}")]
    Unknown(String, String),
    /// A weight that is none.
    #[error("the weight of `{0}` is {1}; 0 to 1000 is accepted")]
    Weight(String, f64),
}

impl Corpus {
    /// Adds a record of tokens. Which of them count is told for each.
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

    /// The weight of each contributor, 1 for those that are not named.
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

    /// Where a record stood, for people.
    pub(crate) fn place(&self, index: usize) -> String {
        let (file, line) = self.examples[index].place;
        format!("{}:{line}", self.files[file as usize])
    }

    /// A hash of all records in order, with whose they are.
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
    // Nothing stands before the first.
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
