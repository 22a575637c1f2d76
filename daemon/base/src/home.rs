//! Where everything a node writes lies: one folder, which can be moved while the node is stopped.
//!
//! | path                | what                                                             |
//! |---------------------|------------------------------------------------------------------|
//! | `config.toml`       | what the operator chose                                          |
//! | `genesis.json`      | the chain this folder belongs to                                 |
//! | `keys/`             | secrets, readable by their owner only                            |
//! | `chain/blocks/`     | the block log: the truth                                         |
//! | `chain/journal/`    | what this validator said at the height being decided             |
//! | `chain/state/`      | state and indexes: a cache, rebuilt from the log when missing    |
//! | `chain/mempool`     | transactions that were taken in here and wait                    |
//! | `data/`             | datasets, models and whatever else is pinned here                |
//! | `models/`           | base models, each a folder named by its content                  |
//! | `node.json`         | where the running node listens                                   |
//! | `api.sock`          | where it takes commands from its own user                        |
//! | `lock`              | who runs here                                                    |

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The folder of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home(PathBuf);

impl Home {
    /// The folder at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    /// Where a node lives if nobody says otherwise.
    pub fn default_root() -> PathBuf {
        std::env::home_dir()
            .unwrap_or_else(|| PathBuf::from("."))
            .join(".openledger")
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// What the operator chose.
    pub fn config(&self) -> PathBuf {
        self.0.join("config.toml")
    }

    /// The chain this folder belongs to.
    pub fn genesis(&self) -> PathBuf {
        self.0.join("genesis.json")
    }

    /// The folder of secrets.
    pub fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    /// The key that names this node among its peers.
    pub fn node_key(&self) -> PathBuf {
        self.keys().join("node.key")
    }

    /// The key that signs this validator's votes, if it is one.
    pub fn validator_key(&self) -> PathBuf {
        self.keys().join("validator.key")
    }

    /// The folder of account keystores.
    pub fn accounts(&self) -> PathBuf {
        self.keys().join("accounts")
    }

    /// The block log.
    pub fn blocks(&self) -> PathBuf {
        self.0.join("chain/blocks")
    }

    /// The consensus journal.
    pub fn journal(&self) -> PathBuf {
        self.0.join("chain/journal")
    }

    /// The state database.
    pub fn state(&self) -> PathBuf {
        self.0.join("chain/state")
    }

    /// Waiting transactions.
    pub fn mempool(&self) -> PathBuf {
        self.0.join("chain/mempool")
    }

    /// What is shared: blobs, pins, datanets.
    pub fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    /// The blobs that everybody may fetch.
    pub fn blobs(&self) -> PathBuf {
        self.data().join("blobs")
    }

    /// What is known of the records of datasets, to find copies by.
    pub fn sketches(&self) -> PathBuf {
        self.data().join("sketches")
    }

    /// What work this node offers.
    pub fn offer(&self) -> PathBuf {
        self.data().join("work.json")
    }

    /// What is known of datanets, with the stores of permissioned ones.
    pub fn datanets(&self) -> PathBuf {
        self.data().join("datanets")
    }

    /// The deals that this node made or took.
    pub fn deals(&self) -> PathBuf {
        self.data().join("deals")
    }

    /// Base models.
    pub fn models(&self) -> PathBuf {
        self.0.join("models")
    }

    /// What programs show to be answered by the engine.
    pub fn serve_token(&self) -> PathBuf {
        self.keys().join("serve.token")
    }

    /// Locked while answers are under way.
    pub fn busy(&self) -> PathBuf {
        self.0.join("busy.lock")
    }

    /// Where the running node takes commands, unless the path is too long for a socket.
    pub fn socket(&self) -> PathBuf {
        self.0.join("api.sock")
    }

    /// Where the running node listens.
    pub fn listening(&self) -> PathBuf {
        self.0.join("node.json")
    }
}

/// The folders in a folder, which need not exist, in order.
pub fn folders(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut folders = Vec::new();
    for entry in entries {
        let path = entry?.path();
        folders.extend(path.is_dir().then_some(path));
    }
    folders.sort();
    Ok(folders)
}
