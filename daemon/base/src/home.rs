//! The home folder: every file that a node writes lies in it, and it can be moved while the node is stopped.
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

/// The home folder of one node.
///
/// ```
/// let home = base::home::Home::new("/srv/node");
/// assert_eq!(home.node_key(), std::path::Path::new("/srv/node/keys/node.key"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home(PathBuf);

impl Home {
    /// The folder at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    /// The default home: `.openledger` in the user's home folder.
    pub fn default_root() -> PathBuf {
        std::env::home_dir()
            .unwrap_or_else(|| PathBuf::from("."))
            .join(".openledger")
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.0.join("config.toml")
    }

    /// The genesis file of the chain.
    pub fn genesis(&self) -> PathBuf {
        self.0.join("genesis.json")
    }

    /// The folder of secrets.
    pub fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    /// The key that identifies this node among its peers.
    pub fn node_key(&self) -> PathBuf {
        self.keys().join("node.key")
    }

    /// The key that signs this validator's votes, if the node is one.
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

    /// The write-ahead log of consensus.
    pub fn journal(&self) -> PathBuf {
        self.0.join("chain/journal")
    }

    /// The state database: a cache that can be rebuilt.
    pub fn state(&self) -> PathBuf {
        self.0.join("chain/state")
    }

    /// The journal of pending transactions.
    pub fn mempool(&self) -> PathBuf {
        self.0.join("chain/mempool")
    }

    /// The folder of blobs, pins and datanets.
    pub fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    /// The public blob store.
    pub fn blobs(&self) -> PathBuf {
        self.data().join("blobs")
    }

    /// MinHash sketches of the records of datasets, for finding duplicates.
    pub fn sketches(&self) -> PathBuf {
        self.data().join("sketches")
    }

    /// The compute offer of this node.
    pub fn offer(&self) -> PathBuf {
        self.data().join("work.json")
    }

    /// The folder of datanets, with the stores of permissioned ones.
    pub fn datanets(&self) -> PathBuf {
        self.data().join("datanets")
    }

    /// The folder of deals that this node made or took.
    pub fn deals(&self) -> PathBuf {
        self.data().join("deals")
    }

    /// The folder of base models.
    pub fn models(&self) -> PathBuf {
        self.0.join("models")
    }

    /// The API token of the OpenAI API.
    pub fn serve_token(&self) -> PathBuf {
        self.keys().join("serve.token")
    }

    /// The file that is locked while completions are under way.
    pub fn busy(&self) -> PathBuf {
        self.0.join("busy.lock")
    }

    /// The socket of the operator's API, unless the path is too long for one.
    pub fn socket(&self) -> PathBuf {
        self.0.join("api.sock")
    }

    /// The file that says where the running node listens.
    pub fn listening(&self) -> PathBuf {
        self.0.join("node.json")
    }
}

/// The subfolders of a folder, sorted; empty if it does not exist.
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
