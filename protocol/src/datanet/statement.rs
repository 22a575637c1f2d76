//! Statements: the one kind of message in a datanet. Each is signed, numbered and chained by its author.

use std::fmt;

use bincode::{Decode, Encode};

use super::{Charter, ENTRIES_MAX, Grant, Role, Version};
use crate::{
    Account, BlobHash, DatanetId, NodeId, Time,
    crypto::{Domain, Preimage, digest},
    licence::{Licence, LicenceError},
    preimage::{Authored, Writer},
    seal::KeyEpoch,
};

/// Longest reason, in bytes.
pub const TEXT_MAX: usize = 1024;
/// Longest encoded statement with its signature: a version with the most entries. Only versions come near this size.
pub const STATEMENT_MAX: usize = 2048 + TEXT_MAX + ENTRIES_MAX * 103;

/// The digest of a statement, without its signature: its id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct StatementId(pub [u8; 32]);

impl fmt::Debug for StatementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StatementId(0x{})", hex::encode(&self.0[..4]))
    }
}

/// A signed action of one node in one datanet.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Statement {
    pub datanet: DatanetId,
    pub speaker: NodeId,
    /// The author's own numbering in this datanet, from 1.
    pub number: u64,
    /// The author's previous statement in this datanet.
    pub previous: Option<StatementId>,
    /// Time as stated by the author. For display; no rule depends on it.
    pub at: Time,
    pub act: Act,
}

/// The action of a statement. Preimages number the variants in this order.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Act {
    /// Owner: make a node a member.
    Grant(Grant),
    /// Owner: remove a node from every role.
    Revoke {
        subject: NodeId,
        /// The key epoch from here on; unchanged if the subject never could read.
        epoch: KeyEpoch,
        /// The subject's last valid statement as a curator. `None` invalidates all of them.
        last_valid: Option<StatementId>,
    },
    /// Owner: start a new key epoch without a revocation, for example after a leak.
    Rotate(KeyEpoch),
    /// Owner or curator: publish a version.
    Publish(Version),
    /// Owner or curator: set a tombstone. The dataset is no longer served, in any version.
    Bury { root: BlobHash, why: String },
    /// Contributor: propose a dataset.
    Propose {
        root: BlobHash,
        licence: Licence,
        /// The account to pay.
        account: Account,
    },
    /// Owner or curator: approve or decline a proposal.
    Decide {
        proposal: StatementId,
        approve: bool,
        why: String,
    },
    /// The proposal's author: withdraw it, and what was published because of it.
    Withdraw(StatementId),
    /// The proposal's author: ask the owner to review a declined proposal.
    Appeal { proposal: StatementId, why: String },
}

/// Error of an invalid statement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    #[error("a reason of {0} bytes; at most {TEXT_MAX} are allowed")]
    Text(usize),
    #[error("{0} entries out of order or more than {ENTRIES_MAX}; name each root once, in their order")]
    Entries(usize),
    /// Number 0, or a previous statement missing or given for number 1.
    #[error("number {0} does not fit what it says came before it")]
    Number(u64),
    #[error("the licence of the proposal is not known")]
    Licence(#[source] LicenceError),
}

impl Statement {
    /// Returns the statement's id: the digest of its preimage without the chain.
    pub fn id(&self) -> StatementId {
        StatementId(digest(
            "openledger/statement/id/1",
            &[&self.write(Writer::bare()).finish()],
        ))
    }

