//! Layers of configuration: reads values from flags, environment, file, preset and defaults, and picks the strongest.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize as _, Serialize};
use toml::{Table, Value};

use crate::{Config, FILE, network, networks};

const ENV: &str = "OPENLEDGER_";

/// The source of a value. A later variant overrides an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    Default,
    Preset(String),
    File(PathBuf),
    Env(String),
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Preset(name) => write!(f, "preset {name}"),
            Self::File(path) => path.display().fmt(f),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// Reason that the configuration could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("there is no key `{key}` ({origin}); {}", did_you_mean(nearest))]
    Unknown {
        key: String,
        origin: Origin,
        nearest: Option<String>,
    },
    #[error(transparent)]
    Value(Box<ValueError>),
    #[error("{} is not valid TOML: {why}", file.display())]
    Syntax { file: PathBuf, why: String },
    #[error("could not read {}", file.display())]
    Read { file: PathBuf, source: io::Error },
    #[error("there is no network `{name}` ({origin}); choose one of: {}", names())]
    Network { name: String, origin: Origin },
}

/// A value of the wrong type or out of range for its key.
#[derive(Debug, thiserror::Error)]
#[error("{key} = {value} ({origin}): {why}; write a value such as {sample}")]
pub struct ValueError {
    pub key: String,
    pub value: String,
    pub origin: Origin,
    pub why: String,
    /// A value that would be accepted: the default.
    pub sample: String,
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(
        || "`openledger config show` lists all keys".to_owned(),
        |nearest| format!("did you mean `{nearest}`?"),
    )
}

fn names() -> String {
    networks()
        .iter()
        .map(|network| network.name)
        .collect::<Vec<_>>()
        .join(", ")
}

/// One key with its value and origin, as `openledger config show` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub key: String,
    /// Its value, as TOML.
    pub value: String,
    pub origin: Origin,
}

/// A configuration, with the origin of each of its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    pub config: Config,
    origins: BTreeMap<String, Origin>,
}

impl Loaded {
    /// The origin of the value of `section.key`; `None` for a default or an unknown key.
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        self.origins.get(key)
    }

    /// Lists every key with its value and origin, sorted by key.
    pub fn settings(&self) -> Vec<Setting> {
        flatten(&table(&self.config))
            .into_iter()
            .map(|(key, value)| {
                let origin = self.origins.get(&key).cloned().unwrap_or(Origin::Default);
                Setting {
                    key,
                    value: value.to_string(),
                    origin,
                }
            })
            .collect()
    }
}

impl Config {
    /// Loads the configuration of the node in `home`.
    ///
    /// `preset` is the network given with `--network`. Of `env`, only variables of the form `OPENLEDGER_SECTION__KEY` are
    /// used. `flags` are pairs of `section.key` and text; the items of a list are separated by commas.
    pub fn load(
        home: &Path,
        preset: Option<&str>,
        env: impl IntoIterator<Item = (String, String)>,
        flags: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Loaded, LoadError> {
        let mut layers = Layers::new();
        layers.add_file(&home.join(FILE))?;
        // Sorted, so that of two mistakes the same one is reported each time.
        for (name, text) in env.into_iter().collect::<BTreeMap<_, _>>() {
            let key = name.strip_prefix(ENV).and_then(|rest| rest.split_once("__"));
            if let Some((section, key)) = key {
                let key = format!("{section}.{key}").to_lowercase();
                layers.add_text(&key, &text, Origin::Env(name))?;
            }
        }
        for (key, text) in flags {
            layers.add_text(&key, &text, Origin::Flag(key.clone()))?;
        }
        if let Some(name) = preset {
            layers.add("node.network", Value::from(name), Origin::Flag("--network".to_owned()))?;
        }
        layers.add_preset()?;
        Ok(layers.finish())
    }
}

/// The values set so far, by key.
struct Layers {
    defaults: BTreeMap<String, Value>,
    set: BTreeMap<String, (Value, Origin)>,
}

impl Layers {
    fn new() -> Self {
        Self {
            defaults: flatten(&table(&Config::default())),
            set: BTreeMap::new(),
        }
    }

    fn add_file(&mut self, file: &Path) -> Result<(), LoadError> {
        let text = match fs::read_to_string(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            text => text.map_err(|source| LoadError::Read {
                file: file.to_owned(),
                source,
            })?,
        };
        let table: Table = toml::from_str(&text).map_err(|error| LoadError::Syntax {
            file: file.to_owned(),
            why: error.to_string().trim_end().to_owned(),
        })?;
        self.add_table(&table, &Origin::File(file.to_owned()))
    }

