//! The datanet protocol: peers exchange charters, statements and, for a permissioned datanet, wrapped keys.
//!
//! Statements are signed by their author, so any peer may pass them on; those of a permissioned datanet go to members only.
//! A key is encrypted for one member, so it may travel over any path; a node hands it out only where
//! [`Registry::may_hold`] allows it.
//!
//! [`Registry::may_hold`]: crate::datanet::Registry::may_hold

use bincode::{Decode, Encode};

use crate::{
    DatanetId,
    crypto::Signed,
    datanet::{Charter, STATEMENT_MAX, Statement, StatementId},
    seal::{KeyEpoch, MemberKey, WrappedKey},
};

/// Longest encoded request: one statement.
pub const DATANET_REQUEST_MAX: usize = 64 + STATEMENT_MAX;
/// Longest encoded reply: as many statements as fit, at least one.
pub const DATANET_REPLY_MAX: usize = 64 + 2 * STATEMENT_MAX;
/// Most statement ids in one request or reply.
pub const NAMED_MAX: usize = 1024;
/// Most keys in one reply.
pub const KEYS_MAX: usize = 256;

/// A request to a peer about a datanet.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum DatanetRequest {
    /// The founding charter.
    Charter(DatanetId),
    /// Ids of the statements that the peer has, in ascending order.
    Names {
        datanet: DatanetId,
        /// Return ids above this one; `None` starts at the first.
        after: Option<StatementId>,
    },
    /// Statements by id, at most [`NAMED_MAX`].
    Statements {
        datanet: DatanetId,
        names: Vec<StatementId>,
    },
    /// Deliver a statement that the peer may not have: a grant to its subject, a proposal to the owner.
    Deliver(Box<Signed<Statement>>),
    /// The requester's keys, from an epoch on.
    Keys { datanet: DatanetId, from: KeyEpoch },
    /// The requester's membership, as the peer sees it.
    Membership(DatanetId),
    /// The peer's own public key for wrapping, to put into a grant. The connection authenticates the peer.
    Member,
}

/// A reply to a [`DatanetRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum DatanetReply {
    Charter(Box<Signed<Charter>>),
    /// Ids in ascending order, at most [`NAMED_MAX`]. Fewer than that means there are no more.
    Names(Vec<StatementId>),
    /// Statements. The requester asks again for those that did not fit.
    Statements(Vec<Signed<Statement>>),
    /// The delivered statement was accepted.
    Accepted,
    /// The delivered statement was refused.
    Refused {
        /// The reason, as text for people.
        why: String,
    },
    /// Keys wrapped for the requester, at most [`KEYS_MAX`].
    Keys(Vec<WrappedKey>),
    /// The requester's rights at this time.
    Membership {
        /// May fetch shards.
        reads: bool,
        /// May propose entries.
        contributes: bool,
        /// May approve proposals and publish versions.
        approves: bool,
        /// The current key epoch.
        epoch: KeyEpoch,
    },
    /// Unknown here, or not for this peer. One variant for both, so that a stranger cannot probe for private datanets.
    Unavailable,
    /// The key that a grant to this node must carry.
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
        let tell = DatanetRequest::Deliver(Box::new(signed.clone()));
        assert_eq!(
            decode::<DatanetRequest>(&encode(&tell), DATANET_REQUEST_MAX).unwrap(),
            tell
        );
        let answer = DatanetReply::Statements(vec![signed.clone(), signed]);
        assert_eq!(
            decode::<DatanetReply>(&encode(&answer), DATANET_REPLY_MAX).unwrap(),
            answer
        );
    }

    #[test]
    fn the_longest_lists_fit_and_read_back() {
        let datanet = DatanetId([7; 32]);
        let names = vec![StatementId([7; 32]); NAMED_MAX];
        let ask = DatanetRequest::Statements { datanet, names };
        assert_eq!(
            decode::<DatanetRequest>(&encode(&ask), DATANET_REQUEST_MAX).unwrap(),
            ask
        );
        let wrapped = WrappedKey {
            datanet,
            epoch: KeyEpoch(7),
            ephemeral: [7; 32],
            sealed: [7; 32],
            tag: [7; 16],
        };
        let answer = DatanetReply::Keys(vec![wrapped; KEYS_MAX]);
        assert_eq!(
            decode::<DatanetReply>(&encode(&answer), DATANET_REPLY_MAX).unwrap(),
            answer
        );
    }
}
