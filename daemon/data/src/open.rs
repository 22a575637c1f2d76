//! Opens the blob stores and the data plane, before the node has peers.

use std::{num::NonZeroU64, path::Path};

use config::Size;
use net::data::{DataConfig, DataLimits, DataPlane};
use storage::blob::{BlobStore, Reason, Settings};

use base::home::Home;

/// Wait for another process to close a store, so that a node can start while a command reads its home.
const HAND_OVER_MS: u64 = 5_000;

/// Reason that a blob store did not open.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Open(#[from] storage::blob::OpenError),
    #[error("could not make {}", dir.display())]
    Folder {
        dir: std::path::PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// Reason that the public store or the data plane did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenDataError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("data.listen, data.reach: {0}")]
    Plane(#[from] net::data::DataStartError),
}

/// The opened store and data plane, from which [`crate::Data::start`] makes a running [`crate::Data`].
pub struct Opened {
    /// Serves blobs to peers. The libp2p network announces its addresses.
    pub plane: DataPlane,
    pub public: BlobStore,
    pub home: Home,
    pub config: config::Config,
}

impl Opened {
    /// Opens the public store, and listens for peers on the data plane.
    pub async fn open(home: &Home, config: &config::Config, seed: [u8; 32]) -> Result<Self, OpenDataError> {
        let public = open_store(&home.blobs(), &config.data, config.storage.min_free_space).await?;
        let (data, rate) = (&config.data, |size: Size| NonZeroU64::new(size.0));
        let defaults = DataConfig::new(seed);
        let plane = DataPlane::start(DataConfig {
            bind: vec![data.listen],
            relay: data.relay().map(str::to_owned),
            mdns: data.mdns(),
            upload_per_s: rate(data.upload_per_s),
            download_per_s: rate(data.download_per_s),
            limits: DataLimits {
                download_per_provider_per_s: rate(data.download_per_provider_per_s),
                ..defaults.limits
            },
            ..defaults
        });
        Ok(Self {
            plane: plane.await?,
            public,
            home: home.clone(),
            config: config.clone(),
        })
    }
}

pub(crate) async fn open_store(dir: &Path, data: &config::Data, floor: Size) -> Result<BlobStore, StoreError> {
    std::fs::create_dir_all(dir).map_err(|source| StoreError::Folder {
        dir: dir.to_owned(),
        source,
    })?;
    let space = storage::blob::SpaceLimits {
        quota: Some(data.quota.0),
        floor: floor.0,
    };
    let settings = Settings {
        space,
        open_patience_ms: HAND_OVER_MS,
        ..Settings::default()
    };
    let blobs = BlobStore::open(dir, settings).await?;
    drop_unfinished_imports(&blobs).await;
    Ok(blobs)
}

/// Removes the pins of imports that a kill interrupted, so that their blobs can be collected.
async fn drop_unfinished_imports(blobs: &BlobStore) {
    let kept = blobs.kept();
    let reasons = kept.values().flat_map(|kept| kept.reasons.iter());
    let left: std::collections::BTreeSet<_> = reasons
        .filter(|reason| matches!(reason, Reason::Job(name) if name.starts_with("add ")))
        .collect();
    for reason in left {
        // A failure is retried at the next start.
        drop(blobs.unpin_all(reason).await);
    }
}