    fn add_preset(&mut self) -> Result<(), LoadError> {
        let (name, origin) = match self.set.get("node.network") {
            Some((Value::String(name), origin)) => (name.clone(), origin.clone()),
            _ => (Config::default().node.network, Origin::Default),
        };
        let Some(network) = network(&name) else {
            return Err(LoadError::Network { name, origin });
        };
        let table = toml::from_str(network.preset).expect("presets are tested");
        self.add_table(&table, &Origin::Preset(name))
    }

    fn add_table(&mut self, table: &Table, origin: &Origin) -> Result<(), LoadError> {
        flatten(table)
            .into_iter()
            .try_for_each(|(key, value)| self.add(&key, value, origin.clone()))
    }

    /// Adds a value from a flag or the environment, parsed as the type of the key's default.
    fn add_text(&mut self, key: &str, text: &str, origin: Origin) -> Result<(), LoadError> {
        let as_text = || Value::from(text);
        let value = match self.defaults.get(key) {
            Some(Value::Integer(_)) => text.parse::<i64>().map_or_else(|_| as_text(), Value::from),
            Some(Value::Boolean(_)) => text.parse::<bool>().map_or_else(|_| as_text(), Value::from),
            Some(Value::Array(_)) => Value::Array(list(text)),
            _ => as_text(),
        };
        self.add(key, value, origin)
    }

    /// Adds a value after checking its type and range. It is ignored if a stronger origin has set the key.
    fn add(&mut self, key: &str, value: Value, origin: Origin) -> Result<(), LoadError> {
        let Some(sample) = self.defaults.get(key) else {
            return Err(LoadError::Unknown {
                key: key.to_owned(),
                origin,
                nearest: self.nearest(key),
            });
        };
        // Checked alone among the defaults, so that an error is about this value.
        let mut alone = self.defaults.clone();
        alone.insert(key.to_owned(), value.clone());
        let fits = Config::deserialize(Value::Table(unflatten(alone))).map_err(|error| error.message().to_owned());
        if let Err(why) = fits.and_then(|config| config.check()) {
            let (key, value, sample) = (key.to_owned(), value.to_string(), sample.to_string());
            return Err(LoadError::Value(Box::new(ValueError {
                key,
                value,
                origin,
                why,
                sample,
            })));
        }
        let is_weaker = self.set.get(key).is_some_and(|(_, before)| *before > origin);
        if !is_weaker {
            self.set.insert(key.to_owned(), (value, origin));
        }
        Ok(())
    }

    fn nearest(&self, key: &str) -> Option<String> {
        let name = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
        // At most one typing error in four letters; further away a suggestion is a guess.
        let near = |one: &str, other: &str| Some(distance(one, other)).filter(|errors| errors * 4 <= one.len());
        let known = self.defaults.keys();
        // The right name in the wrong section is a likelier mistake than a few letters.
        let nearest = known.filter_map(|known| {
            let in_other_section = near(&name(key), &name(known)).map(|errors| 1 + 2 * errors);
            let errors = in_other_section.into_iter().chain(near(key, known)).min()?;
            Some((errors, known))
        });
        nearest.min().map(|(_, known)| known.clone())
    }

    fn finish(self) -> Loaded {
        let mut values = self.defaults;
        let mut origins = BTreeMap::new();
        for (key, (value, origin)) in self.set {
            values.insert(key.clone(), value);
            origins.insert(key, origin);
        }
        let config = Config::deserialize(Value::Table(unflatten(values))).expect("each value was tried");
        Loaded { config, origins }
    }
}

/// Parses a list: items separated by commas, or a TOML array.
fn list(text: &str) -> Vec<Value> {
    let array = text.trim_start().starts_with('[').then(|| text.trim().parse::<Value>());
    if let Some(Ok(Value::Array(items))) = array {
        return items;
    }
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(Value::from)
        .collect()
}

/// Serialises a section or a configuration to a TOML table.
pub(crate) fn table(config: &impl Serialize) -> Table {
    Table::try_from(config).expect("every value has a form in TOML")
}

/// Maps `section.key` to its value. A section that is not a table keeps its own name, which matches no key.
pub(crate) fn flatten(table: &Table) -> BTreeMap<String, Value> {
    let mut flat = BTreeMap::new();
    for (section, value) in table {
        match value {
            Value::Table(keys) => {
                flat.extend(
                    keys.iter()
                        .map(|(key, value)| (format!("{section}.{key}"), value.clone())),
                );
            }
            value => {
                flat.insert(section.clone(), value.clone());
            }
        }
    }
    flat
}

fn unflatten(flat: BTreeMap<String, Value>) -> Table {
    let mut table = Table::new();
    for (key, value) in flat {
        let (section, key) = key.split_once('.').expect("every known key has a section");
        let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
        section
            .as_table_mut()
            .expect("sections are tables")
            .insert(key.to_owned(), value);
    }
    table
}

/// Levenshtein distance: number of letters to change, insert or delete.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests;
