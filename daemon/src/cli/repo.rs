//! `openledger repo`: the stores that everything shared lies in, the public one and those of permissioned datanets.
//!
//! `--json` prints one object: `stat` its [`StatResponse`], `gc` its [`CollectResponse`], `fsck` its [`FsckResponse`].

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{Place, data::ask_of, exit::Exit, output};
use base::operator::dataset::{CollectResponse, FsckResponse, FsckRequest, StatResponse, StoreLine};

/// Look after the store of shared data
#[derive(Debug, Args)]
pub(crate) struct Repo {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print how much is stored and how much room is left
    #[command(after_help = "Example: openledger repo stat")]
    Stat,
    /// Delete what nothing keeps, now instead of within ten minutes
    #[command(after_help = "Example: openledger repo gc")]
    Gc,
    /// Hash every blob and say which are damaged or missing
    #[command(after_help = "Example: openledger repo fsck --drop-damaged")]
    Fsck {
        /// Drop damaged blobs, so that they can be fetched or added again
        #[arg(long)]
        drop_damaged: bool,
    },
}

impl Repo {
    pub(crate) fn run(self, place: &Place) -> anyhow::Result<Exit> {
        match self.verb {
            Verb::Stat => {
                let stat: StatResponse = ask_of(place, "/v1/repo/stat", &Value::Null)?;
                place.show(&stat, || {
                    let mut rows = vec![
                        ("Blobs", stat.blobs.to_string()),
                        ("Bytes", stat.bytes.to_string()),
                        ("Pinned", stat.pinned.to_string()),
                        ("Free", stat.free_bytes.to_string()),
                    ];
                    let of = |store: &StoreLine| {
                        let id = store.datanet?;
                        Some((
                            "Of these",
                            format!("{} blobs, {} bytes in datanet {id}", store.blobs, store.bytes),
                        ))
                    };
                    rows.extend(stat.stores.iter().filter_map(of));
                    output::columns(&rows)
                });
            }
            Verb::Gc => {
                let collected: CollectResponse = ask_of(place, "/v1/repo/gc", &Value::Null)?;
                place.show(&collected, || {
                    format!("{} blobs deleted, {} stay", collected.deleted, collected.live)
                });
            }
            Verb::Fsck { drop_damaged } => {
                let checked: FsckResponse = ask_of(place, "/v1/repo/fsck", &FsckRequest { drop_damaged })?;
                place.show(&checked, || described(&checked));
            }
        }
        Ok(Exit::Done)
    }
}

fn described(checked: &FsckResponse) -> String {
    let mut rows = vec![
        ("Sound", checked.sound.to_string()),
        ("Bytes", checked.bytes.to_string()),
        ("In part", checked.partial.to_string()),
        ("Files removed", checked.orphans.to_string()),
    ];
    rows.extend(checked.dropped.iter().map(|hash| ("Dropped", hash.to_string())));
    rows.extend(checked.missing.iter().map(|hash| ("Missing", hash.to_string())));
    output::columns(&rows)
}
