//! Setting up the engine process that serves a model of this home: model, adapters, device and limits.

use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use base::{entropy, home::Home, report::Kind};
use serve::{
    loader::Base,
    process::{Command, Enforcement, EngineSetup, Ready},
    schedule::Limits,
    tier::Budget,
};
use storage::secret;

use crate::{error::JobError, models};

/// A model to serve, and the limits of its engine.
#[derive(Clone, Debug)]
pub struct Serving {
    /// Folder of the base model, or the name of a stored one.
    pub model: String,
    /// Folder that contains the adapters' folders.
    pub adapters: Option<PathBuf>,
    /// Model name for clients; `None` uses the name of its folder.
    pub name: Option<String>,
    /// `cpu`, `cuda`, `cuda:N`, or `auto`.
    pub device: String,
    /// Compute threads; 0 uses all cores.
    pub threads: usize,
    /// Quantisation of the weights in memory: `none`, `int8` or `int4`.
    pub quantise: String,
    /// Memory limit of the engine beside the model file, in bytes; an engine that exceeds it is restarted.
    pub memory_bytes_max: Option<u64>,
    /// Memory for adapters, in bytes; beyond it the least recently used are unloaded.
    pub adapter_bytes_max: u64,
    /// Most completions to generate at once.
    pub rows_max: Option<usize>,
}

/// An engine that is ready to start.
#[derive(Debug)]
pub struct Prepared {
    /// Model name for clients.
    pub name: String,
    pub base: Base,
    /// Command line of the child process.
    pub command: Command,
    /// Settings that the child process gets from its parent.
    pub engine: EngineSetup,
}

impl Serving {
    /// Finds the model, and stores it in the home if it is given as a folder.
    pub fn prepare(self, home: &Home) -> Result<Prepared, JobError> {
        let store = models::store(home)?;
        let dir = Path::new(&self.model);
        let stored = match dir.is_dir() {
            true => store.add(dir)?,
            false => models::find(&store, &self.model)?,
        };
        let kept = store.dir(stored.hash);
        let base = Base::read(&kept)?;
        // A model given as a folder gets that folder's name, whatever it was named when it was stored.
        let label = dir.is_dir().then(|| dir.canonicalize().ok()).flatten();
        let label = label.and_then(|dir| Some(dir.file_name()?.to_string_lossy().into_owned()));
        let program = std::env::current_exe().map_err(|source| JobError::Io {
            what: "could not find the file of this program".to_owned(),
            source,
        })?;
        Ok(Prepared {
            command: Command {
                program,
                args: vec!["engine".into()],
            },
            engine: EngineSetup {
                model: written(&kept)?,
                adapters: self.adapters.as_deref().map(written).transpose()?,
                limits: self.limits(),
                device: self.device,
                threads: self.threads,
                quantise: self.quantise,
                memory_bytes_max: self.memory_bytes_max,
                tiers: Budget {
                    host_bytes: self.adapter_bytes_max,
                    ..Budget::default()
                },
                pages: None,
            },
            name: self.name.or(label).unwrap_or_else(|| base.label.clone()),
            base,
        })
    }

    fn limits(&self) -> Limits {
        let defaults = Limits::default();
        let rows = self.rows_max.unwrap_or(defaults.rows_max);
        Limits {
            rows_max: rows,
            step_tokens: defaults.step_tokens.max(rows),
            step_adapters: defaults.step_adapters.max(rows),
            slot_bytes: defaults.slot_bytes.min(self.adapter_bytes_max),
            ..defaults
        }
    }
}

/// The absolute path as text, which the child process gets.
fn written(path: &Path) -> Result<String, JobError> {
    let path = path.canonicalize().map_err(|source| JobError::Io {
        what: "could not find the folder of adapters; check --adapters".to_owned(),
        source,
    })?;
    path.to_str().map(str::to_owned).ok_or_else(|| {
        let text = format!("the path {} is not UTF-8; rename it", path.display());
        JobError::refused(Kind::Failed, text)
    })
}

/// Reads the token that clients must send. Creates the file with a random token if it does not exist.
pub fn token(file: &Path) -> Result<String, JobError> {
    if !file.exists() {
        if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(JobError::file("make the folder", folder))?;
        }
        let token = format!("{}\n", hex::encode(entropy::bytes::<32>()));
        secret::write(file, token.as_bytes())?;
    }
    let bytes = secret::read(file)?;
    let text = str::from_utf8(&bytes).map(str::trim).unwrap_or_default();
    if text.len() < 16 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let text = format!(
            "{} does not contain a token of at least 16 visible characters; move the file away and a new one is created",
            file.display()
        );
        return Err(JobError::refused(Kind::Usage, text));
    }
    Ok(text.to_owned())
}

/// Lists the isolation measures that are not in force on this machine, with reasons.
pub fn warnings(ready: &Ready) -> Vec<String> {
    let isolation = &ready.isolation;
    [
        ("the engine process has network access", &isolation.no_network),
        (
            "the engine process does not stop with its parent",
            &isolation.ends_with_parent,
        ),
        ("the engine has no memory limit", &isolation.memory_limit),
    ]
    .into_iter()
    .filter_map(|(what, holds)| match holds {
        Enforcement::No(why) => Some(format!("{what}: {why}")),
        Enforcement::Yes | Enforcement::NotRequested => None,
    })
    .collect()
}
