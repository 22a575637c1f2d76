//! `openledger chain repair`: makes a stopped node with a damaged block log or consensus journal usable again.
//!
//! The log is cut before the first block that does not read back; peers give the rest again. A damaged journal is moved
//! aside, and the node then sits out the height after its last block, because it may have voted there. Where nothing says
//! how far this validator got, its journal stays: starting without one could sign twice.
//!
//! `--json` prints `{"log": {"tip", "cut_at"}, "journal": {"state": "fine" | "moved" | "left", "height", "moved_to",
//! "why"}}`; `cut_at` is null where the log was whole.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context as _;
use clap::Args;
use protocol::Height;
use serde::Serialize;
use storage::{BlockLog, HomeLock, JournalError, RealDisk, Wal, block_log::Layout, table::move_aside};

use crate::cli::{Place, exit::Exit, output};
use base::{home::Home, errors::chained};

/// Repair the block log and the consensus journal of a stopped node
#[derive(Debug, Args)]
#[command(after_help = "Example: openledger chain repair")]
pub(crate) struct Repair {}

#[derive(Debug, Serialize)]
struct Shown {
    log: Log,
    journal: Journal,
}

#[derive(Debug, Serialize)]
struct Log {
    tip: u64,
    cut_at: Option<u64>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Journal {
    state: &'static str,
    height: Option<u64>,
    moved_to: Option<PathBuf>,
    why: Option<String>,
}

impl Repair {
    pub(crate) fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let home = place.home();
        if !home.root().is_dir() {
            return Err(place.no_home("there is nothing to repair").into());
        }
        let _lock = HomeLock::acquire(home.root()).context("stop the node before its data is repaired")?;
        let shown = repair(&home)?;
        place.show(&shown, || text(&shown));
        Ok(if shown.journal.state == "left" {
            Exit::Unverified
        } else {
            Exit::Done
        })
    }
}

fn repair(home: &Home) -> anyhow::Result<Shown> {
    if !home.blocks().exists() && !home.journal().exists() {
        let journal = Journal {
            state: "fine",
            ..Journal::default()
        };
        return Ok(Shown {
            log: Log { tip: 0, cut_at: None },
            journal,
        });
    }
    let found = read_journal(home)?;
    let (log, cut_at) = BlockLog::repair(Arc::new(RealDisk), &home.blocks(), Layout::default())
        .context("could not repair the block log")?;
    let tip = log.tip();
    let journal = match found {
        Ok(height) => Journal {
            state: "fine",
            height: Some(height.0),
            ..Journal::default()
        },
        // Only a whole log says that nothing was signed above the height after its tip.
        Err(why) if cut_at.is_none() && tip.is_some() => Journal {
            state: "moved",
            moved_to: Some(move_aside(&home.journal()).context("could not move the consensus journal aside")?),
            why: Some(why),
            ..Journal::default()
        },
        Err(why) => Journal {
            state: "left",
            why: Some(why),
            ..Journal::default()
        },
    };
    Ok(Shown {
        log: Log {
            tip: tip.map_or(0, |tip| tip.0),
            cut_at: cut_at.map(|height| height.0),
        },
        journal,
    })
}

/// The height that the journal is about, or what is wrong with it.
fn read_journal(home: &Home) -> anyhow::Result<Result<Height, String>> {
    match Wal::open(Arc::new(RealDisk), &home.journal()) {
        Ok((_, found)) => Ok(match consensus::journal::read(&found.entries) {
            Ok(_) => Ok(found.height),
            Err(why) => Err(chained(&why)),
        }),
        Err(JournalError::Corrupt(why)) => Ok(Err(why.to_string())),
        Err(error) => Err(error).context("could not open the consensus journal"),
    }
}

fn text(shown: &Shown) -> String {
    let log = match shown.log.cut_at {
        None => format!("whole, up to block {}", shown.log.tip),
        Some(cut) => format!("block {cut} did not read back: cut there, peers give it and what follows again"),
    };
    let next = shown.log.tip + 1;
    let why = shown.journal.why.as_deref().unwrap_or_default();
    let journal = match (&shown.journal.moved_to, shown.journal.height) {
        (Some(to), _) => format!(
            "{why}\nmoved to {}; the node sits out block {next}, where it may have voted",
            to.display()
        ),
        (None, Some(height)) if height > next => {
            format!("whole, about block {height}: the node signs nothing before that block is final")
        }
        (None, Some(_)) => "whole".to_owned(),
        (None, None) if shown.journal.state == "fine" => "none: this node has not voted".to_owned(),
        (None, None) => format!(
            "{why}\nleft where it is, because the log does not say how far this validator voted. Move keys/validator.key \
             and chain/journal away, let the node follow until it has passed every block it may have voted on, and put \
             the key back"
        ),
    };
    output::columns(&[("Block log", log), ("Journal", journal)])
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn home(blocks: u64) -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path());
        let log = BlockLog::open(Arc::new(RealDisk), &home.blocks(), Layout::default()).unwrap();
        for height in 1..=blocks {
            log.append(Height(height), &[7; 1000]).unwrap();
        }
        log.sync().unwrap();
        let (mut wal, _) = Wal::open(Arc::new(RealDisk), &home.journal()).unwrap();
        wal.start_height(Height(blocks + 1)).unwrap();
        wal.sync().unwrap();
        (dir, home)
    }

    fn damage_journal(home: &Home) {
        let file = home.journal().join("wal-0");
        let len = fs::metadata(&file).unwrap().len();
        fs::write(file, vec![0xff; usize::try_from(len).unwrap()]).unwrap();
    }

    fn damage_block(home: &Home, byte: usize) {
        let file = fs::read_dir(home.blocks()).unwrap().next().unwrap().unwrap().path();
        let mut bytes = fs::read(&file).unwrap();
        bytes[byte] ^= 0xff;
        fs::write(file, bytes).unwrap();
    }

    #[test]
    fn a_whole_home_is_left_alone() {
        let (_dir, home) = home(5);
        let shown = repair(&home).unwrap();
        assert_eq!(
            (shown.log.tip, shown.log.cut_at, shown.journal.state),
            (5, None, "fine")
        );
    }

    #[test]
    fn a_damaged_log_is_cut_and_the_journal_keeps_the_validator_quiet() {
        let (_dir, home) = home(5);
        damage_block(&home, 1024 + 2 * 1028 + 500);
        let shown = repair(&home).unwrap();
        assert_eq!((shown.log.tip, shown.log.cut_at), (2, Some(3)));
        assert_eq!((shown.journal.state, shown.journal.height), ("fine", Some(6)));
        assert!(
            text(&shown).contains("signs nothing before that block is final"),
            "{}",
            text(&shown)
        );
    }

    #[test]
    fn a_damaged_journal_beside_a_whole_log_is_moved_aside() {
        let (_dir, home) = home(5);
        damage_journal(&home);
        let shown = repair(&home).unwrap();
        assert_eq!(shown.journal.state, "moved");
        assert!(shown.journal.moved_to.as_ref().unwrap().exists() && !home.journal().exists());
        assert!(text(&shown).contains("sits out block 6"));
    }

    #[test]
    fn a_damaged_journal_stays_where_the_log_cannot_vouch_for_what_was_signed() {
        for (blocks, damaged) in [(0, false), (5, true)] {
            let (_dir, home) = home(blocks);
            damage_journal(&home);
            if damaged {
                damage_block(&home, 1024 + 2 * 1028 + 500);
            }
            let shown = repair(&home).unwrap();
            assert_eq!(shown.journal.state, "left", "{blocks}");
            assert!(home.journal().exists());
        }
    }
}
