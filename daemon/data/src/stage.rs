//! The stores and the data plane, opened before there are peers.

use std::{num::NonZeroU64, path::Path};

use config::Size;
use net::data::{DataConfig, DataLimits, DataPlane};
use storage::blob::{BlobStore, Reason, Settings};

use base::home::Home;

/// How long the stores are waited for: a node that starts does not fail because a command looks into its home.
const HAND_OVER_MS: u64 = 5_000;

/// Why a store did not open.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] storage::blob::OpenError),
    /// Its folder cannot be made.
    #[error("could not make {}", dir.display())]
    Folder {
        /// Which.
        dir: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Why the public store or the plane did not open.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Peers cannot be served.
    #[error("data.listen, data.reach: {0}")]
    Plane(#[from] net::data::DataStartError),
}

/// The stores and the plane, before there are peers.
pub struct Stage {
    /// Where peers fetch from; the control plane is told of its addresses.
    pub plane: DataPlane,
    pub public: BlobStore,
    pub home: Home,
    pub config: config::Config,
}

impl Stage {
    /// Opens the stores and listens.
    pub async fn open(home: &Home, config: &config::Config, seed: [u8; 32]) -> Result<Self, StageError> {
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
    forget_imports(&blobs).await;
    Ok(blobs)
}

/// Imports that a kill cut short left reasons behind that nobody needs.
async fn forget_imports(blobs: &BlobStore) {
    let kept = blobs.kept();
    let reasons = kept.values().flat_map(|kept| kept.reasons.iter());
    let left: std::collections::BTreeSet<_> = reasons
        .filter(|reason| matches!(reason, Reason::Job(name) if name.starts_with("add ")))
        .collect();
    for reason in left {
        // Tried again at the next start.
        drop(blobs.unpin_all(reason).await);
    }
}
