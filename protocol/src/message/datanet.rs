//! A datanet between nodes: its charter and statements, and the keys of a permissioned one.
//!
//! Statements prove themselves, so anyone hands them on; only those of a permissioned datanet are for its members. A key is
//! boxed for one member, so it may pass through any hands; it is given to those that [`Registry::may_hold`] names.
//!
//! [`Registry::may_hold`]: crate::datanet::Registry::may_hold

use bincode::{Decode, Encode};

use crate::{
    DatanetId,
    crypto::Signed,
    datanet::{Charter, STATEMENT_MAX, Statement, StatementId},
    seal::{KeyEpoch, MemberKey, Wrapped},
};

/// Longest request: one statement.
pub const DATANET_ASK_MAX: usize = 64 + STATEMENT_MAX;
/// Longest answer: as many statements as fit, one at least.
pub const DATANET_ANSWER_MAX: usize = 64 + 2 * STATEMENT_MAX;
/// Statements that one request names.
pub const NAMED_MAX: usize = 1024;
/// Keys that one answer holds.
pub const KEYS_MAX: usize = 256;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum DatanetAsk {
    /// How is it founded?
    Charter(DatanetId),
    /// Which statements do you have, behind this one in the order of their names?
    Names {
        /// Of which datanet.
        datanet: DatanetId,
        /// Behind which; from the first where there is none.
        after: Option<StatementId>,
    },
    /// These statements, at most [`NAMED_MAX`].
    Statements {
        /// Of which datanet.
        datanet: DatanetId,
        /// Which.
        names: Vec<StatementId>,
    },
    /// A statement that the other may not have: a grant to its subject, a proposal to the owner.
    Tell(Box<Signed<Statement>>),
    /// The asker's keys, from this epoch on.
    Keys {
        /// Of which datanet.
        datanet: DatanetId,
        /// From which epoch on.
        from: KeyEpoch,
    },
    /// Is the asker a member, by what the other knows?
    Membership(DatanetId),
    /// The other's own key, for a grant. It proves itself: it comes over a connection that only that node can hold.
    Member,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum DatanetAnswer {
    /// The charter.
    Charter(Box<Signed<Charter>>),
    /// Names, in order, at most [`NAMED_MAX`]; fewer than that are the last.
    Names(Vec<StatementId>),
    /// Statements; those that did not fit are asked for again.
    Statements(Vec<Signed<Statement>>),
    /// A statement was taken.
    Taken,
    /// A statement was not taken.
    NotTaken {
        /// Why, for people.
        why: String,
    },
    /// Keys, boxed for the asker, at most [`KEYS_MAX`].
    Keys(Vec<Wrapped>),
    /// What the asker may do now.
    Membership {
        /// Fetch.
        reads: bool,
        /// Propose.
        contributes: bool,
        /// Approve and publish.
        approves: bool,
        /// The key epoch that runs.
        epoch: KeyEpoch,
    },
    /// Not known here, or not for this peer; the two look alike to a stranger.
    No,
    /// The key that grants to this node carry.
    Member(MemberKey),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        BlobHash, NodeId, Time,
        codec::{decode, encode},
        crypto::Signature,
        datanet::{Act, ENTRIES_MAX, Entry, Version},
    };

    #[test]
    fn the_longest_statement_fits_and_reads_back() {
        let entry = Entry {
            root: BlobHash([7; 32]),
            contributor: NodeId([7; 32]),
            proposal: Some(StatementId([7; 32])),
            epoch: Some(KeyEpoch(7)),
        };
        let version = Version {
            number: 7,
            previous: Some(StatementId([7; 32])),
            entries: vec![entry; ENTRIES_MAX],
        };
        let message = Statement {
            datanet: DatanetId([7; 32]),
            speaker: NodeId([7; 32]),
            number: 7,
            previous: Some(StatementId([7; 32])),
            at: Time(7),
            act: Act::Publish(version),
        };
        let signed = Signed {
            message,
            signature: Signature([7; 64]),
        };
        assert!(encode(&signed).len() <= STATEMENT_MAX);
        let tell = DatanetAsk::Tell(Box::new(signed.clone()));
        assert_eq!(decode::<DatanetAsk>(&encode(&tell), DATANET_ASK_MAX).unwrap(), tell);
        let answer = DatanetAnswer::Statements(vec![signed.clone(), signed]);
        assert_eq!(
            decode::<DatanetAnswer>(&encode(&answer), DATANET_ANSWER_MAX).unwrap(),
            answer
        );
    }

    #[test]
    fn the_longest_lists_fit_and_read_back() {
        let datanet = DatanetId([7; 32]);
        let names = vec![StatementId([7; 32]); NAMED_MAX];
        let ask = DatanetAsk::Statements { datanet, names };
        assert_eq!(decode::<DatanetAsk>(&encode(&ask), DATANET_ASK_MAX).unwrap(), ask);
        let wrapped = Wrapped {
            datanet,
            epoch: KeyEpoch(7),
            ephemeral: [7; 32],
            sealed: [7; 32],
            tag: [7; 16],
        };
        let answer = DatanetAnswer::Keys(vec![wrapped; KEYS_MAX]);
        assert_eq!(
            decode::<DatanetAnswer>(&encode(&answer), DATANET_ANSWER_MAX).unwrap(),
            answer
        );
    }
}
