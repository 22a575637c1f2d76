//! `openledger chain serve --rpc ADDRESS`: an imported chain over JSON-RPC, until SIGINT or SIGTERM.
//!
//! The methods are those of a node and `testing_buildBlockV1`. There is no consensus: the head stays where it is, and what
//! is sent in waits. Prints one line once it takes requests; `--json` prints `{"rpc", "height", "hash"}`.

use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use crate::cli::{Place, exit::Exit};
use chain::{
    imported_chain::{self, ImportedChain},
    rpc,
};

/// Serve an imported chain over JSON-RPC
#[derive(Debug, Args)]
#[command(after_help = "Example: openledger chain serve --rpc 127.0.0.1:8545 --home /tmp/foreign")]
pub(crate) struct Serve {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8545")]
    rpc: SocketAddr,
}

#[derive(Serialize)]
struct Shown {
    rpc: SocketAddr,
    height: u64,
    hash: String,
}

impl Serve {
    pub(crate) fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let chain = ImportedChain::open(&place.home())?;
        let (height, hash) = (chain.height().0, format!("0x{}", hex::encode(chain.hash().0)));
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.context("could not start threads; raise the limit on threads (ulimit -u)")?;
        runtime.block_on(async {
            let settings = rpc::Settings {
                listen: self.rpc,
                ..rpc::Settings::default()
            };
            let serving = imported_chain::serve(chain, settings).await?;
            let shown = Shown {
                rpc: serving.address,
                height,
                hash,
            };
            place.show(&shown, || {
                format!("block {} served on http://{}; end with Ctrl-C", shown.height, shown.rpc)
            });
            crate::node::interrupted().await;
            serving.stop().await;
            Ok(Exit::Done)
        })
    }
}
