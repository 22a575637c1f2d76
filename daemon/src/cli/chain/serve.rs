//! `openledger chain serve --rpc ADDRESS`: serves an imported chain over JSON-RPC until SIGINT or SIGTERM.
//!
//! The methods are those of a node, and `testing_buildBlockV1`. Without consensus the head never moves, and transactions
//! that are sent stay in the pool. One line is printed once requests are accepted.

use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use crate::cli::{Globals, exit::Exit};
use chain::{
    imported_chain::{self, ImportedChain},
    rpc,
};

/// Serve an imported chain over JSON-RPC
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger chain serve --rpc 127.0.0.1:8545 --home /tmp/foreign\n\nJSON: {rpc, height, hash}"
)]
pub(crate) struct Serve {
    /// Address to listen on
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
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let chain = ImportedChain::open(&globals.home())?;
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
            globals.show(&shown, || {
                format!(
                    "serving block {} on http://{}; press Ctrl-C to stop",
                    shown.height, shown.rpc
                )
            });
            crate::node::interrupted().await;
            serving.stop().await;
            Ok(Exit::Done)
        })
    }
}
