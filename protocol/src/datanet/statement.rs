//! What is said in a datanet: one kind of message, signed, numbered and chained by whoever says it.

use std::fmt;

use bincode::{Decode, Encode};

use super::{Charter, ENTRIES_MAX, Grant, Role, Version};
use crate::{
    Account, BlobHash, DatanetId, NodeId, Time,
    crypto::{Domain, Preimage, digest},
    licence::{Licence, LicenceError},
    preimage::{Spoken, Writer},
    seal::KeyEpoch,
};

/// Longest reason that anyone gives, in bytes.
pub const TEXT_MAX: usize = 1024;
/// Longest encoding of a statement with its signature: a version with all the entries it may have. Only versions come near;
/// they travel as blobs.
pub const STATEMENT_MAX: usize = 2048 + TEXT_MAX + ENTRIES_MAX * 103;

/// The digest of a statement: its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct StatementId(pub [u8; 32]);

impl fmt::Debug for StatementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StatementId(0x{})", hex::encode(&self.0[..4]))
    }
}

/// One thing that one node says about one datanet.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Statement {
    /// About which datanet.
    pub datanet: DatanetId,
    /// Who says it.
    pub speaker: NodeId,
    /// The speaker's own numbering in this datanet, from 1.
    pub number: u64,
    /// What the same speaker said in it before.
    pub previous: Option<StatementId>,
    /// When, as the speaker says. Shown to people; no rule believes it.
    pub at: Time,
    /// What.
    pub act: Act,
}

/// What can be said.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Act {
    /// By the owner: somebody is a member.
    Grant(Grant),
    /// By the owner: somebody is no longer a member, in any role.
    Revoke {
        /// Whom.
        subject: NodeId,
        /// The key epoch that begins with this; the one that runs, if the subject never read.
        epoch: KeyEpoch,
        /// Of a curator, the last statement that stands. Nothing of what was said by it stands if there is none.
        stands: Option<StatementId>,
    },
    /// By the owner: a new key epoch without taking anybody out, as after a leak.
    Rotate(KeyEpoch),
    /// By the owner or a curator: a version.
    Publish(Version),
    /// By the owner or a curator: a dataset is no longer served, in no version.
    Bury {
        /// Which.
        root: BlobHash,
        /// Why, for people.
        why: String,
    },
    /// By a contributor: a dataset for the datanet.
    Propose {
        /// Its root.
        root: BlobHash,
        /// Its terms.
        licence: Licence,
        /// Who is paid for it.
        account: Account,
    },
    /// By the owner or a curator: what to do with a proposal.
    Decide {
        /// Which.
        proposal: StatementId,
        /// Approved, or declined.
        approve: bool,
        /// Why, for people.
        why: String,
    },
    /// By its contributor: a proposal is taken back, and what was published by it too.
    Withdraw(StatementId),
    /// By its contributor: the owner should look at a proposal that was declined.
    Appeal {
        /// Which.
        proposal: StatementId,
        /// Why, for people.
        why: String,
    },
}

/// What is wrong with a statement by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Too long.
    #[error("a reason of {0} bytes; at most {TEXT_MAX} are allowed")]
    Text(usize),
    /// Too many, or not in order.
    #[error("{0} entries out of order or more than {ENTRIES_MAX}; name each root once, in their order")]
    Entries(usize),
    /// The numbering starts at 1, and the first has none before it.
    #[error("number {0} does not fit what it says came before it")]
    Number(u64),
    /// Not one that rules are known for.
    #[error("the licence of the proposal is not known")]
    Licence(#[source] LicenceError),
}

impl Statement {
    /// Its name: the digest of what is signed, without the chain.
    pub fn id(&self) -> StatementId {
        StatementId(digest(
            "openledger/statement/id/1",
            &[&self.write(Writer::bare()).done()],
        ))
    }

    /// Whether it is within bounds and means something.
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

    /// Whether only the owner may say it.
    pub(super) fn is_owners(&self) -> bool {
        matches!(self.act, Act::Grant(_) | Act::Revoke { .. } | Act::Rotate(_))
    }

    /// Whether the owner of the datanet says it.
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
            Act::Revoke { subject, epoch, stands } => {
                let writer = writer.tag(1).fixed(&subject.0).fixed(&epoch.0.to_be_bytes());
                writer.maybe(stands.as_ref().map(|id| &id.0))
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
        self.write(Writer::new("openledger/statement/1", domain)).done()
    }
}

impl Spoken for Statement {
    fn speaker(&self) -> NodeId {
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
