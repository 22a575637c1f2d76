//! The data plane: verified blobs and byte streams over iroh, beside the libp2p control plane.
//!
//! One seed identifies the node on both planes. Nothing is contacted that the operator did not configure: no relay, no DNS,
//! no lookup but the [`AddressBook`] that the control plane fills. An [`Admission`] given by the daemon decides who may fetch
//! what; stores are handed in and never shut down here.

mod addresses;
mod connections;
mod endpoint;
mod rate_limit;
mod serve;
mod settings;
mod stream;
mod swarm;

pub use addresses::{AddressBook, DataPorts};
pub use connections::{DataPath, OpenError};
pub use endpoint::{DataPlane, DataStartError};
pub use rate_limit::RateLimit;
pub use serve::{Admission, BlobRequest, Share};
pub use settings::{Alpn, DataConfig, DataLimits, DataMetrics};
pub use stream::{ByteStream, StreamHandler};
pub use swarm::{Blame, Content, Fetch, FetchError, FetchEvent, Fetched, ProviderGone, Wanted};