    /// Checks the statement by itself, without its datanet.
    pub fn check(&self) -> Result<(), StatementError> {
        if self.number == 0 || (self.number == 1) != self.previous.is_none() {
            return Err(StatementError::Number(self.number));
        }
        match &self.act {
            Act::Bury { why, .. } | Act::Decide { why, .. } | Act::Appeal { why, .. } if why.len() > TEXT_MAX => {
                Err(StatementError::Text(why.len()))
            }
            Act::Publish(version) => {
                let ordered = version.entries.windows(2).all(|pair| pair[0].root < pair[1].root);
                if ordered && version.entries.len() <= ENTRIES_MAX {
                    Ok(())
                } else {
                    Err(StatementError::Entries(version.entries.len()))
                }
            }
            Act::Propose { licence, .. } => licence.check().map_err(StatementError::Licence),
            Act::Grant(_)
            | Act::Revoke { .. }
            | Act::Rotate(_)
            | Act::Bury { .. }
            | Act::Decide { .. }
            | Act::Withdraw(_)
            | Act::Appeal { .. } => Ok(()),
        }
    }

    /// Returns true if only the owner may make this statement.
    pub(super) fn is_owners(&self) -> bool {
        matches!(self.act, Act::Grant(_) | Act::Revoke { .. } | Act::Rotate(_))
    }

    pub(super) fn by_owner(&self, charter: &Charter) -> bool {
        self.speaker == charter.owner
    }

    fn write(&self, writer: Writer) -> Writer {
        let writer = writer
            .fixed(&self.datanet.0)
            .fixed(&self.speaker.0)
            .u64(self.number)
            .maybe(self.previous.as_ref().map(|id| &id.0))
            .u64(self.at.0);
        match &self.act {
            Act::Grant(grant) => grant.write(writer.tag(0)),
            Act::Revoke {
                subject,
                epoch,
                last_valid,
            } => {
                let writer = writer.tag(1).fixed(&subject.0).fixed(&epoch.0.to_be_bytes());
                writer.maybe(last_valid.as_ref().map(|id| &id.0))
            }
            Act::Rotate(epoch) => writer.tag(2).fixed(&epoch.0.to_be_bytes()),
            Act::Publish(version) => version.write(writer.tag(3)),
            Act::Bury { root, why } => writer.tag(4).fixed(&root.0).bytes(why.as_bytes()),
            Act::Propose { root, licence, account } => {
                let writer = writer.tag(5).fixed(&root.0).bytes(licence.to_string().as_bytes());
                writer.fixed(&account.0)
            }
            Act::Decide { proposal, approve, why } => {
                let writer = writer.tag(6).fixed(&proposal.0).tag(u8::from(*approve));
                writer.bytes(why.as_bytes())
            }
            Act::Withdraw(proposal) => writer.tag(7).fixed(&proposal.0),
            Act::Appeal { proposal, why } => writer.tag(8).fixed(&proposal.0).bytes(why.as_bytes()),
        }
    }
}

impl Preimage for Statement {
    /// `"openledger/statement/1" ‖ chain ‖ datanet ‖ speaker ‖ number ‖ previous ‖ at ‖ act ‖ its fields`, in the order in
    /// which they are declared, big-endian.
    fn preimage(&self, domain: &Domain) -> Vec<u8> {
        self.write(Writer::new("openledger/statement/1", domain)).finish()
    }
}

impl Authored for Statement {
    fn author(&self) -> NodeId {
        self.speaker
    }
}

impl Grant {
    fn write(&self, writer: Writer) -> Writer {
        let role = match self.role {
            Role::Reader => 0,
            Role::Contributor => 1,
            Role::Curator => 2,
        };
        let writer = writer.fixed(&self.subject.0).fixed(&self.key.0).tag(role);
        writer.u64(self.until.0).fixed(&self.epoch.0.to_be_bytes())
    }
}

impl Version {
    fn write(&self, writer: Writer) -> Writer {
        let writer = writer.u64(self.number).maybe(self.previous.as_ref().map(|id| &id.0));
        writer.list(&self.entries, |writer, entry| {
            let epoch = entry.epoch.map(|epoch| epoch.0.to_be_bytes());
            writer
                .fixed(&entry.root.0)
                .fixed(&entry.contributor.0)
                .maybe(entry.proposal.as_ref().map(|id| &id.0))
                .maybe(epoch.as_ref())
        })
    }
}
