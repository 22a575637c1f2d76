//! `openledger chain repair`: repairs a stopped node whose block log or consensus journal is damaged.
//!
//! The log is truncated before the first damaged block; the node fetches the rest from its peers again. A damaged journal
//! is moved aside, and the node then does not vote at the height after its last block, because it may have voted there
//! before. If nothing shows how far this validator voted, its journal stays: without it the validator could sign two
//! conflicting votes.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context as _;
use clap::Args;
use protocol::Height;
use serde::Serialize;
use storage::{BlockLog, HomeLock, JournalError, RealDisk, Wal, block_log::Layout, table::move_aside};

use crate::cli::{Globals, exit::Exit, output};
use base::{errors::chained, home::Home};

/// Repair the block log and the consensus journal of a stopped node
#[derive(Debug, Args)]
#[command(after_help = "Example: openledger chain repair\n\n\
                  JSON: {log: {tip, cut_at}, journal: {state: fine|moved|left, height, moved_to, why}}; cut_at is null if the \
                  log is not damaged")]
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
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let home = globals.home();
        if !home.root().is_dir() {
            return Err(globals.no_home("there is nothing to repair").into());
        }
        let _lock = HomeLock::acquire(home.root()).context("stop the node before repairing its data")?;
        let shown = repair(&home)?;
        globals.show(&shown, || text(&shown));
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
        // Only an undamaged log proves that this validator signed nothing above the height after its tip.
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

/// Returns the height of the journal, or the reason that it is damaged.
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
        None => format!("not damaged, up to block {}", shown.log.tip),
        Some(cut) => format!(
            "block {cut} was damaged: removed it and all later blocks; the node fetches them from its peers again"
        ),
    };
    let next = shown.log.tip + 1;
    let why = shown.journal.why.as_deref().unwrap_or_default();
    let journal = match (&shown.journal.moved_to, shown.journal.height) {
        (Some(to), _) => format!(
            "{why}\nmoved to {}; the node does not vote on block {next}, where it may have voted before",
            to.display()
        ),
        (None, Some(height)) if height > next => {
            format!("not damaged, at block {height}: the node signs nothing until that block is final")
        }
        (None, Some(_)) => "not damaged".to_owned(),
        (None, None) if shown.journal.state == "fine" => "none: this node has never voted".to_owned(),
        (None, None) => format!(
            "{why}\nnot moved, because the log does not show how far this validator voted. Move keys/validator.key and \
             chain/journal to another folder, run the node until it has passed every block that it may have voted on, \
             and move the key back"
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
            text(&shown).contains("signs nothing until that block is final"),
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
        assert!(text(&shown).contains("does not vote on block 6"));
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
