//! `openledger version`: `{"name", "version", "platform", "client"}`, where `client` is what the node tells peers and
//! wallets.

use clap::Args;
use serde::Serialize;

use super::{Place, exit::Exit};
use chain::rpc::client_version;

/// Print the version
#[derive(Debug, Args)]
#[command(after_help = "Example: openledger version --json")]
pub(crate) struct Version {}

#[derive(Serialize)]
struct Shown {
    name: &'static str,
    version: &'static str,
    platform: String,
    client: String,
}

impl Version {
    pub(crate) fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let shown = Shown {
            name: "openledger",
            version: env!("CARGO_PKG_VERSION"),
            platform: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
            client: client_version(),
        };
        place.show(&shown, || format!("openledger {} ({})", shown.version, shown.platform));
        Ok(Exit::Done)
    }
}
