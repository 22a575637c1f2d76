//! `openledger repo`: statistics, garbage collection and checks of the blob stores: the public one, and one for each
//! permissioned datanet.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{Globals, data::request, exit::Exit, output};
use base::operator::dataset::{CollectResponse, FsckRequest, FsckResponse, StatResponse, StoreLine};

/// Show, collect and check the blob stores
#[derive(Debug, Args)]
#[command(after_help = "Example: openledger repo stat")]
pub(crate) struct Repo {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show how much is stored and how much space is left
    #[command(after_help = "Example: openledger repo stat\n\n\
                      JSON: {blobs, bytes, pinned, free_bytes, reserved_bytes, collected_at_ms, collect_errors, \
                      stores: [{datanet, blobs, bytes, pinned}]}")]
    Stat,
    /// Collect garbage now, instead of within ten minutes: delete blobs that nothing references
    #[command(after_help = "Example: openledger repo gc\n\nJSON: {deleted, live}")]
    Gc,
    /// Hash every blob and list the damaged and missing ones
    #[command(after_help = "Example: openledger repo fsck --drop-damaged\n\n\
                      JSON: {sound, bytes, partial, dropped: [HASH], missing: [HASH], orphans}")]
    Fsck {
        /// Delete damaged blobs, so that they can be fetched or added again
        #[arg(long)]
        drop_damaged: bool,
    },
}

impl Repo {
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        match self.verb {
            Verb::Stat => {
                let stat: StatResponse = request(globals, "/v1/repo/stat", &Value::Null)?;
                globals.show(&stat, || {
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
                let collected: CollectResponse = request(globals, "/v1/repo/gc", &Value::Null)?;
                globals.show(&collected, || {
                    format!("deleted {} blobs, kept {}", collected.deleted, collected.live)
                });
            }
            Verb::Fsck { drop_damaged } => {
                let checked: FsckResponse = request(globals, "/v1/repo/fsck", &FsckRequest { drop_damaged })?;
                globals.show(&checked, || described(&checked));
            }
        }
        Ok(Exit::Done)
    }
}

fn described(checked: &FsckResponse) -> String {
    let mut rows = vec![
        ("Undamaged", checked.sound.to_string()),
        ("Bytes", checked.bytes.to_string()),
        ("Incomplete", checked.partial.to_string()),
        ("Stray files removed", checked.orphans.to_string()),
    ];
    rows.extend(checked.dropped.iter().map(|hash| ("Dropped", hash.to_string())));
    rows.extend(checked.missing.iter().map(|hash| ("Missing", hash.to_string())));
    output::columns(&rows)
}
