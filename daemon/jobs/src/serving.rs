//! Preparing an engine to serve a model of this home: which model, which adapters, how much of the machine.

use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use base::{entropy, home::Home, report::Kind};
use serve::{
    loader::Base,
    process::{Command, EngineSetup, Enforcement, Ready},
    schedule::Limits,
    tier::Budget,
};
use storage::secret;

use crate::{error::JobError, models};

/// A request to serve a model, with limits on the machine's resources.
#[derive(Clone, Debug)]
pub struct Serving {
    /// Folder of a model, or the name of a stored one.
    pub model: String,
    /// Folder whose subfolders are adapters.
    pub adapters: Option<PathBuf>,
    /// Model name for clients; `None` for the name of its folder.
    pub name: Option<String>,
    /// `cpu`, `cuda`, `cuda:N`, or `auto`.
    pub device: String,
    /// Number of compute threads; 0 for all of the machine.
    pub threads: usize,
    /// Quantisation of the weights: `none`, `int8` or `int4`.
    pub quantise: String,
    /// Most bytes of memory of the engine, the mapped model excluded. Exceeding it ends the process, which then restarts.
    pub memory_bytes_max: Option<u64>,
    /// Most bytes of adapters in host memory.
    pub adapter_bytes_max: u64,
    /// Most completions computed at once.
    pub rows_max: Option<usize>,
}

/// An engine that is ready to be started.
#[derive(Debug)]
pub struct Prepared {
    /// Model name for clients.
    pub name: String,
    pub base: Base,
    /// Command line of the engine's process.
    pub command: Command,
    /// Settings sent to the process.
    pub engine: EngineSetup,
}

impl Serving {
    /// Finds the model; a folder is added to the store first.
    pub fn prepare(self, home: &Home) -> Result<Prepared, JobError> {
        let store = models::store(home)?;
        let dir = Path::new(&self.model);
        let stored = match dir.is_dir() {
            true => store.add(dir)?,
            false => models::find(&store, &self.model)?,
        };
        let kept = store.dir(stored.hash);
        let base = Base::read(&kept)?;
        // A model given as a folder is named like that folder now, whatever it was called when it was first added.
        let label = dir.is_dir().then(|| dir.canonicalize().ok()).flatten();
        let label = label.and_then(|dir| Some(dir.file_name()?.to_string_lossy().into_owned()));
        let program = std::env::current_exe().map_err(|source| JobError::Io {
            what: "this program's own file cannot be found".to_owned(),
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

/// A path as text, for the engine's process.
fn written(path: &Path) -> Result<String, JobError> {
    let path = path.canonicalize().map_err(|source| JobError::Io {
        what: "could not find the folder of adapters; check --adapters".to_owned(),
        source,
    })?;
    path.to_str().map(str::to_owned).ok_or_else(|| {
        let text = format!("{} is no name that can be written down; rename it", path.display());
        JobError::refused(Kind::Failed, text)
    })
}

/// Reads the API token from its file, created with a random token if missing.
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
            "{} does not hold a token of 16 visible characters or more; move it aside and one is made",
            file.display()
        );
        return Err(JobError::refused(Kind::Usage, text));
    }
    Ok(text.to_owned())
}

/// Sandbox restrictions that this machine does not support, as warnings.
pub fn warnings(ready: &Ready) -> Vec<String> {
    let isolation = &ready.isolation;
    [
        ("the engine's process keeps the network", &isolation.no_network),
        (
            "the engine's process is not ended with this one",
            &isolation.ends_with_parent,
        ),
        ("the engine's memory is not bounded", &isolation.memory_limit),
    ]
    .into_iter()
    .filter_map(|(what, holds)| match holds {
        Enforcement::No(why) => Some(format!("{what}: {why}")),
        Enforcement::Yes | Enforcement::NotRequested => None,
    })
    .collect()
}
