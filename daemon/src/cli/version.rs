//! `openledger version`: the version of the program.

use clap::Args;
use serde::Serialize;

use super::{Globals, exit::Exit};
use chain::rpc::client_version;

/// Print the version
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger version --json\n\nJSON: {name, version, platform, client}; client is the version that peers and wallets see"
)]
pub(crate) struct Version {}

#[derive(Serialize)]
struct Shown {
    name: &'static str,
    version: &'static str,
    platform: String,
    client: String,
}

impl Version {
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let shown = Shown {
            name: "openledger",
            version: env!("CARGO_PKG_VERSION"),
            platform: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
            client: client_version(),
        };
        globals.show(&shown, || format!("openledger {} ({})", shown.version, shown.platform));
        Ok(Exit::Done)
    }
}
