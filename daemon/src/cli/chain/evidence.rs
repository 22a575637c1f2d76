//! `openledger chain evidence`: lists the equivocations (two conflicting signatures of one validator) that are recorded in
//! the block log. Reads the log whether a node runs or not.

use clap::Args;
use protocol::{BlockHash, Height, ValidatorKey, message::vote::Evidence as Proof};
use serde::Serialize;

use super::archive::Archive;
use crate::cli::{Globals, exit::Exit};

/// List proofs that a validator signed two conflicting votes or proposals
#[derive(Debug, Args)]
#[command(after_help = "Example: openledger chain evidence --from 100\n\n\
                  JSON: {from, to, evidence: [{height, kind: vote|proposal, round, offender, blocks: [HASH, HASH]}]}; a hash \
                  is null for a nil vote")]
pub(crate) struct Evidence {
    /// First height to search
    #[arg(long, default_value_t = 1, value_name = "HEIGHT")]
    from: u64,
}

#[derive(Serialize)]
struct Shown {
    from: u64,
    to: u64,
    evidence: Vec<Found>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Found {
    height: u64,
    kind: &'static str,
    round: u32,
    offender: ValidatorKey,
    blocks: [Option<BlockHash>; 2],
}

impl Evidence {
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let archive = Archive::open(&globals.home())?;
        let to = archive.tip().map_or(0, |tip| tip.0);
        let mut evidence = Vec::new();
        for height in self.from.max(1)..=to {
            let entry = archive.entry(Height(height))?;
            evidence.extend(
                entry
                    .iter()
                    .flat_map(|(entry, _)| &entry.evidence)
                    .map(|proof| found(height, proof)),
            );
        }
        let shown = Shown {
            from: self.from,
            to,
            evidence,
        };
        globals.show(&shown, || text(&shown));
        Ok(Exit::Done)
    }
}

fn found(height: u64, proof: &Proof) -> Found {
    let (kind, round, blocks) = match proof {
        Proof::Votes(one, two) => ("vote", one.message.round, [one.message.block, two.message.block]),
        Proof::Proposals(one, two) => {
            let blocks = [Some(one.message.block), Some(two.message.block)];
            ("proposal", one.message.round, blocks)
        }
    };
    Found {
        height,
        kind,
        round,
        offender: proof.offender(),
        blocks,
    }
}

fn text(shown: &Shown) -> String {
    if shown.evidence.is_empty() {
        return format!("no conflicting signatures in blocks {} to {}", shown.from, shown.to);
    }
    let name = |block: Option<BlockHash>| block.map_or("none".to_owned(), |block| format!("{block:#}"));
    let line = |found: &Found| {
        let [one, two] = found.blocks.map(name);
        format!(
            "block {}, round {}: {} signed a {} for {one} and one for {two}",
            found.height, found.round, found.offender, found.kind
        )
    };
    shown.evidence.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use protocol::{
        crypto::{Domain, SecretKey, Signed},
        message::vote::{Vote, VoteKind},
    };

    use super::*;

    #[test]
    fn two_votes_of_one_validator_are_shown_side_by_side() {
        let key = SecretKey::from_seed([1; 32]);
        let domain = Domain {
            chain_id: 7,
            genesis: [9; 32],
        };
        let vote = |block| {
            let vote = Vote {
                kind: VoteKind::Prevote,
                height: Height(3),
                round: 2,
                block,
                validator: key.validator(),
            };
            Signed::new(vote, &key, &domain)
        };
        let proof = Proof::Votes(vote(None), vote(Some(BlockHash([5; 32]))));
        assert!(proof.proves(&domain));
        let shown = Shown {
            from: 1,
            to: 3,
            evidence: vec![found(3, &proof)],
        };
        let text = text(&shown);
        assert!(
            text.contains("block 3, round 2") && text.ends_with("a vote for none and one for 0x05050505"),
            "{text}"
        );
    }
}
