//! The data plane: blobs, verified as they arrive, and byte streams, over iroh beside the control plane.
//!
//! One seed names the node on both planes. Nothing is contacted that the operator did not name: no relay, no directory,
//! no lookup but the [`AddressBook`] that the control plane fills. What is served to whom is decided by an
//! [`Admission`] that the daemon gives; stores are handed in and never shut down here.

mod addresses;
mod endpoint;
mod links;
mod meter;
mod serve;
mod settings;
mod stream;
mod swarm;

pub use addresses::{AddressBook, DataPorts};
pub use endpoint::{DataPlane, DataStartError};
pub use links::{DataPath, OpenError};
pub use meter::Meter;
pub use serve::{Admission, Ask, Share};
pub use settings::{Alpn, DataConfig, DataLimits, DataMetrics};
pub use stream::{ByteStream, StreamHandler};
pub use swarm::{Blame, Content, Fetch, FetchError, FetchEvent, Fetched, ProviderGone, Wanted};
